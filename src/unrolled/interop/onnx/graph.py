"""Writing an ONNX graph a node at a time, by `onnx.helper`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled import __version__
from unrolled.errors import InteropError

Array = NDArray[Any]
Kind = Literal["float", "double", "integer", "truth"]

# Old enough for ONNX Runtime 1.13 and newer, and for OpenVINO.
OPSET, IR_VERSION = 17, 8


class GraphBuilder:
    """Collects nodes and constants; `op` adds a node and returns the name of its first output.

    Weights are written in float32, numbers in the units of a user's data in float64. Raises
    InteropError where the package onnx is not installed.
    """

    def __init__(self, name: str, prefix: str = "") -> None:
        try:
            self._helper = import_module("onnx.helper")
            self._numpy = import_module("onnx.numpy_helper")
            self._types = import_module("onnx").TensorProto
        except ImportError:
            raise InteropError(
                "export to ONNX needs the package onnx: pip install 'unrolled[onnx]'"
            ) from None
        self.name, self.prefix = name, prefix
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._count = 0

    def input(self, name: str, shape: list[int | str], kind: Kind = "float") -> str:
        """Add an input; a dimension that is a name may have any size."""
        self.inputs.append(self._value(name, kind, shape))
        return name

    def output(self, name: str, value: str, shape: list[int | str], kind: Kind = "float") -> None:
        """Give `value` out under `name`."""
        self._nodes.append(self._helper.make_node("Identity", [value], [name]))
        self.outputs.append(self._value(name, kind, shape))

    def constant(self, value: Any, name: str = "", *, double: bool = False) -> str:
        """Add a constant: float32, or float64, for numbers with a fraction, int64 for whole."""
        array = np.asarray(value)
        fraction = np.float64 if double else np.float32
        array = array.astype(fraction if double or array.dtype.kind == "f" else np.int64)
        name = name or self._new("k")
        self._constants.append(self._numpy.from_array(np.asarray(array, order="C"), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node and return its first `count` outputs."""
        made = [self._new(kind.lower()) for _ in range(count)]
        self._nodes.append(self._helper.make_node(kind, list(inputs), made, **attributes))
        return made

    def scan(
        self,
        states: list[tuple[str, Kind]],
        scanned: list[tuple[str, Kind]],
        made: list[Kind],
        body: Callable[[GraphBuilder, list[str]], list[str]],
        *,
        backwards: bool = False,
    ) -> list[str]:
        """Run `body` over the first dimension of `scanned`, carrying `states`.

        `body` gets a builder and the names of the states and of one slice of each scanned value;
        it returns the new states and what it `made`, which is stacked. Returns the last states and
        the stacks; `backwards` goes from the last slice to the first.
        """
        inner = GraphBuilder("body", f"{self._new('scan')}.")
        given = [inner._new("in") for _ in (*states, *scanned)]
        kinds = [kind for _, kind in states] + made
        found = body(inner, given)
        names = [inner.op("Identity", value) for value in found]
        graph = self._helper.make_graph(
            inner._nodes,
            "body",
            [
                inner._value(n, kind, None)
                for n, (_, kind) in zip(given, states + scanned, strict=True)
            ],
            [inner._value(n, kind, None) for n, kind in zip(names, kinds, strict=True)],
            inner._constants,
        )
        ways = {
            "scan_input_directions": [int(backwards)] * len(scanned),
            "scan_output_directions": [int(backwards)] * len(made),
        }
        wires = [value for value, _ in states + scanned]
        return self.ops(
            "Scan", len(kinds), *wires, body=graph, num_scan_inputs=len(scanned), **ways
        )

    def _value(self, name: str, kind: Kind, shape: list[int | str] | None) -> Any:
        numbers = {
            "float": self._types.FLOAT,
            "double": self._types.DOUBLE,
            "integer": self._types.INT64,
            "truth": self._types.BOOL,
        }
        return self._helper.make_tensor_value_info(name, numbers[kind], shape)

    def integers(self, value: str) -> str:
        """Return whole numbers as int32, which recurrent nodes read lengths in."""
        return self.op("Cast", value, to=self._types.INT32)

    def floats(self, value: str) -> str:
        """Return numbers as float32."""
        return self.op("Cast", value, to=self._types.FLOAT)

    def doubles(self, value: str) -> str:
        """Return numbers as float64."""
        return self.op("Cast", value, to=self._types.DOUBLE)

    def whole(self, value: str) -> str:
        """Return numbers as int64."""
        return self.op("Cast", value, to=self._types.INT64)

    def linear(self, x: str, weight: Array, bias: Array | None) -> str:
        """X W^T + b over the last axis."""
        y = self.op("MatMul", x, self.constant(weight.T))
        return y if bias is None else self.op("Add", y, self.constant(bias))

    def finish(self, metadata: dict[str, str]) -> bytes:
        """Return the file's bytes, checked by the onnx package."""
        body = self._helper.make_graph(
            self._nodes, self.name, self.inputs, self.outputs, self._constants
        )
        model = self._helper.make_model(
            body,
            opset_imports=[self._helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="unrolled",
            producer_version=__version__,
        )
        self._helper.set_model_props(model, metadata)
        import_module("onnx.checker").check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content

    def _new(self, stem: str) -> str:
        self._count += 1
        return f"{self.prefix}{stem}_{self._count}"
