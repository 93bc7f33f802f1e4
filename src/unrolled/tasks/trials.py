"""Short runs side by side: one function that trains, measures and times one.

What `unrolled compare` and `unrolled doctor --try` are made of. `entries.py` has a row a task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from unrolled.config import TrainSpec
from unrolled.errors import ConfigError
from unrolled.runtime.model import from_artifact
from unrolled.spec import NetworkSpec
from unrolled.tasks.base import Run
from unrolled.tasks.entries import TASKS, entry_of
from unrolled.tasks.entry import TaskEntry, milliseconds
from unrolled.train.describe_flow import reach

__all__ = [
    "TASKS",
    "Bench",
    "TaskEntry",
    "Trial",
    "count_parameters",
    "entry_of",
    "learned",
    "prepare",
    "run_trial",
    "solve_hidden_size",
]

KEPT = 0.1


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what it was given, and what was measured.

    `quality` is the task's metric on data that no choice was made by. `memory` is the lag from
    which less than a tenth is left of a pull at the last state, None where that is never so within
    `longest` steps; of several stacks and directions the farthest reaching.
    `sequences_a_second` counts what the task's data is counted in.
    """

    name: str
    seed: int
    quality: float
    metrics: dict[str, float]
    parameters: int
    train_seconds: float
    epochs: int
    sequences_a_second: float
    predict_ms: float
    memory: int | None
    longest: int
    clipped_share: float


@dataclass(frozen=True)
class Bench:
    """Data to train on and data to measure on, the same for every trial."""

    entry: TaskEntry
    train: Any
    test: Any


def prepare(
    entry: TaskEntry,
    path: str,
    options: Any,
    *,
    test: str | None = None,
    kind: str | None = None,
    fraction: float = 0.2,
) -> Bench:
    """Read the data, and set a share of it apart, or read `test`, to measure on.

    The share is of its distinct inputs, or what comes last of a text and of series. Of the rest
    each trial holds out its own validation part.
    """
    data = entry.read(path, options, kind)
    entry = entry.settle(data, options) if entry.settle is not None else entry
    if test is not None:
        return Bench(entry, data, entry.read(test, options, kind))
    return Bench(entry, *entry.split(data, fraction, options))


def run_trial(bench: Bench, name: str, options: Any, training: TrainSpec) -> Trial:
    """Train once, watched, and measure quality, size, speed and memory.

    Raises ConfigError where gradients are truncated: memory is measured through whole sequences.
    """
    if training.truncate:
        raise ConfigError(
            f"truncate is {training.truncate}; what is tried is measured by how far back gradients "
            "reach through whole sequences, and that needs truncate 0"
        )
    records: list[dict[str, Any]] = []
    run = Run(watch=records.append, notify=lambda text: None)
    fitted = bench.entry.train(bench.train, options, training, run=run)
    model = from_artifact(fitted)
    metrics = bench.entry.measure(model, bench.test)
    key, _ = bench.entry.quality
    seconds, epochs = fitted.metrics["train_seconds"], fitted.metrics["epochs_run"]
    lag, longest = _memory(records[-1])
    passed = bench.entry.an_epoch(bench.train, options) * epochs
    return Trial(
        name=name,
        seed=training.seed,
        quality=metrics[key],
        metrics={k: v for k, v in metrics.items() if isinstance(v, (int, float))},
        parameters=count_parameters(fitted.config.network),
        train_seconds=seconds,
        epochs=epochs,
        sequences_a_second=round(passed / max(seconds, 1e-9), 1),
        predict_ms=milliseconds(bench.entry.answer, model, bench.test),
        memory=lag,
        longest=longest,
        clipped_share=records[-1]["clipped_share"],
    )


def _memory(record: Mapping[str, Any]) -> tuple[int | None, int]:
    curves = [layer["memory"] for layer in record["layers"] if layer.get("memory")]
    longest = max((len(curve) for curve in curves), default=0)
    lags = [reach(curve, KEPT) for curve in curves]
    return (None if None in lags else max((k or 0 for k in lags), default=0)), longest


def learned(bench: Bench, options: Any, training: TrainSpec) -> Any:
    """Return what the training data decides of a network: the task's own, or its vocabularies.

    These are what a run of one step, of the least network, finds; with vectors of words also
    their `width`.
    """
    if bench.entry.learned is not None:
        return bench.entry.learned(bench.train, options, training)
    small = dict.fromkeys(bench.entry.depth, 1)
    tiny = msgspec.structs.replace(options, hidden_size=1, embedding_size=1, **small)
    one_step = msgspec.structs.replace(training, epochs=1, max_minutes=1e-9, validation_limit=1)
    run = Run(notify=lambda text: None)
    fitted = bench.entry.train(bench.train, tiny, one_step, run=run)
    network: Any = fitted.config.network
    width = {"width": network.embedding_size} if getattr(options, "vectors", "") else {}
    return {**fitted.vocabularies, **width}


def count_parameters(network: NetworkSpec) -> int:
    """Return how many numbers a network of this spec trains; nothing is allocated."""
    import torch

    from unrolled.nn.build import build

    with torch.device("meta"):
        return sum(p.numel() for p in build(network, engine="reference").parameters())


def solve_hidden_size(count: Callable[[int], int], budget: int) -> int:
    """Return the hidden size whose count of parameters is nearest to `budget`; count must grow.

    Raises ConfigError where one unit already takes more.
    """
    if count(1) > budget:
        raise ConfigError(
            f"one hidden unit already takes {count(1):,} parameters, more than the {budget:,} given"
        )
    low, high = 1, 2
    while count(high) < budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    return min((low, high), key=lambda size: abs(count(size) - budget))
