"""A series that arrives step by step, and forecasts from any moment of it."""

from __future__ import annotations

import copy
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.data.frequency import parse_frequency, stamps_at
from unrolled.data.panel import Panel, Series
from unrolled.data.stamps import read_stamps
from unrolled.data.table import Table
from unrolled.errors import ConfigError, DataError

if TYPE_CHECKING:
    from unrolled.runtime.forecaster_model import ForecastModel


class ForecastSession:
    """One series that rolls forward; `model.stream()` makes it.

    `step` takes a value in, `forecast` tells the next ones: the same numbers as `model.predict` on
    a frame of all values so far, bit for bit where that frame holds no other series. A model reads
    a window whose scale moves on with it, so no state of the network can be carried from one window
    to the next: the session keeps the window's values instead (all of them, where the scale is of
    the whole series), and a step costs nothing until a forecast is asked for.
    """

    def __init__(
        self,
        model: ForecastModel,
        *,
        start: Any,
        name: Any = "",
        static: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        spec = model.forecasting
        column = spec.time
        stamps, self._style = read_stamps(Table("stream", {column: [start]}, [1]), column)
        self._origin = stamps[0]
        self._freq = parse_frequency(spec.freq)
        if (self._freq.unit == "step") != self._style.kind.startswith("number"):
            wanted = "whole numbers" if self._freq.unit == "step" else "times"
            raise ConfigError(
                f"start is {start!r}, but the stamps of this model are {wanted}, a step of "
                f"{self._freq} apart"
            )
        self._name = name
        given = dict(static or {})
        if spec.id in spec.static:
            given.setdefault(spec.id, name)
        self._static = tuple(_take(given, column, "static") for column in spec.static)
        self._y: list[float] = []
        self._past: list[list[float]] = []
        self._future: list[list[float]] = []
        self.steps_read = 0

    @property
    def next_stamp(self) -> Any:
        """The stamp of the step that comes next, written as the first was."""
        return self._style.write(stamps_at(self._freq, self._origin, np.array([self.steps_read])))[
            0
        ]

    def step(
        self,
        y: float | None,
        *,
        past: Mapping[str, Any] | None = None,
        future: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in the next value, None or NaN where it is missing, with its covariates.

        Raises DataError for a covariate that the model reads and that is not given.
        """
        spec = self.model.forecasting
        value = math.nan if y is None else float(y)
        if math.isinf(value):
            raise DataError(f"step {self.steps_read + 1}: {y!r} is not finite")
        beside = [float(_take(past or {}, name, "past")) for name in spec.past]
        ahead = [float(_take(future or {}, name, "future")) for name in spec.future]
        self._y.append(value)
        self._past.append(beside)
        self._future.append(ahead)
        self.steps_read += 1
        kept = spec.window if spec.scale_by == "window" else self.steps_read
        del self._y[:-kept], self._past[:-kept], self._future[:-kept]

    def forecast(
        self,
        horizon: int | None = None,
        *,
        level: Sequence[float] = (),
        future: Sequence[Mapping[str, Any]] = (),
        seed: int = 0,
    ) -> dict[str, list[Any]]:
        """Return the columns of `model.predict` for the next steps.

        `future` are the covariates known ahead, one mapping a step of the horizon. Raises DataError
        before the first value.
        """
        if not self.steps_read:
            raise DataError("the series is empty so far; expected at least one value to go on from")
        model, spec = self.model, self.model.forecasting
        columns, kept = model.columns, len(self._y)
        rows = [[float(_take(row, name, "future")) for name in spec.future] for row in future]
        ahead = np.array([*self._future, *rows]).reshape(kept + len(rows), len(spec.future))
        origin = stamps_at(self._freq, self._origin, np.array([self.steps_read - kept]))[0]
        past = np.array(self._past).reshape(kept, len(spec.past))
        series = Series(
            self._name, origin, np.array(self._y), past, ahead[:kept], self._static, "the stream"
        )
        panel = Panel("the stream", columns, self._freq, self._style, (series,))
        later = None
        if rows:
            begin = stamps_at(self._freq, origin, np.array([kept]))[0]
            none, empty = np.full(len(rows), np.nan), np.empty((len(rows), 0))
            after = Series(self._name, begin, none, empty, ahead[kept:], (), "the future")
            later = Panel("the future", columns, self._freq, self._style, (after,))
        return model.answer(panel, level=level, horizon=horizon, future=later, seed=seed)

    def fork(self) -> ForecastSession:
        """Return another session that goes on from here; the two do not touch each other."""
        other = copy.copy(self)
        other._y, other._past = list(self._y), list(self._past)
        other._future = list(self._future)
        return other


def _take(given: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in given:
        raise DataError(f"the {kind} covariate {name!r} is missing")
    value = given[name]
    if isinstance(value, (dt.date, bytes)):
        raise DataError(f"the {kind} covariate {name!r} is {value!r}, expected a number")
    return math.nan if value is None else value
