"""Times: sides turn about in short rounds, so that noise and drift meet all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import repeat

from unrolled.bench.machine import Busy
from unrolled.bench.problem import Side
from unrolled.spec import Struct


class Effort(Struct, frozen=True, kw_only=True):
    """How long to measure: seconds of a round of one side, seconds and rounds of a case."""

    round_seconds: float = 0.02
    case_seconds: float = 3.0
    fewest_rounds: int = 5
    most_rounds: int = 25


QUICK = Effort(round_seconds=0.004, case_seconds=0.4, fewest_rounds=3, most_rounds=7)

# Libraries let their threads spin for some time after a call (torch's for 5 to 7 ms); the next side
# waits it out.
SETTLE_SECONDS = 0.01


class Timing(Struct, frozen=True, kw_only=True):
    """Seconds a call: the median of the rounds, their quartiles, the least, and every round."""

    median: float
    lower: float
    upper: float
    least: float
    repeats: int
    rounds: list[float]


def summarise(rounds: Sequence[float], repeats: int) -> Timing:
    """Return the statistics of the rounds (quartiles between the closest of them)."""
    values = sorted(rounds)
    lower, median, upper = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return Timing(
        median=median,
        lower=lower,
        upper=upper,
        least=values[0],
        repeats=repeats,
        rounds=list(rounds),
    )


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean, of ratios the only one that does not favour a side."""
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def rotated(count: int, turn: int) -> list[int]:
    """Return the order of a round: each turn another side begins."""
    return [(k + turn) % count for k in range(count)]


def turn_about(sides: Sequence[Side], effort: Effort) -> tuple[list[Timing], float]:
    """Time every side and return the timings, and how many cores other processes used meanwhile."""
    once = [_calibrate(side.run, effort.round_seconds) for side in sides]
    repeats = [max(1, math.ceil(effort.round_seconds / seconds)) for seconds in once]
    cycle = sum(n * seconds + SETTLE_SECONDS for n, seconds in zip(repeats, once, strict=True))
    wanted = int(effort.case_seconds / cycle)
    rounds = min(effort.most_rounds, max(effort.fewest_rounds, wanted))
    times: list[list[float]] = [[] for _ in sides]
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    busy = Busy()
    try:
        for turn in range(rounds):
            for k in rotated(len(sides), turn):
                time.sleep(SETTLE_SECONDS)
                if repeats[k] > 1:
                    sides[k].run()
                times[k].append(_time(sides[k].run, repeats[k]))
    finally:
        if collecting:
            gc.enable()
    others = busy.others()
    timings = [summarise(t, n) for t, n in zip(times, repeats, strict=True)]
    return timings, others


def _time(run: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in repeat(None, repeats):
        run()
    return (time.perf_counter() - start) / repeats


def _calibrate(run: Callable[[], object], seconds: float) -> float:
    """Warm a side up and return roughly how long one call takes."""
    run()
    least, repeats, spent = math.inf, 1, 0.0
    while spent < seconds:
        each = _time(run, repeats)
        spent += each * repeats
        least = min(least, each)
        repeats *= 2
    return least
