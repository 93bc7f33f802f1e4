"""Intervals moved by how far a forecaster was off on data that it had not learned from (conformal).

A quantile of each step is moved by a number that was measured once, times the scale of the window
(Vovk, Gammerman and Shafer 2005; Romano, Patterson and Candes 2019, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unrolled.config import CalibrationSpec
from unrolled.runtime.distributions import Array, Point, Predictive, Quantiles


@dataclass(frozen=True)
class Calibrated(Quantiles):
    """Quantiles that were moved, around a forecast `loc` [N, H] that stays where it was."""

    loc: Array

    @property
    def mean(self) -> Array:
        """The forecast, untouched."""
        return self.loc


def values_at(said: Predictive, shares: Array) -> Array:
    """Return the quantiles of a forecast, [N, H, Q]; of a point, the point."""
    each = [said.loc if isinstance(said, Point) else said.quantile(q) for q in shares.tolist()]
    return np.stack(each, axis=-1)


def calibrated(said: Predictive, by: CalibrationSpec, scale: Array) -> Calibrated:
    """Return q + scale * offset of every quantile q of a forecast [N, H], for scales [N].

    Where moved quantiles cross, the one further from the median takes the place of the nearer one,
    so that no interval gets narrower by it.
    """
    shares, offsets = np.array(by.shares), np.array(by.offsets)
    values = values_at(said, shares)
    values = values + offsets[: values.shape[1]] * scale[:, None, None]
    middle = list(by.shares).index(0.5)
    values[..., middle:] = np.maximum.accumulate(values[..., middle:], axis=-1)
    below = values[..., : middle + 1]
    values[..., : middle + 1] = np.minimum.accumulate(below[..., ::-1], axis=-1)[..., ::-1]
    return Calibrated(values, shares, said.mean)


def fits(by: CalibrationSpec, horizon: int) -> bool:
    """Tell whether a calibration has a number for each step and quantile, the median among them."""
    shares = by.shares
    ordered = len(shares) > 1 and 0.5 in shares and tuple(sorted(set(shares))) == shares
    inside = ordered and shares[0] > 0 and shares[-1] < 1
    return inside and [len(row) for row in by.offsets] == [len(shares)] * horizon
