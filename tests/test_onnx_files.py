"""Reading ONNX files: the format held against the onnx package, and weights beside a model."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest

import onnx_writer as write
from onnx_models import lstm_model, message
from test_onnx_run import looped
from unrolled.interop.onnx import load
from unrolled.interop.onnx.proto import ATTRIBUTE_FIELDS, SCHEMAS, numbers, read_model
from unrolled.interop.onnx.tensors import DTYPES
from unrolled.interop.onnx.wire import Reader, WireError, varint


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


def test_a_file_is_named_by_its_path(tmp_path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x80")
    assert message(path) == (
        f"{path}: is not a readable ONNX model: it is cut short inside a number"
    )
    assert message(tmp_path / "none.onnx") == (
        f"{tmp_path / 'none.onnx'}: cannot be read (No such file or directory)"
    )


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
