"""Recurrent stacks and attention as ONNX nodes; each does what its twin in `unrolled.runtime` does.

Shapes: x and y are [N, T, ...] outside the nodes and [T, N, ...] for them; states are [D, N, H].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.interop.onnx.export_projected import projected_layer
from unrolled.interop.onnx.graph import Array, GraphBuilder
from unrolled.runtime.attention import Attention
from unrolled.runtime.recurrent import Recurrent
from unrolled.shapes import suffixes
from unrolled.spec import RecurrentSpec

OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
# Where ONNX's gate k stands in torch's order: LSTM i o f c of i f g o, GRU z r h of r z n.
GATE_ORDER = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


class Ends(NamedTuple):
    """Lengths [N] as they were given, and as the recurrent nodes read them."""

    given: str
    read: str


def ends_of(g: GraphBuilder, lengths: str) -> Ends:
    """Return the lengths [N] (int64) of a graph in both types."""
    return Ends(lengths, g.integers(lengths))


def stack(
    g: GraphBuilder,
    layer: Recurrent,
    x: str,
    ends: Ends | None,
    first: list[tuple[str, ...]] | None,
    *,
    name: str = "recurrent",
) -> tuple[str, list[tuple[str, ...]]]:
    """Add a stack over x [N, T, I]; return y [N, T, out] and each layer's last states.

    `first` are the states to begin with, (h,) or (h, c) [D, N, H] a layer; without it they are zero
    or learned.
    """
    spec = layer.spec
    values = g.op("Transpose", x, perm=[1, 0, 2])
    last: list[tuple[str, ...]] = []
    for k in range(spec.num_layers):
        begin = first[k] if first is not None else _learned(g, layer, k, x)
        if spec.proj_size:
            lengths = "" if ends is None else ends.given
            made = projected_layer(g, layer, k, values, lengths, begin, name)
        else:
            made = _node(g, layer, k, values, ends, begin, name)
        y = _merge(g, spec, made[0])
        values = g.op("Add", y, values) if spec.residual and k else y
        last.append(tuple(made[1:]))
    return g.op("Transpose", values, perm=[1, 0, 2]), last


def _node(
    g: GraphBuilder,
    layer: Recurrent,
    k: int,
    x: str,
    ends: Ends | None,
    first: tuple[str, ...],
    name: str,
) -> list[str]:
    """Add the node of layer k over x [T, N, I]; return Y [T, D, N, H] and its last states."""
    spec = layer.spec
    parts = list(suffixes(spec, k))

    def weight(kind: str) -> Array:
        return np.stack([gates(spec, layer.weights[kind + suffix]) for suffix in parts])

    wires = [x]
    for label, kind in (("W", "weight_ih"), ("R", "weight_hh")):
        wires.append(g.constant(weight(kind), f"{name}.{label}{k}"))
    wires.append("")
    if spec.bias:
        both = np.concatenate([weight("bias_ih"), weight("bias_hh")], axis=1)
        wires[-1] = g.constant(both, f"{name}.B{k}")
    wires += ["" if ends is None else ends.read, *first]
    attributes: dict[str, object] = {"hidden_size": spec.hidden_sizes[k]}
    if spec.bidirectional:
        attributes["direction"] = "bidirectional"
    if spec.cell == "gru":
        attributes["linear_before_reset"] = int(spec.reset == "after")
    if spec.cell == "rnn":
        attributes["activations"] = [spec.nonlinearity.capitalize()] * spec.num_directions
    states = 2 if spec.cell == "lstm" else 1
    made = g.ops(OPERATORS[spec.cell], 1 + states, *wires, **attributes)
    if ends is not None and first:
        # A row of length 0 keeps its state here; ONNX Runtime would return zero.
        empty = g.op("Equal", ends.given, g.constant(0))
        empty = g.op("Unsqueeze", empty, g.constant([1]))
        made[1:] = [g.op("Where", empty, a, b) for a, b in zip(first, made[1:], strict=True)]
    return made


def gates(spec: RecurrentSpec, weight: Array) -> Array:
    """Return a weight or bias with its gates in ONNX's order."""
    blocks = np.split(weight, spec.gates)
    return np.concatenate([blocks[k] for k in GATE_ORDER[spec.cell]])


def _learned(g: GraphBuilder, layer: Recurrent, k: int, x: str) -> tuple[str, ...]:
    """Return layer k's learned first states spread over the rows of x, or nothing."""
    spec = layer.spec
    if spec.initial_state != "learned":
        return ()
    rows = g.op("Slice", g.op("Shape", x), g.constant([0]), g.constant([1]))
    found = []
    for kind in ("h0", "c0") if spec.cell == "lstm" else ("h0",):
        states = np.stack([layer.weights[kind + suffix] for suffix in suffixes(spec, k)])
        shape = g.op(
            "Concat", g.constant([states.shape[0]]), rows, g.constant([states.shape[1]]), axis=0
        )
        found.append(g.op("Expand", g.constant(states[:, None]), shape))
    return tuple(found)


def _merge(g: GraphBuilder, spec: RecurrentSpec, y: str) -> str:
    """Return Y [T, D, N, H] with its directions merged, [T, N, out]."""
    if not spec.bidirectional:
        return g.op("Squeeze", y, g.constant([1]))
    if spec.merge == "concat":
        turned = g.op("Transpose", y, perm=[0, 2, 1, 3])
        return g.op("Reshape", turned, g.constant([0, 0, -1]))
    return _combine(g, spec, y, 1)


def _combine(g: GraphBuilder, spec: RecurrentSpec, y: str, axis: int) -> str:
    if spec.merge == "mul":
        return g.op("ReduceProd", y, axes=[axis], keepdims=0)
    if spec.merge == "mean":
        return g.op("ReduceMean", y, axes=[axis], keepdims=0)
    return g.op("ReduceSum", y, g.constant([axis]), keepdims=0)


def merged_state(g: GraphBuilder, spec: RecurrentSpec, h: str) -> str:
    """Return last states [D, N, H] merged as outputs are, [N, out]."""
    if not spec.bidirectional:
        return g.op("Squeeze", h, g.constant([0]))
    return joined_state(g, h) if spec.merge == "concat" else _combine(g, spec, h, 0)


def joined_state(g: GraphBuilder, h: str) -> str:
    """Return last states [D, N, H] side by side, [N, D*H]."""
    return g.op("Reshape", g.op("Transpose", h, perm=[1, 0, 2]), g.constant([0, -1]))


def past_mask(g: GraphBuilder, values: str, lengths: str) -> str:
    """Return [N, S], true behind each row's length, for values [N, S, ...]."""
    steps = g.op("Gather", g.op("Shape", values), g.constant(1))
    places = g.op("Range", g.constant(0), steps, g.constant(1))
    return g.op("GreaterOrEqual", places, g.op("Unsqueeze", lengths, g.constant([1])))


def attention_keys(g: GraphBuilder, attention: Attention, memory: str) -> str:
    """Return the keys [N, S, A or Q] of a memory [N, S, M]."""
    if attention.key is None:
        return memory
    return g.linear(memory, attention.key.T, attention.bias)


def attend(
    g: GraphBuilder, attention: Attention, query: str, memory: str, keys: str, past: str
) -> tuple[str, str]:
    """Return context [N, M] and weights [N, S] of queries [N, Q]; `past` [N, S] is left out."""
    if attention.query is None or attention.score is None:
        column = g.op("Unsqueeze", query, g.constant([2]))
        scores = g.op("Squeeze", g.op("MatMul", keys, column), g.constant([2]))
    else:
        asked = g.op("MatMul", query, g.constant(attention.query))
        hidden = g.op("Tanh", g.op("Add", g.op("Unsqueeze", asked, g.constant([1])), keys))
        scores = g.op("MatMul", hidden, g.constant(attention.score))
    scores = g.op("Where", past, g.constant(-np.inf), scores)
    weights = g.op("Softmax", scores, axis=-1)
    row = g.op("Unsqueeze", weights, g.constant([1]))
    context = g.op("Squeeze", g.op("MatMul", row, memory), g.constant([1]))
    return context, weights
