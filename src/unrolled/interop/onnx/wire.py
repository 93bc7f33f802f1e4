"""Protobuf's wire format, read by a literal table a message and within bounds.

The format is Google's (protobuf.dev/programming-guides/encoding): a message is a row of fields,
each a varint `number << 3 | wire type` and a value. A hostile file can claim any length and any
nesting, so lengths are checked against what is there, and fields and depth are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

# Every field costs a Python object, so that a file of the smallest fields may not hold more.
MAX_FIELDS = 2_000_000
MAX_DEPTH = 64

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIRE_TYPES = {"int": VARINT, "uint": VARINT, "float": FIXED32, "double": FIXED64}
FIXED = {"float": ("<f", "<f4"), "double": ("<d", "<f8")}

Schema = Mapping[int, tuple[str, str]]
Message = dict[str, Any]


class WireError(ValueError):
    """The bytes are not a message of the kind that was asked for."""


class Reader:
    """Reads messages whose fields `schemas` names: number -> (name, kind), `*` for repeated.

    A kind is `int` (signed 64 bits), `uint`, `float`, `double`, `text`, `bytes`, or the name of
    another message. Fields that no schema names are skipped. One reader is for one file.
    """

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self.schemas = schemas
        self.fields_left = MAX_FIELDS

    def read(self, data: memoryview, kind: str, depth: int = 0) -> Message:
        """Return the fields that are there: a value each, or a list where repeated.

        Of a single field given twice the last counts. A repeated number is a list of numbers and
        of arrays (packed). Raises WireError for what is cut short, too deep or too large.
        """
        if depth > MAX_DEPTH:
            raise WireError(f"messages are nested more than {MAX_DEPTH} deep")
        schema, at = self.schemas[kind], 0
        found: Message = {}
        while at < len(data):
            self.fields_left -= 1
            if self.fields_left < 0:
                raise WireError(f"it has more than {MAX_FIELDS} fields")
            key, at = varint(data, at)
            number, wire = key >> 3, key & 7
            if number == 0:
                raise WireError(f"a field of {kind} has the number 0")
            raw, at = _raw(data, at, wire)
            if number not in schema:
                continue
            name, value_kind = schema[number]
            item, where = value_kind.rstrip("*"), f"{kind}.{name}"
            if item == value_kind:
                found[name] = self._value(raw, wire, item, where, depth)
            elif item in WIRE_TYPES and wire == BYTES:
                found.setdefault(name, []).append(_packed(raw, item, where))
            else:
                found.setdefault(name, []).append(self._value(raw, wire, item, where, depth))
        return found

    def _value(self, raw: Any, wire: int, kind: str, where: str, depth: int) -> Any:
        expected = WIRE_TYPES.get(kind, BYTES)
        if wire != expected:
            raise WireError(f"{where} has wire type {wire}, expected {expected}")
        if kind == "int":
            return raw - (1 << 64) if raw >> 63 else raw
        if kind == "uint":
            return raw
        if kind in FIXED:
            return struct.unpack(FIXED[kind][0], raw)[0]
        if kind == "bytes":
            return raw
        if kind == "text":
            try:
                return str(raw, "utf-8")
            except UnicodeDecodeError:
                raise WireError(f"{where} is not UTF-8 text") from None
        return self.read(raw, kind, depth + 1)


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the unsigned number that begins at `at`, and where the next field begins."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise WireError("it is cut short inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise WireError("a number is longer than 10 bytes")


def _raw(data: memoryview, at: int, wire: int) -> tuple[Any, int]:
    """Return a field's value as it lies there, a number or a slice, and where it ends."""
    if wire == VARINT:
        return varint(data, at)
    if wire == BYTES:
        size, at = varint(data, at)
    elif wire in (FIXED32, FIXED64):
        size = 4 if wire == FIXED32 else 8
    else:
        raise WireError(f"wire type {wire} is not known")
    if size > len(data) - at:
        raise WireError(f"it is cut short: a field of {size} bytes has {len(data) - at} left")
    return data[at : at + size], at + size


def _packed(raw: memoryview, kind: str, where: str) -> np.ndarray:
    """Return an array of the numbers that lie side by side in `raw`."""
    if kind in FIXED:
        dtype = np.dtype(FIXED[kind][1])
        if len(raw) % dtype.itemsize:
            raise WireError(f"{where} has {len(raw)} bytes, not a multiple of {dtype.itemsize}")
        return np.frombuffer(raw, dtype)
    data = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        raise WireError(f"{where} is cut short inside a number")
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    place = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    if place.max(initial=0) > 9:
        raise WireError(f"{where} has a number longer than 10 bytes")
    parts = (data & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    values = np.add.reduceat(parts, starts) if len(starts) else parts
    return values if kind == "uint" else values.view(np.int64)
