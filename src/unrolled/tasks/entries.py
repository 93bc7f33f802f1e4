"""The tasks that short runs side by side know: one literal table, a row a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from unrolled.config import DataSpec
from unrolled.data.captions import Described, read_described
from unrolled.data.examples import Examples, read_examples
from unrolled.data.read import read_pairs, texts
from unrolled.data.sequences import Sequences
from unrolled.data.shards import content_of
from unrolled.data.vocab import suggest_tokens
from unrolled.errors import ConfigError, did_you_mean
from unrolled.options import (
    CaptionOptions,
    ClassifyOptions,
    PooledOptions,
    RegressOptions,
    TagOptions,
    TranslateOptions,
    resolve_tokens,
)
from unrolled.spec import ClassifierSpec, NetworkSpec, RegressorSpec
from unrolled.tasks import caption, classify, regress, tag, translate
from unrolled.tasks.entries_in_time import FORECAST, TEXT
from unrolled.tasks.entry import TaskEntry, by_inputs
from unrolled.tasks.evaluate import Labelled, answers, evaluate_examples
from unrolled.tasks.pooled import Reading, frames_spec, trunk
from unrolled.tasks.reading import reading
from unrolled.tasks.tag_data import read_tagged
from unrolled.tasks.translate import Pairs
from unrolled.train.metrics import has_bleu

Vocabularies = Mapping[str, Any]
TIMED_INPUTS = 64


def _read_pooled(path: str, options: PooledOptions, kind: str | None) -> Examples:
    return read_examples(path, reading(options, path, kind), format=kind)


def _read_pairs(path: str, options: TranslateOptions, kind: str | None) -> Pairs:
    table = read_pairs(path, options.source, options.target, format=kind)
    found = texts(table, options.source), texts(table, options.target)
    return Pairs(*found, table.path, table.rows)


def _read_described(path: str, options: CaptionOptions, kind: str | None) -> Described:
    return read_described(path, features=options.features, caption=options.caption, format=kind)


def _as_given(data: Any) -> Any:
    return data


def _labelled(data: Pairs) -> Labelled:
    where = [data.where(i) for i in range(len(data))]
    return Labelled(list(data.sources), list(data.targets), where)


def _measured(labelled: Callable[[Any], Any]) -> dict[str, Any]:
    """Return how a task with labelled examples is measured and answers."""

    def measure(model: Any, part: Any) -> dict[str, Any]:
        return evaluate_examples(model, labelled(part))

    def answer(model: Any, part: Any) -> int:
        asked = labelled(part.take(range(min(TIMED_INPUTS, len(part)))))
        return len(answers(model, asked))

    return {"measure": measure, "answer": answer}


def _pooled(kind: str) -> dict[str, Any]:
    if kind == "none":
        return {"pooling": "last"}
    return {"pooling": "attention", "attention": kind}


def _attended(kind: str) -> dict[str, Any]:
    # A dot product needs an encoder as wide as the decoder: its directions are summed.
    return {"attention": kind, **({"merge": "sum"} if kind == "dot" else {})}


def _described(kind: str) -> dict[str, Any]:
    return {"condition": "every"} if kind == "none" else {"condition": "attend", "attention": kind}


def _tag_network(options: TagOptions, found: Vocabularies, data: Sequences) -> NetworkSpec:
    sizes = {role: len(each) for role, each in found.items() if role != "width"}
    return tag.network_spec(options, sizes, _width(options, found), len(data.features))


def _width(options: Any, found: Vocabularies) -> int:
    """Return how wide the embeddings are: as the vectors that they begin from, or as asked."""
    width: int = found.get("width", options.embedding_size)
    return width


def _trunk(options: PooledOptions, found: Vocabularies, data: Examples) -> dict[str, Any]:
    frames = msgspec.structs.replace(frames_spec(options), features=data.features)
    wide = msgspec.structs.replace(options, embedding_size=_width(options, found))
    return trunk(wide, Reading(DataSpec(frames=frames), found.get("source")))


def _classify_network(options: Any, found: Vocabularies, data: Examples) -> NetworkSpec:
    common = _trunk(options, found, data)
    several = options.multi_label
    return ClassifierSpec(**common, num_classes=len(found["target"]), multi_label=several)


def _regress_network(options: Any, found: Vocabularies, data: Examples) -> NetworkSpec:
    return RegressorSpec(**_trunk(options, found, data), num_targets=len(data.targets[0]))


def _caption_network(options: CaptionOptions, found: Vocabularies, data: Described) -> NetworkSpec:
    numbers = data.kind != "attributes"
    size = data.inputs[0].shape[1] if numbers else len(found["source"])
    places = max(map(len, data.inputs)) if numbers and options.positions else 0
    return caption.network_spec(options, data.kind, size, places, len(found["target"]))


def _caption_quality(data: Described, options: CaptionOptions) -> TaskEntry:
    """Return the row for texts that have no BLEU, of characters or short ones, or for others."""
    written = [text for found in data.captions for text in found]
    if resolve_tokens(options.tokens, suggest_tokens(written)) == "char" or not has_bleu(written):
        return replace(CAPTION, quality=("per", False))
    return CAPTION


CAPTION = TaskEntry(
    options=CaptionOptions,
    read=_read_described,
    split=by_inputs(lambda data: data.keys()),
    train=caption.train,
    **_measured(_as_given),
    network=_caption_network,
    quality=("bleu", True),
    depth=("layers",),
    attention=_described,
    settle=_caption_quality,
)

TASKS: dict[str, TaskEntry] = {
    "regress": TaskEntry(
        options=RegressOptions,
        read=_read_pooled,
        split=by_inputs(lambda data: [content_of(each) for each in data.inputs]),
        train=regress.train,
        **_measured(_as_given),
        network=_regress_network,
        quality=("rmse", False),
        depth=("layers",),
        attention=_pooled,
    ),
    "classify": TaskEntry(
        options=ClassifyOptions,
        read=_read_pooled,
        split=by_inputs(lambda data: [content_of(each) for each in data.inputs]),
        train=classify.train,
        **_measured(_as_given),
        network=_classify_network,
        quality=("accuracy", True),
        depth=("layers",),
        attention=_pooled,
    ),
    "translate": TaskEntry(
        options=TranslateOptions,
        read=_read_pairs,
        split=by_inputs(lambda data: data.sources),
        train=translate.train,
        **_measured(_labelled),
        network=lambda o, v, _: translate.network_spec(o, len(v["source"]), len(v["target"])),
        quality=("per", False),
        depth=("encoder_layers", "decoder_layers"),
        attention=_attended,
    ),
    "tag": TaskEntry(
        options=TagOptions,
        read=read_tagged,
        split=by_inputs(lambda data: [content_of(each) for each in data.inputs]),
        train=tag.train,
        **_measured(_as_given),
        network=_tag_network,
        quality=("accuracy", True),
        depth=("layers",),
    ),
    "caption": CAPTION,
    "forecast": FORECAST,
    "generate": TEXT,
}


def entry_of(task: str) -> TaskEntry:
    """Return the task's row; ConfigError where trials do not know it."""
    if task not in TASKS:
        near = did_you_mean(task, TASKS)
        raise ConfigError(f"no trials of task {task!r}; one of: {', '.join(TASKS)}.{near}")
    return TASKS[task]
