"""Small forecaster specs, batches and frames that the tests of forecasters share."""

from __future__ import annotations

import csv
import datetime as dt
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import tiny
from unrolled.artifact import Artifact
from unrolled.data.panel import Panel, read_panel, to_table
from unrolled.data.windows import WindowBatch
from unrolled.forecast_options import ForecastOptions
from unrolled.options import split
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.spec import ForecasterSpec, RecurrentSpec
from unrolled.tasks.base import Run
from unrolled.tasks.forecast import columns_of, train

SIZES = {"hidden_size": 8, "decoder_size": 4, "horizon": 4, "window": 12, "dropout": 0.1}
FLAGS = [f"--{key.replace('_', '-')}={value}" for key, value in {**SIZES, **tiny.TRAINING}.items()]
FAST = {**SIZES, **tiny.TRAINING}
START = dt.datetime(2024, 1, 1)
QUANTILES = (0.1, 0.5, 0.9)
DIRECT, OUTPUTS = ("linear", "mlp", "rnn"), ("point", "quantiles", "normal", "student_t")
Data = dict[str, list[Any]]
COUNTS = {"y": lambda k, t: float((t * (k + 3)) % 7)}
COVARIATES = {
    "promo": lambda k, t: float(t % 3 == 0),
    "load": lambda k, t: float(t % 5),
    "size": lambda k, t: 3 + k,
    "kind": lambda k, t: "ab"[k],
}


def options(**choices: Any) -> ForecastOptions:
    return ForecastOptions(**{**SIZES, **choices})


def specs(**choices: Any) -> tuple[Any, Any]:
    return split("forecast", {**FAST, **choices}, where="test")


def reads(choices: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in choices.items() if k in options().__struct_fields__}


def frame(
    names: str = "ab", steps: int = 60, *, seed: int = 0, **columns: Any
) -> dict[str, list[Any]]:
    """Hourly series with a day in them, as columns of strings and numbers."""
    draw = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {"unique_id": [], "ds": [], "y": []}
    for k, name in enumerate(names):
        wave = 10 * (k + 1) + 5 * np.sin(2 * np.pi * np.arange(steps) / 24)
        found["unique_id"] += [name] * steps
        found["ds"] += [str(START + dt.timedelta(hours=t)) for t in range(steps)]
        found["y"] += (wave + draw.normal(size=steps) * 0.1).tolist()
    for column, make in columns.items():
        found[column] = [make(k, t) for k in range(len(names)) for t in range(steps)]
    return found


def panel(data: Any = None, **choices: Any) -> Panel:
    chosen = options(**choices)
    return read_panel(to_table(frame() if data is None else data), columns_of(chosen), chosen.freq)


def write(path: Path, data: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(data)
        writer.writerows(zip(*data.values(), strict=True))
    return path


def forecaster(
    decoder: str = "mlp", output: str = "quantiles", cell: str = "gru", **recurrent: Any
) -> ForecasterSpec:
    """A forecaster spec whose widths fit: 3 static numbers, 4 of the calendar, horizon 4."""
    past = 0 if decoder == "autoregressive" else 2
    stack = {"cell": cell, "input_size": 9 + past, "hidden_sizes": (5, 5)} | recurrent
    ahead = RecurrentSpec(**{**stack, "input_size": 8, "bidirectional": False, "merge": "concat"})
    counts = output == "negative_binomial"
    return ForecasterSpec(
        recurrent=RecurrentSpec(**stack),
        horizon=4,
        past_size=past,
        known_size=4,
        static_size=3,
        decoder=decoder,
        decoder_size=3 if decoder == "mlp" else 0,
        decoder_recurrent=ahead if decoder == "rnn" else None,
        output=output,
        quantiles=QUANTILES if output == "quantiles" else (),
        residual="none" if counts else "last",
    )


def forecasters() -> dict[str, ForecasterSpec]:
    """Every decoder with every output, every cell, and stacks of several kinds."""
    specs = {f"{d}-{o}": forecaster(d, o) for d, o in product(DIRECT, OUTPUTS)}
    for output in ("point", "normal", "student_t", "negative_binomial"):
        specs[f"autoregressive-{output}"] = forecaster("autoregressive", output)
    for cell, decoder in product(("rnn", "lstm"), ("mlp", "rnn", "autoregressive")):
        specs[f"{cell}-{decoder}"] = forecaster(decoder, "normal", cell)
    specs["both-ways"] = forecaster("rnn", "point", "lstm", bidirectional=True)
    specs["widths"] = forecaster("rnn", "point", "lstm", hidden_sizes=(5, 3))
    specs["counts"] = forecaster("mlp", "negative_binomial")
    return specs


def batch(spec: ForecasterSpec, dtype: str = "float32", seed: int = 0) -> WindowBatch:
    """Three ragged windows with missing values; they span the horizon where that is read."""
    draw = np.random.default_rng(seed)
    steps = 6 + (spec.horizon if spec.decoder == "autoregressive" else 0)
    lengths = np.array([steps, steps - 2, steps - 5])
    inside = np.arange(steps) < lengths[:, None]
    observed = inside & (draw.random((3, steps)) > 0.2)
    base = (3, steps if spec.decoder == "autoregressive" else spec.horizon)

    def numbers(*shape: int) -> Any:
        return draw.normal(size=shape).astype(dtype)

    y = np.where(observed, np.abs(numbers(3, steps)), 0)
    return WindowBatch(
        y.astype(dtype), observed.astype(dtype), numbers(3, steps, spec.past_size),
        numbers(3, steps, 4), lengths, numbers(3, spec.horizon, 4), numbers(3, 3),
        numbers(*base), draw.normal(size=3), draw.random(3) + 0.5,
        draw.normal(size=(3, spec.horizon)),
    )  # fmt: skip


def fit(data: Any = None, *, run: Run | None = None, **choices: Any) -> Artifact:
    task, training = split("forecast", {**FAST, **choices}, where="test")
    given = frame() if data is None else data
    return train(panel(given, **_task(choices)), task, training, run=run)


def _task(choices: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in choices.items() if k in options().__struct_fields__}


def model_of(data: Any = None, **choices: Any) -> ForecastModel:
    return ForecastModel.from_artifact(fit(data, **choices))


def ahead(data: dict[str, list[Any]], promo: float) -> dict[str, list[Any]]:
    hours = [f"2024-01-03 {h}:00:00" for h in range(12, 16)]
    return {"unique_id": ["a"] * 4 + ["b"] * 4, "ds": hours * 2, "promo": [promo] * 8}
