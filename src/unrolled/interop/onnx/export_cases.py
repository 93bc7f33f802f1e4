"""Random ragged batches on which an exported graph is held against our own runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from unrolled.data.tagging import TaggerInput
from unrolled.interop.onnx.export_networks import state_names
from unrolled.interop.onnx.graph import Array
from unrolled.interop.onnx.parity import TOLERANCE
from unrolled.runtime import crf
from unrolled.runtime.captioner import CaptionerNetwork
from unrolled.runtime.crf import Scores
from unrolled.runtime.generator import GeneratorNetwork
from unrolled.runtime.heads import ClassifierNetwork, PooledNetwork, RegressorNetwork
from unrolled.runtime.networks import DecoderNetwork, DecoderState, Memory, TranslatorNetwork
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.reference import sigmoid
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.weights import log_softmax
from unrolled.spec import CaptionerSpec, RecurrentSpec

Arrays = dict[str, Array]
# Inputs of a graph, and what our own runtime makes of them.
Case = tuple[Arrays, Arrays]
# Rows and steps of the batches that are compared, the second of them a single step.
BATCHES = ((5, 7), (1, 1), (3, 12))


def draw_lengths(generator: np.random.Generator, rows: int, steps: int, least: int) -> Array:
    """Return lengths [N] from `least` to `steps`, the first of them `steps`."""
    lengths = generator.integers(least, steps + 1, rows)
    lengths[0] = steps
    return lengths


def draw_tokens(generator: np.random.Generator, shape: tuple[int, ...], vocabulary: int) -> Array:
    """Return ids below `vocabulary`."""
    return generator.integers(0, vocabulary, shape)


def flat_state(spec: RecurrentSpec, state: Any, infix: str = "") -> Arrays:
    """Return a stack's state by the names of a graph's inputs, or of its outputs (`infix` `_n`)."""
    kinds = state if spec.cell == "lstm" else (state,)
    parts = [p for kind in kinds for p in (kind if isinstance(kind, tuple) else (kind,))]
    names = [n.replace("_", f"{infix}_") if "_" in n else n + infix for n in state_names(spec)]
    return {n: np.asarray(p, np.float32) for n, p in zip(names, parts, strict=True)}


def recurrent_cases(layer: Recurrent, generator: np.random.Generator) -> Iterator[Case]:
    """Yield batches with a state to begin with; some rows are empty."""
    spec = layer.spec
    for rows, steps in BATCHES:
        x = generator.normal(size=(rows, steps, spec.input_size)).astype(np.float32)
        lengths = draw_lengths(generator, rows, steps, 0)
        _, state = layer(x)
        feeds = {"x": x, "lengths": lengths, **flat_state(spec, state)}
        y, last = layer(x, state, lengths)
        yield feeds, {"y": y.astype(np.float32), **flat_state(spec, last, "_n")}


def classifier_cases(network: ClassifierNetwork, generator: np.random.Generator) -> Iterator[Case]:
    """Yield tokens or frames, and what is said of them."""
    for name, values, lengths in _pooled_inputs(network, generator):
        logits, weights = network.classify(values, lengths)
        expected = {"logits": logits, "probabilities": network.shares(logits)}
        if weights is not None:
            expected["attention"] = weights
        yield {name: values, "lengths": lengths}, expected


def regressor_cases(network: RegressorNetwork, generator: np.random.Generator) -> Iterator[Case]:
    """Yield tokens or frames, and what is said of them."""
    for name, values, lengths in _pooled_inputs(network, generator):
        outputs, weights = network.outputs(values, lengths)
        expected = {"values": network.undo(outputs)}
        if weights is not None:
            expected["attention"] = weights
        yield {name: values, "lengths": lengths}, expected


def _pooled_inputs(
    network: PooledNetwork, generator: np.random.Generator
) -> Iterator[tuple[str, Array, Array]]:
    """Yield tokens or frames, as the network reads them, by name with their lengths."""
    spec = network.spec
    for rows, steps in BATCHES:
        lengths = draw_lengths(generator, rows, steps, 1)
        if not spec.frame_size:
            yield "tokens", draw_tokens(generator, (rows, steps), spec.vocab_size), lengths
            continue
        # Around the training data's own mean and scale, as a caller's frames are.
        frames = generator.normal(size=(rows, steps, spec.frame_size))
        frames = frames * network.read.arrays["frames.scale"] + network.read.arrays["frames.mean"]
        if spec.mask_missing:
            frames[generator.random(frames.shape) < 0.2] = np.nan
        yield "frames", frames.astype(np.float32), lengths


def tagger_cases(
    network: TaggerNetwork, scores: Scores, generator: np.random.Generator
) -> Iterator[Case]:
    """Yield what a tagger reads; tags only where one answer is the best by far."""
    spec = network.spec
    for rows, steps in BATCHES:
        lengths = draw_lengths(generator, rows, steps, 1)
        feeds: Arrays = {"lengths": lengths}
        if spec.frame_size:
            shape = (rows, steps, spec.frame_size)
            feeds["frames"] = generator.normal(size=shape).astype(np.float32)
            batch = TaggerInput(feeds["frames"], lengths)
        else:
            feeds["tokens"] = draw_tokens(generator, (rows, steps), max(1, spec.vocab_size))
            batch = TaggerInput(feeds["tokens"], lengths)
        if spec.characters is not None:
            feeds["spellings"] = draw_tokens(generator, (9, 6), spec.characters.vocab_size)
            feeds["spelling_lengths"] = draw_lengths(generator, 9, 6, 1)
            feeds["words"] = draw_tokens(generator, (rows, steps), 9)
            spelled = (feeds[name] for name in ("spellings", "spelling_lengths", "words"))
            batch = TaggerInput(feeds["tokens"], lengths, *spelled)
        if not spec.embedding_size:
            feeds.pop("tokens", None)
        emissions, intent = network.emissions(batch)
        paths, found = crf.viterbi(emissions, scores, lengths, n_best=2)
        expected = {"emissions": emissions, "score": found[:, 0]}
        # Where two answers are as good as each other, rounding may choose either.
        if (found[:, 0] - found[:, 1] > TOLERANCE).all():
            expected["tags"] = paths[:, 0]
        if intent is not None:
            expected["intent"] = intent
        yield feeds, expected


def generator_cases(network: GeneratorNetwork, generator: np.random.Generator) -> Iterator[Case]:
    """Yield tokens or frames with a state to begin with; some rows are empty."""
    spec = network.spec
    for rows, steps in BATCHES:
        if spec.frame_size:
            name = "frames"
            values = generator.integers(0, 2, (rows, steps, spec.frame_size)).astype(np.float32)
        else:
            name, values = "tokens", draw_tokens(generator, (rows, steps), spec.vocab_size)
        lengths = draw_lengths(generator, rows, steps, 0)
        _, state = network.logits(values)
        feeds = {name: values, "lengths": lengths, **flat_state(spec.recurrent, state)}
        logits, last = network.logits(values, state, lengths)
        if spec.frame_size:
            expected = {"log_odds": logits, "probabilities": sigmoid(logits)}
        else:
            expected = {"log_probs": log_softmax(logits)}
        yield feeds, expected | flat_state(spec.recurrent, last, "_n")


def encoder_cases(network: DecoderNetwork, generator: np.random.Generator) -> Iterator[Case]:
    """Yield what an encoder reads, and what the decoder begins with."""
    for name, source, lengths in _sources(network, generator):
        memory = network.encode(source, lengths)
        expected = _memory(network, memory)
        if memory.fed is not None:
            expected["summary"] = memory.fed
        expected |= flat_state(network.writes.decoder, memory.first.recurrent, "_n")
        yield {name: source, "lengths": lengths}, expected


def decoder_cases(network: DecoderNetwork, generator: np.random.Generator) -> Iterator[Case]:
    """Yield two steps in a row about each memory."""
    spec = network.writes
    for _, source, lengths in _sources(network, generator):
        memory = network.encode(source, lengths)
        state: DecoderState = memory.first
        for _ in range(2):
            token = draw_tokens(generator, (len(source),), spec.target_vocab_size)
            feeds = {"token": token, **flat_state(spec.decoder, state.recurrent)}
            if network.attention is not None:
                feeds |= {"lengths": lengths, **_memory(network, memory)}
            if memory.fed is not None:
                feeds["summary"] = memory.fed
            if state.readout is not None:
                feeds["readout"] = state.readout
            made = network.step(token[:, None], state, memory)
            state = made.state
            expected = {"log_probs": made.log_probs[:, 0]}
            if made.weights is not None:
                expected["attention"] = made.weights[:, 0]
            if state.readout is not None:
                expected["readout_n"] = state.readout
            yield feeds, expected | flat_state(spec.decoder, state.recurrent, "_n")


def _memory(network: DecoderNetwork, memory: Memory) -> Arrays:
    """Return what a decoder attends to, by the names of its graph's inputs."""
    if network.attention is None:
        return {"memory": memory.values} if isinstance(network, TranslatorNetwork) else {}
    if network.attention.key is None:
        return {"memory": memory.values}
    assert memory.keys is not None
    return {"memory": memory.values, "keys": memory.keys}


def _sources(
    network: DecoderNetwork, generator: np.random.Generator
) -> Iterator[tuple[str, Array, Array]]:
    """Yield what an encoder reads, by name with its lengths."""
    spec = network.writes
    for rows, steps in BATCHES:
        if isinstance(spec, CaptionerSpec):
            most = 1 if spec.inputs == "vector" else spec.positions or steps
            shape = (rows, min(steps, most))
            lengths = draw_lengths(generator, *shape, 1)
            if spec.inputs == "attributes":
                yield "attributes", draw_tokens(generator, shape, spec.feature_size), lengths
            else:
                assert isinstance(network, CaptionerNetwork)
                # Around the training data's own mean and deviation, as a caller's numbers are.
                wide = np.where(network.scale > 0, network.scale, 1)
                features = generator.normal(size=(*shape, spec.feature_size)) / wide + network.mean
                yield "features", features.astype(np.float32), lengths
        else:
            lengths = draw_lengths(generator, rows, steps, 1)
            yield "source", draw_tokens(generator, (rows, steps), spec.source_vocab_size), lengths
