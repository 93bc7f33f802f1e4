"""What an experiment is: a claim, a run for each seed, a judge of all runs, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unrolled.lab.statistics import Estimate, estimate

Row = Mapping[str, Any]
Answer = Literal["holds", "does not hold", "depends"]


@dataclass(frozen=True)
class Verdict:
    """What became of a claim: the answer, and why, in sentences with numbers."""

    answer: Answer
    words: str


@dataclass(frozen=True)
class Results:
    """The rows of all seeds. A row has its `seed`, the conditions it was run under, and numbers."""

    rows: Sequence[Row]

    def where(self, **conditions: Any) -> Results:
        """Return the rows that meet the conditions."""
        met = conditions.items()
        return Results([row for row in self.rows if all(row[k] == v for k, v in met)])

    def values(self, condition: str) -> list[Any]:
        """Return the values of a condition in the order in which they first appear."""
        return list(dict.fromkeys(row[condition] for row in self.rows))

    def mean(self, number: str, **conditions: Any) -> Estimate:
        """Return the mean of a number over the rows that meet the conditions, by seed."""
        return estimate(list(self._by_seed(number, conditions).values()))

    def difference(self, number: str, this: Row, that: Row, **both: Any) -> Estimate:
        """Return `number` under `this` minus under `that`, paired by seed, as a mean."""
        first = self._by_seed(number, {**both, **this})
        second = self._by_seed(number, {**both, **that})
        return estimate([first[seed] - second[seed] for seed in first])

    def has(self, number: str, **conditions: Any) -> bool:
        """Tell whether any row that meets the conditions has this number."""
        return any(number in row for row in self.where(**conditions).rows)

    def _by_seed(self, number: str, conditions: Row) -> dict[int, float]:
        found: dict[int, list[float]] = {}
        for row in self.where(**conditions).rows:
            if number in row:
                found.setdefault(row["seed"], []).append(float(row[number]))
        if not found:
            raise ValueError(f"no row has {number!r} under {dict(conditions)}")
        return {seed: sum(values) / len(values) for seed, values in found.items()}


@dataclass(frozen=True)
class Plot:
    """Lines with error bars: `number` over `x`, a line for each value of `by`.

    `panels` names a condition that gets a picture of its own for each value; `reading` is the
    sentence that says how to read it.
    """

    number: str
    x: str
    by: str
    title: str
    x_title: str
    y_title: str
    reading: str
    panels: str = ""
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Experiment:
    """A claim put to the test.

    `run(seed, settings)` returns rows without the seed; `judge` and the table and plots see the
    rows of all seeds. `columns` are the conditions that a line of the table stands for, `numbers`
    what it shows. `quick` takes a minute or two on two cores, `full` is what verdicts rest on.
    """

    name: str
    title: str
    claim: str
    text: str
    run: Callable[[int, Any], list[dict[str, Any]]]
    judge: Callable[[Results], Verdict]
    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    plots: tuple[Plot, ...]
    quick: Any
    full: Any
