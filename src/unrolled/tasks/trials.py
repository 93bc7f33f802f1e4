"""Short runs side by side: one table of tasks, one function that trains, measures and times one.

What `unrolled compare` and `unrolled doctor --try` are made of. A task is one row of `TASKS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, TrainSpec
from unrolled.data.examples import Examples, read_examples
from unrolled.data.read import read_pairs, texts
from unrolled.data.sequences import Sequences, read_sequences
from unrolled.data.shards import content_of
from unrolled.data.split import split as split_keys
from unrolled.errors import ConfigError, DataError, did_you_mean
from unrolled.options import (
    ClassifyOptions,
    PooledOptions,
    RegressOptions,
    TagOptions,
    TranslateOptions,
)
from unrolled.runtime.model import from_artifact
from unrolled.spec import ClassifierSpec, NetworkSpec, RegressorSpec
from unrolled.tasks import classify, regress, tag, translate
from unrolled.tasks.base import Run
from unrolled.tasks.evaluate import Labelled, answers, evaluate_examples
from unrolled.tasks.pooled import frames_spec, trunk
from unrolled.tasks.reading import reading
from unrolled.tasks.tag_data import key_of
from unrolled.tasks.translate import Pairs
from unrolled.train.describe_flow import reach

Vocabularies = Mapping[str, Any]
TIMED_INPUTS, TIMED_PASSES = 64, 3
KEPT = 0.1


@dataclass(frozen=True)
class TaskEntry:
    """What trials must know of a task.

    `read(path, options, format)` gives data that `take(indices)` selects from; `keys` tells equal
    inputs; `labelled` gives what `evaluate_examples` measures on; `network` the network that
    options describe for vocabularies by role. `quality` names the metric and whether more is
    better; `depth` the options that count layers; `attention(kind)` the options that choose one.
    """

    options: type[Any]
    read: Callable[[str, Any, str | None], Any]
    keys: Callable[[Any], Sequence[Any]]
    train: Callable[..., Artifact]
    labelled: Callable[[Any], Any]
    network: Callable[[Any, Vocabularies, Any], NetworkSpec]
    quality: tuple[str, bool]
    depth: tuple[str, ...]
    attention: Callable[[str], dict[str, Any]] | None = None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what it was given, and what was measured.

    `quality` is the task's metric on data that no choice was made by. `memory` is the lag from
    which less than a tenth is left of a pull at the last state, None where that is never so within
    `longest` steps; of several stacks and directions the farthest reaching.
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


def _read_pooled(path: str, options: PooledOptions, kind: str | None) -> Examples:
    return read_examples(path, reading(options, path, kind), format=kind)


def _read_pairs(path: str, options: TranslateOptions, kind: str | None) -> Pairs:
    table = read_pairs(path, options.source, options.target, format=kind)
    found = texts(table, options.source), texts(table, options.target)
    return Pairs(*found, table.path, table.rows)


def _read_tagged(path: str, options: TagOptions, kind: str | None) -> Sequences:
    return read_sequences(
        path,
        format=kind,
        column=options.column,
        words=options.words,
        intent=options.intent,
        sequence=options.sequence,
        time=options.time,
    )


def _where(data: Any) -> list[str]:
    return [data.where(i) for i in range(len(data))]


def _pooled(kind: str) -> dict[str, Any]:
    if kind == "none":
        return {"pooling": "last"}
    return {"pooling": "attention", "attention": kind}


def _attended(kind: str) -> dict[str, Any]:
    # A dot product needs an encoder as wide as the decoder: its directions are summed.
    return {"attention": kind, **({"merge": "sum"} if kind == "dot" else {})}


def _tag_network(options: TagOptions, found: Vocabularies, data: Sequences) -> NetworkSpec:
    sizes = {role: len(each) for role, each in found.items()}
    return tag.network_spec(options, sizes, options.embedding_size, len(data.features))


def _trunk(options: PooledOptions, found: Vocabularies, data: Examples) -> dict[str, Any]:
    frames = msgspec.structs.replace(frames_spec(options), features=data.features)
    return trunk(options, DataSpec(frames=frames), found.get("source"))


def _classify_network(options: Any, found: Vocabularies, data: Examples) -> NetworkSpec:
    common = _trunk(options, found, data)
    several = options.multi_label
    return ClassifierSpec(**common, num_classes=len(found["target"]), multi_label=several)


def _regress_network(options: Any, found: Vocabularies, data: Examples) -> NetworkSpec:
    return RegressorSpec(**_trunk(options, found, data), num_targets=len(data.targets[0]))


TASKS: dict[str, TaskEntry] = {
    "regress": TaskEntry(
        options=RegressOptions,
        read=_read_pooled,
        keys=lambda data: [content_of(each) for each in data.inputs],
        train=regress.train,
        labelled=lambda data: data,
        network=_regress_network,
        quality=("rmse", False),
        depth=("layers",),
        attention=_pooled,
    ),
    "classify": TaskEntry(
        options=ClassifyOptions,
        read=_read_pooled,
        keys=lambda data: [content_of(each) for each in data.inputs],
        train=classify.train,
        labelled=lambda data: data,
        network=_classify_network,
        quality=("accuracy", True),
        depth=("layers",),
        attention=_pooled,
    ),
    "translate": TaskEntry(
        options=TranslateOptions,
        read=_read_pairs,
        keys=lambda data: data.sources,
        train=translate.train,
        labelled=lambda data: Labelled(list(data.sources), list(data.targets), _where(data)),
        network=lambda o, v, _: translate.network_spec(o, len(v["source"]), len(v["target"])),
        quality=("per", False),
        depth=("encoder_layers", "decoder_layers"),
        attention=_attended,
    ),
    "tag": TaskEntry(
        options=TagOptions,
        read=_read_tagged,
        keys=lambda data: [key_of(each) for each in data.inputs],
        train=tag.train,
        labelled=lambda data: data,
        network=_tag_network,
        quality=("accuracy", True),
        depth=("layers",),
    ),
}


def entry_of(task: str) -> TaskEntry:
    """Return the task's row; ConfigError where trials do not know it."""
    if task not in TASKS:
        near = did_you_mean(task, TASKS)
        raise ConfigError(f"no trials of task {task!r}; one of: {', '.join(TASKS)}.{near}")
    return TASKS[task]


@dataclass(frozen=True)
class Bench:
    """Data to train on and data to measure on, the same for every trial."""

    entry: TaskEntry
    train: Any
    test: Any
    found: dict[str, Any] = field(default_factory=dict)


def prepare(
    entry: TaskEntry,
    path: str,
    options: Any,
    *,
    test: str | None = None,
    kind: str | None = None,
    fraction: float = 0.2,
) -> Bench:
    """Read the data, and set a share of its distinct inputs apart, or read `test`, to measure on.

    Of the rest each trial holds out its own validation part.
    """
    data = entry.read(path, options, kind)
    if test is not None:
        return Bench(entry, data, entry.read(test, options, kind))
    if len(data) < 10:
        raise DataError(f"{path}: {len(data)} examples; at least 10 are needed to compare")
    keep, held = split_keys(list(entry.keys(data)), fraction, 0)
    return Bench(entry, data.take(keep), data.take(held))


def run_trial(bench: Bench, name: str, options: Any, training: TrainSpec) -> Trial:
    """Train once, watched, and measure quality, size, speed and memory."""
    records: list[dict[str, Any]] = []
    run = Run(watch=records.append, notify=lambda text: None)
    fitted = bench.entry.train(bench.train, options, training, run=run)
    model, labelled = from_artifact(fitted), bench.entry.labelled(bench.test)
    metrics = evaluate_examples(model, labelled)
    key, _ = bench.entry.quality
    seconds, epochs = fitted.metrics["train_seconds"], fitted.metrics["epochs_run"]
    lag, longest = _memory(records[-1])
    return Trial(
        name=name,
        seed=training.seed,
        quality=metrics[key],
        metrics={k: v for k, v in metrics.items() if isinstance(v, (int, float))},
        parameters=count_parameters(fitted.config.network),
        train_seconds=seconds,
        epochs=epochs,
        sequences_a_second=round(len(bench.train) * epochs / max(seconds, 1e-9), 1),
        predict_ms=_milliseconds(model, bench),
        memory=lag,
        longest=longest,
        clipped_share=records[-1]["clipped_share"],
    )


def _memory(record: Mapping[str, Any]) -> tuple[int | None, int]:
    curves = [layer["memory"] for layer in record["layers"] if layer.get("memory")]
    longest = max((len(curve) for curve in curves), default=0)
    lags = [reach(curve, KEPT) for curve in curves]
    return (None if None in lags else max((k or 0 for k in lags), default=0)), longest


def _milliseconds(model: Any, bench: Bench) -> float:
    """Return the time of one answer, inputs asked for together: the best of a few passes."""
    asked = bench.entry.labelled(bench.test.take(range(min(TIMED_INPUTS, len(bench.test)))))
    best = float("inf")
    for _ in range(TIMED_PASSES):
        began = time.perf_counter()
        count = len(answers(model, asked))
        best = min(best, (time.perf_counter() - began) / count)
    return round(1000 * best, 4)


def vocabularies(bench: Bench, options: Any, training: TrainSpec) -> Vocabularies:
    """Return the vocabularies that the training data gives: those of a run of one step."""
    small = dict.fromkeys(bench.entry.depth, 1)
    tiny = msgspec.structs.replace(options, hidden_size=1, embedding_size=1, **small)
    one_step = msgspec.structs.replace(training, epochs=1, max_minutes=1e-9, validation_limit=1)
    run = Run(notify=lambda text: None)
    return bench.entry.train(bench.train, tiny, one_step, run=run).vocabularies


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
