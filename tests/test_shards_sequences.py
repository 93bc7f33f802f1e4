"""Shards of tagged sequences, of things with captions, and of sequences to go on with."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioning
import signals
import tagging
import tiny
from training_runs import at, same_run, stopped
from unrolled.artifact import Artifact
from unrolled.config import DataSpec, FramesSpec, TrainSpec
from unrolled.data.captions import Described, attributes
from unrolled.data.examples import Examples, read_examples
from unrolled.data.items import Corpus
from unrolled.data.sequences import Sequences
from unrolled.data.shards import FileShards, Whole, each, read_whole
from unrolled.errors import ConfigError, DataError
from unrolled.options import GenerateOptions
from unrolled.tasks import caption, classify, generate, tag
from unrolled.tasks.base import Run
from unrolled.tasks.tag_data import count_words, read_tagged

CUTS = (0, 17, 22, 40)
SHARE = 0.3


@dataclass(frozen=True)
class Case:
    """A data set in memory, and how a model is trained on it or on its shards."""

    data: Any
    train: Callable[..., Artifact]


def tagged(**choices: Any) -> Case:
    options = tagging.options(word_dropout=0.3, intent="intent", **choices)
    data, spec = tagging.sentences(), tiny.training(validation_fraction=SHARE)
    return Case(data, lambda given, **more: tag.train(given, options, spec, **more))


def tagged_frames() -> Case:
    inputs, _ = signals.recordings(40)
    tags = [["high" if x > 1000 else "low" for x in frames[:, 0]] for frames in inputs]
    data = Sequences("frames", inputs, tags, features=("a", "b"))
    options, spec = tagging.options(), tiny.training(validation_fraction=SHARE)
    return Case(data, lambda given, **more: tag.train(given, options, spec, **more))


def described(kind: str) -> Case:
    if kind == "attributes":
        records = captioning.attributes() * 4
        inputs = [attributes({**r["attributes"], "n": k}, "x") for k, r in enumerate(records)]
        data = Described("things", kind, inputs, [r["caption"] for r in records])
    else:
        values, texts = captioning.regions(40) if kind == "regions" else captioning.vectors(40)
        inputs = list(values) if kind == "regions" else [each[None] for each in values]
        data = Described("things", kind, inputs, [[text] for text in texts])
    options, spec = (
        captioning.options(positions=kind == "regions"),
        captioning.training(epochs=2, batch_size=8, validation_fraction=SHARE),
    )
    return Case(data, lambda given, **more: caption.train(given, options, spec, **more))


def sequenced(kind: str) -> Case:
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 8, size=40)
    if kind == "items":
        sequences = [list(map(str, draw.integers(9, size=n))) for n in lengths]
    else:
        sequences = [(draw.random((n, 5)) < 0.4).astype(np.float32) for n in lengths]
    options = GenerateOptions(hidden_size=8, embedding_size=6, ends=True)
    spec = TrainSpec(epochs=2, batch_size=8, validation_fraction=SHARE)
    data = Corpus("sequences", sequences)
    return Case(
        data, lambda given, **more: generate.train_sequences(given, kind, options, spec, **more)
    )


CASES = {
    "tag": tagged(),
    "tag frames": tagged_frames(),
    "caption vectors": described("vector"),
    "caption regions": described("regions"),
    "caption attributes": described("attributes"),
    "items": sequenced("items"),
    "frames": sequenced("frames"),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def in_shards(data: Any, cuts: tuple[int, ...] = CUTS) -> FileShards[Any]:
    """The data as if it lay in files, unlike in size."""
    cuts = (*cuts[:-1], len(data))

    def read(path: str) -> Any:
        k = int(path[5:])
        return replace(data.take(range(cuts[k], cuts[k + 1])), name=path)

    return FileShards("parts", [f"part-{k}" for k in range(len(cuts) - 1)], read)


def texts_of(inputs: Any) -> list[str]:
    return [str(np.asarray(each).tolist()) for each in inputs]


def same_weights(a: Artifact, b: Artifact) -> bool:
    assert a.weights.keys() == b.weights.keys()
    return all(a.weights[name].tobytes() == b.weights[name].tobytes() for name in a.weights)


# What is learned from shards


@EVERY
def test_one_shard_trains_to_the_weights_of_its_file(case):
    held = case.data.take(range(6))
    whole = case.train(case.data, validation=held)
    one = case.train(in_shards(case.data, (0, 40)), validation=held)
    assert same_weights(whole, one)
    assert whole.config == one.config
    assert whole.vocabularies == one.vocabularies


@EVERY
def test_shards_make_the_network_and_the_vocabularies_of_the_whole(case):
    held = case.data.take(range(6))
    whole = case.train(case.data, validation=held)
    shards = case.train(in_shards(case.data), validation=held)
    assert shards.vocabularies == whole.vocabularies
    assert shards.config.network == whole.config.network
    assert shards.config.data == whole.config.data
    # The hash is of the files, since batches are of one file each.
    assert shards.config.data_hash != whole.config.data_hash
    for name in ("frames.mean", "frames.scale", "feature_mean", "feature_scale"):
        if name in whole.weights:
            assert shards.weights[name] == pytest.approx(whole.weights[name], rel=1e-5)


@EVERY
def test_what_is_held_out_hangs_on_no_file(case):
    held = []
    for cuts in (CUTS, (0, 5, 10, 15, 30, 40)):
        source = in_shards(case.data, cuts)
        source.fraction = SHARE
        held.append(sorted(texts_of(source.held_out().inputs)))
        kept = [x for part in each(source) for x in texts_of(part.inputs)]
        assert not set(kept) & set(held[-1])
        assert sorted([*kept, *held[-1]]) == sorted(texts_of(case.data.inputs))
    assert held[0] == held[1]
    assert len(held[0]) >= 2
    assert case.train(in_shards(case.data)).metrics["epochs_run"] == 2


@pytest.mark.parametrize("stop", [2, 7])
@pytest.mark.parametrize("name", ["tag", "caption regions", "items"])
def test_a_run_resumes_bit_for_bit(name, stop, tmp_path):
    case = CASES[name]

    def train(where):
        return case.train(in_shards(case.data), run=where)

    train(Run(tmp_path / "whole"))
    stopped(train, tmp_path / "cut", at("step", stop, signal.SIGTERM))
    train(Run(tmp_path / "cut", resume=True))
    assert same_run(tmp_path / "whole", tmp_path / "cut")


class Held(list):
    """A list that can be watched."""


@EVERY
def test_memory_holds_the_shard_that_is_read_and_the_one_before(case):
    alive: list[weakref.ref] = []
    most = 0
    plain = in_shards(case.data, tuple(range(0, 41, 5)))

    def read(path: str) -> Any:
        nonlocal most
        found = plain.read(path)
        watched = Held(found.inputs)
        alive.append(weakref.ref(watched))
        most = max(most, sum(ref() is not None for ref in alive))
        field = "sequences" if isinstance(found, Corpus) else "inputs"
        return replace(found, **{field: watched})

    case.train(FileShards("parts", plain.paths, read), validation=case.data.take(range(6)))
    assert len(alive) > 3 * 8
    assert most <= 2
    assert sum(ref() is not None for ref in alive) <= 1


def test_words_are_counted_as_in_one_file():
    data = CASES["tag"].data
    whole, shards = (count_words(source, 3) for source in (Whole(data), in_shards(data)))
    assert whole == shards
    assert sum(whole.counts.values()) == sum(map(len, data.inputs))
    assert sum(whole.beyond.values()) == sum(max(0, len(words) - 3) for words in data.inputs)


def test_what_is_told_counts_all_shards_and_names_the_first_place():
    said: list[str] = []
    data = CASES["tag"].data
    tags = [["I-LOC", *found[1:]] if i == 20 else found for i, found in enumerate(data.tags)]
    broken, held = replace(data, tags=tags), data.take(range(6))
    run = Run(notify=said.append)
    tagged(max_length=4).train(in_shards(broken), validation=held, run=run)
    assert said[0] == (
        "1 of 40 training sequences are not legal BIO, the first at part-1, row 21, word 1: "
        "tag 'I-LOC' at the start; answers keep to it (see constraints)"
    )
    long = [i for i, words in enumerate(data.inputs) if len(words) > 4]
    assert said[1] == (
        f"{len(long)} of 40 sequences for training are longer than 4 units (max_length) and were "
        f"cut there; the first is part-0, row {long[0] + 1}"
    )
    with pytest.raises(DataError, match="part-1, row 21, word 1: tag 'I-LOC' at the start is not"):
        tagged(constraints="train").train(in_shards(broken), validation=held)


@EVERY
def test_a_shard_may_be_held_out_whole(case):
    source = in_shards(case.data)
    source.fraction = SHARE
    out = set(texts_of(source.held_out().inputs))
    held = [i for i, text in enumerate(texts_of(case.data.inputs)) if text in out]
    rest = [i for i in range(len(case.data)) if i not in held]
    parts = [case.data.take(some) for some in (held, rest[:9], rest[9:])]
    assert case.train(mixed(*parts)).metrics["epochs_run"] == 2


@pytest.mark.parametrize("kind", ["items", "frames"])
def test_a_validation_limit_draws_from_all_sequences(kind, monkeypatch):
    name = {"items": "sequence_metrics", "frames": "frame_metrics"}[kind]
    measure, seen = getattr(generate, name), []

    def measured(model, corpus):
        seen.append(corpus.numbers)
        return measure(model, corpus)

    monkeypatch.setattr(generate, name, measured)
    options, spec = GenerateOptions(hidden_size=8), tiny.training(validation_limit=5)
    data = CASES[kind].data
    generate.train_sequences(data, kind, options, spec, validation=data)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 5
    assert max(seen[0]) > 5


# What may be wrong


def mixed(*parts: Any) -> FileShards[Any]:
    named = [replace(part, name=f"part-{k}") for k, part in enumerate(parts)]
    return FileShards("parts", list(map(str, range(len(parts)))), lambda path: named[int(path)])


def test_a_shard_of_another_form_is_named():
    words, frames = CASES["tag"].data, CASES["tag frames"].data
    vectors, regions = CASES["caption vectors"].data, CASES["caption regions"].data
    items, keys = CASES["items"].data, CASES["frames"].data
    narrow = replace(vectors, inputs=[x[:, :4] for x in vectors.inputs])
    told = replace(items, negatives=[["1"]] * len(items))
    slim = replace(keys, sequences=[x[:, :2] for x in keys.sequences])
    other = replace(frames, features=("a", "c"))
    for case, parts, message in (
        ("tag", (words, frames), "part-1: features a, b, but part-0: words"),
        ("tag frames", (frames, other), "part-1: features a, c, but part-0: features a, b"),
        ("caption vectors", (vectors, regions), "part-1: regions of 3 numbers, but part-0: vec"),
        ("caption vectors", (vectors, narrow), "vectors of 4 numbers, but part-0: vectors of 6"),
        ("items", (items, told), "part-1: items with negatives, but part-0: items"),
        ("frames", (keys, slim), "part-1: frames of 2 values, but part-0: frames of 5 values"),
    ):
        with pytest.raises(DataError, match=message):
            CASES[case].train(mixed(*parts))
    with pytest.raises(DataError, match="frames: features a, b, but parts: words"):
        CASES["tag"].train(mixed(words, words), validation=frames)
    with pytest.raises(DataError, match="other: features b, a, but frames: features a, b"):
        CASES["tag frames"].train(
            frames, validation=replace(frames, name="other", features=("b", "a"))
        )
    ragged = replace(keys, sequences=[*keys.sequences, np.ones((2, 3), np.float32)])
    with pytest.raises(DataError, match="part-0: frames must all have 5 values"):
        CASES["frames"].train(mixed(ragged, keys))


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_sequences_that_are_in_two_files_are_told(task, tmp_path):
    inputs, labels = signals.recordings(40)
    table = signals.long_table(inputs, y=labels).sort("id", "t")
    half = len(table) // 2
    name = table["id"][half]
    assert table["id"][half - 1] == name
    paths = [str(tmp_path / f"{part}.parquet") for part in "ab"]
    for path, rows in zip(paths, (table[:half], table[half:]), strict=True):
        rows.write_parquet(path)
    said: list[str] = []
    run, training = Run(notify=said.append), tiny.training(epochs=1)
    if task == "tag":
        options = tagging.options(sequence="id", time="t")
        read = partial(read_tagged, options=options)
        tag.train(FileShards("parts", paths, read), options, training, run=run)
    else:
        frames = FramesSpec(sequence="id", time="t")
        read = partial(read_examples, data=DataSpec(target="y", frames=frames))
        source, options = FileShards("parts", paths, read), tiny.classify_options()
        classify.train(source, options, training, data=read.keywords["data"], run=run)
    assert said == [
        f"1 sequence name(s) are in several files, the first {name!r} in {paths[0]} and "
        f"{paths[1]}; what each file holds is a sequence of its own"
    ]


def test_rows_without_a_name_are_not_told_of():
    inputs, labels = signals.recordings(20)
    data = Examples([x[:1] for x in inputs], labels, features=("a", "b"), ids=range(20))
    said: list[str] = []
    run, training = Run(notify=said.append), tiny.training(epochs=1)
    given = DataSpec(frames=FramesSpec())
    classify.train(mixed(data, data), tiny.classify_options(), training, data=given, run=run)
    assert said == []


def test_the_longest_thing_may_be_one_that_is_validated_on():
    case = CASES["caption regions"]
    held = replace(case.data.take(range(4)), name="held")
    held.inputs[2] = np.ones((9, 3), np.float32)
    for given in (case.data, in_shards(case.data)):
        assert case.train(given, validation=held).config.network.positions == 9


def test_too_little_data_and_bpe_are_told():
    one = CASES["tag"].data.take([0])
    with pytest.raises(DataError, match=r"parts: 1 sequence\(s\); at least 2 are needed"):
        CASES["tag"].train(mixed(one))
    thing = CASES["caption vectors"].data.take([0])
    with pytest.raises(DataError, match=r"parts: 1 distinct item\(s\); at least 2"):
        CASES["caption vectors"].train(mixed(thing, thing))
    data = CASES["caption vectors"].data
    with pytest.raises(ConfigError, match="tokens 'bpe' reads all texts at once"):
        caption.train(mixed(data, data), captioning.options(tokens="bpe"), captioning.training())
    for case in CASES.values():
        source, nothing = in_shards(case.data), case.data.take([])
        source.read = lambda path, nothing=nothing: nothing
        with pytest.raises(DataError, match=r"at least 2|no examples|no seq|vocabulary is empty"):
            case.train(source, validation=case.data.take(range(6)))


def test_files_read_together_are_alike():
    parts = iter([CASES["items"].data, CASES["frames"].data])
    with pytest.raises(DataError, match="sequences: frames of 5 values, but sequences: items"):
        read_whole(str(Path(__file__).parent), lambda path: next(parts))
