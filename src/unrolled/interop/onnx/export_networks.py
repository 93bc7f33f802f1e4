"""The networks of the tasks as ONNX graphs: one answer a sequence in one, a translator in two."""

from __future__ import annotations

import numpy as np

from unrolled.interop.onnx.export_layers import (
    attend,
    attention_keys,
    ends_of,
    joined_state,
    merged_state,
    past_mask,
    stack,
)
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.runtime.heads import ClassifierNetwork, PooledNetwork, Reader, RegressorNetwork
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.weights import Linear
from unrolled.spec import RecurrentSpec

# How the dimensions that may have any size are called in the files.
N, T, S = "rows", "steps", "source_steps"


def state_names(spec: RecurrentSpec) -> list[str]:
    """Return the names of a stack's states: h (and c), or h_0, h_1 where widths differ."""
    kinds = ["h", "c"] if spec.cell == "lstm" else ["h"]
    if len(set(spec.hidden_sizes)) == 1:
        return kinds
    return [f"{kind}_{k}" for kind in kinds for k in range(spec.num_layers)]


def _state_inputs(g: GraphBuilder, spec: RecurrentSpec) -> list[tuple[str, ...]]:
    """Add a stack's states as inputs; return them a layer at a time."""
    D, L = spec.num_directions, spec.num_layers
    kinds = 2 if spec.cell == "lstm" else 1
    names = state_names(spec)
    if len(names) == kinds:
        each = []
        for name in names:
            whole = g.input(name, [L * D, N, spec.hidden_sizes[0]])
            each.append(g.ops("Split", L, whole, axis=0) if L > 1 else [whole])
        return list(zip(*each, strict=True))
    for place, name in enumerate(names):
        g.input(name, [D, N, spec.hidden_sizes[place % L]])
    return [tuple(names[k::L]) for k in range(L)]


def _state_outputs(g: GraphBuilder, spec: RecurrentSpec, last: list[tuple[str, ...]]) -> None:
    """Give a stack's last states out, under their input's name with `_n` after the letter."""
    D, L = spec.num_directions, spec.num_layers
    names = state_names(spec)
    by_kind = list(zip(*last, strict=True))
    if len(names) == len(by_kind):
        for name, parts in zip(names, by_kind, strict=True):
            whole = g.op("Concat", *parts, axis=0)
            g.output(f"{name}_n", whole, [L * D, N, spec.hidden_sizes[0]])
        return
    for place, name in enumerate(names):
        value = by_kind[place // L][place % L]
        g.output(name.replace("_", "_n_"), value, [D, N, spec.hidden_sizes[place % L]])


def recurrent_graph(layer: Recurrent) -> GraphBuilder:
    """A stack with its state in and out: x, lengths, h (and c) to y, h_n (and c_n)."""
    spec, g = layer.spec, GraphBuilder("recurrent")
    x = g.input("x", [N, T, spec.input_size])
    ends = ends_of(g, g.input("lengths", [N], integer=True))
    y, last = stack(g, layer, x, ends, _state_inputs(g, spec))
    g.output("y", y, [N, T, spec.output_size])
    _state_outputs(g, spec, last)
    return g


def _linear(g: GraphBuilder, linear: Linear, x: str) -> str:
    return g.linear(x, linear.weight, linear.bias)


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
        g.output("given", given, [N, classes], integer=True)
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
        tokens = g.input("tokens", [N, T], integer=True)
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
    lengths = g.input("lengths", [N], integer=True)
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
    return _linear(g, network.output, pooled), weights


def encoder_graph(network: TranslatorNetwork) -> GraphBuilder:
    """A translator's encoder: source and lengths to memory, keys and the decoder's first state."""
    spec, g = network.spec, GraphBuilder("encoder")
    source = g.input("source", [N, S], integer=True)
    lengths = g.input("lengths", [N], integer=True)
    x = g.op("Gather", g.constant(network.source_embedding, "source_embedding"), source)
    memory, last = stack(g, network.encoder, x, ends_of(g, lengths), None, name="encoder")
    g.output("memory", memory, [N, S, spec.encoder.output_size])
    if network.attention is not None and network.attention.key is not None:
        keys = attention_keys(g, network.attention, memory)
        g.output("keys", keys, [N, S, int(network.attention.key.shape[1])])
    read_h = joined_state(g, last[-1][0])
    first = [_split(g, spec.decoder, g.op("Tanh", _linear(g, network.bridge_h, read_h)))]
    if network.bridge_c is not None:
        read_c = joined_state(g, last[-1][1]) if spec.encoder.cell == "lstm" else read_h
        first.append(_split(g, spec.decoder, _linear(g, network.bridge_c, read_c)))
    _state_outputs(g, spec.decoder, list(zip(*first, strict=True)))
    return g


def _split(g: GraphBuilder, spec: RecurrentSpec, states: str) -> list[str]:
    """Cut [N, sum of H_l] into [1, N, H_l] a layer."""
    sizes = list(spec.hidden_sizes)
    parts = [states]
    if len(sizes) > 1:
        parts = g.ops("Split", len(sizes), states, g.constant(sizes), axis=1)
    return [g.op("Unsqueeze", part, g.constant([0])) for part in parts]


def decoder_graph(network: TranslatorNetwork) -> GraphBuilder:
    """One step of a translator's decoder.

    token, memory, keys, lengths, h (and c) and, with input feeding, readout to log_probs, attention
    and the same states after the step.
    """
    spec, g = network.spec, GraphBuilder("decoder")
    token = g.input("token", [N], integer=True)
    embedded = g.op("Gather", g.constant(network.target_embedding, "target_embedding"), token)
    attention, memory, keys, past = network.attention, "", "", ""
    if attention is not None:
        memory = keys = g.input("memory", [N, S, spec.encoder.output_size])
        if attention.key is not None:
            keys = g.input("keys", [N, S, int(attention.key.shape[1])])
        past = past_mask(g, memory, g.input("lengths", [N], integer=True))
    first = _state_inputs(g, spec.decoder)
    x, context, weights = embedded, "", ""
    if attention is not None and network.additive:
        query = g.op("Squeeze", first[-1][0], g.constant([0]))
        context, weights = attend(g, attention, query, memory, keys, past)
        x = g.op("Concat", embedded, context, axis=1)
    elif spec.input_feeding:
        fed = g.input("readout", [N, spec.readout_size])
        x = g.op("Concat", embedded, fed, axis=1)
    steps, last = stack(
        g, network.decoder, g.op("Unsqueeze", x, g.constant([1])), None, first, name="decoder"
    )
    y = g.op("Squeeze", steps, g.constant([1]))
    joined = [y]
    if context:
        joined += [context, embedded]
    elif attention is not None:
        context, weights = attend(g, attention, y, memory, keys, past)
        joined.append(context)
    whole = g.op("Concat", *joined, axis=1) if len(joined) > 1 else y
    readout = g.op("Tanh", _linear(g, network.readout, whole))
    log_probs = g.op("LogSoftmax", _linear(g, network.output, readout), axis=-1)
    g.output("log_probs", log_probs, [N, spec.target_vocab_size])
    if weights:
        g.output("attention", weights, [N, S])
    _state_outputs(g, spec.decoder, last)
    if spec.input_feeding:
        g.output("readout_n", readout, [N, spec.readout_size])
    return g
