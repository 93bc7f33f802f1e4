"""Stamps to what a network reads of the calendar, in a graph: seconds since 1970 to sines, cosines.

Months and years are found by whole numbers alone, in float64, where they are exact: a year begins
in March, so that the day that leap years add is its last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from unrolled.data.frequency import DAY
from unrolled.interop.onnx.graph import GraphBuilder

# Days from the first of March of year 0 to 1970, and those of 400, 100 and 4 years.
BEFORE_1970, ERA, CENTURY, FOUR = 719_468, 146_097, 36_524, 1460


class _Date(NamedTuple):
    """The day, counted from 0, of a month and of a year, and how many days each of them has."""

    in_month: str
    of_month: str
    in_year: str
    of_year: str


def calendar_numbers(g: GraphBuilder, stamp: str, cycles: Sequence[str]) -> str:
    """Return the sine and cosine of each stamp's place in each cycle, as `frequency.calendar` does.

    `stamp` [...] is float64, seconds since 1970; what is returned is [..., 2 * cycles] float32.
    """
    days = _whole(g, stamp, DAY)
    second = g.op("Sub", stamp, _times(g, days, DAY))
    passed = g.op("Div", second, _number(g, DAY))
    phases = {}
    if "minute" in cycles:
        phases["minute"] = g.op("Div", _rest(g, second, 3600), _number(g, 3600))
    if "hour" in cycles:
        phases["hour"] = passed
    if "weekday" in cycles:
        # 1970 began on a Thursday, three days after a Monday.
        day = _rest(g, g.op("Add", days, _number(g, 3)), 7)
        phases["weekday"] = g.op("Div", g.op("Add", day, passed), _number(g, 7))
    if {"monthday", "yearday"} & set(cycles):
        date = _date(g, days)
        phases["monthday"] = g.op("Div", g.op("Add", date.in_month, passed), date.of_month)
        phases["yearday"] = g.op("Div", g.op("Add", date.in_year, passed), date.of_year)
    parts = []
    for name in cycles:
        angle = g.floats(_times(g, phases[name], 2 * math.pi))
        parts += [g.op("Unsqueeze", g.op(kind, angle), g.constant([-1])) for kind in ("Sin", "Cos")]
    return g.op("Concat", *parts, axis=-1)


def _date(g: GraphBuilder, days: str) -> _Date:
    """Return the dates of days since 1970."""
    day = _rest(g, g.op("Add", days, _number(g, BEFORE_1970)), ERA)
    # Of 1460, 36524 and 146096 days, one is the leap day at the end of 4, 100 and 400 years.
    plain = g.op("Add", g.op("Sub", day, _whole(g, day, FOUR)), _whole(g, day, CENTURY))
    year = _whole(g, g.op("Sub", plain, _whole(g, day, ERA - 1)), 365)
    leaps = g.op("Sub", _whole(g, year, 4), _whole(g, year, 100))
    day = g.op("Sub", day, g.op("Add", _times(g, year, 365), leaps))
    month = _whole(g, g.op("Add", _times(g, day, 5), _number(g, 2)), 153)
    # January and February are of the year that follows.
    late = g.doubles(g.op("GreaterOrEqual", month, _number(g, 10)))
    leap = _leap(g, g.op("Add", year, late))
    length = g.op("Add", leap, _number(g, 365))
    since_january = g.op("Add", g.op("Add", day, leap), _number(g, 59))
    in_year = g.op("Sub", since_january, g.op("Mul", late, length))
    begin, end = (_whole(g, g.op("Add", _times(g, month, 153), _number(g, k)), 5) for k in (2, 155))
    end = g.op("Min", end, length)
    return _Date(g.op("Sub", day, begin), g.op("Sub", end, begin), in_year, length)


def _leap(g: GraphBuilder, year: str) -> str:
    """Return 1 for leap years, 0 for others."""
    zero = _number(g, 0)
    by4, by100, by400 = (g.doubles(g.op("Equal", _rest(g, year, k), zero)) for k in (4, 100, 400))
    return g.op("Add", g.op("Sub", by4, by100), by400)


def _number(g: GraphBuilder, value: float) -> str:
    return g.constant(value, double=True)


def _times(g: GraphBuilder, x: str, factor: float) -> str:
    return g.op("Mul", x, _number(g, factor))


def _whole(g: GraphBuilder, x: str, size: float) -> str:
    """Return how many times `size` goes into x."""
    return g.op("Floor", g.op("Div", x, _number(g, size)))


def _rest(g: GraphBuilder, x: str, size: float) -> str:
    """Return what is left of x, 0 or more and below `size`."""
    return g.op("Sub", x, _times(g, _whole(g, x, size), size))
