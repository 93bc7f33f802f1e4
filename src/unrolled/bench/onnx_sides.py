"""The sides that run an ONNX graph: ONNX Runtime and OpenVINO, from one graph that we write.

One RNN, LSTM or GRU node a layer; sizes are fixed, which is what these libraries run fastest.
The modules are imported by name because they come with an extra and carry no types.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from unrolled.bench.problem import COMPARED_STEPS, Array, Outputs, Problem, Side
from unrolled.shapes import suffixes

OPSET, IR_VERSION = 17, 8
OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
# Where ONNX's gate k stands in torch's order: LSTM i o f c of i f g o, GRU z r h of r z n.
GATE_ORDER = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def _gates(p: Problem, name: str) -> Array:
    """Return a weight or bias with its gates in ONNX's order."""
    blocks = np.split(p.weights[name], p.case.spec.gates)
    return np.concatenate([blocks[k] for k in GATE_ORDER[p.case.cell]])


def state_names(p: Problem) -> list[str]:
    """Return the graph's state outputs: h0 (and c0) of layer 0, and so on."""
    kinds = "hc" if p.case.cell == "lstm" else "h"
    return [f"{kind}{k}" for k in range(p.case.layers) for kind in kinds]


def graph(p: Problem) -> bytes:
    """Return the case as an ONNX model: x [T, N, I] (and states for a step) to y, h and c.

    y has the layout of the node, [T, D, N, H]; the states are one output a layer.
    """
    onnx, helper = import_module("onnx"), import_module("onnx.helper")
    case, number = p.case, onnx.TensorProto.FLOAT
    value = helper.make_tensor_value_info
    each = [case.directions, case.N, case.H]
    inputs = [value("x", number, [case.T, case.N, case.H])]
    if p.lengths is not None:
        inputs.append(value("lengths", onnx.TensorProto.INT32, [case.N]))
    if case.steps:
        inputs += [value(f"{name}_in", number, each) for name in state_names(p)]
    outputs = [value("y", number, [case.T, *each])]
    outputs += [value(name, number, each) for name in state_names(p)]
    nodes: list[Any] = []
    constants: list[Any] = []
    for k in range(case.layers):
        _add_layer(p, k, nodes, constants)
    body = helper.make_graph(nodes, "case", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION)
    encoded: bytes = model.SerializeToString()
    return encoded


def _add_layer(p: Problem, k: int, nodes: list[Any], constants: list[Any]) -> None:
    """Add layer k, which reads x{k} (x for the first) and writes x{k + 1} (y for the last)."""
    helper, array = import_module("onnx.helper"), import_module("onnx.numpy_helper").from_array
    case, ends = p.case, suffixes(p.case.spec, k)
    bias = [np.concatenate([_gates(p, f"bias_ih{s}"), _gates(p, f"bias_hh{s}")]) for s in ends]
    constants += [
        array(np.stack([_gates(p, f"weight_ih{s}") for s in ends]), f"W{k}"),
        array(np.stack([_gates(p, f"weight_hh{s}") for s in ends]), f"R{k}"),
        array(np.stack(bias), f"B{k}"),
    ]
    states = [name for name in state_names(p) if name[1:] == str(k)]
    first = [f"{name}_in" for name in states] if case.steps else []
    lengths = "lengths" if p.lengths is not None else ""
    wires = [f"x{k}" if k else "x", f"W{k}", f"R{k}", f"B{k}"]
    wires += [lengths, *first] if lengths or first else []
    options: dict[str, Any] = {"linear_before_reset": 1} if case.cell == "gru" else {}
    if case.directions == 2:
        options["direction"] = "bidirectional"
    last = k == case.layers - 1
    made = ["y" if last else f"y{k}", *states]
    operator = OPERATORS[case.cell]
    nodes.append(helper.make_node(operator, wires, made, hidden_size=case.H, **options))
    if not last:
        shape = np.array([case.T, case.N, case.directions * case.H])
        constants.append(array(shape, f"shape{k}"))
        nodes.append(helper.make_node("Transpose", [f"y{k}"], [f"t{k}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"t{k}", f"shape{k}"], [f"x{k + 1}"]))


def onnxruntime_side(p: Problem) -> Side:
    """Return ONNX Runtime on the CPU, by its ordinary call."""
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = p.case.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph(p), options, providers=["CPUExecutionProvider"])

    def call(feeds: dict[str, Any]) -> list[Any]:
        found: list[Any] = session.run(None, feeds)
        return found

    return _side("onnxruntime", p, call)


def openvino_side(p: Problem) -> Side:
    """Return OpenVINO on the CPU in float32 (it would choose bfloat16 where the CPU has it)."""
    openvino = import_module("openvino")
    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": p.case.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = core.compile_model(core.read_model(graph(p)), "CPU", options)
    request, ports = model.create_infer_request(), list(model.outputs)

    def call(feeds: dict[str, Any]) -> list[Any]:
        # Shared memory in and out is its fastest call; outputs are valid until the next one.
        found = request.infer(feeds, share_inputs=True, share_outputs=True)
        return [found[port] for port in ports]

    return _side("openvino", p, call)


def _side(name: str, p: Problem, call: Any) -> Side:
    feeds: dict[str, Any] = {"x": p.x}
    if p.lengths is not None:
        feeds["lengths"] = p.lengths.astype(np.int32)
    if p.case.steps:
        return _step_side(name, p, call, feeds)
    names = state_names(p)

    def outputs() -> Outputs:
        y, *states = call(feeds)
        return _outputs(y, dict(zip(names, states, strict=True)))

    return Side(name, lambda: call(feeds), outputs)


def _outputs(y: Array, states: dict[str, Array]) -> Outputs:
    """Return y [T, D, N, H] as [N, T, D*H] and the states of all layers joined."""
    steps, directions, rows, hidden = y.shape
    whole = y.transpose(2, 0, 1, 3).reshape(rows, steps, directions * hidden)
    joined = {
        kind: np.concatenate([part for key, part in states.items() if key[0] == kind])
        for kind in sorted({key[0] for key in states})
    }
    return {"y": whole.copy(), **joined}


def _step_side(name: str, p: Problem, call: Any, feeds: dict[str, Any]) -> Side:
    names = state_names(p)
    entries = [f"{key}_in" for key in names]
    zero = np.zeros((1, p.case.N, p.case.H), np.float32)
    fresh = feeds | dict.fromkeys(entries, zero)
    current = dict(fresh)

    def advance(given: dict[str, Any]) -> list[Any]:
        y, *states = call(given)
        # OpenVINO's outputs lie in its own memory, which the next call writes: they are copied.
        for entry, state in zip(entries, states, strict=True):
            given[entry] = state.copy() if name == "openvino" else state
        return [y, *states]

    def outputs() -> Outputs:
        given = dict(fresh)
        for _ in range(COMPARED_STEPS):
            y, *states = advance(given)
        found = dict(_outputs(y, dict(zip(names, states, strict=True))))
        return found | {"y": found["y"][:, 0]}

    return Side(name, lambda: advance(current), outputs)
