"""A graph made ready to run: constants folded, what no output needs left out, and its execution.

Constants are bound to the nodes that read them. A value is let go after the last node that reads
it. Graphs inside nodes (If, Loop, Scan) are plans of their own, that read the values around them by
name.
"""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from unrolled.errors import InteropError
from unrolled.interop.onnx.ops.call import Array, Call
from unrolled.interop.onnx.ops.table import CONTROL, Op, find
from unrolled.interop.onnx.proto import Graph, Model, Node, Value

# A constant, the name of a value, or nothing given.
Source: TypeAlias = Array | str | None
# What is known of each name: the array of a constant, None of what is computed.
Known: TypeAlias = "ChainMap[str, Array | None]"

MAX_ROUNDS = 1_000_000
# Folding may read and write so many times the file's size, and so much more.
FOLD_TIMES, FOLD_MORE = 8, 64 << 20
# What numpy raises for input that an operator cannot take.
OPERATOR_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, eq=False)
class Step:
    """A node ready to run. `frees` are the values that nothing after it reads."""

    call: Call
    op: Op
    inputs: tuple[Source, ...]
    outputs: tuple[str, ...]
    bodies: dict[str, Plan]
    captured: tuple[str, ...]
    frees: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps in their order, what they are given and what they give."""

    source: str
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Source, ...]
    captured: tuple[str, ...]
    values: tuple[Value | None, ...] = field(repr=False)

    def every_step(self) -> Iterable[Step]:
        """Yield the steps of this plan and of those inside it."""
        for step in self.steps:
            yield step
            for body in step.bodies.values():
                yield from body.every_step()


def build(model: Model, limit: int) -> Plan:
    """Return the plan of a model; raises InteropError where its graph does not hold together."""
    with np.errstate(all="ignore"):
        return _Builder(model, limit).plan(model.graph, ChainMap({}))


class _Builder:
    def __init__(self, model: Model, limit: int) -> None:
        self.source, self.opset, self.limit = model.source, model.opset, limit
        self.fold_left = FOLD_TIMES * model.size + FOLD_MORE

    def plan(self, graph: Graph, outer: Known) -> Plan:
        known: Known = outer.new_child(dict(graph.constants))
        local: set[str] = set()
        for name in graph.input_names:
            if not name or name in local:
                raise InteropError(f"{self.source}: the input {name!r} is there twice")
            known[name] = None
            local.add(name)
        steps: list[Step] = []
        for place, node in enumerate(graph.nodes):
            step = self.step(graph, place, node, known)
            for name in filter(None, node.outputs):
                if name in known.maps[0]:
                    raise InteropError(f"{self.source}: {node}: {name!r} is already there")
                known[name] = None
            folded = self.fold(step)
            if folded is None:
                steps.append(step)
                local.update(filter(None, node.outputs))
            else:
                known.update(
                    {name: value for name, value in zip(node.outputs, folded) if name}  # noqa: B905
                )
        for name in graph.output_names:
            if name not in known:
                raise InteropError(f"{self.source}: nothing makes the output {name!r}")
        outputs = tuple(_source(known, name) for name in graph.output_names)
        kept, captured = _alive(steps, outputs, local)
        return Plan(self.source, kept, graph.input_names, outputs, captured, graph.outputs)

    def step(self, graph: Graph, place: int, node: Node, known: Known) -> Step:
        for name in node.inputs:
            if name and name not in known:
                later = any(name in other.outputs for other in graph.nodes[place:])
                raise InteropError(
                    f"{self.source}: {node}: reads {name!r}, which "
                    + (
                        "is made by it or after it: the graph has a cycle or is out of order"
                        if later
                        else "nothing makes"
                    )
                )
        op = find(node.op_type)
        assert op is not None
        inputs = [_source(known, name) if name else None for name in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        bodies = {
            name: self.plan(value, known)
            for name, value in node.attributes.items()
            if isinstance(value, Graph)
        }
        for name in op.attributes.split() if node.op_type in CONTROL else ():
            if name in ("body", "then_branch", "else_branch") and name not in bodies:
                raise InteropError(f"{self.source}: {node}: has no graph {name!r}")
        call = Call(node, self.opset, self.limit)
        if op.prepare is not None:
            given = ["" if each is None else each for each in inputs]
            try:
                call = Call(node, self.opset, self.limit, op.prepare(call, given))
            except OPERATOR_ERRORS as error:
                raise failed(self.source, node, error) from error
        captured = {name for body in bodies.values() for name in body.captured}
        return Step(call, op, tuple(inputs), node.outputs, bodies, tuple(sorted(captured)))

    def fold(self, step: Step) -> tuple[Array, ...] | None:
        """Return a node's outputs where they are constants, or None.

        What cannot be computed here is left for the run, whose error then says why.
        """
        if not step.op.cheap or any(isinstance(each, str) for each in step.inputs):
            return None
        read = sum(each.nbytes for each in step.inputs if isinstance(each, np.ndarray))
        if read > self.fold_left:
            return None
        call = Call(step.call.node, self.opset, min(self.limit, self.fold_left))
        try:
            made = _tuple(step.op.run(call, *step.inputs))
        except OPERATOR_ERRORS:
            return None
        if len(made) < len(step.outputs):
            return None
        self.fold_left -= read + sum(each.nbytes for each in made)
        for each in made:
            each.flags.writeable = False
        return made


def _source(known: Known, name: str) -> Source:
    constant = known[name]
    return name if constant is None else constant


def _alive(
    steps: list[Step], outputs: tuple[Source, ...], local: set[str]
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return the steps that an output needs, and the names that they read from around the graph."""
    needed = {name for name in outputs if isinstance(name, str)}
    kept: list[Step] = []
    for step in reversed(steps):
        made = tuple(name if name in needed else "" for name in step.outputs)
        if not any(made):
            continue
        reads = {*step.captured, *(name for name in step.inputs if isinstance(name, str))}
        frees = tuple(sorted(name for name in reads if name in local and name not in needed))
        needed |= reads
        kept.append(Step(step.call, step.op, step.inputs, made, step.bodies, step.captured, frees))
    return tuple(reversed(kept)), tuple(sorted(needed - local))


def _tuple(made: Any) -> tuple[Array, ...]:
    return tuple(map(np.asarray, made)) if isinstance(made, tuple) else (np.asarray(made),)


def failed(source: str, node: Node, error: Exception) -> InteropError:
    """Return what an operator raised as an error that names the file and the node."""
    text = str(error).strip("'\"\n") or type(error).__name__
    return InteropError(f"{source}: {node}: {text}")


class Run:
    """One run of a plan, which counts the bytes that are held and the rounds of loops."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.rounds = 0

    def plan(self, plan: Plan, values: dict[str, Array]) -> list[Array]:
        """Return the outputs of a plan over the values of its inputs and of what it captures."""
        for step in plan.steps:
            inputs = [values[each] if isinstance(each, str) else each for each in step.inputs]
            try:
                if step.bodies:
                    body = functools.partial(self._body, step, values)
                    made = _tuple(step.op.run(step.call, body, *inputs))
                else:
                    made = _tuple(step.op.run(step.call, *inputs))
                if len(made) < len(step.outputs):
                    raise ValueError(
                        f"gives {len(made)} outputs, {len(step.outputs)} are asked for"
                    )
            except OPERATOR_ERRORS as error:
                raise failed(plan.source, step.call.node, error) from error
            for name, value in zip(step.outputs, made, strict=False):
                if name:
                    values[name] = value
                    self.held += _bytes(value)
            for name in step.frees:
                self.held -= _bytes(values.pop(name))
            if self.held > self.limit:
                raise InteropError(
                    f"{plan.source}: {step.call.node}: the values of this run take more than "
                    f"{self.limit} bytes; give a larger max_bytes if they are meant to"
                )
        return [values[each] if isinstance(each, str) else _given(each) for each in plan.outputs]

    def _body(
        self, step: Step, values: dict[str, Array], name: str, inputs: Sequence[Array]
    ) -> list[Array]:
        body = step.bodies[name]
        if len(inputs) != len(body.inputs):
            raise ValueError(f"its graph has {len(body.inputs)} inputs, expected {len(inputs)}")
        self.rounds += 1
        if self.rounds > MAX_ROUNDS:
            raise ValueError(f"its loops ran for more than {MAX_ROUNDS} rounds")
        inner = {each: values[each] for each in body.captured}
        inner.update(zip(body.inputs, inputs, strict=True))
        held = self.held
        made = self.plan(body, inner)
        self.held = held
        return made


def _bytes(value: Array) -> int:
    """Return what a value keeps alive: the whole array that it is a part of."""
    return value.nbytes if value.base is None else getattr(value.base, "nbytes", value.nbytes)


def _given(value: Array | None) -> Array:
    assert value is not None
    return value
