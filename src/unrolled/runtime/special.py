"""Functions that distributions need and numpy lacks: log gamma, the incomplete beta, normal CDF."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_SHIFT = 8
_TINY = 1e-300
# Bernoulli numbers B_2k / (2k (2k - 1)) of Stirling's series.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def log_gamma(x: Array) -> Array:
    """Return log Gamma(x) for x above 0, to about 1e-13: Stirling's series at x + 8."""
    x = np.asarray(x, dtype=np.float64)
    z = x + _SHIFT
    series = sum(c / z ** (2 * k + 1) for k, c in enumerate(_STIRLING))
    product = np.ones_like(x)
    for k in range(_SHIFT):
        product = product * (x + k)
    found: Array = (z - 0.5) * np.log(z) - z + 0.5 * math.log(2 * math.pi) + series
    return found - np.log(product)


def beta_cdf(a: Array, b: Array, x: Array) -> Array:
    """Return the regularised incomplete beta I_x(a, b), by Lentz's continued fraction.

    Numerical Recipes, section 6.4; relative error about 1e-12 where a and b are below 1e5.
    """
    a, b, x = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (a, b, x)))
    swap = x > (a + 1) / (a + b + 2)
    p, q, z = np.where(swap, b, a), np.where(swap, a, b), np.where(swap, 1 - x, x)
    inside = (z > 0) & (z < 1)
    z = np.where(inside, z, 0.5)
    front = log_gamma(p + q) - log_gamma(p) - log_gamma(q) + p * np.log(z) + q * np.log1p(-z)
    value = np.exp(front) * _fraction(p, q, z) / p
    value = np.where(inside, value, np.where(np.where(swap, 1 - x, x) >= 1, 1.0, 0.0))
    return np.where(swap, 1 - value, value)


def _fraction(a: Array, b: Array, x: Array) -> Array:
    c, d = np.ones_like(x), 1 - (a + b) * x / (a + 1)
    d = 1 / np.where(np.abs(d) < _TINY, _TINY, d)
    h = d.copy()
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 + numerator * d
            c = 1 + numerator / c
            d = 1 / np.where(np.abs(d) < _TINY, _TINY, d)
            c = np.where(np.abs(c) < _TINY, _TINY, c)
            h = h * d * c
        if np.all(np.abs(d * c - 1) < 1e-14):
            break
    return h


def normal_cdf(z: Array) -> Array:
    """Return the probability that a standard normal variable is z or less."""
    z = np.asarray(z, dtype=np.float64)
    flat = np.fromiter((math.erfc(-v / math.sqrt(2)) / 2 for v in z.ravel()), np.float64, z.size)
    return flat.reshape(z.shape)


def normal_density(z: Array) -> Array:
    """Return the density of a standard normal variable at z."""
    found: Array = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return found


def student_cdf(z: Array, df: Array) -> Array:
    """Return the probability that Student's t with `df` degrees of freedom is z or less."""
    tail = beta_cdf(df / 2, np.full_like(np.asarray(df, np.float64), 0.5), df / (df + z**2)) / 2
    return np.where(z > 0, 1 - tail, tail)


def student_density(z: Array, df: Array) -> Array:
    """Return the density of Student's t at z."""
    front = log_gamma((df + 1) / 2) - log_gamma(df / 2) - 0.5 * np.log(df * math.pi)
    found: Array = np.exp(front - (df + 1) / 2 * np.log1p(z**2 / df))
    return found


def student_quantile(share: float, df: Array) -> Array:
    """Return z with P(t <= z) = share, for each of `df`, by bisection and Newton's steps."""
    if share == 0.5:
        return np.zeros_like(df)
    low, high = np.zeros_like(df), np.ones_like(df)
    upper = max(share, 1 - share)
    while (short := student_cdf(high, df) < upper).any():
        high = np.where(short, high * 2, high)
    z = (low + high) / 2
    for _ in range(100):
        gap = student_cdf(z, df) - upper
        low, high = np.where(gap < 0, z, low), np.where(gap < 0, high, z)
        step = z - gap / student_density(z, df)
        inside = (step > low) & (step < high)
        after = np.where(inside, step, (low + high) / 2)
        if np.all(np.abs(after - z) <= 1e-12 * (1 + z)):
            break
        z = after
    return after if share > 0.5 else -after
