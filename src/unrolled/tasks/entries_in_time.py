"""The rows of tasks that are measured on what comes later: generate and forecast.

A text is cut in two and every series is measured from origins in its last part, so that nothing
that was learned from comes after what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import TrainSpec
from unrolled.data.frequency import default_season
from unrolled.data.items import Corpus, read_binary_frames, read_items, shape_of
from unrolled.data.panel import Panel, read_panel
from unrolled.data.read import read_table
from unrolled.data.shards import Whole
from unrolled.data.streams import file_lines, text_lines, write_ids
from unrolled.data.windows import learnable
from unrolled.errors import DataError
from unrolled.forecast_options import ForecastOptions
from unrolled.options import GenerateOptions
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.spec import NetworkSpec, SequenceKind
from unrolled.tasks import forecast, generate
from unrolled.tasks import measure_generator as measuring
from unrolled.tasks.base import Run
from unrolled.tasks.entry import LEAST_EXAMPLES, TaskEntry, by_inputs
from unrolled.tasks.forecast_evaluate import evaluate_forecaster, score
from unrolled.tasks.forecast_survey import surveyed
from unrolled.train.forecast_metrics import naive_errors

DRAWN, TIMED = 64, 64


@dataclass(frozen=True)
class Text:
    """A text that is learned as one stream, or a part of one."""

    name: str
    content: str

    def __len__(self) -> int:
        return len(self.content)


@dataclass(frozen=True)
class Sequenced:
    """Sequences of items, or of frames."""

    corpus: Corpus

    def __len__(self) -> int:
        return len(self.corpus.sequences)

    @property
    def frames(self) -> bool:
        """Whether a sequence is an array."""
        return isinstance(self.corpus.sequences[0], np.ndarray)

    def take(self, index: Any) -> Sequenced:
        """Return the sequences at `index`."""
        return Sequenced(self.corpus.take(index))


@dataclass(frozen=True)
class Told:
    """Series; of those to measure on, how many steps of each came before: `ends`."""

    panel: Panel
    ends: tuple[int, ...] = ()

    def __len__(self) -> int:
        first = self.ends or (0,) * len(self.panel)
        return sum(len(s) - end for s, end in zip(self.panel.series, first, strict=True))


def _read_corpus(path: str, options: GenerateOptions, kind: str | None) -> Text | Sequenced:
    shape = shape_of(path, kind)
    if shape == "text":
        return Text(path, "".join(file_lines(path)()))
    frames = shape == "frames"
    return Sequenced(read_binary_frames(path) if frames else read_items(path, options.items))


def _of_shape(data: Text | Sequenced, options: GenerateOptions) -> TaskEntry:
    if isinstance(data, Text):
        return TEXT
    return FRAMES if data.frames else ITEMS


def _split_text(data: Text, fraction: float, options: Any) -> tuple[Text, Text]:
    """Cut a text in two, at the end of a line where there is one."""
    at = round(len(data) * (1 - fraction))
    end = data.content.find("\n", at - 1) + 1
    at = end if 0 < end < len(data) else at
    if min(at, len(data) - at) < LEAST_EXAMPLES:
        raise DataError(f"{data.name}: a text of {len(data)} characters is too short to compare on")
    return Text(data.name, data.content[:at]), Text(data.name, data.content[at:])


def _train_text(
    data: Text, options: Any, training: TrainSpec, *, run: Run | None = None
) -> Artifact:
    return generate.train_text(text_lines(data.content), options, training, run=run)


def _train_sequences(
    data: Sequenced, options: Any, training: TrainSpec, *, run: Run | None = None
) -> Artifact:
    kind: SequenceKind = "frames" if data.frames else "items"
    return generate.train_sequences(data.corpus, kind, options, training, run=run)


def _measure_text(model: GeneratorModel, part: Text) -> dict[str, Any]:
    assert model.vocabulary is not None
    ids = write_ids(text_lines(part.content), model.vocabulary, name=part.name)
    return measuring.stream_metrics(model, ids)


def _measure_items(model: GeneratorModel, part: Sequenced) -> dict[str, Any]:
    ranked = measuring.next_item_metrics(model, part.corpus)
    return {**ranked, **measuring.sequence_metrics(model, part.corpus)}


def _draw(model: GeneratorModel, part: Any) -> int:
    model.generate("", max_length=DRAWN)
    return DRAWN


def _rank(model: GeneratorModel, part: Sequenced) -> int:
    histories = [model.encode(items) for items in part.corpus.sequences[:TIMED]]
    return len(model.next_scores(histories, exclude_seen=True))


def _generator(options: Any, found: Mapping[str, Any], data: Text | Sequenced) -> NetworkSpec:
    frames = isinstance(data, Sequenced) and data.frames
    width = data.corpus.sequences[0].shape[1] if frames and isinstance(data, Sequenced) else 0
    return generate.network_spec(options, 0 if frames else len(found["source"]), width)


TEXT = TaskEntry(
    options=GenerateOptions,
    read=_read_corpus,
    split=_split_text,
    train=_train_text,
    measure=_measure_text,
    answer=_draw,
    network=_generator,
    quality=("bits", False),
    depth=("layers",),
    settle=_of_shape,
    counted="characters",
)
ITEMS = replace(
    TEXT,
    split=by_inputs(lambda data: list(range(len(data)))),
    train=_train_sequences,
    measure=_measure_items,
    answer=_rank,
    quality=("ndcg@10", True),
    counted="sequences",
)
FRAMES = replace(
    ITEMS,
    measure=lambda model, part: measuring.frame_metrics(model, part.corpus),
    answer=_draw,
    quality=("nats", False),
)


def _read_series(path: str, options: ForecastOptions, kind: str | None) -> Told:
    table = read_table(path, format=kind)
    return Told(read_panel(table, forecast.columns_of(options), options.freq))


def _split_series(data: Told, fraction: float, options: ForecastOptions) -> tuple[Told, Told]:
    """Hold the end of each series out, a horizon at the least."""
    panel = data.panel
    kept = []
    for each in panel.series:
        end = len(each) - max(options.horizon, round(fraction * len(each)))
        if end > 2 * options.horizon:
            kept.append((each, end))
    if not kept:
        longest = max(map(len, panel.series))
        raise DataError(
            f"{panel.name}: the longest series has {longest} steps; comparing a horizon of "
            f"{options.horizon} needs more than {3 * options.horizon}"
        )
    heads, wholes = tuple(s.head(end) for s, end in kept), tuple(s for s, _ in kept)
    return Told(replace(panel, series=heads)), Told(
        replace(panel, series=wholes), tuple(end for _, end in kept)
    )


def _places(series: Sequence[Any], ends: Sequence[int], window: int, horizon: int) -> list[Any]:
    """Return the origins, a horizon apart, after `ends`: (series, step)."""
    return [
        (k, origin)
        for k, (each, end) in enumerate(zip(series, ends, strict=True))
        for origin in learnable(
            each.y, range(end, len(each.y) - horizon + 1, horizon), window, horizon
        ).tolist()
    ]


def _measure_series(model: ForecastModel, part: Told) -> dict[str, Any]:
    """Return the errors from origins in the held out end; of a file of its own, from all."""
    if not part.ends:
        return evaluate_forecaster(model, part.panel, windows=0)
    series = model.ready(part.panel, model.horizon)
    places = _places(series, part.ends, model.forecasting.window, model.horizon)
    return score(model, series, places, compare=False)


def _forecast(model: ForecastModel, part: Told) -> int:
    series = model.ready(part.panel, model.horizon)
    ends = part.ends or (1,) * len(series)
    places = _places(series, ends, model.forecasting.window, model.horizon)[-TIMED:]
    model.forecast(series, places)
    return len(places)


def _judged(data: Told, options: ForecastOptions) -> TaskEntry:
    """Return the row for series with a season in them, or judged by MAE where none is that long."""
    season = options.season or default_season(data.panel.freq)
    errors = [naive_errors(each.y, season)[-1] for each in data.panel.series]
    if np.nan_to_num(np.array(errors)).any():
        return FORECAST
    return replace(FORECAST, quality=("mae", False))


def _train_series(
    data: Told, options: Any, training: TrainSpec, *, run: Run | None = None
) -> Artifact:
    return forecast.train(data.panel, options, training, run=run)


FORECAST = TaskEntry(
    options=ForecastOptions,
    read=_read_series,
    split=_split_series,
    train=_train_series,
    measure=_measure_series,
    answer=_forecast,
    network=lambda options, found, data: forecast.network_spec(options, found),
    quality=("mase", False),
    depth=("layers",),
    learned=lambda data, options, training: forecast.reading(
        surveyed(Whole(data.panel), options, training), options
    ),
    settle=_judged,
    an_epoch=lambda data, options: min(len(data), options.windows_per_epoch or len(data)),
    counted="steps",
)
