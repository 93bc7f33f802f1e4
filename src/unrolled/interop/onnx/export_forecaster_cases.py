"""Random ragged windows on which a forecaster's graphs are held against our own runtime.

Each is of a series as it may lie in a user's frame: stamps, missing values, covariates in their own
units. Our runtime reads the series, the graph is fed its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from unrolled.config import CalibrationSpec, ForecastingSpec
from unrolled.data.frequency import Frequency, parse_frequency, stamps_at
from unrolled.data.panel import Panel, Series
from unrolled.data.stamps import Style
from unrolled.data.windows import Place, WindowBatch
from unrolled.interop.onnx.export_cases import BATCHES, Arrays, Case, draw_lengths, flat_state
from unrolled.interop.onnx.export_covariates import AHEAD, static_columns
from unrolled.interop.onnx.export_forecaster import is_scaled_inside
from unrolled.interop.onnx.graph import Array
from unrolled.runtime.calibrated import calibrated
from unrolled.runtime.distributions import Predictive, Samples
from unrolled.runtime.forecaster_model import ForecastModel

# Steps before the window, which a scale of the whole series counts.
BEFORE = 3
# Days since 1970 that stamps are drawn between: from 1901 to 2099.
DAYS = (-25_000, 47_000)
MISSING = 0.2


def forecaster_cases(model: ForecastModel, generator: np.random.Generator) -> Iterator[Case]:
    """Yield windows, and what is said of the horizon."""
    reads = model.forecasting
    for feeds, ahead, batch in _windows(model, generator):
        outputs = model.network.outputs(batch)
        said = model.network.say(outputs, batch.base, batch.location, batch.scale)
        if reads.calibration is not None:
            said = calibrated(said, reads.calibration, batch.scale)
        named = {f"{name}{AHEAD}": value for name, value in ahead.items()}
        yield feeds | named, _said(said)


def encoder_cases(model: ForecastModel, generator: np.random.Generator) -> Iterator[Case]:
    """Yield windows, and where an autoregressive forecaster begins."""
    network = model.network
    for feeds, _, batch in _windows(model, generator):
        _, state = network.recurrent(network.read(batch, shifted=True), lengths=batch.lengths)
        expected = flat_state(network.spec.recurrent, state, "_n")
        expected["y_n"] = _ends(feeds["y"], batch)
        if network.spec.residual == "last":
            expected["last_n"] = batch.base[:, 0]
        if is_scaled_inside(model):
            expected |= _scale(batch)
        yield feeds, expected


def step_cases(model: ForecastModel, generator: np.random.Generator) -> Iterator[Case]:
    """Yield two steps in a row after each window, the second from a drawn value."""
    network, spec = model.network, model.network.spec
    stack, added = spec.recurrent, spec.residual == "last"
    for given, ahead, batch in _windows(model, generator):
        _, state = network.recurrent(network.read(batch, shifted=True), lengths=batch.lengths)
        y, base = _ends(given["y"], batch), batch.base[:, 0].astype(np.float64)
        fixed: Arrays = {name: given[name] for name in ("static", "categories") if name in given}
        fixed |= _scale(batch)
        for t in range(min(2, spec.horizon)):
            feeds = {"y": y, **fixed, **flat_state(stack, state)}
            feeds |= {name: value[:, t] for name, value in ahead.items()}
            if added:
                feeds["last"] = base
            observed = np.isfinite(y)
            value = np.where(observed, (y - batch.location) / batch.scale, 0)
            base = np.where(observed, value, base) if added else np.zeros(len(y))
            outputs, state = network.advance(
                value, observed.astype(np.float32), batch.ahead[:, t], batch.static, state
            )
            said = network.say(outputs[:, None], base[:, None], batch.location, batch.scale)
            expected = {name: each[:, 0] for name, each in _said(said).items()}
            expected |= flat_state(stack, state, "_n")
            if added:
                expected["last_n"] = base
            yield feeds, expected
            y = batch.location + batch.scale * generator.normal(size=len(y))


def paths_cases(by: CalibrationSpec, generator: np.random.Generator) -> Iterator[Case]:
    """Yield drawn paths, of fewer steps than the horizon too, and their calibrated quantiles."""
    for rows, count in BATCHES:
        steps = int(generator.integers(1, len(by.offsets) + 1))
        scale = 10 ** generator.uniform(-1, 2, rows)
        paths = generator.normal(size=(rows, count, steps)) * scale[:, None, None]
        said = calibrated(Samples(paths), by, scale)
        yield {"paths": paths, "window_scale": scale}, _said(said)


class _Drawn(NamedTuple):
    """A series, the covariates after its end, and its stamps in seconds to the end of these."""

    series: Series
    later: Series
    stamps: Array


def _windows(
    model: ForecastModel, generator: np.random.Generator
) -> Iterator[tuple[Arrays, Arrays, WindowBatch]]:
    """Yield what a caller feeds of windows and of what lies ahead, and what our own code makes."""
    for rows, steps in BATCHES:
        drawn = [
            _draw(model, generator, k, int(length) + BEFORE)
            for k, length in enumerate(draw_lengths(generator, rows, steps, 1))
        ]
        # Some windows begin where their series does.
        places = [(k, len(each.series) - BEFORE * (k % 2)) for k, each in enumerate(drawn)]
        panel, later = (
            Panel("drawn", model.columns, _freq(model), Style("time"), tuple(each))
            for each in zip(*((one.series, one.later) for one in drawn), strict=True)
        )
        batch = model.batch(model.ready(panel, model.horizon, later), places, model.horizon)
        feeds, ahead = _feeds(model, drawn, places, batch)
        if not is_scaled_inside(model):
            feeds |= _scale(batch)
        yield feeds, ahead, batch


def _feeds(
    model: ForecastModel, drawn: Sequence[_Drawn], places: Sequence[Place], batch: WindowBatch
) -> tuple[Arrays, Arrays]:
    """Return the inputs of windows, and those of the steps ahead of them."""
    reads, (rows, steps) = model.forecasting, batch.y.shape
    columns: Arrays = {"y": np.zeros((rows, steps))}
    ahead: Arrays = {}
    if reads.past:
        columns["past"] = np.zeros((rows, steps, len(reads.past)))
    if reads.calendar:
        columns["stamp"], ahead["stamp"] = np.zeros((rows, steps)), np.zeros((rows, model.horizon))
    if reads.future:
        size = len(reads.future)
        columns["future"] = np.zeros((rows, steps, size))
        ahead["future"] = np.zeros((rows, model.horizon, size))
    for row, (which, origin) in enumerate(places):
        series, later, stamps = drawn[which]
        known = np.concatenate([series.future, later.future])
        of = {"y": series.y, "past": series.past, "stamp": stamps, "future": known}
        n = batch.lengths[row]
        for name, values in columns.items():
            values[row, :n] = of[name][origin - n : origin]
        for name, values in ahead.items():
            values[row] = of[name][origin : origin + model.horizon]
    feeds = {"y": columns.pop("y"), "lengths": batch.lengths, **columns}
    chosen = [dict(zip(reads.static, drawn[k].series.static, strict=True)) for k, _ in places]
    numbers, kinds = static_columns(reads)
    if numbers:
        feeds["static"] = np.array([[each[name] for name in numbers] for each in chosen])
    if kinds:
        feeds["categories"] = np.array(
            [[reads.categories[name].index(each[name]) for name in kinds] for each in chosen]
        )
    return feeds, ahead


def _draw(model: ForecastModel, generator: np.random.Generator, k: int, steps: int) -> _Drawn:
    """Return series k around a level of its own, a fifth of it missing; counts where asked for.

    Of every two, one has values around 1, of which a difference shows best.
    """
    spec, reads, freq = model.network.spec, model.forecasting, _freq(model)
    level, spread = (generator.uniform(10, 1000), 10.0) if k % 2 else (0.0, 1.0)
    y = generator.normal(level, spread, steps)
    if spec.output == "negative_binomial":
        y = generator.poisson(generator.uniform(1, 20), steps).astype(np.float64)
    y[generator.random(steps) < MISSING] = np.nan
    stamps = stamps_at(freq, _origin(freq, generator), np.arange(steps + spec.horizon))
    past = _numbers(reads, reads.past, steps, generator)
    future = _numbers(reads, reads.future, steps + spec.horizon, generator)
    static = tuple(
        str(generator.choice(reads.categories[name]))
        if name in reads.categories
        else float(generator.normal(*reads.statistics[name]))
        for name in reads.static
    )
    series = Series(k, stamps[0], y, past, future[:steps], static, "drawn")
    none = np.full((spec.horizon, 1 + len(reads.past)), np.nan)
    later = Series(k, stamps[steps], none[:, 0], none[:, 1:], future[steps:], static, "drawn")
    if freq.unit != "step":
        stamps = stamps.astype(np.int64) / 1e6
    return _Drawn(series, later, stamps)


def _numbers(
    reads: ForecastingSpec, names: Sequence[str], steps: int, generator: np.random.Generator
) -> Array:
    """Return covariates [T, k] as they were in training, a fifth of them missing."""
    found = np.empty((steps, len(names)))
    for k, name in enumerate(names):
        found[:, k] = generator.normal(*reads.statistics[name], size=steps)
    found[generator.random(found.shape) < MISSING] = np.nan
    return found


def _origin(freq: Frequency, generator: np.random.Generator) -> Any:
    """Return the first stamp of a series, one that may be on a grid of this frequency."""
    day: Any = np.datetime64(int(generator.integers(*DAYS)), "D")
    if freq.unit == "step":
        return int(generator.integers(1000))
    if freq.unit == "B":
        day = np.busday_offset(day, 0, roll="forward")
    if freq.unit in ("M", "ME"):
        # The first day of a month, or the last one.
        month = day.astype("datetime64[M]")
        day = month.astype("datetime64[D]")
        if freq.unit == "ME":
            day = (month + 1).astype("datetime64[D]") - 1
    second = generator.integers(86_400) if freq.unit in ("s", "min", "h") else 0
    return day.astype("datetime64[us]") + np.timedelta64(int(second), "s")


def _freq(model: ForecastModel) -> Frequency:
    return parse_frequency(model.forecasting.freq)


def _ends(y: Array, batch: WindowBatch) -> Array:
    ends: Array = y[np.arange(len(y)), batch.lengths - 1]
    return ends


def _scale(batch: WindowBatch) -> Arrays:
    return {"window_location": batch.location, "window_scale": batch.scale}


def _said(said: Predictive) -> Arrays:
    """Return what is said of each step by the names of a graph's outputs."""
    names = [each.name for each in fields(said) if each.name != "shares"]
    return {"quantiles" if name == "values" else name: getattr(said, name) for name in names}
