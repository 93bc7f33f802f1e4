"""The options of ONNX's operators against ONNX Runtime, on nodes made here and recorded ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnx_nodes
from tolerances import close

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

RECORDED = Path(__file__).parents[3] / "shared" / "models" / "onnx_conformance" / "cases"
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
T, N, I, H = 6, 5, 3, 7  # noqa: E741

# ONNX Runtime has other defaults than ONNX for ThresholdedRelu, Affine and ScaledTanh.
ACTIVATIONS = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "Affine": {"activation_alpha": 0.4, "activation_beta": 0.1},
    "LeakyRelu": {},
    "ThresholdedRelu": {"activation_alpha": 0.3},
    "ScaledTanh": {"activation_alpha": 0.8, "activation_beta": 0.6},
    "HardSigmoid": {},
    "Elu": {},
    "Softsign": {},
    "Softplus": {},
}
BOTH = {"direction": "bidirectional"}
MIXED = ["HardSigmoid", "Elu", "Softsign", "Sigmoid", "LeakyRelu", "ScaledTanh"]
CASES = {
    "rnn clip": ("RNN", {"clip": 0.3, **BOTH}),
    "rnn directions": (
        "RNN",
        {"activations": ["Elu", "Softsign"], "activation_alpha": [0.5], **BOTH},
    ),
    "gru after clip": ("GRU", {"clip": 0.25, "linear_before_reset": 1, **BOTH}),
    "gru before clip": ("GRU", {"clip": 0.25, "direction": "reverse"}),
    "gru after": ("GRU", {"activations": ["HardSigmoid", "Relu"], "linear_before_reset": 1}),
    "gru before": (
        "GRU",
        {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [1 / 6]},
    ),
    "gru directions": ("GRU", {"activations": ["Sigmoid", "Elu", "HardSigmoid", "Tanh"], **BOTH}),
    "lstm clip": ("LSTM", {"clip": 0.2}),
    "lstm peepholes": ("LSTM", {"P": True, **BOTH}),
    "lstm peepholes clip": ("LSTM", {"P": True, "clip": 0.3, "direction": "reverse"}),
    "lstm coupled": ("LSTM", {"input_forget": 1, **BOTH}),
    "lstm coupled peepholes clip": ("LSTM", {"input_forget": 1, "P": True, "clip": 0.4}),
    "lstm keras 3": (
        "LSTM",
        {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [1 / 6]},
    ),
    "lstm everything": (
        "LSTM",
        {
            "activations": MIXED,
            "activation_alpha": [0.3, 0.7, 0.1, 1.1],
            "activation_beta": [0.4, 0.6],
            "clip": 0.6,
            "P": True,
            **BOTH,
        },
    ),
}


def draw(op, attributes, *, bias=True, states=True, lengths=True, seed=0):
    """Return the attributes of a node and random inputs."""
    generator = np.random.default_rng(seed)
    attributes = {"hidden_size": H, **attributes}
    directions = 2 if attributes.get("direction") == "bidirectional" else 1

    def some(*shape, scale=1.0):
        return (generator.standard_normal(shape) * scale).astype(np.float32)

    rows = GATES[op] * H
    inputs = {
        "X": some(T, N, I),
        "W": some(directions, rows, I, scale=0.5),
        "R": some(directions, rows, H, scale=0.3),
    }
    if bias:
        inputs["B"] = some(directions, 2 * rows, scale=0.3)
    if lengths:
        inputs["sequence_lens"] = generator.permutation([T, 1, 4, T, 2]).astype(np.int32)
    if states:
        inputs["initial_h"] = some(directions, N, H)
        if op == "LSTM":
            inputs["initial_c"] = some(directions, N, H)
    if attributes.pop("P", False):
        inputs["P"] = some(directions, 3 * H)
    return attributes, inputs


def by_onnxruntime(op, attributes, inputs):
    """Return Y, Y_h and Y_c of one node."""
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h"]
    order += ["initial_c", "P"] if op == "LSTM" else []
    outputs = ["Y", "Y_h", "Y_c"] if op == "LSTM" else ["Y", "Y_h"]
    node = onnx.helper.make_node(
        op, [name if name in inputs else "" for name in order], outputs, **attributes
    )
    kinds = {
        np.dtype(np.float32): onnx.TensorProto.FLOAT,
        np.dtype(np.int32): onnx.TensorProto.INT32,
    }
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        op,
        [info(name, kinds[value.dtype], value.shape) for name, value in inputs.items()],
        [info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def agrees(op, attributes, **more):
    attributes, inputs = draw(op, attributes, **more)
    found = onnx_nodes.run(op, attributes, inputs)
    for mine, theirs in zip(found, by_onnxruntime(op, attributes, inputs), strict=True):
        close(mine, theirs, "forward")


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_in_every_place_equals_onnxruntime(name, op):
    usual = ["Tanh"] if op == "RNN" else ["Sigmoid", "Tanh", "Tanh"][: FUNCTIONS[op]]
    for place in range(FUNCTIONS[op]):
        names = [*usual[:place], name, *usual[place + 1 :]]
        numbers = {key: [value] for key, value in ACTIVATIONS[name].items()}
        agrees(op, {"activations": names, **numbers}, seed=place)


@pytest.mark.parametrize("case", CASES)
def test_options_equal_onnxruntime(case):
    op, attributes = CASES[case]
    agrees(op, attributes)
    agrees(op, attributes, bias=False, states=False, lengths=False, seed=1)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="../shared/models/onnx_conformance is not there")
def test_recorded_nodes_give_the_recorded_numbers():
    found = sorted(RECORDED.iterdir())
    assert len(found) == 17
    for case in found:
        (node,) = onnx.load(case / "model.onnx").graph.node
        attributes = {}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, bytes):
                value = value.decode()
            elif attribute.name == "activations":
                value = [name.decode() for name in value]
            attributes[attribute.name] = value
        data = np.load(case / "data_0.npz")
        inputs = {name: data["in_" + name] for name in node.input if name}
        outputs = onnx_nodes.run(node.op_type, attributes, inputs)
        for name, mine in zip(node.output, outputs, strict=True):
            close(mine, data["out_" + name], "forward")
