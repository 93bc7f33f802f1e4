"""A layer's work over arrays that are already there: calls without arguments, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from unrolled.runtime.layer import Array
    from unrolled.runtime.recurrent import Recurrent

# The calls in their order; y [T, D, N, P], last h [D, N, P] and, for LSTM, last c [D, N, H].
Bound: TypeAlias = "tuple[list[Callable[[], Any]], list[Array]]"


def bound_step(layer: Recurrent, x: Array, h: Array | None, c: Array | None) -> Bound:
    """Return what advances a layer of one direction by one step: x [1, N, I], h and c [1, N, H].

    What is left out is zero. Raises ValueError where the arrays do not fit the layer.
    """
    stepper, rows = layer._stepper, x.shape[1]
    if stepper is None or layer.spec.num_layers != 1:
        raise ValueError("a bound step is that of one layer in one direction")
    width = layer.spec.state_size(0)
    block = np.zeros((rows, stepper.state_width), layer.dtype)
    y = np.empty((rows, width), layer.dtype)
    thunks, values = _beside(x[0])
    for part, state in ((block[:, :width], h), (block[:, width:], c)):
        if part.size:
            zero = np.zeros((), layer.dtype)
            thunks.append(partial(np.copyto, part, zero if state is None else state[0]))
    advance = partial(stepper.advance, values, block, None, y)
    # It gives None, and does nothing, where an array is of another kind than it takes.
    if advance() is None:
        raise ValueError(f"x {list(x.shape)} of {x.dtype} does not fit the layer")
    outputs = [y[None, None], y[None]]
    return [*thunks, advance], outputs + ([block[None, :, width:]] if part.size else [])


def bound_run(layer: Recurrent, x: Array, h: Array | None, c: Array | None) -> Bound:
    """Return what runs one layer in its D directions: x [T, N, I], h and c [D, N, H].

    What is left out is zero. Raises ValueError where the arrays do not fit the layer.
    """
    spec = layer.spec
    if spec.num_layers != 1:
        raise ValueError("a bound run is that of one layer")
    (steps, rows), D, H = x.shape[:2], spec.num_directions, spec.hidden_sizes[0]
    values = x.swapaxes(0, 1)
    thunks: list[Callable[[], Any]] = []
    if spec.input_size > 1 and values.strides[2] != values.itemsize:
        thunks, values = _beside(values)
    y = np.empty((rows, steps, D * spec.state_size(0)), layer.dtype)
    widths = [spec.state_size(0)] + ([H] if spec.cell == "lstm" else [])
    first: list[Array] = []
    for state, width in zip((h, c), widths, strict=False):
        copy, given = _beside(np.zeros((D, rows, width), layer.dtype) if state is None else state)
        thunks += copy
        first.append(given)
    last = [np.empty_like(each) for each in first]
    c_0, c_n = (first[1], last[1]) if len(last) > 1 else (None, None)
    thunks.append(partial(layer._layers[0].run, values, first[0], c_0, None, y, last[0], c_n))
    return thunks, [y.reshape(rows, steps, D, -1).transpose(1, 2, 0, 3), *last]


def _beside(x: Array) -> tuple[list[Callable[[], Any]], Array]:
    """Return x where its elements lie side by side, else an array that a call copies it to."""
    if x.flags.c_contiguous:
        return [], x
    beside = np.array(x, order="C")
    return [partial(np.copyto, beside, x)], beside
