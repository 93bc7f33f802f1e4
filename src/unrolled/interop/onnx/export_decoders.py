"""What writes token by token as two ONNX graphs: an encoder, and one step of the decoder."""

from __future__ import annotations

from unrolled.interop.onnx.export_layers import (
    attend,
    attention_keys,
    ends_of,
    joined_state,
    past_mask,
    stack,
)
from unrolled.interop.onnx.export_networks import (
    N,
    bridged_states,
    linear,
    state_inputs,
    state_outputs,
)
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.runtime.captioner import CaptionerNetwork
from unrolled.runtime.networks import DecoderNetwork, TranslatorNetwork
from unrolled.spec import CaptionerSpec
from unrolled.validation import memory_size

S = "source_steps"


def translator_encoder_graph(network: TranslatorNetwork) -> GraphBuilder:
    """A translator's encoder: source and lengths to memory, keys and the decoder's first state."""
    spec, g = network.spec, GraphBuilder("encoder")
    source = g.input("source", [N, S], "integer")
    lengths = g.input("lengths", [N], "integer")
    x = g.op("Gather", g.constant(network.source_embedding, "source_embedding"), source)
    memory, last = stack(g, network.encoder, x, ends_of(g, lengths), None, name="encoder")
    g.output("memory", memory, [N, S, spec.encoder.output_size])
    if network.attention is not None and network.attention.key is not None:
        keys = attention_keys(g, network.attention, memory)
        g.output("keys", keys, [N, S, int(network.attention.key.shape[1])])
    h = joined_state(g, last[-1][0])
    c = joined_state(g, last[-1][1]) if spec.encoder.cell == "lstm" else h
    first = bridged_states(g, spec.decoder, (network.bridge_h, network.bridge_c), h, c)
    state_outputs(g, spec.decoder, first)
    return g


def captioner_encoder_graph(network: CaptionerNetwork) -> GraphBuilder:
    """A captioner's encoder: features (or attributes) and lengths to what the decoder reads.

    With attention memory and keys, with a vector at every step summary; the first state.
    """
    spec, g = network.spec, GraphBuilder("encoder")
    named = spec.inputs == "attributes"
    if named:
        source = g.input("attributes", [N, S], "integer")
        rows = g.op("Gather", g.constant(network.embedding, "embedding"), source)
    else:
        source = g.input("features", [N, S, spec.feature_size])
        apart = g.op("Sub", source, g.constant(network.mean))
        rows = linear(g, network.project, g.op("Mul", apart, g.constant(network.scale)))
        if spec.positions:
            count = g.op("Gather", g.op("Shape", source), g.constant(1))
            places = g.op("Range", g.constant(0), count, g.constant(1))
            # Of a Gather by a Range ONNX Runtime makes a Slice, which cuts where places run out.
            places = g.op("Unsqueeze", places, g.constant([0]))
            position = g.constant(network.position, "position")
            rows = g.op("Add", rows, g.op("Gather", position, places))
        rows = g.op("Tanh", rows)
    lengths = g.input("lengths", [N], "integer")
    past = g.op("Unsqueeze", past_mask(g, rows, lengths), g.constant([2]))
    memory = g.op("Where", past, g.constant(0.0), rows)
    summary = g.op("ReduceSum", memory, g.constant([1]), keepdims=0)
    if not named:
        summary = g.op("Div", summary, g.op("Unsqueeze", g.floats(lengths), g.constant([1])))
    if network.attention is not None:
        g.output("memory", memory, [N, S, spec.memory_size])
        if network.attention.key is not None:
            keys = attention_keys(g, network.attention, memory)
            g.output("keys", keys, [N, S, int(network.attention.key.shape[1])])
    if spec.condition == "every":
        g.output("summary", summary, [N, spec.memory_size])
    bridge = (network.bridge_h, network.bridge_c)
    state_outputs(g, spec.decoder, bridged_states(g, spec.decoder, bridge, summary, summary))
    return g


def decoder_graph(network: DecoderNetwork) -> GraphBuilder:
    """One step of a decoder.

    token, memory, keys, lengths, h (and c), summary where it is read at every step and, with input
    feeding, readout to log_probs, attention and the same states after the step.
    """
    spec, g = network.writes, GraphBuilder("decoder")
    token = g.input("token", [N], "integer")
    embedded = g.op("Gather", g.constant(network.target_embedding, "target_embedding"), token)
    if isinstance(spec, CaptionerSpec) and spec.condition == "every":
        embedded = g.op("Concat", embedded, g.input("summary", [N, memory_size(spec)]), axis=1)
    attention, memory, keys, past = network.attention, "", "", ""
    if attention is not None:
        memory = keys = g.input("memory", [N, S, memory_size(spec)])
        if attention.key is not None:
            keys = g.input("keys", [N, S, int(attention.key.shape[1])])
        past = past_mask(g, memory, g.input("lengths", [N], "integer"))
    first = state_inputs(g, spec.decoder)
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
    readout = g.op("Tanh", linear(g, network.readout, whole))
    log_probs = g.op("LogSoftmax", linear(g, network.output, readout), axis=-1)
    g.output("log_probs", log_probs, [N, spec.target_vocab_size])
    if weights:
        g.output("attention", weights, [N, S])
    state_outputs(g, spec.decoder, last)
    if spec.input_feeding:
        g.output("readout_n", readout, [N, spec.readout_size])
    return g
