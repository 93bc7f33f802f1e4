"""RNN, LSTM and GRU nodes at work, on the native engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.interop.onnx.ops.call import Array, Call
from unrolled.interop.onnx.ops.recurrent import (
    CELLS,
    STANDARD,
    Cell,
    Inputs,
    Weights,
    cell_of,
    inputs_of,
    outputs_of,
    weights_of,
)
from unrolled.interop.onnx.ops.selection import reverse_rows
from unrolled.runtime.operator import PEEPHOLE, CellOptions
from unrolled.runtime.recurrent import Recurrent
from unrolled.shapes import suffixes
from unrolled.spec import RecurrentSpec

# Where gate k of torch's order stands in ONNX's: i f g o of i o f c, r z n of z r h.
GATE_ORDER = {"RNN": (0,), "LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
# Peepholes i f o of i o f.
PEEPHOLE_ORDER = [0, 2, 1]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A node as it was read at load time; where its weights are constants, packed once."""

    cell: Cell
    weights: Weights | None
    engine: Recurrent | None


def prepare(call: Call, inputs: Sequence[Array | str]) -> Prepared:
    """Check a node's attributes, and its weights where all of them are constants."""
    cell = cell_of(call)
    given = [*inputs, *[""] * (8 - len(inputs))]
    parts = [given[1], given[2], given[3], given[7]]
    if any(isinstance(part, str) and part for part in parts):
        return Prepared(cell, None, None)
    W, R, B, P = (None if isinstance(part, str) else part for part in parts)
    if W is None or R is None:
        raise ValueError("W and R must be given")
    weights = weights_of(cell, W, R, B, P)
    return Prepared(cell, weights, engine(cell, weights))


def engine(cell: Cell, weights: Weights) -> Recurrent:
    """Return the layer of a node: its weights in torch's order and the options of its cell."""
    names = {tuple(f.name for f in activations) for activations in cell.activations}
    relu = names == {("Relu",)}
    spec = RecurrentSpec(
        cell=CELLS[cell.op],
        input_size=weights.W.shape[2],
        hidden_sizes=(weights.R.shape[2],),
        nonlinearity="relu" if relu and cell.op == "RNN" else "tanh",
        bidirectional=cell.direction == "bidirectional",
        bias=weights.biased,
        reset="after" if cell.op != "GRU" or cell.linear_before_reset else "before",
    )
    # The cells' own kernels are faster than those that take any activation.
    own = names == {STANDARD[cell.op]} or (relu and cell.op == "RNN")
    options = CellOptions(
        activations=() if own else cell.activations,
        clip=cell.clip or None,
        input_forget=cell.input_forget,
    )
    order, named = GATE_ORDER[cell.op], {}
    for d, suffix in enumerate(suffixes(spec, 0)):
        named["weight_ih" + suffix] = _gates(weights.W[d], order)
        named["weight_hh" + suffix] = _gates(weights.R[d], order)
        if weights.biased:
            input_bias, recurrent_bias = np.split(weights.B[d], 2)
            named["bias_ih" + suffix] = _gates(input_bias, order)
            named["bias_hh" + suffix] = _gates(recurrent_bias, order)
        if weights.peepholes:
            named[PEEPHOLE + suffix] = weights.P[d].reshape(3, -1)[PEEPHOLE_ORDER]
    return Recurrent(spec, named, options)


def _gates(block: Array, order: tuple[int, ...]) -> Array:
    parts = np.split(block, len(order))
    return np.concatenate([parts[k] for k in order])


def recurrent_node(
    call: Call,
    x: Array,
    W: Array,
    R: Array,
    B: Array | None = None,
    lengths: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    P: Array | None = None,
) -> tuple[Array, ...]:
    """Return Y, Y_h and, for LSTM, Y_c of the node over X.

    Y is zero behind a row's length and its last states are those at its end; a reverse direction
    begins there. The last states of a row of length 0 are zero, as ONNX Runtime has them; the
    specification does not say.
    """
    known: Prepared = call.prepared
    cell, weights, layer = known.cell, known.weights, known.engine
    if cell.op != "LSTM" and (initial_c is not None or P is not None):
        raise ValueError(f"{cell.op} has no initial_c and no P")
    if weights is None or layer is None:
        weights = weights_of(cell, W, R, B, P)
        layer = engine(cell, weights)
    inputs = inputs_of(cell, weights, x, lengths, initial_h, initial_c)
    steps, rows = inputs.x.shape[:2]
    H = weights.R.shape[2]
    call.check((steps, cell.num_directions, rows, max(H, weights.W.shape[1])), weights.W.dtype)
    zeros = np.zeros((cell.num_directions, rows, H), weights.W.dtype)
    h = zeros if inputs.h is None else inputs.h
    c = zeros if inputs.c is None else inputs.c
    if not steps or not rows:
        y, h_n, c_n = np.zeros((steps, cell.num_directions, rows, H), zeros.dtype), h, c
    else:
        y, h_n, c_n = _run(cell, layer, inputs, h, c)
    if inputs.lengths is not None:
        empty = (inputs.lengths == 0)[:, None]
        h_n, c_n = np.where(empty, 0, h_n), np.where(empty, 0, c_n)
    return outputs_of(cell, x.dtype, y, h_n, c_n if cell.op == "LSTM" else None)


def _run(
    cell: Cell, layer: Recurrent, inputs: Inputs, h: Array, c: Array
) -> tuple[Array, Array, Array]:
    x, (steps, rows) = inputs.x.swapaxes(0, 1), inputs.x.shape[:2]
    ends = np.full(rows, steps) if inputs.lengths is None else inputs.lengths
    backwards = cell.direction == "reverse"
    if backwards:
        x = reverse_rows(x, ends, 1)
    state = (h, c) if cell.op == "LSTM" else h
    y, last = layer(x, state, None if inputs.lengths is None else ends)
    if backwards:
        y = reverse_rows(y, ends, 1)
    y = y.reshape(rows, steps, cell.num_directions, -1).transpose(1, 2, 0, 3)
    h_n, c_n = last if cell.op == "LSTM" else (last, c)
    return y, np.asarray(h_n), np.asarray(c_n)
