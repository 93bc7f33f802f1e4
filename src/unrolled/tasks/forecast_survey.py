"""What is told of all series before they are learned, in one pass over their files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unrolled.config import TrainSpec
from unrolled.data.frequency import Frequency, default_season
from unrolled.data.moments import Moments
from unrolled.data.panel import Panel, Repairs, Series, check_alike, check_apart, check_offsets
from unrolled.data.shards import SourceOf
from unrolled.data.windows import auto_window
from unrolled.errors import ConfigError, DataError
from unrolled.forecast_options import ForecastOptions
from unrolled.tasks.base import Run, hash_shards
from unrolled.tasks.forecast_data import held_places, training_places, training_steps

MOST_CATEGORIES = 1000


class Survey:
    """What a plan takes of all series and what a user should know of them, gathered by `add`.

    `first` is the first panel without its series, `repairs` what reading put right in all,
    `longest` the most steps that are learned of a series; `windows` and `held` count the origins
    to learn from and to validate on, file by file.
    """

    def __init__(
        self, name: str, options: ForecastOptions, training: TrainSpec, validation: Panel | None
    ) -> None:
        self.name, self.options, self.training = name, options, training
        self.validation = validation
        self.first: Panel | None = None
        self.repairs = Repairs()
        self.longest = 0
        self.windows: list[int] = []
        self.held: list[int] = []
        self._files: dict[str, str] = {}
        self._series = 0
        self._hashes: list[str] = []
        self._moments: dict[str, Moments] = {}
        self._texts: dict[str, set[str]] = {}
        self._worded: set[str] = set()
        self._known = False
        self._short, self._first_short = 0, ""
        self._flat, self._first_flat = 0, ""

    @property
    def freq(self) -> Frequency:
        """The frequency of all series."""
        assert self.first is not None
        return self.first.freq

    def add(self, panel: Panel) -> None:
        """Take in the series of a file; DataError where it does not go with those before it."""
        if self.first is None:
            self.first = replace(panel, series=())
            if self.validation is not None:
                check_offsets(panel, self.validation)
                check_counts(self.validation, self.options)
        else:
            check_alike(self.first, panel)
        check_apart(self._files, panel)
        check_counts(panel, self.options)
        self._series += len(panel)
        self.repairs = self.repairs.joined(panel.repairs)
        self._hashes.append(data_hash(panel))
        ends = [
            training_steps(each, self.options, self.training, self.validation)
            for each in panel.series
        ]
        self.longest = max(self.longest, *ends)
        self._measure_all(panel, ends)
        self._look(panel.series, ends)
        self._count(panel.series, ends)

    def _measure_all(self, panel: Panel, ends: Sequence[int]) -> None:
        """Measure covariates, those in time over the first steps of each series up to `ends`."""
        columns = panel.columns
        heads = [each.head(n) for each, n in zip(panel.series, ends, strict=True)]
        for kind, names in (("past", columns.past), ("future", columns.future)):
            for k, name in enumerate(names):
                self._measure(name, np.concatenate([getattr(each, kind)[:, k] for each in heads]))
        for k, name in enumerate(columns.static):
            values = [each.static[k] for each in panel.series]
            self._texts.setdefault(name, set()).update(map(str, values))
            numbers = None if name == columns.id else _numbers(values)
            if numbers is None:
                self._worded.add(name)
            else:
                self._measure(name, numbers)

    def _measure(self, name: str, values: Any) -> None:
        found = Moments.of(values[np.isfinite(values)])
        before = self._moments.get(name)
        self._moments[name] = found if before is None else before.joined(found)

    def _look(self, series: Sequence[Series], ends: Sequence[int]) -> None:
        """Look for series that are too short, constant, or without a value."""
        least = self.options.horizon + 1
        for each, end in zip(series, ends, strict=True):
            known = each.y[np.isfinite(each.y)]
            self._known |= bool(len(known))
            if end < least:
                self._short += 1
                self._first_short = self._first_short or f"{each.place}, has {len(each)} steps"
            if len(known) > 1 and (known == known[0]).all():
                self._flat += 1
                self._first_flat = self._first_flat or each.place

    def _count(self, series: Sequence[Series], ends: Sequence[int]) -> None:
        _, window = reach(self.options, self.freq)
        values, horizon = [each.y for each in series], self.options.horizon
        self.windows.append(len(training_places(values, ends, window, horizon)))
        self.held.append(len(held_places(values, ends, window, horizon)))

    @property
    def statistics(self) -> dict[str, tuple[float, float]]:
        """Mean and deviation of each covariate that is a number; of a steady one 1."""
        assert self.first is not None
        columns = self.first.columns
        return {
            name: (float(self._moments[name].mean), float(self._moments[name].scale))
            for name in (*columns.past, *columns.future, *columns.static)
            if name not in self._worded
        }

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The values of each static covariate that is no number; DataError beyond 1,000."""
        assert self.first is not None
        for name in self._worded:
            if len(self._texts[name]) > MOST_CATEGORIES:
                raise DataError(
                    f"{self.name}: {name!r} has {len(self._texts[name])} categories; expected "
                    f"{MOST_CATEGORIES} at most"
                )
        return {
            name: tuple(sorted(self._texts[name]))
            for name in self.first.columns.static
            if name in self._worded
        }

    @property
    def hash(self) -> str:
        """The SHA-256 of what the series hold, and of how they lie in files where they do."""
        return hash_shards(self._hashes)

    def tell(self, run: Run) -> None:
        """Notify of what was put right, and of short and constant series.

        Raises DataError where nothing is left to learn from or to validate on.
        """
        given = () if self.validation is None else self.validation.notices
        for notice in (*self.repairs.notices(self.name, self.freq), *given):
            run.notify(notice)
        if not self._known:
            raise DataError(f"{self.name}: every value of {self.options.target!r} is missing")
        horizon, count = self.options.horizon, self._series
        if self._short:
            rest = "" if self.validation is not None else ", what is held out apart"
            text = (
                f"{self._short} of {count} series are too short to learn from: the first, "
                f"{self._first_short}; expected {horizon + 1} or more{rest}"
            )
            if self._short == count:
                raise DataError(f"{self.name}: {text}")
            run.notify(f"{self.name}: {text}; the others are learned")
        if self._flat:
            run.notify(
                f"{self.name}: {self._flat} of {count} series are constant, the first "
                f"{self._first_flat}; they are scaled by 1 and left out of MASE"
            )
        if self.validation is None and not sum(self.held):
            raise DataError(
                f"{self.name}: nothing is left to validate on; series need {2 * horizon + 1} steps "
                "or more, or give a validation file"
            )
        if not sum(self.windows):
            raise DataError(
                f"{self.name}: no training window holds a value to read and one to learn; see "
                "--window"
            )


def surveyed(
    source: SourceOf[Panel],
    options: ForecastOptions,
    training: TrainSpec,
    validation: Panel | None = None,
    begun: Callable[[Survey], Any] | None = None,
) -> Survey:
    """Return what all series tell, read file by file; `begun` is told what the first does.

    Raises DataError, naming the file, where one has another frequency than the first or a series
    that was in one before, and where a negative binomial is asked for values that are no counts;
    ConfigError as `reach`.
    """
    found = Survey(source.name, options, training, validation)
    for k in range(len(source)):
        found.add(source.load(k))
        if k == 0 and begun is not None:
            begun(found)
    return found


def reach(options: ForecastOptions, freq: Frequency) -> tuple[int, int]:
    """Return the steps of a season, and of the window that is read.

    Raises ConfigError where the window is shorter than the season that the residual needs.
    """
    season = options.season or default_season(freq)
    window = options.window or auto_window(season, options.horizon)
    if options.residual == "season" and window < season:
        raise ConfigError(
            f"residual 'season' needs a window of a season, {season} steps, or more; it is {window}"
        )
    return season, window


def _numbers(values: list[Any]) -> Any:
    """Return values as floats, None where one is no number."""
    try:
        return np.array([float(value) for value in values])
    except (TypeError, ValueError):
        return None


def check_counts(panel: Panel, options: ForecastOptions) -> None:
    """Raise DataError where a negative binomial is asked for values that are no counts."""
    if options.output != "negative_binomial":
        return
    for each in panel.series:
        known = each.y[np.isfinite(each.y)]
        if len(known) and ((known < 0) | (known != np.floor(known))).any():
            wrong = known[(known < 0) | (known != np.floor(known))][0]
            raise DataError(
                f"{panel.name}: output 'negative_binomial' is for counts, but a series "
                f"({each.where}) holds {wrong:g}"
            )


def data_hash(panel: Panel) -> str:
    """Return the SHA-256 of what the series hold."""
    digest = hashlib.sha256(str((panel.columns, str(panel.freq))).encode())
    for each in panel.series:
        digest.update(f"{each.id} {each.origin} {each.static}".encode())
        for part in (each.y, each.past, each.future):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
