"""Measure a forecaster from rolling origins, beside the seasonal naive forecast and the drift."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from unrolled.config import ForecastingSpec
from unrolled.data.panel import Panel
from unrolled.data.windows import Place, Ready, cut
from unrolled.errors import ConfigError
from unrolled.runtime.forecaster_model import ForecastModel, check_levels, rolling
from unrolled.runtime.special import Array
from unrolled.train.forecast_metrics import (
    baselines,
    coverage,
    forecast_metrics,
    naive_errors,
)


@dataclass(frozen=True)
class Origins:
    """N origins in series, `places` (series, step), and what forecasts from them are measured by.

    `y` [N, H] is what came, NaN where it is not known; `denominators` [N] are those of MASE, 0
    where there is none; `baselines` [N, H] each, by name.
    """

    series: Sequence[Ready]
    places: Sequence[Place]
    y: Array
    denominators: Array
    baselines: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, index: Array) -> Origins:
        """Return those at `index`."""
        return Origins(
            self.series,
            [self.places[i] for i in index],
            self.y[index],
            self.denominators[index],
            {name: said[index] for name, said in self.baselines.items()},
        )

    def cut(self, spec: ForecastingSpec, horizon: int, count_data: bool) -> Origins:
        """Return the same, of which each has a series of its own: a window and a horizon."""
        alone = [cut(self.series[k], at, spec, horizon, count_data) for k, at in self.places]
        places = [(row, min(spec.window, at)) for row, (_, at) in enumerate(self.places)]
        return Origins(alone, places, self.y, self.denominators, self.baselines)


def origins_of(
    series: Sequence[Ready],
    places: Sequence[Place],
    horizon: int,
    season: int,
    *,
    compare: bool = True,
) -> Origins:
    """Return what forecasts from these places are measured by; `compare` adds the baselines."""
    denominators = np.empty(len(places))
    last, errors = -1, np.empty(0)
    for row, (which, origin) in enumerate(places):
        if which != last:
            last, errors = which, naive_errors(series[which].y, season)
        denominators[row] = errors[origin]
    pasts = [each.y for each in series]
    found = baselines(pasts, places, season, horizon) if compare else {}
    y = truth(series, places, horizon)
    return Origins(series, places, y, np.nan_to_num(denominators), found)


def joined(parts: Sequence[Origins]) -> Origins:
    """Return several as one, a lone one as it is."""
    first, *others = parts
    if not others:
        return first
    shifts = np.cumsum([0, *(len(part.series) for part in parts)]).tolist()
    return Origins(
        list(chain.from_iterable(part.series for part in parts)),
        [(k + by, at) for part, by in zip(parts, shifts, strict=False) for k, at in part.places],
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.denominators for part in parts]),
        {
            name: np.concatenate([part.baselines[name] for part in parts])
            for name in first.baselines
        },
    )


def evaluate_forecaster(
    model: ForecastModel,
    panel: Panel,
    *,
    windows: int = 1,
    stride: int | None = None,
    step: int = 0,
    level: Sequence[float] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Return the errors of forecasts from `windows` origins of each series, `stride` steps apart.

    The last origin leaves the horizon to be measured on; `windows` 0 takes all that have a whole
    window to read. `step` above 0 measures that step of the horizon alone. `level` adds how many
    values lie within the interval: `coverage_80`. Baselines stand under their own names. Raises as
    `ForecastModel.cross_validate` does.
    """
    horizon = model.horizon
    if not 0 <= step <= horizon:
        raise ConfigError(f"step is {step}; the model's horizon has steps 1 to {horizon}")
    reach = step or horizon
    places = rolling(panel, model.forecasting.window, reach, windows, stride)
    series = model.ready(panel, horizon)
    return score(model, series, places, step=step, level=level, seed=seed)


def score(
    model: ForecastModel,
    series: Sequence[Ready],
    places: Sequence[Place],
    *,
    step: int = 0,
    level: Sequence[float] = (),
    seed: int = 0,
    compare: bool = True,
) -> dict[str, Any]:
    """Return the errors from these origins; `compare` adds the baselines."""
    season = model.forecasting.season
    at = origins_of(series, places, model.horizon, season, compare=compare)
    return measured(model, at, step=step, level=level, seed=seed) | beside(at, step=step)


def measured(
    model: ForecastModel,
    at: Origins,
    *,
    step: int = 0,
    level: Sequence[float] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Return the errors of a model's forecasts from these origins."""
    y, said = at.y, model.forecast(at.series, at.places, seed=seed)
    kept = slice(None) if not step else slice(step - 1, step)
    crps = said.crps(np.nan_to_num(y))
    found: dict[str, Any] = forecast_metrics(
        y[:, kept], said.mean[:, kept], crps[:, kept], at.denominators
    )
    for share in check_levels(level):
        low = (1 - share / 100) / 2
        ends = said.quantile(low)[:, kept], said.quantile(1 - low)[:, kept]
        found[f"coverage_{share:g}"] = coverage(y[:, kept], *ends)
    found["windows"], found["count"] = len(at), int(np.isfinite(y[:, kept]).sum())
    return _shown(found)


def beside(at: Origins, *, step: int = 0) -> dict[str, dict[str, Any]]:
    """Return the errors of the baselines from these origins, by the names of the baselines."""
    kept = slice(None) if not step else slice(step - 1, step)
    return {
        name: _shown(forecast_metrics(at.y[:, kept], said[:, kept], None, at.denominators))
        for name, said in at.baselines.items()
    }


def truth(series: Sequence[Ready], places: Sequence[Place], horizon: int) -> Array:
    """Return what came after each origin, [N, H], NaN where it is not known."""
    found = np.full((len(places), horizon), np.nan)
    for row, (which, origin) in enumerate(places):
        part = series[which].y[origin : origin + horizon]
        found[row, : len(part)] = part
    return found


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """Return metrics without those that could not be taken."""
    return {
        name: value
        for name, value in found.items()
        if not (isinstance(value, float) and math.isnan(value))
    }
