"""An ONNX model ready to run without a framework: recurrent layers native, the rest in numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import InteropError, did_you_mean
from unrolled.interop.onnx import plan as plans
from unrolled.interop.onnx import program as programs
from unrolled.interop.onnx.ops.recurrent_node import Prepared
from unrolled.interop.onnx.parity import Parity, compare
from unrolled.interop.onnx.program import Program, UnfitError
from unrolled.interop.onnx.proto import Model, Value, read_model
from unrolled.interop.onnx.support import check_supported
from unrolled.runtime.recurrent import Recurrent

Array = NDArray[Any]

MAX_BYTES = 4 << 30
# Shapes that a model remembers, and the most bytes of a key beside them.
MAX_PROGRAMS, MAX_KEY_BYTES = 8, 512
# What stands in a program's place: met once, or not to be had.
SEEN, UNFIT = "seen", "unfit"
# The inputs' shapes, and the elements of those that decide which way the graph goes.
Key: TypeAlias = tuple[Any, ...]


class OnnxModel:
    """A graph of supported operators. `inputs` and `outputs` say what it reads and gives.

    From the second run with inputs of the same shapes on, a program made for these shapes runs in
    the plan's place: see `interop.onnx.program`. A model keeps at most 8 of them, of at most 4 MiB
    each, and nothing else between runs.
    """

    def __init__(self, model: Model, content: str | bytes, max_bytes: int) -> None:
        check_supported(model)
        self.source = model.source
        self.opset = model.opset
        self.producer = model.producer
        self.graph = model.graph
        self.inputs: tuple[Value, ...] = tuple(v for v in model.graph.inputs if v is not None)
        self.outputs: tuple[Value, ...] = tuple(v for v in model.graph.outputs if v is not None)
        self.max_bytes = max_bytes
        self.content = content
        self._plan = plans.build(model, max_bytes)
        self._names = [value.name for value in self.outputs]
        deciding = programs.deciding(self._plan)
        self._deciding = [
            value.name
            for value in self.inputs
            if value.name in deciding and value.dtype.kind in "iub"
        ]
        self._programs: dict[Key, Program | str] = {}

    def steps(self) -> Iterable[plans.Step]:
        """Yield the nodes that a run may come to, those inside other nodes too."""
        return self._plan.every_step()

    @property
    def recurrent(self) -> dict[str, Recurrent]:
        """The recurrent layers whose weights are constants, by their node's name or first output.

        A reverse layer reads its input from the end, as its node does with the input turned about.
        """
        found: dict[str, Recurrent] = {}
        for step in self.steps():
            prepared = step.call.prepared
            if isinstance(prepared, Prepared) and prepared.engine is not None:
                node = step.call.node
                found[node.name or next(filter(None, node.outputs))] = prepared.engine
        return found

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Return every output by its name, as arrays of its own.

        Raises InteropError where an input is missing, unknown, or of another type or shape than
        the model says, and where a node cannot take what reaches it.
        """
        given: Mapping[str, Any] = inputs
        shapes = self._shapes(given)
        if shapes is None:
            given = self._feeds(inputs)
            shapes = tuple(array.shape for array in given.values())
        key = (shapes, *(np.asarray(given[name]).tobytes() for name in self._deciding))
        # Taken out while it runs: another thread that comes meanwhile goes through the plan.
        program = self._programs.pop(key, None)
        if isinstance(program, Program):
            try:
                with np.errstate(all="ignore"):
                    made = program.run(given)
            finally:
                self._keep(key, program)
            return dict(zip(self._names, made, strict=True))
        values = self._feeds(given)
        found = self._interpreted(values)
        if sum(values[name].nbytes for name in self._deciding) <= MAX_KEY_BYTES:
            self._keep(key, self._program(values) if program == SEEN else program or SEEN)
        return found

    def interpret(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Return what `run` does, node by node: the plain twin that its programs are held to."""
        return self._interpreted(self._feeds(inputs))

    def _interpreted(self, values: dict[str, Array]) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            made = plans.Run(self.max_bytes).plan(self._plan, dict(values))
        found: dict[str, Array] = {}
        for value, array in zip(self.outputs, made, strict=True):
            if array.dtype != value.dtype:
                raise InteropError(
                    f"{self.source}: the output {value.name!r} is {array.dtype}, "
                    f"but the model says {value.dtype}"
                )
            found[value.name] = array.copy() if array.base is not None or _frozen(array) else array
        given = [id(array) for array in values.values()]
        return {k: v.copy() if id(v) in given else v for k, v in found.items()}

    def _shapes(self, inputs: Mapping[str, ArrayLike]) -> tuple[tuple[int, ...], ...] | None:
        """Return the inputs' shapes, or None where they are not the arrays that the model says."""
        if len(inputs) != len(self.inputs):
            return None
        shapes = []
        for value in self.inputs:
            array = inputs.get(value.name)
            if type(array) is not np.ndarray or array.dtype != value.dtype:
                return None
            shapes.append(array.shape)
        return tuple(shapes)

    def _program(self, values: dict[str, Array]) -> Program | str:
        try:
            with np.errstate(all="ignore"):
                return Program(self._plan, values, self._deciding, self.max_bytes)
        except UnfitError:
            return UNFIT

    def _keep(self, key: Key, program: Program | str) -> None:
        for oldest in list(self._programs)[: max(0, len(self._programs) - MAX_PROGRAMS + 1)]:
            self._programs.pop(oldest, None)
        self._programs[key] = program

    def check(self, inputs: Mapping[str, ArrayLike] | None = None, *, seed: int = 0) -> Parity:
        """Compare with ONNX Runtime on `inputs`, or on random ones; says so where it cannot.

        Random numbers are normal, whole numbers are 1, and a dimension that is left open has 1 to 5
        elements.
        """
        return compare(self, inputs, seed)

    def _feeds(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        known = [value.name for value in self.inputs]
        for name in inputs:
            if name in self.graph.constants:
                raise InteropError(f"{self.source}: {name!r} is a constant of the model")
            if name not in known:
                near = did_you_mean(name, known)
                raise InteropError(
                    f"{self.source}: there is no input {name!r}.{near} Inputs: {', '.join(known)}"
                )
        values: dict[str, Array] = {}
        for value in self.inputs:
            if value.name not in inputs:
                raise InteropError(f"{self.source}: the input {value} is missing")
            values[value.name] = _feed(self.source, value, inputs[value.name])
        return values


def _frozen(array: Array) -> bool:
    return not array.flags.writeable


def _feed(source: str, value: Value, given: ArrayLike) -> Array:
    """Return an input in the model's type; raises InteropError where it does not fit."""
    try:
        array = np.asarray(given)
    except (ValueError, TypeError) as error:
        raise InteropError(f"{source}: the input {value.name!r} is no array ({error})") from None
    if array.dtype != value.dtype:
        if not np.can_cast(array.dtype, value.dtype, "same_kind"):
            raise InteropError(
                f"{source}: the input {value.name!r} is {array.dtype}, expected {value.dtype}"
            )
        cast = array.astype(value.dtype)
        if array.dtype.kind in "iu" and value.dtype.kind in "iu" and (cast != array).any():
            raise InteropError(
                f"{source}: the input {value.name!r} holds numbers too large for {value.dtype}"
            )
        array = cast
    shape = value.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(isinstance(a, int) and a != b for a, b in zip(shape, array.shape, strict=True))
    ):
        raise InteropError(
            f"{source}: the input {value.name!r} has shape {list(array.shape)}, expected {value}"
        )
    return array


def load(
    source: str | Path | bytes, *, check: bool = False, max_bytes: int = MAX_BYTES
) -> OnnxModel:
    """Read an ONNX model, from its file or its bytes, and make it ready to run.

    `max_bytes` bounds the tensors of the file, and the values that one run holds at a time. With
    `check` the model is compared with ONNX Runtime on random inputs; a difference is an error, and
    a warning says where the package is not installed.

    Raises InteropError naming the file and the node where the file is damaged or uses something
    that is not supported, before anything runs.
    """
    model = read_model(source, max_bytes=max_bytes)
    content = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else str(source)
    loaded = OnnxModel(model, content, max_bytes)
    if check:
        loaded.check().insist()
    return loaded
