"""Recurrent ONNX nodes drawn at random, with anything that the operators allow."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import onnx_writer as write
from unrolled.runtime.operator import ACTIVATIONS

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
# Whether the number that an activation takes has a default on which ONNX and ONNX Runtime agree.
ALPHA = {
    "Affine": False,
    "Elu": True,
    "HardSigmoid": True,
    "LeakyRelu": True,
    "ScaledTanh": False,
    "ThresholdedRelu": False,
}
BETA = {"Affine": False, "HardSigmoid": True, "ScaledTanh": False}


@st.composite
def recurrent_nodes(draw):
    """A recurrent node with any of what the operators allow, its inputs, and its outputs."""
    op = draw(st.sampled_from(list(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    D, G = 1 + (direction == "bidirectional"), GATES[op]
    T, N, I, H = (draw(st.integers(1, n)) for n in (5, 4, 4, 5))  # noqa: E741
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    attributes = {"hidden_size": H, "direction": direction}
    if draw(st.booleans()):
        attributes |= draw(activations(op, FUNCTIONS[op] * D))
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.25, 0.75, 5.0]))
    if op == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if op == "LSTM" and draw(st.booleans()):
        attributes["input_forget"] = 1

    def normal(*shape):
        return generator.normal(size=shape).astype(np.float32)

    # Weights below 1 keep cells with unbounded activations from growing without end.
    given = {"X": normal(T, N, I), "W": normal(D, G * H, I), "R": 0.2 * normal(D, G * H, H)}
    optional = {
        "B": lambda: normal(D, 2 * G * H),
        "lens": lambda: generator.integers(0, T + 1, N).astype(np.int32),
        "h": lambda: normal(D, N, H),
    }
    if op == "LSTM":
        optional |= {"c": lambda: normal(D, N, H), "P": lambda: normal(D, 3 * H)}
    for name, make in optional.items():
        if draw(st.booleans()):
            given[name] = make()
    wires = [name if name in given else "" for name in ("X", "W", "R", *optional)]
    while not wires[-1]:
        wires.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    if draw(st.booleans()):
        outputs[0] = ""
    return op, wires, outputs, attributes, given


@st.composite
def activations(draw, op: str, count: int):
    """Names, and numbers for at least those that have no default."""
    # ONNX Runtime's softplus overflows beyond 88, which a cell reaches soon where it is a gate.
    known = [name for name in ACTIVATIONS if name != "Softplus" or op != "LSTM"]
    names = draw(st.lists(st.sampled_from(known), min_size=count, max_size=count))
    chosen = {"activations": names}
    for key, default in (("activation_alpha", ALPHA), ("activation_beta", BETA)):
        takers = [name for name in names if name in default]
        needed = max((k + 1 for k, name in enumerate(takers) if not default[name]), default=0)
        sizes = st.integers(needed, max(needed, len(takers)))
        values = [draw(st.floats(0.125, 1.0, width=16)) for _ in range(draw(sizes))]
        if values:
            chosen[key] = values
    return chosen


def node_model(op, wires, outputs, attributes, given, constant=()):
    """One node; the inputs named `constant` lie in the file."""
    values = [
        write.value(name, array.shape, array.dtype.str[1:])
        for name, array in given.items()
        if name not in constant
    ]
    made = [
        write.value(name, (None,) * (4 if name == "Y" else 3), given["W"].dtype.str[1:])
        for name in outputs
        if name
    ]
    fixed = {name: given[name] for name in constant if name in given}
    node = write.node(op, wires, outputs, **attributes)
    return write.model([node], values, made, fixed, opset=14)
