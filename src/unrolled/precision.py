"""Weights of fewer bits: how numbers are rounded, and how a model folder stores them.

int8 (per-row symmetric): a row v with largest magnitude m becomes the codes q = round(127 v / m),
halves to even, and the factor s = m / 127, so that v is nearly s q. bf16: the upper half of a
float32, rounded to nearest even. Only the weights of recurrent layers, `weight_ih_l*` and
`weight_hh_l*`, are of fewer bits; biases, embeddings and output layers stay float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelError
from unrolled.spec import Precision

Array = NDArray[Any]

# A row whose largest magnitude is below this counts as zero: 127 / m must be finite.
LEAST = np.float32(1e-30)
_LOW = re.compile(r"(^|\.)weight_(ih|hh)_l\d+(_reverse)?$")


def to_int8(rows: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the codes q [R, K] and factors s [R] of float32 rows [R, K].

    A row that holds NaN or infinity has codes 0 and the factor NaN.
    """
    values = np.asarray(rows, np.float32)
    most = np.abs(values).max(axis=1, initial=0)
    finite, zero = np.isfinite(most), most < LEAST
    usual = finite & ~zero
    inverse = np.divide(np.float32(127), most, where=usual, out=np.zeros_like(most))
    scaled = np.where(usual[:, None], values, 0) * inverse[:, None]
    factors = np.where(zero, np.float32(0), most / np.float32(127))
    return np.rint(scaled).astype(np.int8), np.where(finite, factors, np.float32(np.nan))


def from_int8(codes: NDArray[np.int8], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 s q of codes q [R, K] and factors s [R]."""
    values: NDArray[np.float32] = codes.astype(np.float32) * factors[:, None]
    return values


def to_bf16(values: Array) -> NDArray[np.uint16]:
    """Return the bits of finite float32 values as bfloat16, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 values of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def store(weights: Mapping[str, Array], precision: Precision) -> dict[str, Array]:
    """Return the tensors that a model folder of `precision` holds in place of `weights`.

    A recurrent weight NAME becomes NAME.int8 and NAME.scale, or NAME.bf16.
    """
    stored: dict[str, Array] = {}
    for name, value in weights.items():
        if precision == "float32" or not _LOW.search(name):
            stored[name] = value
        elif precision == "int8":
            stored[f"{name}.int8"], stored[f"{name}.scale"] = to_int8(value)
        else:
            stored[f"{name}.bf16"] = to_bf16(value)
    return stored


def restore(stored: Mapping[str, Array], place: str) -> dict[str, Array]:
    """Return float32 weights from the tensors that `store` made.

    Raises ModelError, naming `place` and the tensor, where one does not fit.
    """
    weights: dict[str, Array] = {}
    for name, value in stored.items():
        weight, _, kind = name.rpartition(".")
        if not _LOW.search(weight):
            weights[name] = value
        elif kind == "int8":
            factors = stored.get(f"{weight}.scale")
            _check(place, name, value, np.int8)
            if factors is None or factors.dtype != np.float32 or factors.shape != value.shape[:1]:
                raise ModelError(
                    f"{place}: {name} needs {weight}.scale, float32 [{len(value)}], beside it"
                )
            weights[weight] = from_int8(value, factors)
        elif kind == "bf16":
            _check(place, name, value, np.uint16)
            weights[weight] = from_bf16(value)
            if not np.isfinite(weights[weight]).all():
                raise ModelError(f"{place}: {name} holds NaN or infinite weights")
        elif kind != "scale" or f"{weight}.int8" not in stored:
            raise ModelError(f"{place}: {name} is no tensor of a weight of fewer bits")
    return weights


def _check(place: str, name: str, value: Array, dtype: type[np.generic]) -> None:
    if value.dtype != dtype or value.ndim != 2:
        raise ModelError(
            f"{place}: {name} is {value.dtype} {list(value.shape)}, "
            f"expected a matrix of {np.dtype(dtype).name}"
        )
