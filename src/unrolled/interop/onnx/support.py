"""What is checked of every node before anything runs: operator, version, attributes, inputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from unrolled.errors import InteropError, did_you_mean
from unrolled.interop.onnx.ops.table import CONTROL, NEWEST_OPSET, OLDEST_OPSET, Op, find
from unrolled.interop.onnx.proto import Graph, Model, Node


def every_node(graph: Graph) -> Iterator[Node]:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.nodes:
        yield node
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from every_node(value)


def check_supported(model: Model) -> None:
    """Raise InteropError naming every operator of a model that is not supported, and where."""
    if not OLDEST_OPSET <= model.opset <= NEWEST_OPSET:
        raise InteropError(
            f"{model.source}: is written for version {model.opset} of the ONNX operators; "
            f"versions {OLDEST_OPSET} to {NEWEST_OPSET} are supported"
        )
    unknown: dict[str, list[Node]] = {}
    for node in every_node(model.graph):
        if node.domain or find(node.op_type) is None:
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            unknown.setdefault(name, []).append(node)
    if unknown:
        first = next(iter(unknown.values()))[0]
        names = ", ".join(f"{name} ({len(nodes)})" for name, nodes in sorted(unknown.items()))
        raise InteropError(
            f"{model.source}: {first}: this operator is not supported; "
            f"not supported in this model: {names}"
        )
    arities: dict[str, tuple[int, int]] = {}
    for node in every_node(model.graph):
        _check_node(model.source, node, arities)


def _check_node(source: str, node: Node, arities: dict[str, tuple[int, int]]) -> None:
    op = find(node.op_type)
    assert op is not None
    known = op.attributes.split()
    for name in node.attributes:
        if name not in known:
            near = did_you_mean(name, known)
            raise InteropError(f"{source}: {node}: the attribute {name!r} is not supported.{near}")
    if node.op_type not in arities:
        arities[node.op_type] = arity(op, 2 if node.op_type in CONTROL else 1)
    least, most = arities[node.op_type]
    count = len(node.inputs)
    if not least <= count <= most or not all(node.inputs[:least]):
        wanted = str(least) if least == most else f"{least} to {most}"
        raise InteropError(f"{source}: {node}: has {count} inputs, expected {wanted}")
    if not any(node.outputs):
        raise InteropError(f"{source}: {node}: has no outputs")


def arity(op: Op, told: int) -> tuple[int, int]:
    """Return how few and how many inputs an operator takes, by its function's signature.

    `told` counts the arguments before the inputs.
    """
    parameters = list(inspect.signature(op.run).parameters.values())[told:]
    least = sum(
        p.default is p.empty and p.kind is not inspect.Parameter.VAR_POSITIONAL for p in parameters
    )
    open_ended = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    return least, 1 << 16 if open_ended else len(parameters)
