"""Models and recurrent layers as ONNX files, compared with our own numbers before they are written.

A classifier is one file. A translator is two: an encoder, and one step of the decoder, so that the
caller searches as it likes (greedy, beam) and stops where it likes. A `Recurrent` is one file with
its state in and out. Rows, steps and source steps may have any size; lengths are an input.
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
from unrolled.errors import InteropError
from unrolled.interop.onnx.export_networks import (
    classifier_graph,
    decoder_graph,
    encoder_graph,
    recurrent_graph,
    state_names,
)
from unrolled.interop.onnx.graph import Array, GraphBuilder
from unrolled.interop.onnx.model import load
from unrolled.interop.onnx.parity import TOLERANCE, difference
from unrolled.runtime.heads import ClassifierNetwork
from unrolled.runtime.model import ClassifierModel, TranslatorModel
from unrolled.runtime.model import load as load_folder
from unrolled.runtime.networks import DecoderState, TranslatorNetwork
from unrolled.runtime.recurrent import Recurrent
from unrolled.spec import RecurrentSpec

Arrays = dict[str, Array]
# Inputs of a graph, and what our own runtime makes of them.
Case = tuple[Arrays, Arrays]
Exportable = (
    str
    | Path
    | ClassifierModel
    | TranslatorModel
    | ClassifierNetwork
    | TranslatorNetwork
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
    net = found.network if isinstance(found, (ClassifierModel, TranslatorModel)) else found
    _check_precision(net)
    if isinstance(net, Recurrent):
        parts = [(place, recurrent_graph(net), _recurrent_cases(net, generator))]
    elif isinstance(net, ClassifierNetwork):
        parts = [(place, classifier_graph(net), _classifier_cases(net, generator))]
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
    if isinstance(model, ClassifierModel):
        source, target = model.vocabulary.to_json(), model.labels.to_json()
    elif isinstance(model, TranslatorModel):
        source, target = model.source_vocabulary.to_json(), model.target_vocabulary.to_json()
    else:
        return {"part": part, "spec": msgspec.json.encode(model.spec).decode()}
    return {
        "part": part,
        "task": model.config.task,
        "fingerprint": model.config.fingerprint,
        "vocabulary.source": source.decode(),
        "vocabulary.target": target.decode(),
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
    for rows, steps in BATCHES:
        tokens = _tokens(generator, (rows, steps), network.spec.vocab_size)
        lengths = _lengths(generator, rows, steps, 1)
        logits, weights = network.classify(tokens, lengths)
        expected = {"logits": logits, "probabilities": network.probabilities(tokens, lengths)}
        if weights is not None:
            expected["attention"] = weights
        yield {"tokens": tokens, "lengths": lengths}, expected


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
