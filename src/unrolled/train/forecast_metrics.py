"""How good forecasts are, beside what needs no model: the value a season ago, and the drift.

All errors are over the N windows and H steps whose true value is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def forecast_metrics(
    y: Array, forecast: Array, crps: Array | None, denominators: Array
) -> dict[str, float]:
    """Return the errors of forecasts [N, H] of y [N, H], NaN where y is not known.

    mae, mse, rmse; smape = mean 200 |y - f| / (|y| + |f|), in % (Makridakis 1993); mase =
    mean |y - f| / d (Hyndman and Koehler 2006), over windows whose d, `denominators` [N], is above
    0; rse = sqrt(sum (y - f)^2 / sum (y - mean y)^2); crps, where given, and `scaled_crps`, it
    over d. Without known values all are NaN.
    """
    there = np.isfinite(y)
    error = np.where(there, y - forecast, np.nan)[there]
    truth, told = y[there], forecast[there]
    squared = float(np.mean(error**2)) if error.size else math.nan
    total = np.abs(truth) + np.abs(told)
    relative = np.where(total > 0, 200 * np.abs(error) / np.where(total > 0, total, 1.0), 0.0)
    by = np.broadcast_to(denominators[:, None], y.shape)[there]
    fit = by > 0
    found = {
        "mae": _mean(np.abs(error)),
        "mse": squared,
        "rmse": math.sqrt(squared) if error.size else math.nan,
        "smape": _mean(relative),
        "mase": _mean(np.abs(error[fit]) / by[fit]),
    }
    spread = float(np.std(truth)) if error.size else 0.0
    found["rse"] = found["rmse"] / spread if spread > 0 else math.nan
    scores = np.abs(error) if crps is None else crps[there]
    found["crps"] = _mean(scores)
    found["scaled_crps"] = _mean(scores[fit] / by[fit])
    return found


def coverage(y: Array, low: Array, high: Array) -> float:
    """Return the share of known values that lie within their interval, its ends included."""
    there = np.isfinite(y)
    return _mean(((y >= low) & (y <= high))[there].astype(np.float64))


def naive_errors(y: Array, season: int) -> Array:
    """Return mean |y_t - y_{t - season}| of the first t steps, for every t: [T + 1].

    The denominators of MASE. NaN where no two values are a season apart so far.
    """
    steps = len(y)
    sums, counts = np.zeros(steps + 1), np.zeros(steps + 1)
    if steps > season:
        apart = np.abs(y[season:] - y[:-season])
        there = np.isfinite(apart)
        sums[season + 1 :] = np.cumsum(np.where(there, apart, 0.0))
        counts[season + 1 :] = np.cumsum(there)
    found: Array = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return found


def seasonal_naive(y: Array, season: int, horizon: int) -> Array:
    """Return the last known value of the same place in the season, [H], for y [T].

    Where that place has none, the last known value; NaN where there is none at all.
    """
    steps = len(y)
    known = np.flatnonzero(np.isfinite(y))
    found = np.full(horizon, y[known[-1]] if len(known) else np.nan)
    for h in range(min(season, horizon)):
        first = steps + h - season
        same = y[first % season : first + 1 : season] if first >= 0 else y[:0]
        values = same[np.isfinite(same)]
        if len(values):
            found[h::season] = values[-1]
    return found


def drift(y: Array, horizon: int) -> Array:
    """Return the line through the first and the last known value of y [T], gone on for H steps."""
    known = np.flatnonzero(np.isfinite(y))
    if not len(known):
        return np.full(horizon, np.nan)
    first, last = known[0], known[-1]
    slope = (y[last] - y[first]) / max(last - first, 1)
    found: Array = y[last] + slope * (len(y) - 1 - last + np.arange(1, horizon + 1))
    return found


def baselines(
    series: Sequence[Array], places: Sequence[tuple[int, int]], season: int, horizon: int
) -> Mapping[str, Array]:
    """Return the forecasts [N, H] of both baselines from each origin (series, step)."""
    shape = (len(places), horizon)
    seasons, drifts = np.empty(shape), np.empty(shape)
    for row, (which, origin) in enumerate(places):
        past = series[which][:origin]
        seasons[row], drifts[row] = seasonal_naive(past, season, horizon), drift(past, horizon)
    return {"seasonal_naive": seasons, "drift": drifts}


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else math.nan
