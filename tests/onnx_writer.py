"""Writes small ONNX files without the onnx package: the wire format by hand, for tests.

Field numbers are those of onnx.proto; a test holds what is written here against the package's own
reading wherever that is installed.
"""

from __future__ import annotations

import struct

import numpy as np

NUMBERS = {"f4": 1, "u1": 2, "i1": 3, "i4": 6, "i8": 7, "b1": 9, "f2": 10, "f8": 11}


def varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(array, name: str = "") -> bytes:
    array = np.asarray(array)
    dims = b"".join(number(1, dim) for dim in array.shape)
    kind = NUMBERS[array.dtype.str[1:]]
    return dims + number(2, kind) + block(8, name) + block(9, array.tobytes())


def attribute(name: str, value) -> bytes:
    start = block(1, name)
    if isinstance(value, float):
        return start + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, int):
        return start + number(3, value) + number(20, 2)
    if isinstance(value, str):
        return start + block(4, value) + number(20, 3)
    if isinstance(value, np.ndarray):
        return start + block(5, tensor(value)) + number(20, 4)
    if isinstance(value, bytes):
        return start + block(6, value) + number(20, 5)
    if value and isinstance(value[0], float):
        packed = b"".join(struct.pack("<f", each) for each in value)
        return start + block(7, packed) + number(20, 6)
    if value and isinstance(value[0], str):
        return start + b"".join(block(9, each) for each in value) + number(20, 8)
    return start + b"".join(number(8, each) for each in value) + number(20, 7)


def node(op: str, inputs, outputs, *, name: str = "", domain: str = "", **attributes) -> bytes:
    """A node; an attribute that is bytes is a graph."""
    parts = [block(1, each) for each in inputs] + [block(2, each) for each in outputs]
    parts += [block(3, name), block(4, op)]
    parts += [block(5, attribute(key, value)) for key, value in attributes.items()]
    return b"".join([*parts, block(7, domain)])


def value(name: str, shape=(), dtype="f4") -> bytes:
    """An input or output; a dimension is a number, a name, or None."""
    dims = b""
    for dim in shape:
        entry = number(1, dim) if isinstance(dim, int) else block(2, dim) if dim else b""
        dims += block(1, entry)
    kind = block(1, number(1, NUMBERS[dtype]) + block(2, dims))
    return block(1, name) + block(2, kind)


def graph(nodes, inputs, outputs, constants=None) -> bytes:
    parts = [block(1, each) for each in nodes] + [block(2, "g")]
    parts += [block(5, tensor(array, name)) for name, array in (constants or {}).items()]
    parts += [block(11, each) for each in inputs] + [block(12, each) for each in outputs]
    return b"".join(parts)


def model(nodes, inputs, outputs, constants=None, *, opset: int = 17) -> bytes:
    return wrap(graph(nodes, inputs, outputs, constants), opset=opset)


def wrap(content: bytes, *, opset: int = 17, ir_version: int = 8) -> bytes:
    """A model around the bytes of a graph."""
    imported = block(8, block(1, "") + number(2, opset))
    return number(1, ir_version) + block(7, content) + imported
