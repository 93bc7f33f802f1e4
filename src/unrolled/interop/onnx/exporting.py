"""Models and recurrent layers as ONNX files, compared with our own numbers before they are written.

A classifier, a regressor or a tagger is one file. A translator is two: an encoder, and one step of
the decoder, so that the caller searches as it likes (greedy, beam) and stops where it likes. A
`Recurrent` is one file with its state in and out. Rows, steps and source steps may have any size;
lengths are an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from unrolled import artifact
from unrolled.data.tagging import TaggerInput
from unrolled.errors import InteropError
from unrolled.interop.onnx.export_networks import (
    classifier_graph,
    decoder_graph,
    encoder_graph,
    recurrent_graph,
    regressor_graph,
    state_names,
)
from unrolled.interop.onnx.export_tagger import tagger_graph
from unrolled.interop.onnx.graph import Array, GraphBuilder
from unrolled.interop.onnx.model import load
from unrolled.interop.onnx.parity import TOLERANCE, difference
from unrolled.runtime import crf
from unrolled.runtime.crf import Scores
from unrolled.runtime.heads import ClassifierNetwork, PooledNetwork, RegressorNetwork
from unrolled.runtime.model import ClassifierModel, RegressorModel, TranslatorModel
from unrolled.runtime.model import load as load_folder
from unrolled.runtime.networks import DecoderState, TranslatorNetwork
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.spec import RecurrentSpec

Arrays = dict[str, Array]
# Inputs of a graph, and what our own runtime makes of them.
Case = tuple[Arrays, Arrays]
Exportable = (
    str
    | Path
    | ClassifierModel
    | TranslatorModel
    | TaggerModel
    | RegressorModel
    | ClassifierNetwork
    | RegressorNetwork
    | TranslatorNetwork
    | TaggerNetwork
    | Recurrent
)
# Rows and steps of the batches that are compared, the second of them a single step.
BATCHES = ((5, 7), (1, 1), (3, 12))


@dataclass(frozen=True)
class Exported:
    """The files that were written, and how far their numbers are from our own.

    `onnxruntime` is None where the package is not installed; `reader` is our own reading of them.
    """

    paths: tuple[Path, ...]
    reader: float
    onnxruntime: float | None

    def __str__(self) -> str:
        files = ", ".join(map(str, self.paths))
        if self.onnxruntime is None:
            return (
                f"{files}: read back here with a largest difference of {self.reader:.2g}; not "
                "compared with ONNX Runtime, which is not installed: pip install 'unrolled[bench]'"
            )
        largest = f"{self.onnxruntime:.2g}"
        return f"{files}: ONNX Runtime's largest difference from our numbers is {largest}"


def export(model: Exportable, path: str | Path, *, seed: int = 0) -> Exported:
    """Write a model folder, a loaded model, its network, or a `Recurrent` as ONNX.

    `path` names the file; a translator's two are named by it, `NAME-encoder.onnx` and
    `NAME-decoder.onnx`. Weights are written in float32. Each file is run on random ragged batches
    (by `seed`) in ONNX Runtime, where that is installed, and by our own reader.

    Raises InteropError where a network has no ONNX counterpart or computes in a low precision,
    where the package onnx is not installed, and where numbers differ by more than 1e-4: then
    nothing is written.
    """
    found = load_folder(model, precision="float32") if isinstance(model, (str, Path)) else model
    place, generator = Path(path), np.random.default_rng(seed)
    parts: list[tuple[Path, GraphBuilder, Iterator[Case]]]
    whole = (ClassifierModel, TranslatorModel, TaggerModel, RegressorModel)
    net = found.network if isinstance(found, whole) else found
    _check_precision(net)
    if isinstance(net, Recurrent):
        parts = [(place, recurrent_graph(net), _recurrent_cases(net, generator))]
    elif isinstance(net, ClassifierNetwork):
        parts = [(place, classifier_graph(net), _classifier_cases(net, generator))]
    elif isinstance(net, RegressorNetwork):
        parts = [(place, regressor_graph(net), _regressor_cases(net, generator))]
    elif isinstance(net, TaggerNetwork):
        scores = net.scores.where(found.legal if isinstance(found, TaggerModel) else None)
        cases = _tagger_cases(net, scores, generator)
        parts = [(place, tagger_graph(net, scores), cases)]
    elif isinstance(net, TranslatorNetwork):
        parts = [
            (_beside(place, "encoder"), encoder_graph(net), _encoder_cases(net, generator)),
            (_beside(place, "decoder"), decoder_graph(net), _decoder_cases(net, generator)),
        ]
    else:
        raise InteropError(f"a {type(found).__name__} has no ONNX export")
    files: dict[str, bytes] = {}
    reader, runtime = 0.0, None
    for target, graph, cases in parts:
        content = graph.finish(_metadata(found, graph.name))
        files[target.name] = content
        for ours, theirs in _compare(target, content, cases):
            reader = max(reader, ours)
            if theirs is not None:
                runtime = max(runtime or 0.0, theirs)
    artifact.write_files(place.parent, files)
    return Exported(tuple(target for target, _, _ in parts), reader, runtime)


def _check_precision(net: Any) -> None:
    parts = (net, *(getattr(net, name, None) for name in ("recurrent", "encoder", "decoder")))
    for part in parts:
        if isinstance(part, Recurrent) and part.precision != "float32":
            raise InteropError(
                f"a layer of precision {part.precision!r} has no ONNX export; load the model with "
                "precision='float32'"
            )


def _beside(path: Path, part: str) -> Path:
    return path.with_name(f"{path.stem}-{part}{path.suffix or '.onnx'}")


def _metadata(model: Any, part: str) -> dict[str, str]:
    """Return what a caller needs beside the numbers: task, vocabularies, fingerprint."""
    vocabularies: dict[str, Any]
    if isinstance(model, ClassifierModel):
        vocabularies = {"source": model.vocabulary, "target": model.labels}
    elif isinstance(model, RegressorModel):
        vocabularies = {"source": model.vocabulary}
    elif isinstance(model, TranslatorModel):
        vocabularies = {"source": model.source_vocabulary, "target": model.target_vocabulary}
    elif isinstance(model, TaggerModel):
        vocabularies = {"source": model.vocabulary, "target": model.labels}
        vocabularies |= {"characters": model.characters, "intent": model.intent_labels}
    else:
        return {"part": part, "spec": msgspec.json.encode(model.spec).decode()}
    return {
        "part": part,
        "task": model.config.task,
        "fingerprint": model.config.fingerprint,
        **{
            f"vocabulary.{role}": found.to_json().decode()
            for role, found in vocabularies.items()
            if found is not None
        },
    }


def _compare(
    path: Path, content: bytes, cases: Iterator[Case]
) -> Iterator[tuple[float, float | None]]:
    """Yield how far our reader and ONNX Runtime are from our runtime in each case."""
    session, ours = _session(content), load(content)
    for feeds, expected in cases:
        both: list[float | None] = []
        runs: list[tuple[str, Callable[[Mapping[str, Array]], Arrays] | None]] = [
            ("our own reader", ours.run),
            ("ONNX Runtime", session),
        ]
        for name, run in runs:
            if run is None:
                both.append(None)
                continue
            made = run(feeds)
            largest = max(difference(made[key], value) for key, value in expected.items())
            if not largest <= TOLERANCE:
                raise InteropError(
                    f"{path}: not written: {name} differs from our numbers by {largest:.3g}, "
                    f"expected at most {TOLERANCE:g}"
                )
            both.append(largest)
        yield both[0] or 0.0, both[1]


def _session(content: bytes) -> Callable[[Mapping[str, Array]], Arrays] | None:
    """Return a model in ONNX Runtime, or None where the package is not installed."""
    try:
        runtime = import_module("onnxruntime")
    except ImportError:
        return None
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    def run(feeds: Mapping[str, Array]) -> Arrays:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run


def _lengths(generator: np.random.Generator, rows: int, steps: int, least: int) -> Array:
    lengths = generator.integers(least, steps + 1, rows)
    lengths[0] = steps
    return lengths


def _tokens(generator: np.random.Generator, shape: tuple[int, ...], vocabulary: int) -> Array:
    return generator.integers(0, vocabulary, shape)


def flat_state(spec: RecurrentSpec, state: Any, infix: str = "") -> Arrays:
    """Return a stack's state by the names of a graph's inputs, or of its outputs (`infix` `_n`)."""
    kinds = state if spec.cell == "lstm" else (state,)
    parts = [p for kind in kinds for p in (kind if isinstance(kind, tuple) else (kind,))]
    names = [n.replace("_", f"{infix}_") if "_" in n else n + infix for n in state_names(spec)]
    return {n: np.asarray(p, np.float32) for n, p in zip(names, parts, strict=True)}


def _recurrent_cases(layer: Recurrent, generator: np.random.Generator) -> Iterator[Case]:
    spec = layer.spec
    for rows, steps in BATCHES:
        x = generator.normal(size=(rows, steps, spec.input_size)).astype(np.float32)
        lengths = _lengths(generator, rows, steps, 0)
        _, state = layer(x)
        feeds = {"x": x, "lengths": lengths, **flat_state(spec, state)}
        y, last = layer(x, state, lengths)
        yield feeds, {"y": y.astype(np.float32), **flat_state(spec, last, "_n")}


def _classifier_cases(network: ClassifierNetwork, generator: np.random.Generator) -> Iterator[Case]:
    for name, values, lengths in _pooled_inputs(network, generator):
        logits, weights = network.classify(values, lengths)
        expected = {"logits": logits, "probabilities": network.shares(logits)}
        if weights is not None:
            expected["attention"] = weights
        yield {name: values, "lengths": lengths}, expected


def _regressor_cases(network: RegressorNetwork, generator: np.random.Generator) -> Iterator[Case]:
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
        lengths = _lengths(generator, rows, steps, 1)
        if not spec.frame_size:
            yield "tokens", _tokens(generator, (rows, steps), spec.vocab_size), lengths
            continue
        # Around the training data's own mean and scale, as a caller's frames are.
        frames = generator.normal(size=(rows, steps, spec.frame_size))
        frames = frames * network.read.arrays["frames.scale"] + network.read.arrays["frames.mean"]
        if spec.mask_missing:
            frames[generator.random(frames.shape) < 0.2] = np.nan
        yield "frames", frames.astype(np.float32), lengths


def _tagger_cases(
    network: TaggerNetwork, scores: Scores, generator: np.random.Generator
) -> Iterator[Case]:
    spec = network.spec
    for rows, steps in BATCHES:
        lengths = _lengths(generator, rows, steps, 1)
        feeds: Arrays = {"lengths": lengths}
        if spec.frame_size:
            shape = (rows, steps, spec.frame_size)
            feeds["frames"] = generator.normal(size=shape).astype(np.float32)
            batch = TaggerInput(feeds["frames"], lengths)
        else:
            feeds["tokens"] = _tokens(generator, (rows, steps), max(1, spec.vocab_size))
            batch = TaggerInput(feeds["tokens"], lengths)
        if spec.characters is not None:
            feeds["spellings"] = _tokens(generator, (9, 6), spec.characters.vocab_size)
            feeds["spelling_lengths"] = _lengths(generator, 9, 6, 1)
            feeds["words"] = _tokens(generator, (rows, steps), 9)
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


def _encoder_cases(network: TranslatorNetwork, generator: np.random.Generator) -> Iterator[Case]:
    for rows, steps in BATCHES:
        source = _tokens(generator, (rows, steps), network.spec.source_vocab_size)
        lengths = _lengths(generator, rows, steps, 1)
        memory = network.encode(source, lengths)
        expected = {"memory": memory.values}
        if network.attention is not None and network.attention.key is not None:
            assert memory.keys is not None
            expected["keys"] = memory.keys
        expected |= flat_state(network.spec.decoder, memory.first.recurrent, "_n")
        yield {"source": source, "lengths": lengths}, expected


def _decoder_cases(network: TranslatorNetwork, generator: np.random.Generator) -> Iterator[Case]:
    spec = network.spec
    for rows, steps in BATCHES:
        lengths = _lengths(generator, rows, steps, 1)
        source = _tokens(generator, (rows, steps), spec.source_vocab_size)
        memory = network.encode(source, lengths)
        state: DecoderState = memory.first
        for _ in range(2):
            token = _tokens(generator, (rows,), spec.target_vocab_size)
            feeds = {"token": token, **flat_state(spec.decoder, state.recurrent)}
            if network.attention is not None:
                feeds |= {"memory": memory.values, "lengths": lengths}
                if network.attention.key is not None:
                    assert memory.keys is not None
                    feeds["keys"] = memory.keys
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
