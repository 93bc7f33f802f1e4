"""Matrix products, reductions and normalisations.

Definitions: github.com/onnx/onnx, `docs/Operators.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unrolled.interop.onnx.ops.call import MAX_PRODUCTS, Array, Call, axis_of, integers


def matmul(call: Call, a: Array, b: Array) -> Array:
    """The matrix product over the last two dimensions, as numpy's."""
    if a.ndim > 1 and b.ndim > 1:
        outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        call.check((*outer, a.shape[-2], b.shape[-1]), a.dtype)
    return np.asarray(a @ b)


def gemm(call: Call, a: Array, b: Array, c: Array | None = None) -> Array:
    """Return alpha A B + beta C, either of A and B transposed."""
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"expected two matrices, got shapes {list(a.shape)} and {list(b.shape)}")
    a, b = (a.T if call.get("transA", 0) else a), (b.T if call.get("transB", 0) else b)
    call.check((a.shape[0], b.shape[1]), a.dtype)
    y = a @ b
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if alpha != 1:
        y = y * y.dtype.type(alpha)
    if c is None or not beta:
        return np.asarray(y)
    return np.asarray(y + (c if beta == 1 else c * y.dtype.type(beta)))


def einsum(call: Call, *operands: Array) -> Array:
    """The sum of products that `equation` says, as numpy's."""
    equation = call.need("equation").replace(" ", "")
    sizes: dict[str, int] = {}
    terms = equation.partition("->")[0].split(",")
    if len(terms) != len(operands):
        raise ValueError(f"the equation {equation!r} is for {len(terms)} tensors")
    for term, operand in zip(terms, operands, strict=True):
        before, dots, after = term.partition("...")
        spread = operand.ndim - len(before) - len(after)
        if spread < 0 or (spread and not dots):
            raise ValueError(f"{term!r} does not fit {operand.ndim} dimensions")
        labels = [*before, *(f"...{spread - k}" for k in range(spread)), *after]
        for label, dim in zip(labels, operand.shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), dim)
    if math.prod(sizes.values()) > MAX_PRODUCTS:
        raise ValueError(f"it would take more than {MAX_PRODUCTS} products")
    output = equation.partition("->")[2]
    kept = [label for label in sizes if label in output or "->" not in equation or label[0] == "."]
    call.check([sizes[label] for label in kept], operands[0].dtype)
    dtype = operands[0].dtype
    path: Any = ("greedy", call.limit // (8 * dtype.itemsize)) if len(operands) > 1 else False
    return np.asarray(np.einsum(equation, *operands, optimize=path), dtype)


def _axes(call: Call, x: Array, axes: Array | None, since: int) -> tuple[int, ...] | None:
    """Return the axes that a reduction goes over; None where it keeps every element."""
    given = call.get("axes") if call.opset < since else None if axes is None else integers(axes)
    if not given:
        return None if call.get("noop_with_empty_axes", 0) else tuple(range(x.ndim))
    return tuple(sorted({axis_of(axis, x.ndim) for axis in given}))


def reduction(function: Callable[..., Array], *, since: int = 18) -> Callable[..., Array]:
    """Return the operator that reduces by `function(x, axes, keepdims)`.

    From the version `since` on, the axes are an input.
    """

    def run(call: Call, x: Array, axes: Array | None = None) -> Array:
        over = _axes(call, x, axes, since)
        # Without axes to go over, what each element goes through still applies: |x|, x^2, log.
        return np.asarray(function(x, () if over is None else over, bool(call.get("keepdims", 1))))

    return run


def reduce_sum(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The sum."""
    return np.asarray(x.sum(axes, dtype=x.dtype, keepdims=keep))


def mean_of(x: Array, axes: tuple[int, ...], *, keep: bool = True) -> Array:
    """Return the mean over `axes`; NaN, without numpy's warning, where there is nothing."""
    if not x.size:
        return np.asarray(x.sum(axes, keepdims=keep) / x.dtype.type(0))
    return np.asarray(x.mean(axes, keepdims=keep))


def reduce_mean(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The mean."""
    if x.dtype.kind in "iu":
        count = math.prod(x.shape[axis] for axis in axes)
        return np.asarray(x.sum(axes, dtype=x.dtype, keepdims=keep) // count)
    return mean_of(x, axes, keep=keep)


def reduce_prod(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The product."""
    return np.asarray(x.prod(axes, dtype=x.dtype, keepdims=keep))


def reduce_max(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The largest."""
    return np.asarray(x.max(axes, keepdims=keep, initial=_least(x.dtype)))


def reduce_min(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The smallest."""
    return np.asarray(x.min(axes, keepdims=keep, initial=_greatest(x.dtype)))


def _least(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return dtype.type(-np.inf)
    return False if dtype.kind == "b" else np.iinfo(dtype).min


def _greatest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return dtype.type(np.inf)
    return True if dtype.kind == "b" else np.iinfo(dtype).max


def reduce_l1(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The sum of absolute values."""
    return np.asarray(np.abs(x).sum(axes, dtype=x.dtype, keepdims=keep))


def reduce_l2(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The square root of the sum of squares."""
    wide = x.astype(np.float64) if x.dtype.kind in "iu" else x
    return np.asarray(np.sqrt(np.square(wide).sum(axes, keepdims=keep))).astype(x.dtype)


def reduce_sum_square(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The sum of squares."""
    return np.asarray(np.square(x).sum(axes, dtype=x.dtype, keepdims=keep))


def reduce_log_sum(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The logarithm of the sum."""
    return np.asarray(np.log(x.sum(axes, keepdims=keep))).astype(x.dtype)


def reduce_log_sum_exp(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """The logarithm of the sum of exponentials."""
    top = x.max(axes, keepdims=True, initial=_least(x.dtype))
    top = np.where(np.isfinite(top), top, 0)
    total = np.asarray(np.log(np.exp(x - top).sum(axes, keepdims=True)) + top)
    return (total if keep else total.squeeze(axes)).astype(x.dtype)


def _softmax_input(call: Call, x: Array) -> tuple[Array, int]:
    """Return x with the axis to normalise over: before version 13, all from `axis` on as one."""
    if call.opset >= 13:
        return x, axis_of(call.get("axis", -1), x.ndim)
    axis = axis_of(call.get("axis", 1), x.ndim)
    return x.reshape(*x.shape[:axis], math.prod(x.shape[axis:])), axis


def softmax(call: Call, x: Array) -> Array:
    """exp(x) / sum exp(x) along `axis`."""
    flat, axis = _softmax_input(call, x)
    e = np.exp(flat - flat.max(axis, keepdims=True, initial=_least(x.dtype)))
    return np.asarray(e / e.sum(axis, keepdims=True)).reshape(x.shape)


def log_softmax(call: Call, x: Array) -> Array:
    """Return log softmax(x) along `axis`."""
    flat, axis = _softmax_input(call, x)
    shifted = flat - flat.max(axis, keepdims=True, initial=_least(x.dtype))
    total = np.exp(shifted).sum(axis, keepdims=True)
    return np.asarray(shifted - np.log(total)).reshape(x.shape)


def _per_channel(values: Array, rank: int) -> Array:
    return values.reshape(-1, *[1] * (rank - 2))


def batch_normalization(
    call: Call, x: Array, scale: Array, bias: Array, mean: Array, variance: Array
) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, a channel at a time, by recorded moments."""
    if call.get("training_mode", 0) or not call.get("spatial", 1):
        raise ValueError("training_mode and spatial=0 are not supported")
    if x.ndim < 2 or not (scale.size == bias.size == mean.size == variance.size == x.shape[1]):
        raise ValueError(f"scale, bias and moments do not have the {x.shape[1]} channels of x")
    factor = scale / np.sqrt(variance + variance.dtype.type(call.get("epsilon", 1e-5)))
    shift = bias - mean * factor
    y = x * _per_channel(factor, x.ndim) + _per_channel(shift, x.ndim)
    return np.asarray(y).astype(x.dtype, copy=False)


def _normalised(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """Return (x - mean) / sqrt(var + epsilon), the mean and 1 / sqrt(var + epsilon)."""
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    mean = mean_of(wide, axes)
    centred = wide - mean
    inverse = 1 / np.sqrt(mean_of(np.square(centred), axes) + wide.dtype.type(epsilon))
    return np.asarray(centred * inverse), mean, np.asarray(inverse)


def instance_normalization(call: Call, x: Array, scale: Array, bias: Array) -> Array:
    """Each row's channels normalised over their own elements, then scaled and shifted."""
    y = _normalised(x, tuple(range(2, x.ndim)), call.get("epsilon", 1e-5))[0]
    y = y * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)
    return np.asarray(y).astype(x.dtype, copy=False)


def layer_normalization(
    call: Call, x: Array, scale: Array, bias: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return x normalised from `axis` on, scaled and shifted, its mean and 1 / deviation."""
    axis = axis_of(call.get("axis", -1), x.ndim)
    call.check_broadcast(x, scale)
    y, mean, inverse = _normalised(x, tuple(range(axis, x.ndim)), call.get("epsilon", 1e-5))
    y = y * scale
    if bias is not None:
        call.check_broadcast(x, bias)
        y = y + bias
    return np.asarray(y).astype(x.dtype, copy=False), mean, inverse


def lp_normalization(call: Call, x: Array) -> Array:
    """Return x over its L1 or L2 norm along `axis`; zero where the norm is."""
    axis, p = axis_of(call.get("axis", -1), x.ndim), call.get("p", 2)
    if p not in (1, 2):
        raise ValueError(f"p is {p}, expected 1 or 2")
    norm = reduce_l1(x, (axis,), True) if p == 1 else reduce_l2(x, (axis,), True)
    return np.where(norm == 0, 0, x / np.where(norm == 0, 1, norm)).astype(x.dtype, copy=False)


def mean_variance_normalization(call: Call, x: Array) -> Array:
    """(x - mean) / deviation over `axes`."""
    axes = tuple(axis_of(axis, x.ndim) for axis in call.get("axes", [0, 2, 3]))
    return _normalised(x, axes, 1e-9)[0].astype(x.dtype, copy=False)
