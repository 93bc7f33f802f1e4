"""Operators that pick elements or put them somewhere: gathers, scatters, the largest, sorting.

Definitions: github.com/onnx/onnx, `docs/Operators.md`.
"""

from __future__ import annotations

import numpy as np

from unrolled.interop.onnx.ops.call import Array, Call, axis_of, integers, scalar


def _checked(indices: Array, size: int) -> Array:
    """Return indices as they are; raises IndexError where one lies outside `size`."""
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices must be whole numbers, got {indices.dtype}")
    wrong = (indices < -size) | (indices >= size)
    if wrong.any():
        raise IndexError(f"index {int(indices[wrong].flat[0])} is out of range for {size} elements")
    return indices


def gather(call: Call, x: Array, indices: Array) -> Array:
    """Slices of x at `indices` along `axis`."""
    axis = axis_of(call.get("axis", 0), x.ndim)
    call.check((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    return np.take(x, _checked(indices, x.shape[axis]), axis)


def gather_elements(call: Call, x: Array, indices: Array) -> Array:
    """The element of x at each index along `axis`, in the shape of `indices`."""
    axis = axis_of(call.get("axis", 0), x.ndim)
    checked = _checked(indices, x.shape[axis])
    cut = tuple(slice(None) if place == axis else slice(n) for place, n in enumerate(indices.shape))
    return np.take_along_axis(x[cut], checked, axis)


def _grid(shape: tuple[int, ...]) -> list[Array]:
    """Return the index of every element along each dimension, spread over nothing else."""
    return [np.asarray(each) for each in np.indices(shape, sparse=True)]


def gather_nd(call: Call, x: Array, indices: Array) -> Array:
    """Slices of x at the places that the last dimension of `indices` names."""
    batch = call.get("batch_dims", 0)
    depth = indices.shape[-1]
    if not 0 <= batch < min(x.ndim, indices.ndim) or depth > x.ndim - batch:
        raise ValueError(f"batch_dims {batch} and {depth} indices do not fit {x.ndim} dimensions")
    if x.shape[:batch] != indices.shape[:batch]:
        raise ValueError(f"the first {batch} dimensions differ")
    call.check((*indices.shape[:-1], *x.shape[batch + depth :]), x.dtype)
    width = indices.ndim - 1 - batch
    places = [each.reshape(each.shape + (1,) * width) for each in _grid(indices.shape[:batch])]
    places += [_checked(indices[..., k], x.shape[batch + k]) for k in range(depth)]
    return x[tuple(places)]


def _scatter(call: Call, target: Array, places: tuple[Array, ...], updates: Array) -> Array:
    how = call.choice("reduction", "none", ("none", "add", "mul", "max", "min"))
    if how == "none":
        target[places] = updates
    else:
        ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[how]
        ufunc.at(target, places, updates)
    return target


def scatter_elements(call: Call, x: Array, indices: Array, updates: Array) -> Array:
    """Return x with `updates` put at each index along `axis`."""
    axis = axis_of(call.get("axis", 0), x.ndim)
    places = _grid(indices.shape)
    places[axis] = _checked(indices, x.shape[axis])
    return _scatter(call, x.copy(), tuple(places), updates)


def scatter_nd(call: Call, x: Array, indices: Array, updates: Array) -> Array:
    """Return x with `updates` put at the places that the last dimension of `indices` names."""
    depth = indices.shape[-1]
    if depth > x.ndim:
        raise ValueError(f"{depth} indices for {x.ndim} dimensions")
    places = tuple(_checked(indices[..., k], x.shape[k]) for k in range(depth))
    return _scatter(call, x.copy(), places, updates)


def arg_extreme(call: Call, x: Array) -> Array:
    """The index of the largest (ArgMax) or smallest (ArgMin) element along `axis`."""
    axis = axis_of(call.get("axis", 0), x.ndim)
    find = np.argmax if call.node.op_type == "ArgMax" else np.argmin
    if call.get("select_last_index", 0):
        found = x.shape[axis] - 1 - find(np.flip(x, axis), axis)
    else:
        found = find(x, axis)
    kept = np.expand_dims(found, axis) if call.get("keepdims", 1) else found
    return np.asarray(kept, np.int64)


def top_k(call: Call, x: Array, k: Array | None = None) -> tuple[Array, Array]:
    """The k largest or smallest elements along `axis` and where they are; ties by the index."""
    count = call.need("k") if call.opset < 10 else int(scalar(k))
    axis = axis_of(call.get("axis", -1), x.ndim)
    if not 0 <= count <= x.shape[axis]:
        raise ValueError(f"k is {count} for {x.shape[axis]} elements")
    if call.get("largest", 1):
        flipped = np.flip(x, axis)
        order = x.shape[axis] - 1 - np.flip(np.argsort(flipped, axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    picked = np.take(order, np.arange(count), axis)
    return np.take_along_axis(x, picked, axis), picked.astype(np.int64)


def reverse_sequence(call: Call, x: Array, lengths: Array) -> Array:
    """The first `lengths[n]` steps of each row in the opposite order, the others as they are."""
    batch, time = call.get("batch_axis", 1), call.get("time_axis", 0)
    if {batch, time} != {0, 1}:
        raise ValueError(f"batch_axis {batch} and time_axis {time} must be 0 and 1")
    ends = np.asarray(integers(lengths))
    rows, steps = x.shape[batch], x.shape[time]
    if ends.shape != (rows,) or (ends < 0).any() or (ends > steps).any():
        raise ValueError(f"sequence_lens must be {rows} numbers in 0..{steps}")
    return reverse_rows(x, ends, time)


def reverse_rows(x: Array, ends: Array, time: int) -> Array:
    """Return x [T, N, ...] (time 0) or [N, T, ...] (time 1), each row reversed up to its end."""
    t = np.arange(x.shape[time])
    order = np.where(t < ends[:, None], ends[:, None] - 1 - t, t)
    rows = np.arange(len(ends))
    return x[order.T, rows] if time == 0 else x[rows[:, None], order]


def non_zero(call: Call, x: Array) -> Array:
    """The indices of the elements that are not zero, a row for each dimension."""
    return np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)


def cum_sum(call: Call, x: Array, axis: Array) -> Array:
    """The running sum along an axis, from the end where `reverse`."""
    place = axis_of(int(scalar(axis)), x.ndim)
    if call.get("reverse", 0):
        x = np.flip(x, place)
    total = np.cumsum(x, place, dtype=x.dtype)
    if call.get("exclusive", 0):
        before = np.zeros_like(total)
        np.moveaxis(before, place, 0)[1:] = np.moveaxis(total, place, 0)[:-1]
        total = before
    return np.flip(total, place) if call.get("reverse", 0) else total
