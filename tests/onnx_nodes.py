"""One ONNX recurrent node as a `Recurrent`: what the tests need of an importer, and no more."""

from __future__ import annotations

import numpy as np

from unrolled.runtime import CellOptions, Recurrent
from unrolled.runtime.operator import onnx_activations
from unrolled.spec import RecurrentSpec

# From ONNX's order of gates to ours: iofc to i f g o, zrh to r z n, and of peepholes iof to i f o.
GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}
PEEPHOLES = [0, 2, 1]


def recurrent(op: str, attributes: dict, inputs: dict) -> Recurrent:
    """Return the layer of a node with the weights W [D, G*H, I], R, B [D, 2*G*H] and P [D, 3*H]."""
    cell, hidden = op.lower(), attributes["hidden_size"]
    directions, _, width = inputs["W"].shape

    def reorder(rows, order):
        return np.concatenate([np.split(rows, len(order))[k] for k in order])

    weights = {}
    for d, suffix in enumerate(("_l0", "_l0_reverse")[:directions]):
        weights["weight_ih" + suffix] = reorder(inputs["W"][d], GATES[op])
        weights["weight_hh" + suffix] = reorder(inputs["R"][d], GATES[op])
        if "B" in inputs:
            for name, half in zip(("bias_ih", "bias_hh"), np.split(inputs["B"][d], 2), strict=True):
                weights[name + suffix] = reorder(half, GATES[op])
        if "P" in inputs:
            weights["weight_peephole" + suffix] = inputs["P"][d].reshape(3, hidden)[PEEPHOLES]
    options = CellOptions(
        activations=onnx_activations(
            cell,
            directions,
            attributes.get("activations", ()),
            attributes.get("activation_alpha", ()),
            attributes.get("activation_beta", ()),
        ),
        clip=attributes.get("clip"),
        input_forget=bool(attributes.get("input_forget", 0)),
    )
    before = cell == "gru" and not attributes.get("linear_before_reset", 0)
    spec = RecurrentSpec(
        cell=cell,
        input_size=width,
        hidden_sizes=(hidden,),
        bidirectional=directions == 2,
        bias="B" in inputs,
        reset="before" if before else "after",
    )
    return Recurrent(spec, weights, options)


def run(op: str, attributes: dict, inputs: dict) -> list[np.ndarray]:
    """Return Y [T, D, N, H], Y_h [D, N, H] and, for LSTM, Y_c of a node in layout 0."""
    layer = recurrent(op, attributes, inputs)
    x = inputs["X"].transpose(1, 0, 2)
    rows, steps = x.shape[:2]
    lengths = inputs.get("sequence_lens", np.full(rows, steps))
    directions, hidden = len(inputs["W"]), attributes["hidden_size"]
    zeros = np.zeros((directions, rows, hidden), np.float32)
    state = inputs.get("initial_h", zeros)
    if op == "LSTM":
        state = (state, inputs.get("initial_c", zeros))
    backward = attributes.get("direction") == "reverse"
    y, last = layer(turned(x, lengths) if backward else x, state, lengths)
    y = turned(y, lengths) if backward else y
    y = y.reshape(rows, steps, directions, hidden).transpose(1, 2, 0, 3)
    return [y, *last] if op == "LSTM" else [y, last]


def turned(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return each row [T, width] with its first `length` steps in the opposite order."""
    out = rows.copy()
    for row, length in enumerate(lengths):
        out[row, :length] = rows[row, :length][::-1]
    return out
