"""Compare: cells, depths and attention at equal parameters or equal time, over several seeds."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from unrolled.config import TrainSpec
from unrolled.errors import ConfigError
from unrolled.tasks.trials import (
    Bench,
    Trial,
    count_parameters,
    learned,
    run_trial,
    solve_hidden_size,
)

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
T_QUANTILES = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
    10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.0,
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """What to compare, and what is held equal: `parameters` or `time` (minutes a run)."""

    cells: tuple[str, ...]
    depths: tuple[int, ...]
    attentions: tuple[str, ...]
    equal: str
    seeds: int
    parameters: int = 0
    minutes_a_run: float = 0.0


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting over its seeds: means, and standard deviations where there are several seeds."""

    name: str
    cell: str
    depth: int
    attention: str
    hidden_size: int
    parameters: int
    quality: float
    deviation: float | None
    train_seconds: float
    sequences_a_second: float
    predict_ms: float
    memory: float | None
    longest: int
    trials: tuple[Trial, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, best first, and what they say in words; data is counted in `counted`."""

    task: str
    equal: str
    metric: str
    more_is_better: bool
    train_size: int
    test_size: int
    settings: tuple[Setting, ...]
    recommendation: tuple[str, ...]
    counted: str


def compare(
    task: str,
    bench: Bench,
    grid: Grid,
    options: Any,
    training: TrainSpec,
    tell: Callable[[str], None],
) -> Comparison:
    """Train every setting of the grid with every seed and say what differs beyond noise."""
    planned = plan(bench, grid, options, training)
    settings = []
    for name, cell, depth, attention, chosen in planned:
        trials = []
        for seed in range(training.seed, training.seed + grid.seeds):
            own = msgspec.structs.replace(training, seed=seed, max_minutes=grid.minutes_a_run)
            trials.append(run_trial(bench, name, chosen, own))
            key, _ = bench.entry.quality
            tell(
                f"{name}, seed {seed}: {key} {trials[-1].quality:.4f}, "
                f"{trials[-1].parameters:,} parameters, {trials[-1].train_seconds:.0f} s"
            )
        settings.append(setting_of(name, cell, depth, attention, chosen.hidden_size, trials))
    key, more = bench.entry.quality
    settings.sort(key=lambda s: -s.quality if more else s.quality)
    return Comparison(
        task=task,
        equal=grid.equal,
        metric=key,
        more_is_better=more,
        train_size=len(bench.train),
        test_size=len(bench.test),
        settings=tuple(settings),
        recommendation=tuple(recommend(settings, key, grid.equal)),
        counted=bench.entry.counted,
    )


def plan(
    bench: Bench, grid: Grid, options: Any, training: TrainSpec
) -> list[tuple[str, str, int, str, Any]]:
    """Return (name, cell, depth, attention, options) of each setting, sizes solved where asked.

    At equal parameters the budget is `grid.parameters`, else what the first setting takes with the
    hidden size of `options`. Raises ConfigError for an attention where the task has none.
    """
    entry = bench.entry
    if grid.attentions and entry.attention is None:
        raise ConfigError("this task has no attention to compare; leave --attention out")
    found = learned(bench, options, training) if grid.equal == "parameters" else {}
    planned, budget = [], grid.parameters
    for cell, depth, attention in itertools.product(
        grid.cells, grid.depths, grid.attentions or ("",)
    ):
        choices: dict[str, Any] = {"cell": cell, **dict.fromkeys(entry.depth, depth)}
        if attention and entry.attention is not None:
            choices |= entry.attention(attention)
        chosen = msgspec.structs.replace(options, **choices)
        if grid.equal == "parameters":

            def count(size: int, chosen: Any = chosen) -> int:
                sized = msgspec.structs.replace(chosen, hidden_size=size, init="torch")
                return count_parameters(entry.network(sized, found, bench.train))

            budget = budget or count(options.hidden_size)
            size = solve_hidden_size(count, budget)
            chosen = msgspec.structs.replace(chosen, hidden_size=size)
        name = f"{cell} x{depth}" + (f" {attention}" if attention else "")
        planned.append((name, cell, depth, attention, chosen))
    return planned


def setting_of(
    name: str, cell: str, depth: int, attention: str, size: int, trials: Sequence[Trial]
) -> Setting:
    """Return a setting from its trials, one a seed."""

    def mean(key: str) -> float:
        return statistics.fmean(getattr(trial, key) for trial in trials)

    lags = [trial.memory for trial in trials if trial.memory is not None]
    return Setting(
        name=name,
        cell=cell,
        depth=depth,
        attention=attention,
        hidden_size=size,
        parameters=trials[0].parameters,
        quality=mean("quality"),
        deviation=statistics.stdev(t.quality for t in trials) if len(trials) > 1 else None,
        train_seconds=mean("train_seconds"),
        sequences_a_second=mean("sequences_a_second"),
        predict_ms=min(trial.predict_ms for trial in trials),
        memory=statistics.fmean(lags) if len(lags) == len(trials) else None,
        longest=max(trial.longest for trial in trials),
        trials=tuple(trials),
    )


def differs(a: Setting, b: Setting) -> bool | None:
    """Whether two means differ at 95 % by Welch's t test; None where a seed is all there is.

    Welch 1947; the degrees of freedom are rounded down to the next in the table.
    """
    counts = len(a.trials), len(b.trials)
    if min(counts) < 2:
        return None
    first, second = ((s.deviation or 0.0) ** 2 / n for s, n in zip((a, b), counts, strict=True))
    error = math.sqrt(first + second)
    gap = abs(a.quality - b.quality)
    if error == 0:
        return gap > 0
    freedom = (first + second) ** 2 / (first**2 / (counts[0] - 1) + second**2 / (counts[1] - 1))
    known = max((df for df in T_QUANTILES if df <= freedom + 1e-9), default=1)
    return gap > T_QUANTILES[known] * error


def recommend(settings: Sequence[Setting], metric: str, equal: str) -> list[str]:
    """Return what to choose, in sentences: `settings` come best first.

    Of those within one standard error of the best mean, the one that trains fastest at equal
    parameters, the smallest at equal time (the one-standard-error rule, Breiman et al. 1984,
    3.4.3). Noise that is large ties settings which no one should choose.
    """
    best = settings[0]
    if len(settings) == 1:
        return [f"Only {best.name} was tried."]
    if best.deviation is None:
        return [
            f"{best.name} has the best {metric}, {best.quality:.4f}; with one seed each, no"
            " difference can be told from noise. Run at least 3 seeds."
        ]
    tied = [s for s in settings[1:] if not differs(best, s)]
    worse = [s for s in settings[1:] if differs(best, s)]
    said = [
        f"{best.name} has the best mean {metric}, {best.quality:.4f} ± {best.deviation:.4f}"
        f" over {len(best.trials)} seeds."
    ]
    if worse:
        said.append(f"It is better beyond noise than {', '.join(s.name for s in worse)}.")
    if not tied:
        return [*said, f"Use {best.name}."]
    said.append(f"Within noise of it: {', '.join(s.name for s in tied)}.")
    error = best.deviation / math.sqrt(len(best.trials))
    near = [s for s in tied if abs(best.quality - s.quality) <= error]
    if not near:
        return [*said, f"Use {best.name}; more seeds might show that another is better."]
    said.append(f"Within one standard error of its mean: {', '.join(s.name for s in near)}.")
    if equal == "parameters":
        chosen = min([best, *near], key=lambda s: s.train_seconds)
        why = "trains fastest of these"
    else:
        chosen = min([best, *near], key=lambda s: s.parameters)
        why = "is the smallest of these"
    said.append(
        f"Use {chosen.name}, which {why}"
        + ("." if chosen is best else "; more seeds might show that another is better.")
    )
    return said
