"""A plan made fast for one set of input shapes: a flat list of calls over arrays made beforehand.

Where every shape is known, so is every array. Each value gets its array once; what only arranges
elements (Reshape, Transpose, Slice ...) becomes a view of it and costs nothing; what depends on
shapes and constants alone is computed here; of an If, only the branch taken is left. What remains
are calls without arguments, such as `np.add(a, b, out)` with all three bound.

`plan.Run` is the plain twin: it takes every graph, and a test holds both together.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.interop.onnx.emit import PARAMETERS, Thunk, emit
from unrolled.interop.onnx.ops.call import Array, scalar
from unrolled.interop.onnx.plan import OPERATOR_ERRORS, Plan, Source, Step, failed
from unrolled.interop.onnx.proto import Node

# A larger graph spends its time in the operators themselves, where a program gains nothing.
MAX_PROGRAM_BYTES = 4 << 20
# What depends on the shape of its input, never on its elements.
SHAPE_ONLY = ("Shape", "Size")


class UnfitError(Exception):
    """The plan's shapes depend on its values, or it holds too much: it has no program."""


@dataclass(frozen=True, eq=False)
class Slot:
    """The array of a value, and whether it is the same in every run."""

    array: Array
    static: bool


class Program:
    """The calls of one run, in their order. Runs write the same arrays: one run at a time."""

    def __init__(
        self, plan: Plan, values: Mapping[str, Array], fixed: Sequence[str], limit: int
    ) -> None:
        """Make the program of a plan for inputs of the shapes of `values`.

        Inputs named in `fixed` keep their values. Raises UnfitError where there is no program, or
        one that holds more than `limit` bytes.
        """
        self.source = plan.source
        self._thunks: list[Thunk] = []
        self._nodes: list[Node] = []
        self._left = min(limit, MAX_PROGRAM_BYTES)
        slots = {
            name: Slot(np.array(value, order="C"), name in fixed) for name, value in values.items()
        }
        self._inputs = [(name, s.array) for name, s in slots.items() if not s.static]
        for slot in slots.values():
            self._hold(slot.array)
        self._outputs = [slot.array for slot in self._plan(plan, slots)]

    def run(self, values: Mapping[str, Array]) -> list[Array]:
        """Return the plan's outputs, as arrays of their own, for inputs of the program's shapes."""
        for name, array in self._inputs:
            np.copyto(array, values[name])
        left = iter(self._thunks)
        try:
            for thunk in left:
                thunk()
        except OPERATOR_ERRORS as error:
            place = len(self._thunks) - operator.length_hint(left) - 1
            raise failed(self.source, self._nodes[place], error) from error
        return [array.copy() for array in self._outputs]

    def _hold(self, array: Array) -> None:
        self._left -= array.nbytes
        if self._left < 0:
            raise UnfitError

    def _plan(self, plan: Plan, slots: dict[str, Slot]) -> list[Slot]:
        for step in plan.steps:
            given = [None if each is None else _slot(slots, each) for each in step.inputs]
            for name, slot in zip(step.outputs, self._step(step, given, slots), strict=False):
                if name:
                    slots[name] = slot
        return [_slot(slots, each) for each in plan.outputs if each is not None]

    def _step(
        self, step: Step, given: Sequence[Slot | None], slots: dict[str, Slot]
    ) -> Sequence[Slot]:
        call, kind = step.call, step.call.node.op_type
        if step.bodies:
            if kind != "If" or given[0] is None or not given[0].static:
                raise UnfitError
            branch = "then_branch" if scalar(given[0].array) else "else_branch"
            return self._plan(step.bodies[branch], dict(slots))
        if any(
            slot is not None and not slot.static
            for slot in (given[k] for k in PARAMETERS.get(kind, ()) if k < len(given))
        ):
            raise UnfitError
        arrays = [None if slot is None else slot.array for slot in given]
        try:
            made = step.op.run(call, *arrays)
        except OPERATOR_ERRORS as error:
            raise failed(self.source, call.node, error) from error
        found = [np.asarray(each) for each in (made if isinstance(made, tuple) else (made,))]
        if kind in SHAPE_ONLY or all(slot is None or slot.static for slot in given):
            return [Slot(each, static=True) for each in found]
        still = [slot is None or slot.static for slot in given]
        thunks, outputs = emit(step, arrays, still, found[: len(step.outputs)])
        for array in outputs if thunks else ():
            self._hold(array)
        # What follows is made on real values: an index is then one that is there.
        for thunk in thunks:
            thunk()
        self._thunks += thunks
        self._nodes += [call.node] * len(thunks)
        return [Slot(array, static=False) for array in outputs]


def _slot(slots: Mapping[str, Slot], source: Array | str) -> Slot:
    return slots[source] if isinstance(source, str) else Slot(source, static=True)


def deciding(plan: Plan) -> frozenset[str]:
    """Return the values on whose elements, beside their shapes, other shapes or branches depend."""
    steps = list(plan.every_step())
    wanted: set[str] = set()
    for step in steps:
        kind = step.call.node.op_type
        places = (0,) if kind == "If" else PARAMETERS.get(kind, ())
        wanted |= _names(step.inputs[k] for k in places if k < len(step.inputs))
    makers = {name: step for step in steps for name in step.outputs if name}
    left = list(wanted)
    while left:
        maker = makers.get(left.pop())
        if maker is None or maker.call.node.op_type in SHAPE_ONLY:
            continue
        reads = _names(maker.inputs) | set(maker.captured)
        reads |= set().union(*(_names(body.outputs) for body in maker.bodies.values()))
        left += reads - wanted
        wanted |= reads
    return frozenset(wanted)


def _names(sources: Iterable[Source]) -> set[str]:
    return {each for each in sources if isinstance(each, str)}
