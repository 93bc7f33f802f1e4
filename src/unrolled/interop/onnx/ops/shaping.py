"""Operators that arrange elements and make tensors of sizes: shapes, joins, cuts, padding.

Definitions: github.com/onnx/onnx, `docs/Operators.md`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.interop.onnx.ops.call import Array, Call, axis_of, integers, scalar
from unrolled.interop.onnx.ops.elementwise import convert


def constant(call: Call) -> Array:
    """The tensor or numbers that the node holds."""
    for name, dtype in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in call.node.attributes:
            return np.asarray(call.get(name), dtype)
    raise ValueError("it holds no value of a supported kind")


def constant_of_shape(call: Call, shape: Array) -> Array:
    """A tensor of one value in the shape that is given."""
    value = np.asarray(call.get("value", np.zeros(1, np.float32)))
    dims = integers(shape)
    call.check(dims, value.dtype)
    return np.full(dims, scalar(value), value.dtype)


def shape(call: Call, x: Array) -> Array:
    """The dimensions, or those from `start` to `end`."""
    return np.array(x.shape[slice(call.get("start", 0), call.get("end"))], np.int64)


def size(call: Call, x: Array) -> Array:
    """The number of elements."""
    return np.array(x.size, np.int64)


def reshape(call: Call, x: Array, shape: Array) -> Array:
    """The elements in another shape: 0 keeps a dimension, one -1 is what is left."""
    dims = integers(shape)
    if not call.get("allowzero", 0):
        dims = [x.shape[place] if dim == 0 else dim for place, dim in enumerate(dims)]
    if min(dims, default=0) < -1 or dims.count(-1) > 1:
        raise ValueError(
            f"the shape {dims} has more than one dimension left open, or a negative one"
        )
    return x.reshape(dims)


def flatten(call: Call, x: Array) -> Array:
    """Two dimensions: those before `axis`, and the others."""
    axis = call.get("axis", 1)
    axis = axis if axis == x.ndim else axis_of(axis, x.ndim)
    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape(rows, int(np.prod(x.shape[axis:], dtype=np.int64)))


def transpose(call: Call, x: Array) -> Array:
    """The dimensions in another order; reversed where none is given."""
    return x.transpose(call.get("perm", list(range(x.ndim))[::-1]))


def squeeze(call: Call, x: Array, axes: Array | None = None) -> Array:
    """Return x without its dimensions of size 1, or without those of `axes`."""
    given = call.get("axes") if call.opset < 13 else None if axes is None else integers(axes)
    if given is None:
        return x.squeeze()
    return x.squeeze(tuple(axis_of(axis, x.ndim) for axis in given))


def unsqueeze(call: Call, x: Array, axes: Array | None = None) -> Array:
    """Return x with dimensions of size 1 at `axes` of the result."""
    given = call.need("axes") if call.opset < 13 else integers(axes)
    rank = x.ndim + len(given)
    places = {axis_of(axis, rank) for axis in given}
    if len(places) < len(given):
        raise ValueError(f"the axes {given} name one place twice")
    sizes = iter(x.shape)
    return x.reshape([1 if axis in places else next(sizes) for axis in range(rank)])


def concat(call: Call, *parts: Array) -> Array:
    """Tensors joined along `axis`."""
    axis = call.get("axis", 1) if call.opset < 4 else call.need("axis")
    return np.concatenate(parts, axis_of(axis, parts[0].ndim))


def split(call: Call, x: Array, sizes: Array | None = None) -> tuple[Array, ...]:
    """Return x cut along `axis`, into equal parts where no sizes are given."""
    axis = axis_of(call.get("axis", 0), x.ndim)
    given = call.get("split") if call.opset < 13 else None if sizes is None else integers(sizes)
    if given is None:
        count = call.get("num_outputs", len(call.node.outputs))
        if count != len(call.node.outputs):
            raise ValueError(f"num_outputs is {count} for {len(call.node.outputs)} outputs")
        each = -(-x.shape[axis] // count)
        given = [max(0, min(each, x.shape[axis] - k * each)) for k in range(count)]
    if sum(given) != x.shape[axis] or min(given, default=0) < 0:
        raise ValueError(f"parts of {given} do not make up {x.shape[axis]}")
    return tuple(np.split(x, np.cumsum(given)[:-1], axis))


def slice_(
    call: Call,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    """Return x from `starts` to `ends` (left out) along `axes`, in `steps` that may be negative."""
    if call.opset < 10:
        begin, stop, given = call.need("starts"), call.need("ends"), call.get("axes")
    else:
        begin, stop = integers(starts), integers(ends)
        given = None if axes is None else integers(axes)
    places = list(range(len(begin))) if given is None else given
    strides = [1] * len(begin) if steps is None else integers(steps)
    if not len(begin) == len(stop) == len(places) == len(strides):
        raise ValueError("starts, ends, axes and steps are not equally many")
    cut: list[Any] = [slice(None)] * x.ndim
    for a, b, axis, step in zip(begin, stop, places, strides, strict=True):
        axis = axis_of(axis, x.ndim)
        cut[axis] = _slice(a, b, step, x.shape[axis])
    return np.asarray(x[tuple(cut)])


def _slice(start: int, end: int, step: int, length: int) -> slice:
    if step == 0:
        raise ValueError("a step of 0")
    start = start + length if start < 0 else start
    end = end + length if end < 0 else end
    if step > 0:
        return slice(max(start, 0), max(end, 0), step)
    end = max(end, -1)
    start = min(start, length - 1)
    if start < 0:
        return slice(0, 0)
    return slice(start, None if end < 0 else end, step)


def expand(call: Call, x: Array, shape: Array) -> Array:
    """Return x repeated to fill a shape, as numpy spreads arrays."""
    dims = np.broadcast_shapes(x.shape, tuple(integers(shape)))
    call.check(dims, x.dtype)
    return np.broadcast_to(x, dims)


def tile(call: Call, x: Array, repeats: Array) -> Array:
    """Return x repeated along each dimension."""
    times = integers(repeats)
    if len(times) != x.ndim:
        raise ValueError(f"{len(times)} repeats for {x.ndim} dimensions")
    call.check([a * b for a, b in zip(x.shape, times, strict=True)], x.dtype)
    return np.tile(x, times)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def pad(
    call: Call,
    x: Array,
    pads: Array | None = None,
    value: Array | None = None,
    axes: Array | None = None,
) -> Array:
    """Return x with elements added before and after each dimension, or with some taken away."""
    mode = call.choice("mode", "constant", tuple(_PAD_MODES))
    sizes = call.need("pads") if call.opset < 11 else integers(pads)
    fill = call.get("value", 0.0) if call.opset < 11 else 0 if value is None else scalar(value)
    places = list(range(x.ndim)) if axes is None else [axis_of(a, x.ndim) for a in integers(axes)]
    if len(sizes) != 2 * len(places):
        raise ValueError(f"{len(sizes)} pads for {len(places)} dimensions, expected two for each")
    around = [(0, 0)] * x.ndim
    for k, axis in enumerate(places):
        around[axis] = (sizes[k], sizes[k + len(places)])
    cut = tuple(
        slice(max(0, -a), max(0, n - max(0, -b))) for (a, b), n in zip(around, x.shape, strict=True)
    )
    x = x[cut]
    added = [(max(0, a), max(0, b)) for a, b in around]
    call.check([n + a + b for n, (a, b) in zip(x.shape, added, strict=True)], x.dtype)
    if mode == "constant":
        return np.pad(x, added, constant_values=fill)
    return np.pad(x, added, mode=_PAD_MODES[mode])  # type: ignore[call-overload,no-any-return]


def range_(call: Call, start: Array, limit: Array, delta: Array) -> Array:
    """Numbers from `start` to `limit` (left out) in steps of `delta`."""
    dtype = np.asarray(start).dtype
    a, b, step = (scalar(each).item() for each in (start, limit, delta))
    if step == 0:
        raise ValueError("a step of 0")
    count = max(0, int(np.ceil((b - a) / step)))
    call.check([count], dtype)
    return np.asarray(a + np.arange(count) * step).astype(dtype)


def one_hot(call: Call, indices: Array, depth: Array, values: Array) -> Array:
    """`values[1]` where the index is, `values[0]` elsewhere, along a new axis of size `depth`."""
    count = int(scalar(depth))
    axis = axis_of(call.get("axis", -1), indices.ndim + 1)
    call.check([*indices.shape, count], values.dtype)
    off, on = values
    places = np.asarray(indices).astype(np.int64)
    inside = (places >= -count) & (places < count)
    wanted = np.where(inside, np.where(places < 0, places + count, places), -1)
    hot = np.expand_dims(wanted, -1) == np.arange(count)
    return np.moveaxis(np.where(hot, on, off), -1, axis)


def trilu(call: Call, x: Array, k: Array | None = None) -> Array:
    """The upper or the lower triangle of matrices; zero elsewhere."""
    diagonal = 0 if k is None else int(scalar(k))
    rows, columns = x.shape[-2:]
    diagonal = min(max(diagonal, -rows - columns), rows + columns)
    return np.triu(x, diagonal) if call.get("upper", 1) else np.tril(x, diagonal)


def eye_like(call: Call, x: Array) -> Array:
    """Ones on a diagonal, zero elsewhere, in the shape of x."""
    rows, columns = x.shape
    k = min(max(call.get("k", 0), -rows - columns), rows + columns)
    made = np.eye(rows, columns, k, dtype=x.dtype)
    return made if call.get("dtype") is None else convert(made, call.get("dtype"))
