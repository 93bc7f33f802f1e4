"""Reading ONNX files: the format held against the onnx package, and every way a file can be bad."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest

import onnx_writer as write
from test_onnx_run import looped, normal, recurrent_model
from unrolled.errors import InteropError
from unrolled.interop.onnx import load
from unrolled.interop.onnx.proto import ATTRIBUTE_FIELDS, SCHEMAS, numbers, read_model
from unrolled.interop.onnx.tensors import DTYPES
from unrolled.interop.onnx.wire import MAX_DEPTH, Reader, WireError, varint

X, Y = write.value("x", (None,)), write.value("y", (None,))
IDENTITY = write.node("Identity", ["x"], ["y"], name="copy")


def lstm_model() -> bytes:
    weights = {"W": normal(1, 1, 8, 3), "R": normal(2, 1, 8, 2), "B": normal(3, 1, 16)}
    return recurrent_model("lstm", weights, hidden_size=2)


def message(content: bytes | str | os.PathLike[str], **options) -> str:
    with pytest.raises(InteropError) as caught:
        load(content, **options)
    return str(caught.value)


def field_kind(field) -> str:
    """A descriptor's type as the reader's tables say it: the numbers are protobuf's own."""
    kinds = {1: "double", 2: "float", 3: "int", 4: "uint", 5: "int", 9: "text", 14: "int"}
    kind = kinds.get(field.type, "bytes")
    if field.type == 11:
        kind = field.message_type.full_name.removeprefix("onnx.")
    return kind + "*" * field.is_repeated


@pytest.mark.parametrize("name", SCHEMAS)
def test_field_numbers_are_those_of_the_format(name: str) -> None:
    onnx = pytest.importorskip("onnx")
    descriptor = onnx.ModelProto.DESCRIPTOR.file
    first, *inner = name.split(".")
    found = descriptor.message_types_by_name[first]
    for part in inner:
        found = found.nested_types_by_name[part]
    for number, (field, kind) in SCHEMAS[name].items():
        known = found.fields_by_number[number]
        assert known.name == field
        # Messages that are only refused are read as the bytes that they are.
        expected = field_kind(known)
        assert kind == expected or kind == "bytes" + "*" * known.is_repeated


def test_numbers_of_types_are_those_of_the_format() -> None:
    onnx = pytest.importorskip("onnx")
    for number, dtype in DTYPES.items():
        assert onnx.helper.tensor_dtype_to_np_dtype(number) == dtype
    kinds = onnx.AttributeProto.AttributeType
    wanted = ["FLOAT", "INT", "STRING", "TENSOR", "GRAPH", "FLOATS", "INTS", "STRINGS"]
    fields = ["f", "i", "s", "t", "g", "floats", "ints", "strings"]
    assert {kinds.Value(k): f for k, f in zip(wanted, fields, strict=True)} == ATTRIBUTE_FIELDS


def same_message(found, expected, kind: str) -> None:
    """Every field that the reader knows is the one that the onnx package reads."""
    for name, field_type in SCHEMAS[kind].values():
        kind_of, repeated = field_type.rstrip("*"), field_type.endswith("*")
        values = getattr(expected, name)
        if kind_of in SCHEMAS and repeated:
            assert len(found.get(name, [])) == len(values)
            for left, right in zip(found.get(name, []), values, strict=True):
                same_message(left, right, kind_of)
        elif kind_of in SCHEMAS:
            assert (name in found) == expected.HasField(name)
            if name in found:
                same_message(found[name], values, kind_of)
        elif kind_of == "text":
            assert found.get(name, [] if repeated else "") == (list(values) if repeated else values)
        elif kind_of == "bytes":
            if repeated:
                assert len(found.get(name, [])) == len(values)
            elif name in found and isinstance(values, bytes):
                assert bytes(found[name]) == values
        elif repeated:
            assert numbers(found.get(name, [])) == list(values)
        else:
            assert found.get(name, 0) == values


@pytest.mark.parametrize("content", [lstm_model(), looped(3)])
def test_the_tests_own_files_are_read_as_the_onnx_package_reads_them(content: bytes) -> None:
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(content)
    found = Reader(SCHEMAS).read(memoryview(content), "ModelProto")
    same_message(found, onnx.load_from_string(content), "ModelProto")


DTYPE_LIST = ["f4", "f8", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("name", DTYPE_LIST)
def test_tensors_are_read_as_the_onnx_package_writes_them(name: str, raw: bool) -> None:
    onnx = pytest.importorskip("onnx")
    values = np.array([[-3, 0, 1], [2, 127, -128]]).astype(name)
    if name in ("i8", "u8", "i4"):
        values[0, 0] = np.iinfo(name).min
        values[1, 0] = np.iinfo(name).max
    if raw:
        tensor = onnx.numpy_helper.from_array(values, "k")
    else:
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor = onnx.helper.make_tensor("k", kind, values.shape, values.reshape(-1))
    onnx_graph = onnx.helper.make_graph(
        [], "g", [], [onnx.helper.make_tensor_value_info("k", tensor.data_type, [2, 3])], [tensor]
    )
    found = load(onnx.helper.make_model(onnx_graph).SerializeToString()).run({})["k"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_numbers_are_read_packed_and_one_by_one() -> None:
    values = [0, 1, 127, 128, 300, 2**40, 2**63 - 1, -1, -(2**63)]
    one_by_one = b"".join(write.number(1, each) for each in values)
    packed = write.block(1, b"".join(map(write.varint, values)))
    for content in (one_by_one, packed, packed + one_by_one):
        found = Reader({"M": {1: ("n", "int*")}}).read(memoryview(content), "M")
        assert numbers(found["n"]) == values * (len(content) // len(packed))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\x80", "cut short inside a number"),
        (b"\x0a\x05ab", "a field of 5 bytes has 2 left"),
        (b"\x80" * 11, "longer than 10 bytes"),
        (b"\x0b", "wire type 3 is not known"),
        (b"\x00\x01", "has the number 0"),
        (b"\x0d\x00\x00\x00\x00", "wire type 5, expected 0"),
        (b"\x0a\x01\x80", "is cut short inside a number"),
        (b"\x0a\x0b" + b"\x80" * 10 + b"\x00", "a number longer than 10 bytes"),
        (b"\x12\x03abc", "has 3 bytes, not a multiple of 4"),
        (b"\x1a\x01\xff", "is not UTF-8"),
        (b"\x22\x01\x05", "M.one has wire type 2, expected 0"),
    ],
)
def test_damaged_bytes_are_named(content: bytes, text: str) -> None:
    fields = {1: ("n", "int*"), 2: ("f", "float*"), 3: ("t", "text"), 4: ("one", "int")}
    with pytest.raises(WireError, match=text):
        Reader({"M": fields}).read(memoryview(content), "M")


def test_a_long_number_keeps_its_64_bits() -> None:
    assert varint(memoryview(b"\xff" * 9 + b"\x01"), 0) == (2**64 - 1, 10)


def deep(levels: int) -> bytes:
    """If inside If inside If."""
    branch = write.graph([write.node("Not", ["c"], ["o"])], [], [write.value("o", (), "b1")])
    for level in range(levels):
        node = write.node("If", ["c"], ["o"], then_branch=branch)
        inputs = [write.value("c", (), "b1")] if level == levels - 1 else []
        branch = write.graph([node], inputs, [write.value("o", (), "b1")])
    return write.wrap(branch)


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


def test_a_file_is_named_by_its_path(tmp_path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x80")
    assert message(path) == (
        f"{path}: is not a readable ONNX model: it is cut short inside a number"
    )
    assert message(tmp_path / "none.onnx") == (
        f"{tmp_path / 'none.onnx'}: cannot be read (No such file or directory)"
    )


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


def external(folder, location: str, *, offset: str = "0", length: str = "8", size: int = 2):
    entries = {"location": location, "offset": offset, "length": length}
    tensor = write.number(1, size) + write.number(2, 1) + write.block(8, "k")
    for key, value in entries.items():
        tensor += write.block(13, write.block(1, key) + write.block(2, value))
    tensor += write.number(14, 1)
    path = folder / "model.onnx"
    content = write.block(5, tensor) + write.block(12, write.value("k", (None,)))
    path.write_bytes(write.wrap(content))
    return path


def test_weights_beside_the_model_are_read(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(4) + struct.pack("<2f", 1.5, -2))
    path = external(tmp_path, "data/w.bin", offset="4")
    assert load(path).run({})["k"].tolist() == [1.5, -2]
    assert "lies in the file 'data/w.bin'; load the model by its path" in message(path.read_bytes())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"location": "../outside.bin"}, "'../outside.bin' lies outside the folder of the model"),
        ({"location": "/etc/hostname"}, "'/etc/hostname' lies outside the folder of the model"),
        ({"location": "link.bin"}, "'link.bin' lies outside the folder of the model"),
        ({"location": ""}, "'' lies outside the folder of the model"),
        ({"location": "a\0b"}, "lies outside the folder of the model"),
        ({"location": "none.bin"}, "'none.bin' is not a file in the folder of the model"),
        ({"location": "."}, "lies outside the folder of the model"),
        ({"location": "w.bin", "offset": "-8"}, "takes 8 bytes at -8 of 'w.bin', expected 8"),
        ({"location": "w.bin", "length": "4"}, "takes 4 bytes at 0 of 'w.bin', expected 8"),
        ({"location": "w.bin", "offset": "x"}, "offset and length of 'w.bin' must be numbers"),
        ({"location": "w.bin", "offset": "4"}, "'w.bin' has 8 bytes, expected 8 at 4"),
        ({"location": "w.bin", "size": 1 << 40, "length": "-1"}, "give a larger max_bytes"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path, options, text: str) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "w.bin").write_bytes(bytes(8))
    os.symlink(tmp_path / "outside.bin", folder / "link.bin")
    assert text in message(external(folder, **options))


def test_a_file_is_read_the_same_from_a_path_and_from_bytes(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(lstm_model())
    left, right = read_model(path, max_bytes=1 << 20), read_model(lstm_model(), max_bytes=1 << 20)
    assert left.graph.constants.keys() == right.graph.constants.keys()
    assert (left.source, right.source) == (str(path), "the model")


@pytest.mark.parametrize("op", ["ReduceMean", "GlobalAveragePool", "LayerNormalization"])
def test_a_mean_over_nothing_is_nan_without_a_warning(op: str) -> None:
    extra = {"k": np.ones(0, np.float32)} if op == "LayerNormalization" else {}
    node = write.node(op, ["x", *extra], ["y"])
    x, y = (write.value(name, (None, None, None)) for name in "xy")
    model = load(write.model([node], [x], [y], extra))
    found = model.run({"x": np.zeros((1, 2, 0))})["y"]
    assert np.isnan(found).all()
