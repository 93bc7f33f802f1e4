"""Means of a few seeds, and how far they can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# The 97.5 % quantile of Student's t by degrees of freedom; beyond, that of the last.
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds and the half width of its 95 % interval (Student's t); inf for n = 1."""

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean + self.half

    def __str__(self) -> str:
        """Say the mean and the half width with as many digits as mean something."""
        if not math.isfinite(self.half):
            return f"{self.mean:.3g} (one seed)"
        return f"{self.mean:.3g} ± {self.half:.2g}"


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean and interval: mean ± t[n-1] s / sqrt(n), s the standard deviation of `values`."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Estimate(mean, math.inf, n)
    t = T_QUANTILES[min(n - 1, len(T_QUANTILES)) - 1]
    return Estimate(mean, t * statistics.stdev(values) / math.sqrt(n), n)
