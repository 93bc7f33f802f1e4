"""RNN, LSTM and GRU nodes: what they say, checked, and their weights in torch's order.

Operators: github.com/onnx/onnx, `docs/Operators.md`. ONNX's gates are i o f c (LSTM) and z r h
(GRU), its biases the input's and then the recurrent ones; ours are i f g o and r z n. Letters of
shapes are those of the package: T N I H, D directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.interop.onnx.ops.call import Array, Call
from unrolled.runtime.operator import ACTIVATIONS, Activation, onnx_activations
from unrolled.spec import Cell as CellName

DIRECTIONS = ("forward", "reverse", "bidirectional")
CELLS: dict[str, CellName] = {"RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STANDARD = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
# ONNX Runtime reads the names of activations in any case.
SPELLINGS = {name.lower(): name for name in ACTIVATIONS}


@dataclass(frozen=True)
class Cell:
    """What a node's attributes say: the cell of each direction and how it is run."""

    op: str
    direction: str
    hidden_size: int
    activations: tuple[tuple[Activation, ...], ...]
    clip: float
    input_forget: bool
    linear_before_reset: bool
    batch_first: bool

    @property
    def num_directions(self) -> int:
        """D, 2 where bidirectional, else 1."""
        return len(self.activations)

    @property
    def gates(self) -> int:
        """G, the rows of a weight matrix per hidden unit."""
        return GATES[self.op]


@dataclass(frozen=True, eq=False)
class Weights:
    """W [D, G*H, I], R [D, G*H, H], B [D, 2*G*H], P [D, 3*H] in ONNX's order; zero if left out."""

    W: Array
    R: Array
    B: Array
    P: Array
    biased: bool
    peepholes: bool


def cell_of(call: Call) -> Cell:
    """Return what the attributes say; raises ValueError for what the operators do not allow."""
    op = call.node.op_type
    direction = call.choice("direction", "forward", DIRECTIONS)
    layout = call.get("layout", 0)
    if layout not in (0, 1):
        raise ValueError(f"layout is {layout}, expected 0 or 1")
    clip = float(call.get("clip", 0.0))
    if not clip >= 0:
        raise ValueError(f"clip is {clip}, expected a threshold of 0 (none) or more")
    return Cell(
        op,
        direction,
        int(call.get("hidden_size", 0)),
        activations_of(call, 2 if direction == "bidirectional" else 1),
        clip,
        op == "LSTM" and bool(call.get("input_forget", 0)),
        op == "GRU" and bool(call.get("linear_before_reset", 0)),
        layout == 1,
    )


def activations_of(call: Call, directions: int) -> tuple[tuple[Activation, ...], ...]:
    """Return each direction's activations; those that take numbers take the next ones given."""
    op = call.node.op_type
    names = [SPELLINGS.get(name.lower(), name) for name in call.get("activations", ())]
    return onnx_activations(
        CELLS[op],
        directions,
        names or STANDARD[op] * directions,
        call.get("activation_alpha", ()),
        call.get("activation_beta", ()),
    )


def weights_of(cell: Cell, W: Array, R: Array, B: Array | None, P: Array | None) -> Weights:
    """Return the weights, checked against each other; raises ValueError where they do not fit."""
    D, rows = cell.num_directions, R.shape[-2] if R.ndim == 3 else 0
    H = rows // cell.gates
    I = W.shape[-1] if W.ndim == 3 else 0  # noqa: E741
    for name, found, wanted in (
        ("W", W, (D, cell.gates * H, I)),
        ("R", R, (D, cell.gates * H, H)),
        ("B", B, (D, 2 * cell.gates * H)),
        ("P", P, (D, 3 * H)),
    ):
        if found is None:
            continue
        if found.shape != wanted:
            raise ValueError(
                f"{name} has shape {list(found.shape)}, expected {list(wanted)}: "
                f"{D} directions, {cell.gates} gates of {H} units, {I} inputs"
            )
        if found.dtype not in (np.float16, np.float32, np.float64):
            raise TypeError(f"{name} is {found.dtype}, expected floating-point numbers")
        if np.isnan(found).any():
            raise ValueError(f"{name} holds NaN: the weights are damaged")
    if not H or not I:
        raise ValueError(f"W {list(W.shape)} and R {list(R.shape)} have no units or no inputs")
    if cell.hidden_size not in (0, H):
        raise ValueError(f"hidden_size is {cell.hidden_size} but the weights have {H} units")
    wide = np.float64 if W.dtype == np.float64 else np.float32
    return Weights(
        W.astype(wide, copy=False),
        R.astype(wide, copy=False),
        (np.zeros((D, 2 * cell.gates * H)) if B is None else B).astype(wide, copy=False),
        (np.zeros((D, 3 * H)) if P is None else P).astype(wide, copy=False),
        B is not None,
        P is not None and bool(P.any()),
    )


@dataclass(frozen=True, eq=False)
class Inputs:
    """X [T, N, I] in the weights' type, lengths [N] or None, first h and c [D, N, H] or None."""

    x: Array
    lengths: Array | None
    h: Array | None
    c: Array | None


def inputs_of(
    cell: Cell, weights: Weights, x: Array, lengths: Array | None, h: Array | None, c: Array | None
) -> Inputs:
    """Return what is read at run time, time first; raises ValueError where shapes do not fit."""
    D, I, H = cell.num_directions, weights.W.shape[2], weights.R.shape[2]  # noqa: E741
    if x.ndim != 3 or x.shape[2] != I:
        raise ValueError(f"X has shape {list(x.shape)}, expected three dimensions, the last {I}")
    if cell.batch_first:
        x = x.swapaxes(0, 1)
    steps, rows = x.shape[:2]
    dtype = weights.W.dtype
    states: list[Array | None] = []
    for name, state in (("initial_h", h), ("initial_c", c)):
        wanted = (rows, D, H) if cell.batch_first else (D, rows, H)
        if state is not None and state.shape != wanted:
            raise ValueError(f"{name} has shape {list(state.shape)}, expected {list(wanted)}")
        if state is not None and cell.batch_first:
            state = state.swapaxes(0, 1)
        states.append(None if state is None else state.astype(dtype, copy=False))
    if lengths is not None:
        if lengths.shape != (rows,) or lengths.dtype.kind not in "iu":
            raise ValueError(
                f"sequence_lens is {lengths.dtype} {list(lengths.shape)}, not [{rows}]"
            )
        if rows and not (lengths.min() >= 0 and lengths.max() <= steps):
            raise ValueError(f"sequence_lens must lie in 0..{steps}")
        lengths = lengths.astype(np.int64)
    return Inputs(x.astype(dtype, copy=False), lengths, states[0], states[1])


def outputs_of(cell: Cell, dtype: Any, y: Array, h: Array, c: Array | None) -> tuple[Array, ...]:
    """Return Y, Y_h (and Y_c) in the node's layout, from y [T, D, N, H] and h, c [D, N, H]."""
    made = [y, h] if c is None else [y, h, c]
    if cell.batch_first:
        made = [y.transpose(2, 0, 1, 3), *(state.swapaxes(0, 1) for state in made[1:])]
    return tuple(each.astype(dtype, copy=False) for each in made)
