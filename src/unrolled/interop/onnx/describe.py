"""What an ONNX file holds, as text: inputs, outputs, operators and recurrent layers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from unrolled.interop.onnx.model import OnnxModel, load
from unrolled.interop.onnx.ops.recurrent_node import Prepared
from unrolled.interop.onnx.proto import Node
from unrolled.interop.onnx.support import every_node


def describe(source: str | Path | bytes) -> str:
    """Return the inputs, outputs, nodes and recurrent layers of a model, some lines of text.

    Raises InteropError as `load` does: a model that is described is one that runs.
    """
    model = load(source)
    nodes = list(every_node(model.graph))
    counts = Counter(node.op_type for node in nodes)
    producer = f", written by {model.producer}" if model.producer else ""
    rows = [("inputs", str(value)) for value in model.inputs]
    rows += [("outputs", str(value)) for value in model.outputs]
    rows += [("recurrent", line) for line in recurrent_lines(model)] or [("recurrent", "none")]
    rows += [("nodes", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))]
    lines = [f"{model.source}: ONNX, operators of version {model.opset}{producer}"]
    before = ""
    for label, text in rows:
        lines.append(f"{label if label != before else '':<11}{text}")
        before = label
    return "\n".join(lines)


def recurrent_lines(model: OnnxModel) -> list[str]:
    """Return a line for each recurrent node in use: cell, direction, sizes."""
    found = []
    for step in model.steps():
        prepared = step.call.prepared
        if not isinstance(prepared, Prepared):
            continue
        cell, weights = prepared.cell, prepared.weights
        sizes = "weights computed at run time"
        if weights is not None:
            sizes = f"I={weights.W.shape[2]} H={weights.R.shape[2]}"
        found.append(f"{layer_name(step.call.node)}: {cell.op} {cell.direction}, {sizes}")
    return found


def layer_name(node: Node) -> str:
    """Return what a node is called: its own name, else its first output's."""
    return node.name or next(filter(None, node.outputs))
