"""A tagger as an ONNX graph: emissions, the best tags of each row, and the intent."""

from __future__ import annotations

import numpy as np

from unrolled.interop.onnx.export_layers import ends_of, joined_state, past_mask, stack
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.runtime.crf import Scores
from unrolled.runtime.tagger import TaggerNetwork

N, T, U, W = "rows", "steps", "spellings", "characters"


def tagger_graph(network: TaggerNetwork, scores: Scores) -> GraphBuilder:
    """A tagger that answers by `scores`, the chain's own where they are legal.

    frames, or tokens and the spellings of the different words, and lengths to emissions, tags
    (-1 behind a row's end), score and, where there is one, intent.
    """
    spec, g = network.spec, GraphBuilder("tagger")
    lengths = g.input("lengths", [N], "integer")
    y, _ = stack(g, network.recurrent, _read(g, network), ends_of(g, lengths), None)
    emissions = g.linear(y, network.output.weight, network.output.bias)
    if spec.head == "softmax":
        emissions = g.op("LogSoftmax", emissions, axis=-1)
    past = past_mask(g, y, lengths)
    tags, best = _viterbi(g, emissions, past, scores)
    g.output("emissions", emissions, [N, T, spec.num_tags])
    g.output("tags", tags, [N, T], "integer")
    g.output("score", best, [N])
    if network.intent is not None:
        behind = g.op("Unsqueeze", past, g.constant([2]))
        pooled = g.op("Where", behind, g.constant(-np.inf), y)
        pooled = g.op("ReduceMax", pooled, axes=[1], keepdims=0)
        intent = g.linear(pooled, network.intent.weight, network.intent.bias)
        g.output("intent", g.op("LogSoftmax", intent, axis=-1), [N, spec.num_intents])
    return g


def _read(g: GraphBuilder, network: TaggerNetwork) -> str:
    """Return what the recurrent layers read, [N, T, I]."""
    if network.scaling is not None:
        mean, scale = (g.constant(each) for each in network.scaling)
        frames = g.input("frames", [N, T, network.spec.frame_size])
        return g.op("Div", g.op("Sub", frames, mean), scale)
    parts = []
    if network.embedding is not None:
        tokens = g.input("tokens", [N, T], "integer")
        parts.append(g.op("Gather", g.constant(network.embedding, "embedding"), tokens))
    if network.characters is not None:
        spellings = g.input("spellings", [U, W], "integer")
        ends = ends_of(g, g.input("spelling_lengths", [U], "integer"))
        words = g.input("words", [N, T], "integer")
        known = g.constant(network.characters.embedding, "characters.embedding")
        x = g.op("Gather", known, spellings)
        _, last = stack(g, network.characters.recurrent, x, ends, None, name="characters")
        parts.append(g.op("Gather", joined_state(g, last[-1][0]), words))
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=2)


def _viterbi(g: GraphBuilder, emissions: str, past: str, scores: Scores) -> tuple[str, str]:
    """Return the best tags [N, T] and their score [N] of emissions [N, T, K].

    best_t[k] = max_j (best_t-1[j] + transitions[j, k]) + emissions_t[k], and back from the last.
    """
    transitions, start = g.constant(scores.transitions), g.constant(scores.start)
    stay = g.constant(np.arange(len(scores.start)))
    by_time = g.op("Transpose", emissions, perm=[1, 0, 2])
    inside = g.op("Not", g.op("Unsqueeze", g.op("Transpose", past, perm=[1, 0]), g.constant([2])))
    steps = g.op("Gather", g.op("Shape", by_time), g.constant(0))
    places = g.op("Range", g.constant(0), steps, g.constant(1))
    is_first = g.op("Equal", places, g.constant(0))
    zero = g.constant(np.zeros(len(scores.start)))
    shape = g.op("Slice", g.op("Shape", by_time), g.constant([1]), g.constant([3]))

    def forward(b: GraphBuilder, given: list[str]) -> list[str]:
        best, emission, within, first = given
        options = b.op("Add", b.op("Unsqueeze", best, b.constant([2])), transitions)
        reached = b.op("Where", first, start, b.op("ReduceMax", options, axes=[1], keepdims=0))
        reached = b.op("Add", reached, emission)
        came_from = b.op("ArgMax", options, axis=1, keepdims=0)
        return [b.op("Where", within, reached, best), b.op("Where", within, came_from, stay)]

    def backward(b: GraphBuilder, given: list[str]) -> list[str]:
        tag, came_from = given
        column = b.op("Unsqueeze", tag, b.constant([1]))
        before = b.op("GatherElements", came_from, column, axis=1)
        return [b.op("Squeeze", before, b.constant([1])), tag]

    best, came_from = g.scan(
        [(g.op("Expand", zero, shape), "float")],
        [(by_time, "float"), (inside, "truth"), (is_first, "truth")],
        ["integer"],
        forward,
    )
    final = g.op("Add", best, g.constant(scores.end))
    last = g.op("ArgMax", final, axis=1, keepdims=0)
    _, tags = g.scan(
        [(last, "integer")], [(came_from, "integer")], ["integer"], backward, backwards=True
    )
    tags = g.op("Where", past, g.constant(-1), g.op("Transpose", tags, perm=[1, 0]))
    return tags, g.op("ReduceMax", final, axes=[1], keepdims=0)
