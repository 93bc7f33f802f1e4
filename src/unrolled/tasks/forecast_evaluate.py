"""Measure a forecaster from rolling origins, beside the seasonal naive forecast and the drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.panel import Panel
from unrolled.data.windows import Place, Ready
from unrolled.errors import ConfigError
from unrolled.runtime.forecaster_model import ForecastModel, check_levels, rolling
from unrolled.runtime.special import Array
from unrolled.train.forecast_metrics import (
    baselines,
    coverage,
    forecast_metrics,
    naive_errors,
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
    horizon, season = model.horizon, model.forecasting.season
    y = truth(series, places, horizon)
    said = model.forecast(series, places, seed=seed)
    kept = slice(None) if not step else slice(step - 1, step)
    errors = [naive_errors(each.y, season) for each in series]
    denominators = np.nan_to_num([errors[which][origin] for which, origin in places])
    crps = said.crps(np.nan_to_num(y))
    found: dict[str, Any] = forecast_metrics(
        y[:, kept], said.mean[:, kept], crps[:, kept], denominators
    )
    for share in check_levels(level):
        low = (1 - share / 100) / 2
        ends = said.quantile(low)[:, kept], said.quantile(1 - low)[:, kept]
        found[f"coverage_{share:g}"] = coverage(y[:, kept], *ends)
    found["windows"], found["count"] = len(places), int(np.isfinite(y[:, kept]).sum())
    if compare:
        found |= beside(series, places, horizon, season, step=step)
    return _shown(found)


def beside(
    series: Sequence[Ready], places: Sequence[Place], horizon: int, season: int, *, step: int = 0
) -> dict[str, dict[str, Any]]:
    """Return the errors of the baselines from these origins, by the names of the baselines."""
    kept = slice(None) if not step else slice(step - 1, step)
    y, pasts = truth(series, places, horizon), [each.y for each in series]
    errors = [naive_errors(past, season) for past in pasts]
    denominators = np.nan_to_num([errors[which][origin] for which, origin in places])
    return {
        name: _shown(forecast_metrics(y[:, kept], said[:, kept], None, denominators))
        for name, said in baselines(pasts, places, season, horizon).items()
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
