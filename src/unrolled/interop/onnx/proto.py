"""The part of ONNX's file format that is read: tables of field numbers, and what they become.

Numbers and names are those of onnx.proto (github.com/onnx/onnx, `onnx/onnx.proto`); fields that are
left out here do not change what a model computes, or are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import InteropError
from unrolled.interop.onnx.tensors import DTYPES, Store
from unrolled.interop.onnx.wire import Message, Reader, WireError

Array = NDArray[Any]

MAX_FILE = 2 << 30

SCHEMAS: dict[str, dict[int, tuple[str, str]]] = {
    "ModelProto": {
        1: ("ir_version", "int"),
        2: ("producer_name", "text"),
        7: ("graph", "GraphProto"),
        8: ("opset_import", "OperatorSetIdProto*"),
        25: ("functions", "bytes*"),
    },
    "OperatorSetIdProto": {1: ("domain", "text"), 2: ("version", "int")},
    "GraphProto": {
        1: ("node", "NodeProto*"),
        2: ("name", "text"),
        5: ("initializer", "TensorProto*"),
        11: ("input", "ValueInfoProto*"),
        12: ("output", "ValueInfoProto*"),
        15: ("sparse_initializer", "bytes*"),
    },
    "NodeProto": {
        1: ("input", "text*"),
        2: ("output", "text*"),
        3: ("name", "text"),
        4: ("op_type", "text"),
        5: ("attribute", "AttributeProto*"),
        7: ("domain", "text"),
    },
    "AttributeProto": {
        1: ("name", "text"),
        2: ("f", "float"),
        3: ("i", "int"),
        4: ("s", "bytes"),
        5: ("t", "TensorProto"),
        6: ("g", "GraphProto"),
        7: ("floats", "float*"),
        8: ("ints", "int*"),
        9: ("strings", "bytes*"),
        20: ("type", "int"),
        21: ("ref_attr_name", "text"),
    },
    "TensorProto": {
        1: ("dims", "int*"),
        2: ("data_type", "int"),
        3: ("segment", "bytes"),
        4: ("float_data", "float*"),
        5: ("int32_data", "int*"),
        7: ("int64_data", "int*"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
        10: ("double_data", "double*"),
        11: ("uint64_data", "uint*"),
        13: ("external_data", "StringStringEntryProto*"),
        14: ("data_location", "int"),
    },
    "StringStringEntryProto": {1: ("key", "text"), 2: ("value", "text")},
    "ValueInfoProto": {1: ("name", "text"), 2: ("type", "TypeProto")},
    "TypeProto": {
        1: ("tensor_type", "TypeProto.Tensor"),
        4: ("sequence_type", "bytes"),
        5: ("map_type", "bytes"),
        8: ("sparse_tensor_type", "bytes"),
        9: ("optional_type", "bytes"),
    },
    "TypeProto.Tensor": {1: ("elem_type", "int"), 2: ("shape", "TensorShapeProto")},
    "TensorShapeProto": {1: ("dim", "TensorShapeProto.Dimension*")},
    "TensorShapeProto.Dimension": {1: ("dim_value", "int"), 2: ("dim_param", "text")},
}

# AttributeProto.AttributeType: the field that holds the value of each kind that is read.
ATTRIBUTE_FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings"}


@dataclass(frozen=True)
class Value:
    """An input or output: its name, element type and shape.

    A dimension is a number, a name that stands for any number, or None; `shape` None is any rank.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        dims = "any shape" if self.shape is None else list(self.shape)
        return f"{self.name} {self.dtype} {str(dims).replace('None', '?')}"


@dataclass(frozen=True, eq=False)
class Node:
    """One operator of a graph; an input or output left out has the name ''."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        made = next((name for name in self.outputs if name), "")
        return (
            f"node {self.name!r} ({self.op_type})" if self.name else f"{self.op_type} of {made!r}"
        )


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in the order in which they run, and the constants that they read."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value | None, ...]
    input_names: tuple[str, ...]
    outputs: tuple[Value | None, ...]
    output_names: tuple[str, ...]
    constants: dict[str, Array] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Model:
    """A whole file: the graph and the version of the operators that it was written for."""

    graph: Graph
    opset: int
    domains: dict[str, int]
    producer: str
    source: str
    size: int


def read_model(source: str | Path | bytes, *, max_bytes: int) -> Model:
    """Read an ONNX file, or its bytes; raises InteropError where it is damaged or too large."""
    content, name, folder = _content(source)
    try:
        message = Reader(SCHEMAS).read(memoryview(content), "ModelProto")
    except WireError as error:
        raise InteropError(f"{name}: is not a readable ONNX model: {error}") from None
    if "graph" not in message:
        raise InteropError(f"{name}: is not an ONNX model: it has no graph")
    domains: dict[str, int] = {}
    for entry in message.get("opset_import", []):
        domain = entry.get("domain", "")
        domains["" if domain == "ai.onnx" else domain] = entry.get("version", 0)
    if "" not in domains:
        raise InteropError(f"{name}: names no version of the ONNX operators (opset_import)")
    convert = _Converter(name, Store(name, folder, max_bytes))
    graph = convert.graph(message["graph"], top=True)
    producer = message.get("producer_name", "")
    return Model(graph, domains[""], domains, producer, name, len(content))


def _content(source: str | Path | bytes) -> tuple[bytes, str, Path | None]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "the model", None
    path = Path(source)
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise InteropError(f"{path}: has {size} bytes; an ONNX file has at most {MAX_FILE}")
        return path.read_bytes(), str(path), path.parent
    except OSError as error:
        raise InteropError(f"{path}: cannot be read ({error.strerror})") from None


class _Converter:
    """Turns messages into nodes, values and arrays, naming the file in every error."""

    def __init__(self, source: str, store: Store) -> None:
        self.source = source
        self.store = store

    def graph(self, message: Message, *, top: bool = False) -> Graph:
        if message.get("sparse_initializer"):
            raise InteropError(f"{self.source}: sparse initializers are not supported")
        constants: dict[str, Array] = {}
        for tensor in message.get("initializer", []):
            name = tensor.get("name", "")
            if not name or name in constants:
                raise InteropError(f"{self.source}: the initializer {name!r} is there twice")
            constants[name] = self.store.array(tensor, f"initializer {name!r}")
        inputs = [entry for entry in message.get("input", []) if entry.get("name") not in constants]
        outputs = message.get("output", [])
        return Graph(
            tuple(self.node(entry) for entry in message.get("node", [])),
            tuple(self.value(entry, strict=top) for entry in inputs),
            tuple(entry.get("name", "") for entry in inputs),
            tuple(self.value(entry, strict=top) for entry in outputs),
            tuple(entry.get("name", "") for entry in outputs),
            constants,
        )

    def value(self, message: Message, *, strict: bool) -> Value | None:
        """Return the type of an input or output; inside a subgraph it may be left out."""
        name, kind = message.get("name", ""), message.get("type", {})
        if "tensor_type" not in kind:
            if strict or set(kind) - {"tensor_type"}:
                what = next(iter(kind), "no type").replace("_type", "")
                raise InteropError(f"{self.source}: {name!r} is not a tensor ({what})")
            return None
        tensor = kind["tensor_type"]
        number = tensor.get("elem_type", 0)
        if number not in DTYPES:
            if not strict and number == 0:
                return None
            raise InteropError(
                f"{self.source}: {name!r} has elements of type {number}, which is not supported"
            )
        if "shape" not in tensor:
            return Value(name, DTYPES[number], None)
        dims: list[int | str | None] = []
        for dim in tensor["shape"].get("dim", []):
            if dim.get("dim_value", 0) < 0:
                raise InteropError(f"{self.source}: {name!r} has a negative dimension")
            dims.append(dim.get("dim_value", dim.get("dim_param") or None))
        return Value(name, DTYPES[number], tuple(dims))

    def node(self, message: Message) -> Node:
        attributes: dict[str, Any] = {}
        node = Node(
            message.get("name", ""),
            message.get("op_type", ""),
            message.get("domain", "").replace("ai.onnx", "", 1)
            if message.get("domain") == "ai.onnx"
            else message.get("domain", ""),
            tuple(message.get("input", [])),
            tuple(message.get("output", [])),
            attributes,
        )
        for entry in message.get("attribute", []):
            name = entry.get("name", "")
            if name in attributes:
                raise InteropError(f"{self.source}: {node}: attribute {name!r} is there twice")
            attributes[name] = self.attribute(entry, f"{node}: attribute {name!r}")
        return node

    def attribute(self, message: Message, where: str) -> Any:
        # Files of the first version of the format leave the type out and have one value.
        kinds = [name for name in ATTRIBUTE_FIELDS.values() if name in message]
        kind = ATTRIBUTE_FIELDS.get(message.get("type", 0), kinds[0] if len(kinds) == 1 else "")
        if not kind or "ref_attr_name" in message:
            raise InteropError(f"{self.source}: {where}: its type is not supported")
        if kind == "t":
            return self.store.array(message.get("t", {}), where)
        if kind == "g":
            return self.graph(message.get("g", {}))
        if kind in ("floats", "ints"):
            return numbers(message.get(kind, []))
        if kind == "strings":
            return [self._text(value, where) for value in message.get(kind, [])]
        if kind == "s":
            return self._text(message.get(kind, b""), where)
        return message.get(kind, 0)

    def _text(self, value: memoryview | bytes, where: str) -> str:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise InteropError(f"{self.source}: {where}: is not UTF-8 text") from None


def numbers(parts: Sequence[Any]) -> list[Any]:
    """Return numbers and packed arrays of numbers as one list."""
    flat: list[Any] = []
    for part in parts:
        flat += part.tolist() if isinstance(part, np.ndarray) else [part]
    return flat
