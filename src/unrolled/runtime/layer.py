"""One recurrent layer over numpy arrays by the native engine: the one place where it plugs in."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled import _native
from unrolled.runtime.operator import STANDARD, CellOptions
from unrolled.shapes import cell_name
from unrolled.spec import Precision, RecurrentSpec

Array = NDArray[np.floating]
Layer: TypeAlias = "_native.LayerF32 | _native.LayerF64"
Stepper: TypeAlias = "_native.StepperF32 | _native.StepperF64"
# weight_ih [G*H, I], weight_hh [G*H, P], bias_ih and bias_hh [G*H], weight_hr [P, H]
Parameters: TypeAlias = tuple[Array, Array, Array | None, Array | None, Array | None]


def pack(
    spec: RecurrentSpec,
    directions: list[Parameters],
    options: CellOptions = STANDARD,
    peepholes: list[Array] | None = None,
    precision: Precision = "float32",
) -> Layer:
    """Return torch's weights of the D directions of one layer, laid out for the kernels.

    `peepholes` [3, H] of each direction, in the order i f o. float64 weights make a float64 layer,
    which `precision` "float32" leaves as it is.
    """
    wide = directions[0][0].dtype == np.float64
    kind = _native.LayerF64 if wide else _native.LayerF32
    activations = [
        [(each.name, each.alpha or 0.0, each.beta or 0.0) for each in direction]
        for direction in options.activations
    ]
    return kind(
        cell_name(spec),
        directions,
        activations=activations or None,
        clip=options.clip,
        input_forget=options.input_forget,
        peepholes=peepholes,
        precision="float64" if wide else precision,
    )


def stepper(
    spec: RecurrentSpec, layers: list[Layer], first_h: list[Array], first_c: list[Array]
) -> Stepper:
    """Return what advances a stack by one step, from `first_h` and `first_c` where told nothing."""
    kind = _native.StepperF64 if isinstance(layers[0], _native.LayerF64) else _native.StepperF32
    return kind(layers, spec.residual, first_h, first_c)


def run(
    layer: Layer,
    x: Array,
    h: Array,
    c: Array | None,
    lengths: NDArray[np.int64] | None,
) -> tuple[Array, Array, Array | None]:
    """Run one layer in its D directions: y [N, T, D*P], last h [D, N, P], last c [D, N, H].

    x [N, T, I], h [D, N, P], c [D, N, H] for LSTM; lengths [N] in 0..T or None. y is zero past each
    row's end, the backward direction begins there, and a row of length 0 keeps its state.
    """
    rows, steps, inputs = x.shape
    if inputs > 1 and x.strides[2] != x.itemsize:
        x = np.ascontiguousarray(x)
    h = np.ascontiguousarray(h)
    y = np.empty((rows, steps, h.shape[0] * h.shape[2]), x.dtype)
    h_n = np.empty_like(h)
    if c is None:
        layer.run(x, h, None, lengths, y, h_n, None)
        return y, h_n, None
    c = np.ascontiguousarray(c)
    c_n = np.empty_like(c)
    layer.run(x, h, c, lengths, y, h_n, c_n)
    return y, h_n, c_n
