"""Every way an ONNX file or an input can be bad: an error that names it, within its bounds."""

from __future__ import annotations

import numpy as np
import pytest

import onnx_writer as write
from onnx_models import IDENTITY, X, Y, deep, lstm_model, message
from test_onnx_run import looped, normal, recurrent_model
from unrolled.errors import InteropError
from unrolled.interop.onnx import load
from unrolled.interop.onnx.wire import MAX_DEPTH


def chain(reads: str, writes: str, *, constants=None, **more) -> bytes:
    return write.model([write.node("Relu", [reads], [writes], **more)], [X], [Y], constants)


def with_tensor(fields: bytes) -> bytes:
    return write.wrap(write.block(5, fields + write.block(8, "k")))


HUGE = b"".join(write.number(1, 1 << 20) for _ in range(3))
OTHER_DOMAIN = write.node("DynamicQuantizeLSTM", ["x"], ["z"], domain="com.microsoft", name="q")
HOSTILE = {
    "empty": (b"", "is not an ONNX model: it has no graph"),
    "text": (b"not an onnx file at all, sorry\n", "is not a readable ONNX model"),
    "cut short": (lstm_model()[:-30], "is not a readable ONNX model: it is cut short"),
    "no opset": (write.block(7, write.graph([IDENTITY], [X], [Y])), "names no version"),
    "old opset": (write.model([IDENTITY], [X], [Y], opset=1), "version 1 of the ONNX operators"),
    "new opset": (write.model([IDENTITY], [X], [Y], opset=99), "version 99 of the ONNX operators"),
    "nested": (deep(40), f"nested more than {MAX_DEPTH} deep"),
    "unknown operators": (
        write.model(
            [IDENTITY, OTHER_DOMAIN, *[write.node("Bernoulli", ["x"], [f"b{k}"]) for k in "12"]],
            [X],
            [Y],
        ),
        "node 'q' (DynamicQuantizeLSTM): this operator is not supported; not supported in this "
        "model: Bernoulli (2), com.microsoft.DynamicQuantizeLSTM (1)",
    ),
    "unknown attribute": (chain("x", "y", alhpa=1), "Relu of 'y': the attribute 'alhpa' is not su"),
    "attribute twice": (
        write.model([IDENTITY + write.block(5, write.attribute("a", 1)) * 2], [X], [Y]),
        "node 'copy' (Identity): attribute 'a' is there twice",
    ),
    "too few inputs": (
        write.model([write.node("Add", ["x"], ["y"])], [X], [Y]),
        "Add of 'y': has 1 inputs, expected 2",
    ),
    "cycle": (
        write.model(
            [write.node("Add", ["x", "b"], ["a"]), write.node("Relu", ["a"], ["b"])],
            [X],
            [write.value("b", (None,))],
        ),
        "Add of 'a': reads 'b', which is made by it or after it: the graph has a cycle",
    ),
    "self": (chain("y", "y"), "reads 'y', which is made by it or after it"),
    "nothing makes it": (chain("z", "y"), "Relu of 'y': reads 'z', which nothing makes"),
    "no such output": (chain("x", "z"), "nothing makes the output 'y'"),
    "made twice": (
        write.model([IDENTITY, write.node("Relu", ["x"], ["y"])], [X], [Y]),
        "Relu of 'y': 'y' is already there",
    ),
    "input made again": (chain("x", "x"), "Relu of 'x': 'x' is already there"),
    "input twice": (write.model([IDENTITY], [X, X], [Y]), "the input 'x' is there twice"),
    "negative size": (
        with_tensor(write.number(1, -4) + write.number(2, 1)),
        "initializer 'k': has a negative dimension: [-4]",
    ),
    "huge": (
        with_tensor(HUGE + write.number(2, 1)),
        "initializer 'k': its shape [1048576, 1048576, 1048576] makes the tensors of this file la",
    ),
    "huge and empty": (
        with_tensor(HUGE * 3 + write.number(1, 0) + write.number(2, 1)),
        "is too large",
    ),
    "wrong length": (
        with_tensor(write.number(1, 4) + write.number(2, 1) + write.block(9, b"123")),
        "initializer 'k': has 3 bytes of data, expected 16 for 4 elements of float32",
    ),
    "too few elements": (
        with_tensor(write.number(1, 4) + write.number(2, 1) + write.block(4, bytes(8))),
        "initializer 'k': has 2 elements in float_data, expected 4",
    ),
    "unknown type": (
        with_tensor(write.number(2, 17)),
        "initializer 'k': elements of type 17 are not supported",
    ),
    "constant twice": (
        write.wrap(write.block(5, write.tensor(np.ones(1), "k")) * 2),
        "the initializer 'k' is there twice",
    ),
    "not a tensor": (
        write.wrap(write.block(11, write.block(1, "s") + write.block(2, write.block(4, b"")))),
        "'s' is not a tensor (sequence)",
    ),
    "NaN weights": (
        recurrent_model("rnn", {"W": np.full((1, 2, 3), np.nan, np.float32),
                                "R": normal(1, 1, 2, 2), "B": normal(2, 1, 4)}),
        "RNN of 'Y': W holds NaN: the weights are damaged",
    ),
    "weights that do not fit": (
        recurrent_model("gru", {"W": normal(1, 1, 6, 3), "R": normal(1, 1, 6, 3),
                                "B": normal(2, 1, 12)}),
        "GRU of 'Y': R has shape [1, 6, 3], expected [1, 6, 2]",
    ),
    "unknown activation": (
        recurrent_model("rnn", {"W": normal(1, 1, 2, 3), "R": normal(1, 1, 2, 2),
                                "B": normal(2, 1, 4)}, activations=["Tanhh"]),
        "RNN of 'Y': activation 'Tanhh': expected one of Affine, Elu,",
    ),
    "activation without its number": (
        recurrent_model("rnn", {"W": normal(1, 1, 2, 3), "R": normal(1, 1, 2, 2),
                                "B": normal(2, 1, 4)}, activations=["ScaledTanh"]),
        "RNN of 'Y': activation 'ScaledTanh' needs its alpha: ONNX has no default",
    ),
    "unknown direction": (
        recurrent_model("rnn", {"W": normal(1, 1, 2, 3), "R": normal(1, 1, 2, 2),
                                "B": normal(2, 1, 4)}, direction="sideways"),
        "RNN of 'Y': direction is 'sideways', expected one of forward, reverse, bidirectional",
    ),
    "no branch": (deep(1), "If of 'o': has no graph 'else_branch'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_file_is_an_error_that_names_what_is_wrong(name: str) -> None:
    content, text = HOSTILE[name]
    found = message(content)
    assert found.startswith("the model: ")
    assert text in found


def grown(op: str, *inputs: str, constants, **attributes) -> bytes:
    node = write.node(op, inputs, ["y"], **attributes)
    return write.model([node], [X], [write.value("y", (None,))], constants)


@pytest.mark.parametrize(
    "content",
    [
        grown("ConstantOfShape", "s", constants={"s": np.array([1 << 40, 1 << 20])}),
        grown("Expand", "x", "s", constants={"s": np.array([1 << 50, 1])}),
        grown("Tile", "x", "s", constants={"s": np.array([1 << 50])}),
        grown("Pad", "x", "s", constants={"s": np.array([1 << 50, 0])}),
        grown("OneHot", "i", "d", "v", constants={
            "i": np.array([1]), "d": np.array(1 << 50), "v": np.zeros(2, np.float32)}),
        grown("Range", "a", "b", "c", constants={
            "a": np.array(0), "b": np.array(1 << 60), "c": np.array(1)}),
        looped(1 << 40),
    ],
)  # fmt: skip
def test_sizes_in_a_file_do_not_take_memory_or_time(content: bytes) -> None:
    model = load(content, max_bytes=1 << 20)
    name = model.inputs[0].name
    with pytest.raises(InteropError, match=r"is not allowed: \d+ bytes, at most 1048576"):
        model.run({name: np.ones(1000, np.float32)})


def test_values_that_are_held_together_are_bounded() -> None:
    nodes = [write.node("Add", ["x", "x"], [f"v{k}"]) for k in range(40)]
    nodes.append(write.node("Sum", [f"v{k}" for k in range(40)], ["y"]))
    model = load(write.model(nodes, [X], [Y]), max_bytes=1 << 20)
    assert model.run({"x": np.ones(100)})["y"][0] == 80
    with pytest.raises(InteropError, match="the values of this run take more than 1048576 bytes"):
        model.run({"x": np.ones(10_000)})


def test_values_are_let_go_after_their_last_use() -> None:
    nodes = [write.node("Add", [f"v{k}", f"v{k}"], [f"v{k + 1}"]) for k in range(40)]
    content = write.model(nodes, [write.value("v0", (None,))], [write.value("v40", (None,))])
    found = load(content, max_bytes=1 << 20).run({"v0": np.ones(10_000)})
    assert found["v40"][0] == 2.0**40


INPUT_ERRORS = {
    "missing": ({}, "the input x float32 [2, 'n'] is missing"),
    "unknown": ({"xx": 0, "x": 0}, "there is no input 'xx'. Did you mean 'x'? Inputs: x"),
    "constant": ({"k": 0}, "'k' is a constant of the model"),
    "rank": ({"x": [1.0]}, "the input 'x' has shape [1], expected x float32 [2, 'n']"),
    "size": ({"x": np.ones((3, 1))}, "the input 'x' has shape [3, 1], expected x float32 [2, 'n']"),
    "type": ({"x": np.ones((2, 1)) * 1j}, "the input 'x' is complex128, expected float32"),
    "text": ({"x": [["a"], ["b"]]}, "the input 'x' is <U1, expected float32"),
}


@pytest.mark.parametrize("name", INPUT_ERRORS)
def test_an_input_that_does_not_fit_is_named(name: str) -> None:
    given, text = INPUT_ERRORS[name]
    x, y = (write.value(each, (2, "n")) for each in "xy")
    model = load(write.model([IDENTITY], [x], [y], {"k": np.ones(1, np.float32)}))
    with pytest.raises(InteropError) as caught:
        model.run(given)
    assert str(caught.value) == f"the model: {text}"


def test_an_input_that_is_no_array_is_named() -> None:
    model = load(write.model([IDENTITY], [X], [Y]))
    with pytest.raises(InteropError, match=r"^the model: the input 'x' is no array \("):
        model.run({"x": [[1.0], [1.0, 2.0]]})


def test_a_node_that_cannot_take_its_input_is_named() -> None:
    model = load(write.model([write.node("Add", ["x", "k"], ["y"], name="sum")], [X], [Y],
                             {"k": np.ones(3, np.float32)}))  # fmt: skip
    with pytest.raises(InteropError, match=r"^the model: node 'sum' \(Add\): .*shape"):
        model.run({"x": np.ones(2)})


def test_an_input_too_large_for_its_type_is_an_error() -> None:
    value = write.value("x", (None,), "i4")
    model = load(write.model([IDENTITY], [value], [write.value("y", (None,), "i4")]))
    with pytest.raises(InteropError, match="'x' holds numbers too large for int32"):
        model.run({"x": np.array([1 << 40])})


def test_an_output_of_another_type_than_the_file_says_is_an_error() -> None:
    model = load(write.model([IDENTITY], [X], [write.value("y", (None,), "i8")]))
    with pytest.raises(InteropError, match="output 'y' is float32, but the model says int64"):
        model.run({"x": np.ones(1)})


@pytest.mark.parametrize("op", ["ReduceMean", "GlobalAveragePool", "LayerNormalization"])
def test_a_mean_over_nothing_is_nan_without_a_warning(op: str) -> None:
    extra = {"k": np.ones(0, np.float32)} if op == "LayerNormalization" else {}
    node = write.node(op, ["x", *extra], ["y"])
    x, y = (write.value(name, (None, None, None)) for name in "xy")
    model = load(write.model([node], [x], [y], extra))
    found = model.run({"x": np.zeros((1, 2, 0))})["y"]
    assert np.isnan(found).all()
