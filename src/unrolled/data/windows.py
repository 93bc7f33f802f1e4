"""Series to windows: what a forecaster reads, what should come out, and the scale of each.

A window is the last n <= W steps before an origin; a series that is shorter gives a shorter window,
and nothing is padded in front. Missing values are 0 beside an indicator that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.config import ForecastingSpec
from unrolled.data.frequency import calendar, parse_frequency, stamps_at
from unrolled.data.panel import Panel, Series, check_offsets
from unrolled.errors import DataError

Array = NDArray[Any]
# Quartiles of a normal distribution are 1.349 deviations apart.
QUARTILES = 1.349
FLAT = 1e-9


@dataclass(frozen=True)
class Ready:
    """One series as the network reads it, raw but for the covariates.

    `y` [T] float64 with NaN where missing; `past` [T, P], `known` [T + H, K] and `static` [S]
    float32; of an even number of columns the second half says which of the first are there.
    `scale` is the location and scale of all its past, where that begins before `y`.
    """

    id: Any
    y: Array
    past: Array
    known: Array
    static: Array
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class WindowBatch:
    """N windows, float32 but for what is measured.

    `y`, `observed` [N, T], `past` [N, T, P], `known` [N, T, K] of the steps read, `lengths` [N];
    `ahead` [N, H, K] and `static` [N, S]; `base` [N, H], or [N, T] where `teacher` was asked for,
    is what answers are added to. Values are scaled: (y - location) / scale, both [N] float64.
    `target` [N, H] float64 is raw, NaN where it is missing. With `teacher` T spans the horizon too.
    """

    y: Array
    observed: Array
    past: Array
    known: Array
    lengths: Array
    ahead: Array
    static: Array
    base: Array
    location: Array
    scale: Array
    target: Array

    def __len__(self) -> int:
        return len(self.lengths)


Place = tuple[int, int]


def ready(
    panel: Panel, spec: ForecastingSpec, horizon: int, future: Panel | None = None
) -> list[Ready]:
    """Return the series of a panel with their calendar and covariates, `horizon` steps further.

    `future` holds the covariates that are known ahead, for the steps after each series' end. Raises
    DataError where a static category is new to the model, and where only one of both has times with
    an offset from UTC.
    """
    freq = parse_frequency(spec.freq)
    later = {}
    if future is not None:
        check_offsets(panel, future)
        later = {series.id: series for series in future.series}
    found = []
    for series in panel.series:
        steps = len(series) + horizon
        stamps = stamps_at(freq, series.origin, np.arange(steps))
        ahead = np.full((steps, len(spec.future)), np.nan)
        ahead[: len(series)] = series.future
        if series.id in later:
            _lay(ahead, series, later[series.id], freq)
        known = [calendar(stamps, spec.calendar), _standard(ahead, spec.future, spec)]
        past = _standard(series.past, spec.past, spec)
        static = _static(panel, series, spec)
        found.append(Ready(series.id, series.y, past, np.concatenate(known, axis=1), static))
    return found


def _lay(ahead: Array, series: Series, later: Series, freq: Any) -> None:
    """Lay the rows of a frame of the future where they belong on the grid of the series."""
    from unrolled.data.frequency import positions

    stamps = stamps_at(freq, later.origin, np.arange(len(later)))
    places, on = positions(freq, series.origin, stamps)
    if not on.all():
        raise DataError(f"{later.where}: its stamps are not on the grid of the series")
    inside = (places >= 0) & (places < len(ahead))
    ahead[places[inside]] = later.future[inside]


def _standard(values: Array, names: Sequence[str], spec: ForecastingSpec) -> Array:
    """Return (x - mean) / deviation [T, k], 0 where missing, and beside it where it is there."""
    there = np.isfinite(values)
    means = np.array([spec.statistics[name][0] for name in names])
    scales = np.array([spec.statistics[name][1] for name in names])
    scaled = np.where(there, (np.where(there, values, 0.0) - means) / scales, 0.0)
    return np.concatenate([scaled, there], axis=1).astype(np.float32)


def _static(panel: Panel, series: Series, spec: ForecastingSpec) -> Array:
    parts: list[Array] = []
    for name, value in zip(spec.static, series.static, strict=True):
        if name not in spec.categories:
            mean, scale = spec.statistics[name]
            try:
                parts.append(np.array([(float(value) - mean) / scale]))
            except (TypeError, ValueError):
                raise DataError(
                    f"{series.where}, column {name!r}: {value!r}, expected a number"
                ) from None
            continue
        known = spec.categories[name]
        if str(value) not in known:
            raise DataError(
                f"{series.where}, column {name!r}: {value!r} was not there in training; known are "
                f"{', '.join(known[:10])}{' and others' if len(known) > 10 else ''}"
            )
        parts.append(np.eye(len(known))[known.index(str(value))])
    return np.concatenate([np.zeros(0), *parts]).astype(np.float32)


def cut(each: Ready, origin: int, spec: ForecastingSpec, horizon: int, count_data: bool) -> Ready:
    """Return the window before an origin and the horizon after it as a series of its own.

    Its memory is its own too. Its origin is min(window, origin) steps after its first.
    """
    kept = slice(max(0, origin - spec.window), origin + horizon)
    scale = None
    if spec.scale_by == "series":
        found = scales(each.y[None, :origin], spec.scaling, count_data=count_data)
        scale = (float(found[0][0]), float(found[1][0]))
    y, past, known = (part[kept].copy() for part in (each.y, each.past, each.known))
    return Ready(each.id, y, past, known, each.static, scale)


def static_size(spec: ForecastingSpec) -> int:
    """Return S, the numbers that the static covariates become."""
    return sum(len(spec.categories.get(name, ("",))) for name in spec.static)


def batch(
    series: Sequence[Ready],
    places: Sequence[Place],
    spec: ForecastingSpec,
    *,
    horizon: int,
    residual: str,
    count_data: bool = False,
    teacher: bool = False,
    ends: Sequence[int] | None = None,
) -> WindowBatch:
    """Return the windows that end before the origins `places`, (series, step), as one batch.

    The scale is of the window or of all that is before the origin; `ends` names another end for
    each series: that of the training data. With `count_data` the location is 0 and the scale
    1 + mean.
    """
    window = spec.window
    n = np.array([min(window, origin) for _, origin in places])
    longest = int(n.max(initial=1)) + (horizon if teacher else 0)
    shape = (len(places), longest)
    first = series[places[0][0]]
    raw = np.full(shape, np.nan)
    past = np.zeros((*shape, first.past.shape[1]), np.float32)
    known = np.zeros((*shape, first.known.shape[1]), np.float32)
    ahead = np.zeros((len(places), horizon, first.known.shape[1]), np.float32)
    target = np.full((len(places), horizon), np.nan)
    for row, (which, origin) in enumerate(places):
        each, start = series[which], origin - n[row]
        end = origin + (horizon if teacher else 0)
        values = each.y[start:end]
        raw[row, : len(values)] = values
        beside = each.past[start:end]
        past[row, : len(beside)] = beside
        known[row, : end - start] = each.known[start:end]
        ahead[row] = each.known[origin : origin + horizon]
        wanted = each.y[origin : origin + horizon]
        target[row, : len(wanted)] = wanted
    if spec.scale_by == "series":
        location, scale = _of_past(series, places, spec, ends, count_data)
    else:
        read = np.where(np.arange(longest) < n[:, None], raw, np.nan)
        location, scale = scales(read, spec.scaling, count_data=count_data)
    scaled = (raw - location[:, None]) / scale[:, None]
    observed = np.isfinite(raw)
    y = np.where(observed, scaled, 0.0).astype(np.float32)
    if teacher:
        base = _carried(y, observed) if residual == "last" else np.zeros_like(y)
    else:
        base = base_of(y, observed, n, horizon, residual, spec.season)
    return WindowBatch(
        y, observed.astype(np.float32), past, known, n + (horizon if teacher else 0), ahead,
        np.stack([series[which].static for which, _ in places]), base, location, scale, target,
    )  # fmt: skip


def _of_past(
    series: Sequence[Ready],
    places: Sequence[Place],
    spec: ForecastingSpec,
    ends: Sequence[int] | None,
    count_data: bool,
) -> tuple[Array, Array]:
    """Return location and scale [N] of all that is before each origin, or before the `ends`."""
    told = [series[which].scale for which, _ in places]
    if told[0] is None:
        return scales(_histories(series, places, ends), spec.scaling, count_data=count_data)
    location, scale = np.array(told).T
    return location, scale


def _histories(
    series: Sequence[Ready], places: Sequence[Place], ends: Sequence[int] | None
) -> Array:
    """Return all that is before each origin, or before the `ends`, [N, T] with NaN after it."""
    parts = [series[which].y[: origin if ends is None else ends[which]] for which, origin in places]
    found = np.full((len(parts), max(map(len, parts))), np.nan)
    for row, part in enumerate(parts):
        found[row, : len(part)] = part
    return found


def scales(values: Array, scaling: str, *, count_data: bool = False) -> tuple[Array, Array]:
    """Return location and scale [N] of values [N, T], NaN where missing.

    standard: mean and standard deviation; robust: median, and the distance of the quartiles over
    1.349; none: 0 and 1. With `count_data`: 0 and 1 + mean. A scale that is 0 (all values alike)
    becomes 1.
    """
    rows = len(values)
    there = np.isfinite(values)
    counts = np.maximum(there.sum(axis=1), 1)
    if scaling == "none":
        return np.zeros(rows), np.ones(rows)
    mean = np.where(there, values, 0.0).sum(axis=1) / counts
    if count_data:
        return np.zeros(rows), 1 + mean
    if scaling == "robust":
        ordered = np.sort(values, axis=1)
        low, location, high = (_quantile(ordered, counts, q) for q in (0.25, 0.5, 0.75))
        scale = (high - low) / QUARTILES
    else:
        location = mean
        apart = np.where(there, values - mean[:, None], 0.0)
        scale = np.sqrt((apart**2).sum(axis=1) / counts)
    location = np.where(there.any(axis=1), location, 0.0)
    flat = ~(scale > FLAT * np.abs(location))
    return location, np.where(flat, 1.0, scale)


def _quantile(ordered: Array, counts: Array, q: float) -> Array:
    """Return a quantile of the first `counts` of each row, between the two values beside it."""
    at = q * (counts - 1)
    rows, below = np.arange(len(ordered)), np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, counts - 1)
    share = at - below
    found: Array = ordered[rows, below] * (1 - share) + ordered[rows, above] * share
    return found


def _carried(y: Array, observed: Array) -> Array:
    """Return the last observed value before each step [N, T]; 0 before the first."""
    steps = np.where(observed, np.arange(y.shape[1]), -1)
    last = np.maximum.accumulate(steps, axis=1)
    before = np.concatenate([np.full((len(y), 1), -1), last[:, :-1]], axis=1)
    found: Array = np.where(before >= 0, np.take_along_axis(y, np.maximum(before, 0), 1), 0)
    return found.astype(y.dtype)


def base_places(observed: Array, n: Array, horizon: int, residual: str, season: int) -> Array:
    """Return where the value lies that each step of the horizon is added to, [N, H]; -1: nowhere.

    The last observed value, or that a season ago (where it is missing: the last).
    """
    rows, steps = observed.shape
    if residual == "none":
        return np.full((rows, horizon), -1)
    inside = observed & (np.arange(steps) < n[:, None])
    last = np.where(inside, np.arange(steps), -1).max(axis=1, initial=-1)
    places = np.repeat(last[:, None], horizon, axis=1)
    if residual == "season":
        for h in range(horizon):
            at = n - season + h % season
            there = (at >= 0) & observed[np.arange(rows), np.maximum(at, 0)]
            places[there, h] = at[there]
    return places


def base_of(y: Array, observed: Array, n: Array, horizon: int, residual: str, season: int) -> Array:
    """Return what answers are added to, [N, H]: the values at `base_places`, 0 where nowhere."""
    places = base_places(observed, n, horizon, residual, season)
    found = np.take_along_axis(y, np.maximum(places, 0), axis=1)
    base: Array = np.where(places >= 0, found, 0).astype(y.dtype)
    return base


def auto_window(season: int, horizon: int) -> int:
    """Return how many steps are read by default: two seasons and two horizons, at most 512."""
    return max(2, min(512, 2 * season + 2 * horizon))


def origins(length: int, *, window: int, horizon: int, end: int | None = None) -> range:
    """Return the origins of training windows in a series of `length` steps, up to `end`.

    Windows are whole where the series has room for one, and as long as it allows otherwise.
    """
    last = (length if end is None else min(length, end)) - horizon
    return range(max(1, min(window, last)), last + 1)


def learnable(y: Array, origins: Sequence[int], window: int, horizon: int) -> Array:
    """Return those of `origins` in y [T] that have a value to read and one to learn, [n]."""
    at = np.asarray(origins, dtype=np.int64)
    counts = np.concatenate([[0], np.cumsum(np.isfinite(y))])
    before = counts[at] - counts[np.maximum(at - window, 0)]
    after = counts[np.minimum(at + horizon, len(y))] - counts[at]
    found: Array = at[(before > 0) & (after > 0)]
    return found
