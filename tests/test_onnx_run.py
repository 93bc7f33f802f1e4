"""ONNX graphs run here, held against torch; nothing of the onnx package is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import onnx_writer as write
import tiny
from onnx_random import node_model, recurrent_nodes
from tolerances import close
from unrolled.errors import InteropError
from unrolled.interop.onnx import describe, load, recurrent_reference
from unrolled.interop.onnx.ops.recurrent import STANDARD
from unrolled.interop.onnx.ops.table import CONTROL, OPS, RECURRENT
from unrolled.runtime.operator import onnx_activations

OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
# Where ONNX's gate k stands in torch's order: LSTM i o f c of i f g o, GRU z r h of r z n.
GATES = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def onnx_gates(weight, cell):
    blocks = np.split(weight.detach().numpy(), len(GATES[cell]))
    return np.concatenate([blocks[k] for k in GATES[cell]])


def constants(layer, cell, suffixes):
    """W, R and B of a torch layer, a direction a row."""
    get = layer.state_dict()
    return {
        "W": np.stack([onnx_gates(get[f"weight_ih_l0{s}"], cell) for s in suffixes]),
        "R": np.stack([onnx_gates(get[f"weight_hh_l0{s}"], cell) for s in suffixes]),
        "B": np.stack(
            [
                np.concatenate([onnx_gates(get[f"bias_{k}_l0{s}"], cell) for k in ("ih", "hh")])
                for s in suffixes
            ]
        ),
    }


def recurrent_model(cell, given, *, dtype="f4", layout=0, **attributes):
    """A model of one node over X, lengths and first states, with constant weights."""
    states = ["h", "c"] if cell == "lstm" else ["h"]
    inputs = ["X", "lengths", *states]
    if cell == "gru":
        attributes["linear_before_reset"] = attributes.get("linear_before_reset", 1)
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(states)]
    node = write.node(
        OPERATORS[cell],
        ["X", "W", "R", "B", "lengths", *states],
        outputs,
        layout=layout,
        **attributes,
    )
    kinds = {"lengths": "i4"}
    ranks = {"X": 3, "lengths": 1, "h": 3, "c": 3}
    return write.model(
        [node],
        [write.value(name, (None,) * ranks[name], kinds.get(name, dtype)) for name in inputs],
        [write.value(name, (None,) * (4 if name == "Y" else 3), dtype) for name in outputs],
        given,
    )


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_recurrent_node_is_torchs_layer(cell, direction, layout, dtype) -> None:
    torch.manual_seed(0)
    both = direction == "bidirectional"
    D, T, N, I, H = 1 + both, 6, 3, 4, 5  # noqa: E741
    kind = getattr(torch.nn, OPERATORS[cell])
    layer = kind(I, H, bidirectional=both, batch_first=True).to(dtype)
    x, h, c = (torch.randn(s, dtype=dtype) for s in [(N, T, I), (D, N, H), (D, N, H)])
    lengths = torch.tensor([6, 2, 4])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, lengths, batch_first=True, enforce_sorted=False
    )
    y, last = layer(packed, (h, c) if cell == "lstm" else h)
    y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0].detach()
    wanted = [y.reshape(N, T, D, H), *(last if cell == "lstm" else [last])]
    model = load(
        recurrent_model(
            cell,
            constants(layer, cell, ["", "_reverse"][:D]),
            direction=direction,
            hidden_size=H,
            layout=layout,
            dtype="f4" if dtype == torch.float32 else "f8",
        )
    )
    feeds = {"X": x, "lengths": lengths.int(), "h": h, "c": c}
    feeds = {v.name: feeds[v.name].numpy() for v in model.inputs}
    if not layout:
        feeds["X"] = feeds["X"].swapaxes(0, 1)
        wanted[0] = wanted[0].permute(1, 2, 0, 3)
    else:
        feeds |= {name: feeds[name].swapaxes(0, 1) for name in ("h", "c") if name in feeds}
        wanted[1:] = [each.swapaxes(0, 1) for each in wanted[1:]]
    found = model.run(feeds)
    assert list(model.recurrent) == ["Y"]
    for got, expected in zip(found.values(), wanted, strict=True):
        assert close(got, expected.detach().numpy(), "forward")


def plain(op, attributes, given):
    """Y, Y_h and Y_c by the plain loop, in float64 and with everything left out filled in."""
    direction = attributes["direction"]
    x, W, R = given["X"], given["W"], given["R"]
    (T, N, _), (D, _, H) = x.shape, R.shape
    shapes = {"B": (D, 2 * W.shape[1]), "P": (D, 3 * H), "h": (D, N, H), "c": (D, N, H)}
    parts = {name: given.get(name, np.zeros(shape)) for name, shape in shapes.items()}
    ends = given.get("lens", np.full(N, T))
    by = onnx_activations(
        op.lower(),
        D,
        attributes.get("activations", STANDARD[op] * D),
        attributes.get("activation_alpha", ()),
        attributes.get("activation_beta", ()),
    )
    made = []
    for d in range(D):
        one = recurrent_reference.Direction(
            op,
            W[d],
            R[d],
            parts["B"][d],
            parts["P"][d],
            by[d],
            attributes.get("clip", 0.0),
            bool(attributes.get("input_forget")),
            bool(attributes.get("linear_before_reset")),
        )
        states = parts["h"][d], parts["c"][d], ends
        made.append(recurrent_reference.run(one, x, *states, reverse=direction == "reverse" or d))
    y, h, c = (np.stack(each, axis) for each, axis in zip(zip(*made), (1, 0, 0)))  # noqa: B905
    empty = (ends == 0)[:, None]
    return {"Y": y, "Y_h": np.where(empty, 0, h), "Y_c": np.where(empty, 0, c)}


@settings(max_examples=150)
@given(recurrent_nodes(), st.sampled_from([np.float32, np.float64]))
def test_a_random_recurrent_node_is_the_plain_loop(case, dtype) -> None:
    op, wires, outputs, attributes, drawn = case
    wide = {n: v.astype(np.float64) if v.dtype.kind == "f" else v for n, v in drawn.items()}
    expected = plain(op, attributes, wide)
    values = {n: v.astype(dtype) if v.dtype.kind == "f" else v for n, v in drawn.items()}
    found = load(node_model(op, wires, outputs, attributes, values)).run(values)
    assert found
    for name, value in found.items():
        assert close(value, expected[name], "forward")


def test_weights_are_found_behind_the_nodes_that_exporters_put_before_them() -> None:
    W, R = normal(1, 8, 3), normal(2, 2, 8)
    nodes = [
        write.node("Unsqueeze", ["W2", "zero"], ["W"]),
        write.node("Transpose", ["Rt"], ["R2"], perm=[1, 0]),
        write.node("Unsqueeze", ["R2", "zero"], ["R"]),
        write.node("Slice", ["bias", "zero", "sixteen"], ["cut"]),
        write.node("Constant", [], ["zero"], value=np.array([0])),
        write.node("Reshape", ["cut", "rows"], ["B"]),
        write.node("LSTM", ["X", "W", "R", "B"], ["", "Y_h"], hidden_size=2),
    ]
    nodes.insert(0, nodes.pop(4))
    given = {"W2": W, "Rt": R, "bias": normal(3, 20), "sixteen": np.array([16])}
    given["rows"] = np.array([1, -1])
    model = load(
        write.model(nodes, [write.value("X", (None, 1, 3))], [write.value("Y_h", (1, 1, 2))], given)
    )
    assert len(list(model.steps())) == 1
    assert list(model.recurrent) == ["Y_h"]
    spec = model.recurrent["Y_h"].spec
    assert (spec.cell, spec.input_size, spec.hidden_sizes) == ("lstm", 3, (2,))
    assert model.run({"X": normal(4, 5, 1, 3)})["Y_h"].shape == (1, 1, 2)


def test_weights_may_be_computed_at_run_time() -> None:
    given = {"W": normal(1, 1, 8, 3), "R": normal(2, 1, 8, 2)}
    inputs = [write.value("X", (None, 1, 3))]
    outputs = [write.value("Y", (None,) * 4)]
    node = write.node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=2)
    fixed = load(write.model([node], inputs, outputs, given))
    inputs += [write.value(name, array.shape) for name, array in given.items()]
    open_ = load(write.model([node], inputs, outputs))
    x = normal(3, 4, 1, 3)
    assert close(open_.run({"X": x, **given})["Y"], fixed.run({"X": x})["Y"], "forward")


def run_one(op, arrays, **attributes):
    """The first output of one node over arrays; those of whole numbers are constants."""
    names = [f"in{k}" for k in range(len(arrays))]
    fixed = {n: a for n, a in zip(names, arrays, strict=True) if a.dtype.kind == "i"}
    given = {n: a for n, a in zip(names, arrays, strict=True) if n not in fixed}
    node = write.node(op, names, ["out"], **attributes)
    inputs = [write.value(n, (None,) * a.ndim) for n, a in given.items()]
    found = load(write.model([node], inputs, [write.value("out", (None,) * 9)], fixed))
    return found.run(given)["out"]


T = torch.from_numpy
X1, X2 = normal(1, 2, 4, 9), normal(2, 2, 4, 7, 8)
OPERATOR_CASES = {
    "Conv 1d": (
        run_one("Conv", [X1, normal(3, 6, 2, 3), normal(4, 6)], group=2, pads=[1, 2], strides=[2]),
        F.conv1d(F.pad(T(X1), (1, 2)), T(normal(3, 6, 2, 3)), T(normal(4, 6)), 2, groups=2),
    ),
    "Conv 2d": (
        run_one("Conv", [X2, normal(3, 5, 4, 3, 2)], dilations=[2, 1], pads=[1, 0, 1, 0]),
        F.conv2d(T(X2), T(normal(3, 5, 4, 3, 2)), padding=(1, 0), dilation=(2, 1)),
    ),
    "ConvTranspose 1d": (
        run_one("ConvTranspose", [X1, normal(3, 4, 3, 4)], group=2, strides=[3], pads=[1, 1]),
        F.conv_transpose1d(T(X1), T(normal(3, 4, 3, 4)), stride=3, padding=1, groups=2),
    ),
    "MaxPool": (
        run_one("MaxPool", [X2], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0]),
        F.max_pool2d(T(X2), (3, 2), (2, 1), (1, 0)),
    ),
    "AveragePool": (
        run_one("AveragePool", [X1], kernel_shape=[3], pads=[1, 1], count_include_pad=0),
        F.avg_pool1d(T(X1), 3, 1, 1, count_include_pad=False),
    ),
    "LayerNormalization": (
        run_one("LayerNormalization", [X1, normal(3, 9), normal(4, 9)]),
        F.layer_norm(T(X1), (9,), T(normal(3, 9)), T(normal(4, 9))),
    ),
    "BatchNormalization": (
        run_one("BatchNormalization", [X1, *(abs(normal(k, 4)) for k in range(4))]),
        F.batch_norm(T(X1), *(T(abs(normal(k, 4))) for k in (2, 3, 0, 1))),
    ),
    "Erf": (run_one("Erf", [3 * X1]), torch.erf(3 * T(X1))),
    "Elu": (run_one("Elu", [X1], alpha=0.7), F.elu(T(X1), 0.7)),
    "Softmax": (run_one("Softmax", [X1], axis=1), torch.softmax(T(X1), 1)),
    "LogSoftmax": (run_one("LogSoftmax", [50 * X1]), torch.log_softmax(50 * T(X1), -1)),
    "Gemm": (
        run_one("Gemm", [normal(1, 4, 3), normal(2, 5, 4), normal(3, 5)], transA=1, transB=1,
                alpha=0.5, beta=2.0),
        torch.addmm(T(normal(3, 5)), T(normal(1, 4, 3)).T, T(normal(2, 5, 4)).T, alpha=0.5, beta=2),
    ),
    "Einsum": (
        run_one("Einsum", [X1, normal(3, 2, 9, 5)], equation="btk,bkd->btd"),
        torch.bmm(T(X1), T(normal(3, 2, 9, 5))),
    ),
    "ReduceL2": (run_one("ReduceL2", [X1], axes=[1], keepdims=0), T(X1).norm(dim=1)),
    "CumSum": (run_one("CumSum", [X1, np.array(2)]), T(X1).cumsum(2)),
    "TopK": (run_one("TopK", [X1, np.array([3])]), T(X1).topk(3).values),
    "Gather": (run_one("Gather", [X1, np.array([[2, -4]])], axis=1), T(X1)[:, [[2, 0]]]),
    "Pad": (
        run_one("Pad", [X1, np.array([0, 0, 2, 0, 0, 3])], mode="reflect"),
        F.pad(T(X1), (2, 3), mode="reflect"),
    ),
    "Slice": (
        run_one("Slice", [X1, np.array([-1]), np.array([-99]), np.array([2]), np.array([-2])]),
        T(X1).flip(2)[:, :, ::2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATOR_CASES)
def test_an_operator_is_torchs(name: str) -> None:
    found, expected = OPERATOR_CASES[name]
    assert close(found, expected.numpy(), "forward")


def looped(rounds: int) -> bytes:
    """x doubled and halved by an If in a Loop, which also gives what it carried in each round."""
    then = write.graph([write.node("Mul", ["x", "two"], ["a"])], [], [write.value("a", (None,))])
    other = write.graph([write.node("Div", ["x", "two"], ["b"])], [], [write.value("b", (None,))])
    body = write.graph(
        [
            write.node("Identity", ["going"], ["on"]),
            write.node("Less", ["round", "three"], ["early"]),
            write.node("If", ["early"], ["next"], then_branch=then, else_branch=other),
            write.node("Identity", ["next"], ["kept"]),
        ],
        [write.value("round", (), "i8"), write.value("going", (), "b1"), write.value("x", (None,))],
        [write.value("on", (), "b1"), write.value("next", (None,)), write.value("kept", (None,))],
    )
    return write.model(
        [write.node("Loop", ["rounds", "", "start"], ["end", "all"], body=body)],
        [write.value("start", (None,))],
        [write.value("end", (None,)), write.value("all", (None, None))],
        {"rounds": np.array(rounds), "three": np.array(3), "two": np.array(2, np.float32)},
    )


def test_loops_and_branches_carry_and_collect() -> None:
    found = load(looped(5)).run({"start": np.array([1, 3], np.float32)})
    assert found["end"].tolist() == [2, 6]
    assert found["all"].tolist() == [[2, 6], [4, 12], [8, 24], [4, 12], [2, 6]]
    assert load(looped(0)).run({"start": np.zeros(1)})["all"].shape == (0, 0)


def test_outputs_belong_to_the_caller() -> None:
    node = write.node("Identity", ["x"], ["y"])
    model = load(
        write.model(
            [node],
            [write.value("x", (2,))],
            [write.value("y", (2,)), write.value("k", (2,))],
            {"k": np.ones(2, np.float32)},
        )
    )
    x = np.zeros(2, np.float32)
    for array in model.run({"x": x}).values():
        array += 1
    assert x.tolist() == [0, 0]
    assert model.run({"x": x})["k"].tolist() == [1, 1]


def test_a_description_names_inputs_outputs_and_layers() -> None:
    given = {"W": normal(1, 1, 8, 3), "R": normal(2, 1, 8, 2), "B": normal(3, 1, 16)}
    assert describe(recurrent_model("lstm", given, hidden_size=2)).splitlines() == [
        "the model: ONNX, operators of version 17",
        "inputs     X float32 [?, ?, ?]",
        "           lengths int32 [?]",
        "           h float32 [?, ?, ?]",
        "           c float32 [?, ?, ?]",
        "outputs    Y float32 [?, ?, ?, ?]",
        "           Y_h float32 [?, ?, ?]",
        "           Y_c float32 [?, ?, ?]",
        "recurrent  Y: LSTM forward, I=3 H=2",
        "nodes      LSTM 1",
    ]


def test_a_check_says_so_where_onnxruntime_is_not_there(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    found = load(looped(3)).check()
    assert not found.compared
    assert str(found) == (
        "the model: not compared: the package onnxruntime is not installed: "
        "pip install 'unrolled[bench]'"
    )
    with pytest.warns(UserWarning, match="not compared"):
        load(looped(3), check=True)


def test_a_check_compares_with_onnxruntime() -> None:
    pytest.importorskip("onnxruntime")
    found = load(looped(4), check=True).check()
    assert found.compared
    assert found.differences == {"end": 0, "all": 0}


def test_a_check_refuses_other_numbers(monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    model = load(looped(4))
    right = model.run
    monkeypatch.setattr(model, "run", lambda x: {k: v + 1 for k, v in right(x).items()})
    with pytest.raises(InteropError, match=r"the largest difference .* expected at most 0.0001"):
        model.check().insist()


def test_a_model_runs_where_torch_and_onnx_are_not(tmp_path) -> None:
    given = {"W": normal(1, 1, 8, 3), "R": normal(2, 1, 8, 2), "B": normal(3, 1, 16)}
    path = tmp_path / "model.onnx"
    path.write_bytes(recurrent_model("lstm", given, hidden_size=2))
    code = """
import sys
for name in ("torch", "onnx", "onnxruntime", "google"):
    sys.modules[name] = None
import numpy as np
from unrolled.interop.onnx import load
x = {"X": np.ones((4, 1, 3)), "lengths": [4], "h": np.ones((1, 1, 2)), "c": np.ones((1, 1, 2))}
print(load(sys.argv[1]).run(x)["Y"].shape)
"""
    found = tiny.python(code, path)
    assert (found.stdout, found.stderr) == ("(4, 1, 1, 2)\n", "")


def table_of_operators() -> str:
    """The table of docs/onnx.md as it must be."""
    rows = {
        "recurrent": RECURRENT,
        "with graphs inside": CONTROL,
        "others": OPS,
    }
    lines = [f"| {kind} | {', '.join(sorted(names))} |" for kind, names in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def test_the_documentation_names_every_operator() -> None:
    page = (Path(__file__).parent.parent / "docs" / "onnx.md").read_text()
    shown = page.partition("<!-- operators -->\n")[2].partition("\n<!-- end -->")[0]
    assert shown == table_of_operators()
