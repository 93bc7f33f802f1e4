"""Operators that work on each element: arithmetic, comparisons, activations, casts.

Definitions: github.com/onnx/onnx, `docs/Operators.md`. Inputs spread over each other as in numpy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from unrolled.interop.onnx.ops.call import Array, Call, scalar
from unrolled.interop.onnx.tensors import DTYPES

# Chebyshev coefficients of log(erfc(x)) + x^2 - log(t) over y = 4t - 2 with t = 2 / (2 + x), fitted
# to the C library's erfc; the form is that of Numerical Recipes (3rd edition, section 6.2.2).
_ERFC = (
    -1.3026537197817094,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
)


def unary(function: Callable[[Array], Array]) -> Callable[..., Array]:
    """Return the operator that maps each element by `function`."""

    def run(call: Call, x: Array) -> Array:
        return function(x)

    return run


def binary(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Return the operator that combines two tensors by `function`."""

    def run(call: Call, a: Array, b: Array) -> Array:
        call.check_broadcast(a, b)
        return function(a, b)

    return run


def variadic(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Return the operator that combines one or more tensors by `function`."""

    def run(call: Call, x: Array, *others: Array) -> Array:
        call.check_broadcast(x, *others)
        return functools.reduce(function, others, x)

    return run


def mean(call: Call, x: Array, *others: Array) -> Array:
    """Return the mean of tensors."""
    call.check_broadcast(x, *others)
    total = functools.reduce(np.add, others, x)
    return np.asarray(total / total.dtype.type(1 + len(others)))


def divide(a: Array, b: Array) -> Array:
    """Return a / b; of whole numbers without the remainder, towards zero."""
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    if not np.all(b):
        raise ValueError("division of whole numbers by zero")
    quotient = np.floor_divide(a, b)
    if a.dtype.kind == "u":
        return np.asarray(quotient)
    return np.asarray(quotient + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0))).astype(a.dtype))


def power(a: Array, b: Array) -> Array:
    """Return a ** b, of a's type."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu" and np.any(b < 0):
        return np.power(a.astype(np.float64), b).astype(a.dtype)
    return np.power(a, b).astype(a.dtype)


def modulo(call: Call, a: Array, b: Array) -> Array:
    """Remainder with the sign of b, or of a where `fmod`."""
    call.check_broadcast(a, b)
    if a.dtype.kind in "iu" and not np.all(b):
        raise ValueError("division of whole numbers by zero")
    return np.asarray(np.fmod(a, b) if call.get("fmod", 0) else np.mod(a, b))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written so that exp never overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype, copy=False)


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return np.asarray(np.logaddexp(x, x.dtype.type(0)))


def softsign(x: Array) -> Array:
    """Return x / (1 + |x|)."""
    return np.asarray(x / (1 + np.abs(x)))


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.asarray(np.maximum(x, x.dtype.type(0)))


def erf(x: Array) -> Array:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    a = np.abs(x.astype(np.float64))
    t = 2 / (2 + a)
    d = dd = np.zeros_like(a)
    y = 4 * t - 2
    for coefficient in _ERFC[:0:-1]:
        d, dd = y * d - dd + coefficient, d
    complement = t * np.exp(-a * a + 0.5 * (_ERFC[0] + y * d) - dd)
    return np.copysign(1 - complement, x).astype(x.dtype)


def leaky_relu(call: Call, x: Array) -> Array:
    """Return x where positive, else alpha x."""
    return np.where(x < 0, x * x.dtype.type(call.get("alpha", 0.01)), x)


def p_relu(call: Call, x: Array, slope: Array) -> Array:
    """Return x where positive, else slope x."""
    call.check_broadcast(x, slope)
    return np.where(x < 0, x * slope, x)


def elu(call: Call, x: Array) -> Array:
    """Return x where positive, else alpha (exp(x) - 1)."""
    return np.where(x < 0, x.dtype.type(call.get("alpha", 1.0)) * np.expm1(np.minimum(x, 0)), x)


def celu(call: Call, x: Array) -> Array:
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1))."""
    alpha = x.dtype.type(call.get("alpha", 1.0))
    return np.asarray(np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha))


def selu(call: Call, x: Array) -> Array:
    """Return gamma x where positive, else gamma alpha (exp(x) - 1)."""
    alpha = x.dtype.type(call.get("alpha", 1.67326319217681884765625))
    gamma = x.dtype.type(call.get("gamma", 1.05070102214813232421875))
    return np.asarray(gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def thresholded_relu(call: Call, x: Array) -> Array:
    """Return x where above alpha, else 0."""
    return np.where(x > x.dtype.type(call.get("alpha", 1.0)), x, x.dtype.type(0))


def hard_sigmoid(call: Call, x: Array) -> Array:
    """max(0, min(1, alpha x + beta))."""
    alpha, beta = (x.dtype.type(call.get(*each)) for each in (("alpha", 0.2), ("beta", 0.5)))
    return np.asarray(np.clip(alpha * x + beta, 0, 1)).astype(x.dtype, copy=False)


def hard_swish(x: Array) -> Array:
    """Return x max(0, min(1, x / 6 + 1 / 2))."""
    return np.asarray(
        x * np.clip(x / x.dtype.type(6) + x.dtype.type(0.5), 0, 1).astype(x.dtype, copy=False)
    )


def gelu(call: Call, x: Array) -> Array:
    """Return x Phi(x), exactly or by tanh."""
    half, one = x.dtype.type(0.5), x.dtype.type(1)
    if call.choice("approximate", "none", ("none", "tanh")) == "none":
        return np.asarray(half * x * (one + erf(x * x.dtype.type(np.sqrt(0.5)))))
    inner = x.dtype.type(np.sqrt(2 / np.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
    return np.asarray(half * x * (one + np.tanh(inner)))


def clip(call: Call, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """Return x kept between two bounds, either of which may be left out."""
    if call.opset < 11:
        low, high = call.get("min"), call.get("max")
    if low is not None:
        x = np.maximum(x, x.dtype.type(scalar(low)))
    if high is not None:
        x = np.minimum(x, x.dtype.type(scalar(high)))
    return x


def where(call: Call, condition: Array, a: Array, b: Array) -> Array:
    """Return a where the condition holds, else b."""
    call.check_broadcast(a, b, condition)
    return np.where(condition.astype(bool, copy=False), a, b)


def cast(call: Call, x: Array) -> Array:
    """The same values in another type; a fraction is cut off."""
    return convert(x, call.need("to"))


def cast_like(call: Call, x: Array, other: Array) -> Array:
    """The same values in the type of `other`."""
    return x.astype(other.dtype)


def convert(x: Array, number: Any) -> Array:
    """Return x as TensorProto's type `number`; raises ValueError where that is not supported."""
    if number not in DTYPES:
        raise ValueError(f"elements of type {number} are not supported")
    return x.astype(DTYPES[number])


def is_inf(call: Call, x: Array) -> Array:
    """Whether each element is infinite, of the signs that are asked for."""
    positive, negative = call.get("detect_positive", 1), call.get("detect_negative", 1)
    return (np.isposinf(x) & bool(positive)) | (np.isneginf(x) & bool(negative))


def dropout(
    call: Call, x: Array, ratio: Array | None = None, training: Array | None = None
) -> tuple[Array, Array]:
    """Return x as it is, and a mask of ones: nothing is dropped in inference."""
    if training is not None and scalar(training):
        raise ValueError("training_mode is on; only inference is supported")
    return x, np.ones(x.shape, x.dtype if call.opset < 10 else np.bool_)


def identity(call: Call, x: Array) -> Array:
    """Return x as it is."""
    return x
