"""Recurrent stacks, classifiers, regressors and generators as ONNX graphs: one file each."""

from __future__ import annotations

import numpy as np

from unrolled.interop.onnx.export_layers import (
    attend,
    attention_keys,
    ends_of,
    merged_state,
    past_mask,
    stack,
)
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.runtime.generator import GeneratorNetwork
from unrolled.runtime.heads import ClassifierNetwork, PooledNetwork, Reader, RegressorNetwork
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.weights import Linear
from unrolled.spec import RecurrentSpec

# How the dimensions that may have any size are called in the files.
N, T = "rows", "steps"


def _state_sizes(spec: RecurrentSpec) -> dict[str, list[int]]:
    """Return the width of each layer's h, and of its c."""
    sizes = {"h": [spec.state_size(k) for k in range(spec.num_layers)]}
    return sizes | {"c": list(spec.hidden_sizes)} if spec.cell == "lstm" else sizes


def state_names(spec: RecurrentSpec) -> list[str]:
    """Return the names of a stack's states: h (and c), or h_0, h_1 where widths differ."""
    found: list[str] = []
    for kind, sizes in _state_sizes(spec).items():
        alike = len(set(sizes)) == 1
        found += [kind] if alike else [f"{kind}_{k}" for k in range(spec.num_layers)]
    return found


def state_inputs(g: GraphBuilder, spec: RecurrentSpec) -> list[tuple[str, ...]]:
    """Add a stack's states as inputs; return them a layer at a time."""
    D, L = spec.num_directions, spec.num_layers
    each: list[list[str]] = []
    for kind, sizes in _state_sizes(spec).items():
        if len(set(sizes)) == 1:
            whole = g.input(kind, [L * D, N, sizes[0]])
            each.append(g.ops("Split", L, whole, axis=0) if L > 1 else [whole])
        else:
            each.append([g.input(f"{kind}_{k}", [D, N, size]) for k, size in enumerate(sizes)])
    return list(zip(*each, strict=True))


def state_outputs(g: GraphBuilder, spec: RecurrentSpec, last: list[tuple[str, ...]]) -> None:
    """Give a stack's last states out, under their input's name with `_n` after the letter."""
    D, L = spec.num_directions, spec.num_layers
    by_kind = zip(*last, strict=True)
    for (kind, sizes), parts in zip(_state_sizes(spec).items(), by_kind, strict=True):
        if len(set(sizes)) == 1:
            g.output(f"{kind}_n", g.op("Concat", *parts, axis=0), [L * D, N, sizes[0]])
            continue
        for k, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            g.output(f"{kind}_n_{k}", part, [D, N, size])


def bridged_states(
    g: GraphBuilder, spec: RecurrentSpec, bridge: tuple[Linear, Linear | None], h: str, c: str
) -> list[tuple[str, ...]]:
    """Return a stack's first states, (h,) or (h, c) a layer, from what its bridge reads [N, ...].

    h = tanh(W_h h + b_h), c = W_c c + b_c, each cut into its layers.
    """
    (bridge_h, bridge_c), sizes = bridge, _state_sizes(spec)
    first = [_split(g, sizes["h"], g.op("Tanh", linear(g, bridge_h, h)))]
    if bridge_c is not None:
        first.append(_split(g, sizes["c"], linear(g, bridge_c, c)))
    return list(zip(*first, strict=True))


def _split(g: GraphBuilder, sizes: list[int], states: str) -> list[str]:
    """Cut [N, sum of H_l] into [1, N, H_l] a layer."""
    parts = [states]
    if len(sizes) > 1:
        parts = g.ops("Split", len(sizes), states, g.constant(sizes), axis=1)
    return [g.op("Unsqueeze", part, g.constant([0])) for part in parts]


def recurrent_graph(layer: Recurrent) -> GraphBuilder:
    """A stack with its state in and out: x, lengths, h (and c) to y, h_n (and c_n)."""
    spec, g = layer.spec, GraphBuilder("recurrent")
    x = g.input("x", [N, T, spec.input_size])
    ends = ends_of(g, g.input("lengths", [N], "integer"))
    y, last = stack(g, layer, x, ends, state_inputs(g, spec))
    g.output("y", y, [N, T, spec.output_size])
    state_outputs(g, spec, last)
    return g


def linear(g: GraphBuilder, layer: Linear, x: str) -> str:
    """X W^T + b of a linear layer."""
    return g.linear(x, layer.weight, layer.bias)


def classifier_graph(network: ClassifierNetwork) -> GraphBuilder:
    """A classifier: tokens (or frames) and lengths to logits, probabilities, and its attention.

    With several labels also `given`, 1 for each label at or above its threshold.
    """
    g = GraphBuilder("classifier")
    classes = network.spec.num_classes
    logits, weights = _outputs(g, network)
    g.output("logits", logits, [N, classes])
    if network.thresholds is None:
        g.output("probabilities", g.op("Softmax", logits, axis=-1), [N, classes])
    else:
        shares = g.op("Sigmoid", logits)
        g.output("probabilities", shares, [N, classes])
        below = g.op("Less", shares, g.constant(network.thresholds))
        given = g.op("Where", below, g.constant(0), g.constant(1))
        g.output("given", given, [N, classes], "integer")
    if weights:
        g.output("attention", weights, [N, T])
    return g


def regressor_graph(network: RegressorNetwork) -> GraphBuilder:
    """A regressor: tokens (or frames) and lengths to values and, pooled so, attention."""
    g = GraphBuilder("regressor")
    outputs, weights = _outputs(g, network)
    scaled = g.op("Mul", outputs, g.constant(network.scale))
    values = g.op("Add", scaled, g.constant(network.mean))
    g.output("values", values, [N, network.spec.num_targets])
    if weights:
        g.output("attention", weights, [N, T])
    return g


def _read(g: GraphBuilder, read: Reader, width: int) -> str:
    """Return what the recurrent layers read, from tokens or frames."""
    if "embedding" in read.arrays:
        tokens = g.input("tokens", [N, T], "integer")
        return g.op("Gather", g.constant(read.arrays["embedding"], "embedding"), tokens)
    frames = g.input("frames", [N, T, width])
    mean, scale = (g.constant(read.arrays[f"frames.{name}"]) for name in ("mean", "scale"))
    scaled = g.op("Div", g.op("Sub", frames, mean), scale)
    if not read.masks:
        return scaled
    missing, zero, one = g.op("IsNaN", frames), g.constant(0.0), g.constant(1.0)
    kept = g.op("Where", missing, zero, scaled)
    return g.op("Concat", kept, g.op("Where", missing, one, zero), axis=2)


def _outputs(g: GraphBuilder, network: PooledNetwork) -> tuple[str, str]:
    """Return the network's outputs [N, C], and its attention weights [N, T] or nothing."""
    spec = network.spec
    x = _read(g, network.read, spec.frame_size)
    lengths = g.input("lengths", [N], "integer")
    y, last = stack(g, network.recurrent, x, ends_of(g, lengths), None)
    weights = ""
    if network.pooling is not None:
        attention = network.pooling.attention
        past, keys = past_mask(g, y, lengths), attention_keys(g, attention, y)
        query = g.constant(network.pooling.weights["query_vector"][None])
        pooled, weights = attend(g, attention, query, y, keys, past)
    elif spec.pooling == "last":
        pooled = merged_state(g, spec.recurrent, last[-1][0])
    elif spec.pooling == "mean":
        total = g.op("ReduceSum", y, g.constant([1]), keepdims=0)
        pooled = g.op("Div", total, g.op("Unsqueeze", g.floats(lengths), g.constant([1])))
    else:
        past = g.op("Unsqueeze", past_mask(g, y, lengths), g.constant([2]))
        pooled = g.op(
            "ReduceMax", g.op("Where", past, g.constant(-np.inf), y), axes=[1], keepdims=0
        )
    return linear(g, network.output, pooled), weights


def generator_graph(network: GeneratorNetwork) -> GraphBuilder:
    """A generator: tokens (or frames), lengths, h (and c) to what comes next, h_n (and c_n).

    Of tokens log_probs; of frames the log-odds of each key and their probabilities.
    """
    spec, g = network.spec, GraphBuilder("generator")
    if network.embedding is None:
        x = g.input("frames", [N, T, spec.frame_size])
    else:
        tokens = g.input("tokens", [N, T], "integer")
        x = g.op("Gather", g.constant(network.embedding, "embedding"), tokens)
    ends = ends_of(g, g.input("lengths", [N], "integer"))
    y, last = stack(g, network.recurrent, x, ends, state_inputs(g, spec.recurrent))
    if network.projection is not None:
        y = linear(g, network.projection, y)
    if spec.tied:
        # The matrix of the embedding once more: the file holds it once.
        product = g.op("MatMul", y, g.op("Transpose", "embedding", perm=[1, 0]))
        logits = g.op("Add", product, g.constant(network.bias))
    else:
        logits = g.linear(y, network.weight, network.bias)
    if network.embedding is None:
        g.output("log_odds", logits, [N, T, spec.frame_size])
        g.output("probabilities", g.op("Sigmoid", logits), [N, T, spec.frame_size])
    else:
        log_probs = g.op("LogSoftmax", logits, axis=-1)
        g.output("log_probs", log_probs, [N, T, spec.vocab_size])
    state_outputs(g, spec.recurrent, last)
    return g
