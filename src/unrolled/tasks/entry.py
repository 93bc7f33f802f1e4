"""What short runs side by side must know of a task: one row of `entries.TASKS`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unrolled.artifact import Artifact
from unrolled.data.split import split as split_keys
from unrolled.errors import DataError
from unrolled.spec import NetworkSpec

LEAST_EXAMPLES = 10
TIMED_PASSES = 3


@dataclass(frozen=True)
class TaskEntry:
    """What trials must know of a task.

    `read(path, options, format)` gives data with a length, counted in `counted`;
    `split(data, fraction, options)` a part to train on and one to measure on; `train(data, options,
    training, run=)` a model; `measure(model, part)` its metrics; `answer(model, part)` answers some
    of it and says how many. `network(options, found, data)` is the network that options describe,
    `found` being the vocabularies by role, or what `learned(data, options, training)` returns.
    `quality` names the metric and whether more is better; `depth` the options that count layers;
    `attention(kind)` the options that choose one. `settle(data, options)` is the row for data of
    this kind, where there are several. `an_epoch` counts what one pass over the data learns from.
    """

    options: type[Any]
    read: Callable[[str, Any, str | None], Any]
    split: Callable[[Any, float, Any], tuple[Any, Any]]
    train: Callable[..., Artifact]
    measure: Callable[[Any, Any], dict[str, Any]]
    answer: Callable[[Any, Any], int]
    network: Callable[[Any, Any, Any], NetworkSpec]
    quality: tuple[str, bool]
    depth: tuple[str, ...]
    attention: Callable[[str], dict[str, Any]] | None = None
    learned: Callable[[Any, Any, Any], Any] | None = None
    settle: Callable[[Any, Any], TaskEntry] | None = None
    an_epoch: Callable[[Any, Any], int] = lambda data, options: len(data)
    counted: str = "examples"


def by_inputs(
    keys: Callable[[Any], Sequence[Any]],
) -> Callable[[Any, float, Any], tuple[Any, Any]]:
    """Return a split that sets a share of the distinct inputs apart, `keys` telling equal ones."""

    def split(data: Any, fraction: float, options: Any) -> tuple[Any, Any]:
        if len(data) < LEAST_EXAMPLES:
            raise DataError(
                f"{len(data)} examples; at least {LEAST_EXAMPLES} are needed to compare"
            )
        keep, held = split_keys(list(keys(data)), fraction, 0)
        return data.take(keep), data.take(held)

    return split


def milliseconds(answer: Callable[[Any, Any], int], model: Any, part: Any) -> float:
    """Return the time of one answer, those of a part asked for together: the best of a few."""
    best = float("inf")
    for _ in range(TIMED_PASSES):
        began = time.perf_counter()
        count = answer(model, part)
        best = min(best, (time.perf_counter() - began) / count)
    return round(1000 * best, 4)
