"""What a forecast says of each step: a point, quantiles, a distribution, or drawn paths.

Each has `mean`, `quantile(share)` and `crps(y)`, all [N, H] float64 in the units of the series.
The continuous ranked probability score is the integral of (F(x) - 1{x >= y})^2 (Gneiting and
Raftery 2007, 4.2), in closed form where there is one (Jordan, Krueger and Lerch 2019, appendix A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError
from unrolled.runtime.special import (
    beta_cdf,
    log_gamma,
    normal_cdf,
    normal_density,
    student_cdf,
    student_density,
    student_quantile,
)

Array = NDArray[Any]
MOST_COUNTS = 512
# Keeps a deviation above 0, in scaled units.
LEAST_SCALE = 1e-4
LEAST_DF = 2.0
# Keeps the mean and the dispersion of counts above 0, in scaled units.
LEAST_MEAN = 1e-6


@dataclass(frozen=True)
class Point:
    """A number a step and nothing about its spread; its CRPS is the absolute error."""

    loc: Array

    @property
    def mean(self) -> Array:
        """The forecast."""
        return self.loc

    def quantile(self, share: float) -> Array:
        """Return the point for a share of 0.5; ConfigError for any other."""
        if share != 0.5:
            raise ConfigError(
                "this model answers with points and knows no intervals; train one with --output "
                "quantiles, normal, student_t or negative_binomial"
            )
        return self.loc

    def crps(self, y: Array) -> Array:
        """Return |forecast - y|."""
        found: Array = np.abs(self.loc - y)
        return found


@dataclass(frozen=True)
class Quantiles:
    """Values [N, H, Q] at `shares` [Q] in ascending order; `mean` is the median."""

    values: Array
    shares: Array

    @property
    def mean(self) -> Array:
        """The median, which stands for the forecast."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> Array:
        """Return a quantile, on the line between its neighbours; ConfigError beyond the last."""
        shares = self.shares
        if not shares[0] - 1e-9 <= share <= shares[-1] + 1e-9:
            raise ConfigError(
                f"the quantile {share:g} lies outside those that the model knows, "
                f"{shares[0]:g} to {shares[-1]:g}: its widest level is "
                f"{100 * (1 - 2 * max(shares[0], 1 - shares[-1])):g}"
            )
        above = min(max(int(np.searchsorted(shares, share - 1e-9)), 1), len(shares) - 1)
        low, high = shares[above - 1], shares[above]
        weight = (share - low) / (high - low)
        found: Array = self.values[..., above - 1] * (1 - weight) + self.values[..., above] * weight
        return found

    def crps(self, y: Array) -> Array:
        """Return twice the mean pinball loss of its quantiles, an approximation."""
        apart = y[..., None] - self.values
        found: Array = 2 * np.maximum(self.shares * apart, (self.shares - 1) * apart).mean(axis=-1)
        return found


@dataclass(frozen=True)
class Normal:
    """N(loc, scale^2)."""

    loc: Array
    scale: Array

    @property
    def mean(self) -> Array:
        """E[y]."""
        return self.loc

    def quantile(self, share: float) -> Array:
        """Return loc + scale * z."""
        found: Array = self.loc + self.scale * NormalDist().inv_cdf(share)
        return found

    def crps(self, y: Array) -> Array:
        """Return scale * (z (2 F(z) - 1) + 2 f(z) - 1 / sqrt(pi))."""
        z = (y - self.loc) / self.scale
        inner = z * (2 * normal_cdf(z) - 1) + 2 * normal_density(z) - np.pi**-0.5
        found: Array = self.scale * inner
        return found


@dataclass(frozen=True)
class StudentT:
    """loc + scale * t, with t of Student's distribution with `df` above 2."""

    df: Array
    loc: Array
    scale: Array

    @property
    def mean(self) -> Array:
        """E[y]."""
        return self.loc

    def quantile(self, share: float) -> Array:
        """Return loc + scale * t's quantile."""
        found: Array = self.loc + self.scale * student_quantile(share, self.df)
        return found

    def crps(self, y: Array) -> Array:
        """Return the closed form of Jordan et al. 2019."""
        df, z = self.df, (y - self.loc) / self.scale
        spread = (
            log_gamma(np.full_like(df, 0.5))
            + log_gamma(df - 0.5)
            - log_gamma(df)
            - 2 * (log_gamma(np.full_like(df, 0.5)) + log_gamma(df / 2) - log_gamma((df + 1) / 2))
        )
        inner = (
            z * (2 * student_cdf(z, df) - 1)
            + 2 * student_density(z, df) * (df + z**2) / (df - 1)
            - 2 * np.sqrt(df) / (df - 1) * np.exp(spread)
        )
        found: Array = self.scale * inner
        return found


@dataclass(frozen=True)
class NegativeBinomial:
    """Counts with E[y] = mean and Var[y] = mean + alpha mean^2 (Salinas et al. 2020, 2.1)."""

    mean: Array
    alpha: Array

    def cdf(self, y: Array) -> Array:
        """Return P(count <= y), 0 below 0."""
        r = 1 / self.alpha
        share = 1 / (1 + self.mean * self.alpha)
        found = beta_cdf(r, np.floor(np.maximum(y, 0)) + 1, share)
        return np.where(y < 0, 0.0, found)

    def quantile(self, share: float) -> Array:
        """Return the least count whose probability of that or less is `share` or more."""
        low = np.full(self.mean.shape, -1.0)
        high = np.ceil(self.mean) + 1
        while (short := self.cdf(high) < share).any():
            high = np.where(short, 2 * high + 1, high)
        while ((high - low) > 1).any():
            middle = np.floor((low + high) / 2)
            enough = self.cdf(middle) >= share
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high

    def crps(self, y: Array) -> Array:
        """Return the sum of (F(k) - 1{k >= y})^2 over counts k.

        Beyond 512 of them in strides, each standing for the ones it leaves out.
        """
        top = np.maximum(self.quantile(1 - 1e-6), y) + 1
        stride = np.ceil((top + 1) / MOST_COUNTS)
        points = int((top / stride).max()) + 1
        found = np.zeros(self.mean.shape)
        for k in range(points):
            count = k * stride
            found += stride * np.where(count <= top, (self.cdf(count) - (count >= y)) ** 2, 0.0)
        return found


@dataclass(frozen=True)
class Samples:
    """Paths drawn from a model, [N, S, H]."""

    values: Array

    @property
    def mean(self) -> Array:
        """The mean of the paths."""
        found: Array = self.values.mean(axis=1)
        return found

    def quantile(self, share: float) -> Array:
        """Return the quantile of the paths, between the two beside it."""
        return np.quantile(self.values, share, axis=1)

    def crps(self, y: Array) -> Array:
        """Return mean |x - y| - 1/2 mean |x - x'| over paths, by their order."""
        ordered = np.sort(self.values, axis=1)
        count = ordered.shape[1]
        weights = 2 * np.arange(1, count + 1) - count - 1
        spread = (weights[:, None] * ordered).sum(axis=1) / count**2
        found: Array = np.abs(ordered - y[:, None]).mean(axis=1) - spread
        return found


Predictive = Point | Quantiles | Normal | StudentT | NegativeBinomial | Samples
P = TypeVar("P", Point, Quantiles, Normal, StudentT, NegativeBinomial, Samples)


def from_outputs(
    outputs: Array,
    kind: str,
    *,
    base: Array,
    location: Array,
    scale: Array,
    shares: Sequence[float] = (),
) -> Predictive:
    """Return what raw outputs [N, H, K] say, in the units of the series.

    `base` [N, H] is added to the location in scaled units; `location` and `scale` [N] undo the
    scaling. The quantiles are the median and softplus steps away from it, so that none cross. A
    negative binomial's mean is scale * softplus(o1), its alpha softplus(o2) / sqrt(scale).
    """
    o = outputs.astype(np.float64)
    at, by = location[:, None], scale[:, None]
    if kind == "quantiles":
        values = spread_quantiles(o, shares) + base[..., None]
        return Quantiles(values * by[..., None] + at[..., None], np.array(shares))
    if kind == "negative_binomial":
        mean = by * (softplus(o[..., 0]) + LEAST_MEAN)
        return NegativeBinomial(mean, (softplus(o[..., 1]) + LEAST_MEAN) / np.sqrt(by))
    loc = (o[..., 0] + base) * by + at
    if kind == "point":
        return Point(loc)
    spread = (softplus(o[..., 1]) + LEAST_SCALE) * by
    if kind == "normal":
        return Normal(loc, spread)
    return StudentT(LEAST_DF + softplus(o[..., 2]), loc, spread)


def spread_quantiles(o: Array, shares: Sequence[float]) -> Array:
    """Return quantiles [..., Q] in order: o at the median, and softplus(o) away from there."""
    middle = list(shares).index(0.5)
    above = np.cumsum(softplus(o[..., middle + 1 :]), axis=-1)
    below = np.cumsum(softplus(o[..., :middle])[..., ::-1], axis=-1)[..., ::-1]
    centre = o[..., middle : middle + 1]
    return np.concatenate([centre - below, centre, centre + above], axis=-1)


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x))."""
    found: Array = np.logaddexp(0, x)
    return found


def joined(parts: Sequence[P]) -> P:
    """Return forecasts of one kind as one, rows after rows."""
    first = parts[0]
    values = {}
    for each in fields(first):
        found = [getattr(part, each.name) for part in parts]
        values[each.name] = found[0] if each.name == "shares" else np.concatenate(found)
    return type(first)(**values)
