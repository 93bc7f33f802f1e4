"""ONNX's own node tests, ONNX Runtime on random recurrent nodes, and models from the wild."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_random import node_model, recurrent_nodes
from tolerances import close
from unrolled.errors import InteropError
from unrolled.interop.onnx import load
from unrolled.interop.onnx.ops.table import CONTROL, OPS, RECURRENT

MODELS = Path(__file__).parents[2] / "shared" / "models"
there = pytest.mark.skipif(not MODELS.is_dir(), reason="../shared/models is not there")
ACTIVATIONS = [
    "Sigmoid",
    "Tanh",
    "Relu",
    "Affine",
    "LeakyRelu",
    "ThresholdedRelu",
    "ScaledTanh",
    "HardSigmoid",
    "Elu",
]
ACTIVATIONS += ["Softsign", "Softplus"]
SUPPORTED = {**OPS, **RECURRENT, **CONTROL}

# What a case of the onnx package is refused for: element types that numpy does not have, sequences
# and optionals, training, and files of the first versions.
REFUSED = (
    "which is not supported",
    "is not a tensor",
    "only inference is supported",
    "training_mode and spatial=0 are not supported",
    "version 1 of the ONNX operators",
    "Scan of before version 9 is not supported",
)


@pytest.fixture(scope="module")
def cases():
    """The official single-node cases, by the operators that they use."""
    pytest.importorskip("onnx")
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    grouped: dict[str, list] = {}
    for case in found:
        ops = {node.op_type for node in case.model.graph.node}
        for op in ops if ops <= SUPPORTED.keys() else ():
            grouped.setdefault(op, []).append(case)
    return grouped


def array(value):
    """A case's tensor, which may be a TensorProto."""
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def agree(case) -> bool:
    """Whether a case ran, and gave what is recorded; False where it is refused as it must be."""
    graph = case.model.graph
    try:
        model = load(case.model.SerializeToString())
        for inputs, outputs in case.data_sets:
            names = [value.name for value in graph.input]
            found = model.run({n: array(v) for n, v in zip(names, inputs, strict=True)})
            for value, output in zip(graph.output, outputs, strict=True):
                expected = array(output)
                assert found[value.name].dtype == expected.dtype
                np.testing.assert_allclose(
                    found[value.name], expected, rtol=case.rtol, atol=case.atol, strict=True
                )
    except InteropError as error:
        if any(reason in str(error) for reason in REFUSED):
            return False
        raise
    return True


@pytest.mark.parametrize("op", sorted(SUPPORTED))
def test_the_official_cases_of_an_operator(op: str, cases) -> None:
    ran = [agree(case) for case in cases[op] if next(iter(case.model.graph.node)).op_type == op]
    assert any(ran) or any(agree(case) for case in cases[op])


@there
@pytest.mark.parametrize(
    "name",
    [
        case["name"]
        for case in (
            json.loads((MODELS / "onnx_conformance" / "index.json").read_text())
            if MODELS.is_dir()
            else []
        )
    ],
)
def test_a_recorded_recurrent_case(name: str) -> None:
    folder = MODELS / "onnx_conformance" / "cases" / name
    model, data = load(folder / "model.onnx"), np.load(folder / "data_0.npz")
    found = model.run({value.name: data[f"in_{value.name}"] for value in model.inputs})
    for output, value in found.items():
        assert close(value, data[f"out_{output}"], "forward")


@settings(max_examples=150)
@given(recurrent_nodes(), st.booleans())
def test_a_random_recurrent_node_is_onnxruntimes(case, fixed: bool) -> None:
    ort = pytest.importorskip("onnxruntime")
    _, _, outputs, _, given = case
    content = node_model(*case, constant=("W", "R", "B", "P") if fixed else ())
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    model = load(content)
    feeds = {value.name: given[value.name] for value in model.inputs}
    names = [name for name in outputs if name]
    expected = dict(zip(names, session.run(names, feeds), strict=True))
    found = model.run(feeds)
    for name, value in expected.items():
        if np.isfinite(value).all() and np.abs(value).max(initial=0) < 1e3:
            scale = max(1.0, float(np.abs(value).max(initial=0)))
            np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-5 * scale)


@settings(max_examples=60)
@given(recurrent_nodes())
def test_layout_1_is_layout_0_with_the_batch_in_front(case) -> None:
    op, wires, outputs, attributes, given = case
    front = {"X", "h", "c"}
    turned = {n: v.swapaxes(0, 1) if n in front else v for n, v in given.items()}
    plain = load(node_model(*case)).run(given)
    found = load(node_model(op, wires, outputs, {**attributes, "layout": 1}, turned)).run(turned)
    for name, value in plain.items():
        order = (2, 0, 1, 3) if name == "Y" else (1, 0, 2)
        np.testing.assert_array_equal(found[name], value.transpose(order))


def silero(states: str):
    data = np.load(MODELS / "silero_vad" / "golden.npz")
    return load(MODELS / "silero_vad" / states), data


@there
def test_silero_with_its_lstm_inside_branches_carries_its_state() -> None:
    model, data = silero("silero_vad.onnx")
    state, found = np.zeros((2, 1, 128), np.float32), []
    for frame in data["frames"]:
        made = model.run({"input": frame[None], "state": state, "sr": np.int64(16000)})
        state = made["stateN"]
        found.append(made["output"][0, 0])
    np.testing.assert_allclose(found, data["prob_onnx"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(state, np.stack([data["hn"], data["cn"]]), rtol=0, atol=1e-4)
    assert len(model.recurrent) == 4


@there
@pytest.mark.parametrize("chunk", [187, 1, 50])
def test_silero_whole_and_in_chunks(chunk: int) -> None:
    model, data = silero("silero_vad_16k_sequence.onnx")
    h = c = np.zeros((1, 1, 128), np.float32)
    found = []
    for start in range(0, 187, chunk):
        made = model.run({"input": data["frames"][start : start + chunk], "h": h, "c": c})
        h, c = made["hn"], made["cn"]
        found.append(made["speech_probs"])
    np.testing.assert_allclose(np.concatenate(found), data["prob_seq_onnx"], rtol=0, atol=1e-4)
    np.testing.assert_allclose((h[0], c[0]), (data["hn"], data["cn"]), rtol=0, atol=1e-4)


@there
def test_dtln_carries_its_state_a_frame_at_a_time() -> None:
    model, data = load(MODELS / "dtln" / "model_1.onnx"), np.load(MODELS / "dtln" / "golden.npz")
    state, masks, states = np.zeros((1, 2, 128, 2), np.float32), [], []
    for frame in data["mag"]:
        made = model.run({"input_2": frame[None, None], "input_3": state})
        state = made["tf_op_layer_stack_2"]
        masks.append(made["activation_2"][0, 0])
        states.append(state.reshape(-1))
    np.testing.assert_allclose(masks, data["mask"], rtol=0, atol=1e-4)
    # Cells reach 250 here: 1e-4 of that size is the same share as 1e-4 of 1.
    np.testing.assert_allclose(states, data["st1"], rtol=1e-4, atol=1e-4)
    assert len(model.recurrent) == 2


@there
def test_nsnet2_and_its_gru_layers() -> None:
    data = np.load(MODELS / "nsnet2" / "golden.npz")
    model = load(MODELS / "nsnet2" / "nsnet2-20ms-baseline.onnx")
    found = model.run({"input": data["input"]})["output"]
    np.testing.assert_allclose(found, data["output"], rtol=0, atol=1e-4)
    first, second = model.recurrent.values()
    for layer, x, y, last in ((first, "31", "93", "94"), (second, "95", "156", "157")):
        steps, state = layer(data[x].swapaxes(0, 1))
        np.testing.assert_allclose(steps[0], data[y][:, 0, 0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(state, data[last], rtol=0, atol=1e-4)


@there
@pytest.mark.parametrize(
    "name", ["silero_vad/silero_vad_16k_sequence", "dtln/model_1", "nsnet2/nsnet2-20ms-baseline"]
)
def test_a_model_from_the_wild_passes_its_check(name: str) -> None:
    pytest.importorskip("onnxruntime")
    found = load(MODELS / f"{name}.onnx").check()
    assert found.largest is not None
    assert found.largest < 1e-4


@there
def test_files_are_read_as_the_onnx_package_reads_them() -> None:
    onnx = pytest.importorskip("onnx")
    from test_onnx_files import same_message
    from unrolled.interop.onnx.proto import SCHEMAS
    from unrolled.interop.onnx.wire import Reader

    paths = sorted(MODELS.glob("**/*.onnx"))
    assert len(paths) > 15
    for path in paths:
        content = path.read_bytes()
        found = Reader(SCHEMAS).read(memoryview(content), "ModelProto")
        same_message(found, onnx.load_from_string(content), "ModelProto")
