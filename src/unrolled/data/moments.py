"""Mean and standard deviation of numbers that come in parts, in one pass over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True)
class Moments:
    """How many numbers a column has, their mean, the sum of squared distances from it, [I] each.

    A NaN is no number. Parts are joined as Chan, Golub and LeVeque (1979) do.
    """

    count: Array
    mean: Array
    squares: Array

    @classmethod
    def of(cls, values: Array) -> Moments:
        """Return the moments of the columns of values [n, I], in float64."""
        there = ~np.isnan(values)
        count = there.sum(axis=0)
        whole = np.where(there, values, 0).astype(np.float64)
        mean = whole.sum(axis=0) / np.maximum(count, 1)
        squares = np.where(there, (whole - mean) ** 2, 0).sum(axis=0)
        return cls(count, mean, squares)

    @classmethod
    def over(cls, parts: Iterable[Array], name: str) -> Moments:
        """Return the moments of parts [n, I] together; DataError with `name` where there are none.

        One part is in memory at a time.
        """
        found: Moments | None = None
        for part in parts:
            found = cls.of(part) if found is None else found.joined(cls.of(part))
        if found is None:
            raise DataError(f"{name}: no examples to train on")
        return found

    def joined(self, other: Moments) -> Moments:
        """Return the moments of both parts together."""
        count = self.count + other.count
        apart, total = other.mean - self.mean, np.maximum(count, 1)
        mean = self.mean + apart * other.count / total
        between = apart**2 * self.count * other.count / total
        return Moments(count, mean, self.squares + other.squares + between)

    @property
    def spread(self) -> Array:
        """The standard deviation of each column, 0 where it has no numbers."""
        found: Array = np.sqrt(self.squares / np.maximum(self.count, 1))
        return found

    @property
    def scale(self) -> Array:
        """The standard deviation of each column; 1 where it is constant, or has no numbers."""
        found = self.spread
        # Of equal numbers rounding may leave a trace that is no spread.
        steady = found <= 1e-12 * np.abs(self.mean)
        return np.where(steady | (found == 0), 1.0, found)
