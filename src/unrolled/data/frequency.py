"""Stamps on a regular grid: which frequency it is, the place of a stamp on it, and its calendar.

Stamps are int64, or datetime64[us] without a time zone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError, DataError

Array = NDArray[Any]
SECONDS = {"s": 1, "min": 60, "h": 3600, "D": 86_400, "W": 604_800}
ALIASES = {
    "S": (1, "s"), "T": (1, "min"), "H": (1, "h"), "d": (1, "D"), "MS": (1, "M"), "Q": (3, "M"),
    "QS": (3, "M"), "QE": (3, "ME"), "Y": (12, "M"), "YS": (12, "M"), "YE": (12, "ME"),
}  # fmt: skip
DAY = SECONDS["D"]
YEAR = 365.25 * DAY


class Frequency(NamedTuple):
    """The time between two steps: `times` units.

    A unit is a `step` of whole numbers, s, min, h, D, W, a business day B, a month M or, where
    stamps are the last days of months, ME.
    """

    unit: str
    times: int

    def __str__(self) -> str:
        if self.unit == "step":
            return str(self.times)
        return f"{self.times if self.times > 1 else ''}{self.unit}"

    @property
    def seconds(self) -> float:
        """Length of a step in seconds, on average; 0 for whole numbers."""
        length = {"step": 0, "B": 1.4 * DAY, "M": YEAR / 12, "ME": YEAR / 12}
        return self.times * float(length.get(self.unit) or SECONDS.get(self.unit, 0))


def parse_frequency(text: str) -> Frequency:
    """Read `15min`, `h`, `D`, `2W`, `ME` or a number; raises ConfigError for anything else."""
    found = re.fullmatch(r"(\d*)([A-Za-z]*)", text.strip())
    count, unit = (found[1], found[2]) if found else ("", "")
    times, known = ALIASES.get(unit, (1, unit or "step"))
    right = known in (*SECONDS, "B", "M", "ME") or (known == "step" and count)
    if not right or count.strip("0") == "" != count:
        raise ConfigError(
            f"freq {text!r}: expected s, min, h, D, B, W, M, ME, Q or Y with a count before it, as "
            "in 15min, or a whole number for stamps that are whole numbers"
        )
    return Frequency(known, times * int(count or 1))


def infer(series: Sequence[Array]) -> Frequency | None:
    """Return the frequency of the most common difference, None where no series has two stamps.

    Each of `series` is ascending and without duplicates.
    """
    parts = [np.diff(stamps) for stamps in series if len(stamps) > 1]
    if not parts:
        return None
    values, counts = np.unique(np.concatenate(parts), return_counts=True)
    common = values[counts.argmax()]
    if not np.issubdtype(common.dtype, np.timedelta64):
        return Frequency("step", int(common))
    every = np.concatenate(list(series))
    seconds = int(common / np.timedelta64(1, "s")) or 1
    months = {28: 1, 29: 1, 30: 1, 31: 1, 89: 3, 90: 3, 91: 3, 92: 3, 365: 12, 366: 12}
    count = months.get(seconds // DAY) if seconds % DAY == 0 else None
    if count is not None:
        for unit in ("M", "ME"):
            if len(np.unique(_in_month(every, unit))) == 1:
                return Frequency(unit, count)
    weekend = np.isin(np.timedelta64(3, "D"), values)
    if seconds == DAY and weekend and np.is_busday(every.astype("datetime64[D]")).all():
        return Frequency("B", 1)
    for unit in ("W", "D", "h", "min"):
        if seconds % SECONDS[unit] == 0:
            return Frequency(unit, seconds // SECONDS[unit])
    return Frequency("s", seconds)


def positions(freq: Frequency, origin: Any, stamps: Array) -> tuple[Array, Array]:
    """Return how many steps each stamp is after `origin`, int64, and whether it is on the grid."""
    if freq.unit == "step":
        units = stamps - origin
        on = np.ones(len(stamps), bool)
    elif freq.unit in SECONDS:
        length = np.timedelta64(SECONDS[freq.unit], "s").astype("timedelta64[us]")
        units, rest = np.divmod((stamps - origin).astype(np.int64), length.astype(np.int64))
        on = rest == 0
    elif freq.unit == "B":
        days, first = stamps.astype("datetime64[D]"), np.datetime64(origin, "D")
        units = np.busday_count(first, days)
        on = np.is_busday(days) & (stamps - days == origin - first)
    else:
        units = (_months(stamps) - _months(origin)).astype(np.int64)
        on = _in_month(stamps, freq.unit) == _in_month(np.asarray(origin), freq.unit)
    places, rest = np.divmod(np.asarray(units, dtype=np.int64), freq.times)
    return places, on & (rest == 0)


def stamps_at(freq: Frequency, origin: Any, places: Array) -> Array:
    """Return the stamps that are `places` steps after `origin`."""
    units = np.asarray(places, dtype=np.int64) * freq.times
    if freq.unit == "step":
        numbers: Array = origin + units
        return numbers
    if freq.unit in SECONDS:
        found: Array = (origin + units * np.timedelta64(SECONDS[freq.unit], "s")).astype(
            "datetime64[us]"
        )
        return found
    if freq.unit == "B":
        first = np.datetime64(origin, "D")
        days: Array = np.busday_offset(first, units).astype("datetime64[us]") + (origin - first)
        return days
    months = (_months(origin) + units).astype("datetime64[M]")
    months = months + (freq.unit == "ME")
    begun: Array = months.astype("datetime64[us]") + _in_month(np.asarray(origin), freq.unit)
    return begun


def check_regular(freq: Frequency, first: Any) -> None:
    """Raise DataError where a frequency and a stamp are of different kinds, or do not fit."""
    numbers = not isinstance(first, np.datetime64)
    if numbers != (freq.unit == "step"):
        raise DataError(
            f"freq {freq} is for stamps that are {'whole numbers' if not numbers else 'times'}; "
            f"the first stamp is {first}"
        )


def default_season(freq: Frequency) -> int:
    """Return the steps of the usual season: a day of hours, a week of days, a year of months."""
    if freq.unit in ("M", "ME"):
        return max(1, 12 // freq.times) if 12 % freq.times == 0 else 1
    if freq.unit == "B":
        return 5 if freq.times == 1 else 1
    seconds = int(freq.seconds) if freq.unit in SECONDS else 0
    for least, cycle in ((1, 3600), (300, DAY), (DAY, 7 * DAY), (7 * DAY, 364 * DAY)):
        below = 300 if cycle == 3600 else cycle
        if least <= seconds < below and cycle % seconds == 0:
            return cycle // seconds
    return 1


CYCLES = {"minute": 3600.0, "hour": float(DAY), "weekday": 7.0 * DAY, "monthday": 30.4 * DAY,
          "yearday": YEAR}  # fmt: skip


def calendar_cycles(freq: Frequency, steps: int) -> tuple[str, ...]:
    """Return the cycles of the calendar that `steps` steps go through twice or more.

    A cycle is longer than a step; a minute of the hour is read below an hour only.
    """
    seconds = freq.seconds
    if not seconds:
        return ()
    longer = [name for name, length in CYCLES.items() if 2 * seconds <= length]
    return tuple(name for name in longer if steps * seconds >= 2 * CYCLES[name])


def calendar(stamps: Array, cycles: Sequence[str]) -> Array:
    """Return the sine and cosine of each stamp's place in each cycle, [T, 2 * cycles] float32."""
    found = np.zeros((len(stamps), 2 * len(cycles)), np.float32)
    if not cycles:
        return found
    days, months = stamps.astype("datetime64[D]"), stamps.astype("datetime64[M]")
    years = stamps.astype("datetime64[Y]")
    second = (stamps - days) / np.timedelta64(1, "s")
    phases = {
        "minute": second % 3600 / 3600,
        "hour": second / DAY,
        # 1970 began on a Thursday, three days after a Monday.
        "weekday": ((days.astype(np.int64) + 3) % 7 + second / DAY) / 7,
        "monthday": _share(stamps, months),
        "yearday": _share(stamps, years),
    }
    for k, name in enumerate(cycles):
        angle = 2 * np.pi * np.asarray(phases[name], dtype=np.float64)
        found[:, 2 * k], found[:, 2 * k + 1] = np.sin(angle), np.cos(angle)
    return found


def _share(stamps: Array, units: Array) -> Array:
    """Return which share of its month or year has gone by at each stamp."""
    begin, end = units.astype("datetime64[us]"), (units + 1).astype("datetime64[us]")
    found: Array = (stamps - begin) / (end - begin)
    return found


def _months(stamps: Any) -> Any:
    return np.asarray(stamps).astype("datetime64[M]").astype(np.int64)


def _in_month(stamps: Array, unit: str) -> Array:
    """Return how far stamps are from the beginning of their month, or with ME from its end."""
    months = stamps.astype("datetime64[M]") + (unit == "ME")
    found: Array = stamps - months.astype("datetime64[us]")
    return found
