"""Models and recurrent layers as ONNX files, compared with our own numbers before they are written.

A classifier, regressor, tagger or generator is one file, and so is a forecaster that tells its
horizon at once. A translator and a captioner are two: an encoder, and one step of the decoder, so
that the caller searches as it likes (greedy, beam) and stops where it likes. An autoregressive
forecaster is two in the same way: the caller draws each value. Where its intervals are calibrated a
third file makes quantiles of what was drawn. Rows, steps and source steps may have any size;
lengths are an input. A `Recurrent` and a generator take their state and give it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled import artifact
from unrolled.errors import InteropError
from unrolled.interop.onnx import export_cases as batches
from unrolled.interop.onnx import export_forecaster_cases as windows
from unrolled.interop.onnx.export_cases import Arrays, Case
from unrolled.interop.onnx.export_covariates import check_sizes
from unrolled.interop.onnx.export_decoders import (
    captioner_encoder_graph,
    decoder_graph,
    translator_encoder_graph,
)
from unrolled.interop.onnx.export_forecaster import (
    forecaster_encoder_graph,
    forecaster_graph,
    forecaster_step_graph,
)
from unrolled.interop.onnx.export_metadata import metadata
from unrolled.interop.onnx.export_networks import (
    classifier_graph,
    generator_graph,
    recurrent_graph,
    regressor_graph,
)
from unrolled.interop.onnx.export_said import paths_graph
from unrolled.interop.onnx.export_tagger import tagger_graph
from unrolled.interop.onnx.graph import Array, GraphBuilder
from unrolled.interop.onnx.model import load
from unrolled.interop.onnx.parity import TOLERANCE, difference
from unrolled.runtime.captioner import CaptionerNetwork
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.runtime.forecaster import ForecasterNetwork
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator import GeneratorNetwork
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.heads import ClassifierNetwork, RegressorNetwork
from unrolled.runtime.model import ClassifierModel, RegressorModel, TranslatorModel
from unrolled.runtime.model import load as load_folder
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.tagger_model import TaggerModel

Exportable = (
    str
    | Path
    | ClassifierModel
    | TranslatorModel
    | TaggerModel
    | CaptionerModel
    | RegressorModel
    | GeneratorModel
    | ForecastModel
    | ClassifierNetwork
    | RegressorNetwork
    | TranslatorNetwork
    | TaggerNetwork
    | CaptionerNetwork
    | GeneratorNetwork
    | Recurrent
)


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

    `path` names the file; where there are several they are named by it, `NAME-encoder.onnx`,
    `NAME-decoder.onnx`, `NAME-quantiles.onnx`. Weights are written in float32. Each file is run on
    random ragged batches (by `seed`) in ONNX Runtime, where that is installed, and by our own
    reader.

    Raises InteropError where a model has no ONNX counterpart or computes in a low precision,
    where the package onnx is not installed, and where numbers differ by more than 1e-4: then
    nothing is written.
    """
    found = load_folder(model, precision="float32") if isinstance(model, (str, Path)) else model
    net = getattr(found, "network", found)
    _check_precision(net)
    parts = _parts(found, net, Path(path), np.random.default_rng(seed))
    files: dict[str, bytes] = {}
    reader, runtime = 0.0, None
    for target, graph, cases in parts:
        names = [value.name for value in graph.inputs]
        content = graph.finish(metadata(found, graph.name, names))
        files[target.name] = content
        for ours, theirs in _compare(target, content, cases):
            reader = max(reader, ours)
            if theirs is not None:
                runtime = max(runtime or 0.0, theirs)
    artifact.write_files(Path(path).parent, files)
    return Exported(tuple(part.path for part in parts), reader, runtime)


class _Part(NamedTuple):
    """A file to be: its graph, and the batches that it is compared on."""

    path: Path
    graph: GraphBuilder
    cases: Iterator[Case]


def _parts(found: Any, net: Any, place: Path, draw: np.random.Generator) -> list[_Part]:
    """Return the files of a model, or of its network `net`; InteropError where it has none."""
    encoder, decoder = _beside(place, "encoder"), _beside(place, "decoder")
    if isinstance(net, Recurrent):
        return [_Part(place, recurrent_graph(net), batches.recurrent_cases(net, draw))]
    if isinstance(net, ClassifierNetwork):
        return [_Part(place, classifier_graph(net), batches.classifier_cases(net, draw))]
    if isinstance(net, RegressorNetwork):
        return [_Part(place, regressor_graph(net), batches.regressor_cases(net, draw))]
    if isinstance(net, GeneratorNetwork):
        return [_Part(place, generator_graph(net), batches.generator_cases(net, draw))]
    if isinstance(net, TaggerNetwork):
        scores = net.scores.where(found.legal if isinstance(found, TaggerModel) else None)
        return [_Part(place, tagger_graph(net, scores), batches.tagger_cases(net, scores, draw))]
    if isinstance(net, (TranslatorNetwork, CaptionerNetwork)):
        reads = (
            translator_encoder_graph(net)
            if isinstance(net, TranslatorNetwork)
            else captioner_encoder_graph(net)
        )
        return [
            _Part(encoder, reads, batches.encoder_cases(net, draw)),
            _Part(decoder, decoder_graph(net), batches.decoder_cases(net, draw)),
        ]
    if not isinstance(found, ForecastModel):
        raise InteropError(
            f"a {type(found).__name__} has no ONNX export"
            + ": its model knows how windows are scaled; export that, or its folder"
            * isinstance(net, ForecasterNetwork)
        )
    return _forecaster_parts(found, place, draw)


def _forecaster_parts(found: ForecastModel, place: Path, draw: np.random.Generator) -> list[_Part]:
    check_sizes(found)
    if found.network.spec.decoder != "autoregressive":
        drawn = windows.forecaster_cases(found, draw)
        return [_Part(place, forecaster_graph(found), drawn)]
    begin, step = forecaster_encoder_graph(found), forecaster_step_graph(found)
    parts = [
        _Part(_beside(place, "encoder"), begin, windows.encoder_cases(found, draw)),
        _Part(_beside(place, "decoder"), step, windows.step_cases(found, draw)),
    ]
    moved = found.forecasting.calibration
    if moved is not None:
        cases = windows.paths_cases(moved, draw)
        parts.append(_Part(_beside(place, "quantiles"), paths_graph(moved), cases))
    return parts


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
