"""Calibrate a forecaster's intervals on its validation windows: split conformal prediction.

Of each step h and quantile q, with n windows whose value is known, the offset is the k-th smallest
of how far the value lay beyond the quantile, in scales of its window: k = ceil((n + 1) q), of the
lower quantiles ceil((n + 1) (1 - q)). A value of a new window, exchangeable with these, lies beyond
the moved quantile with a probability of min(q, 1 - q) at most (Vovk, Gammerman and Shafer 2005).
Both ends are moved by themselves, as in theorem 2 of Romano, Patterson and Candes 2019, and each
step, as in Stankeviciute, Alaa and van der Schaar 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unrolled.config import CalibrationSpec
from unrolled.errors import ConfigError, DataError
from unrolled.runtime.calibrated import values_at
from unrolled.runtime.distributions import Array
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks.forecast_evaluate import Origins

DIGITS = 6


def needed(shares: Sequence[float]) -> int:
    """Return the least number of windows that can tell the outermost of `shares` from infinity."""
    tail = min(min(share, 1 - share) for share in shares)
    return math.ceil(1 / tail - 1e-9) - 1


def check_windows(at: Origins, shares: Sequence[float]) -> None:
    """Raise DataError where a step of the horizon has too few known values after the windows."""
    known = np.isfinite(at.y).sum(axis=0)
    step, least = int(known.argmin()), needed(shares)
    if known[step] < least:
        raise DataError(
            f"calibrate: step {step + 1} of the horizon is known in {known[step]} of "
            f"{len(at)} validation windows, and quantiles of {min(shares):g} to "
            f"{max(shares):g} take {least}; hold out more (--validation-fraction, --valid) or name "
            "other --quantiles"
        )


def check_shares(shares: Sequence[float], output: str) -> None:
    """Raise ConfigError for quantiles that are no quantiles, and for an output of counts."""
    if output == "negative_binomial":
        raise ConfigError("calibrate moves intervals by fractions; negative_binomial has counts")
    if not all(0 < share < 1 for share in shares) or 0.5 not in shares or len(shares) < 2:
        raise ConfigError(
            f"calibrate: quantiles are {', '.join(format(s, 'g') for s in shares)}; expected "
            "numbers between 0 and 1, 0.5 and others"
        )


def calibration(model: ForecastModel, at: Origins, shares: Sequence[float]) -> CalibrationSpec:
    """Return the offsets of each step and quantile, from forecasts by `model` from these origins.

    Where an offset would lie between windows that are equally far, it is the larger. The median
    stays.
    """
    said = model.forecast(at.series, at.places)
    scale = model.batch(at.series, at.places, model.horizon).scale
    apart = (at.y[..., None] - values_at(said, np.array(shares))) / scale[:, None, None]
    columns = [_offsets(apart[..., k], share) for k, share in enumerate(shares)]
    rows = tuple(tuple(map(_rounded, row)) for row in np.stack(columns, axis=1).tolist())
    return CalibrationSpec(shares=tuple(shares), offsets=rows, windows=len(at))


def _offsets(apart: Array, share: float) -> Array:
    """Return the offset of each step [H] from how far values lay above a quantile, [N, H]."""
    if share == 0.5:
        return np.zeros(apart.shape[1])
    sign = 1 if share > 0.5 else -1
    found = np.empty(apart.shape[1])
    for h in range(apart.shape[1]):
        known = np.sort(sign * apart[np.isfinite(apart[:, h]), h])
        k = math.ceil((len(known) + 1) * max(share, 1 - share) - 1e-9)
        found[h] = sign * known[k - 1]
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
