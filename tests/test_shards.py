"""A data set in files that are read one at a time: order, memory, resuming, what may be wrong."""

from __future__ import annotations

import json
import signal
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars
import pytest

import signals
import tiny
from commands import Command
from training_runs import Watch, at, log, same_run, stopped
from unrolled.config import DataSpec, FramesSpec
from unrolled.data.examples import Examples, read_examples
from unrolled.data.read import read_pairs, texts
from unrolled.data.shards import FileShards, Shards, shard_paths
from unrolled.options import ClassifyOptions
from unrolled.tasks import classify, translate
from unrolled.tasks.base import Run
from unrolled.tasks.translate import Pairs

FRAMES = {"hidden_size": 6, "dropout": 0.0}


def write_shards(folder: Path, count: int = 4) -> Path:
    """Reviews in several files, unlike in size."""
    folder.mkdir()
    texts, labels = tiny.reviews(60)
    cuts = [0, 25, 30, 50, 60]
    for k in range(count):
        rows = zip(texts[cuts[k] : cuts[k + 1]], labels[cuts[k] : cuts[k + 1]], strict=True)
        body = "".join(f"{text},{label}\n" for text, label in rows)
        (folder / f"part-{k}.csv").write_text("text,label\n" + body)
    return folder


def shards(folder: Path) -> Shards:
    spec = DataSpec(source="text", target="label")
    return Shards(str(folder), shard_paths(str(folder)), lambda path: read_examples(path, spec))


def test_shards_hold_each_example_once_and_hold_equal_ones_out_together(tmp_path):
    source = shards(write_shards(tmp_path / "parts"))
    whole = sorted(x for k in range(4) for x in source.load(k).inputs)
    assert whole == sorted(tiny.reviews(60)[0])
    source.fraction = 0.2
    held = source.held_out().inputs
    kept = [x for k in range(4) for x in source.load(k).inputs]
    assert sorted([*held, *kept]) == whole
    assert 3 <= len(held) <= 24
    source.seed = 1
    assert source.held_out().inputs != held


def test_an_epoch_reads_each_shard_once_and_each_example_once(tmp_path):
    reads: list[str] = []
    folder = write_shards(tmp_path / "parts")
    spec = DataSpec(source="text", target="label")

    def read(path: str) -> Examples:
        reads.append(Path(path).name)
        return read_examples(path, spec)

    source = Shards(str(folder), shard_paths(str(folder)), read)
    held = Examples(*tiny.reviews(8))
    orders: list[list[int]] = []

    class Seen(Watch):
        def epoch(self, record):
            orders.append([int(name[5]) for name in reads])
            reads.clear()

    options, training = tiny.classify_options(), tiny.training(epochs=3)
    told = Run(watchers=(Seen(lambda *_: None),))
    fitted = classify.train(source, options, training, validation=held, run=told)
    # The shard that an epoch ended with is still there for the next one.
    for before, order in pairwise(orders):
        assert sorted(order) == sorted({0, 1, 2, 3} - (set() if len(order) == 4 else {before[-1]}))
    assert orders[1] != orders[2]
    assert fitted.metrics["epochs_run"] == 3


def test_vocabulary_and_labels_are_those_of_all_shards(tmp_path):
    source = shards(write_shards(tmp_path / "parts"))
    held = Examples(*tiny.reviews(8))
    spec = tiny.training(epochs=1)
    fitted = classify.train(source, tiny.classify_options(), spec, validation=held)
    whole = Examples(*tiny.reviews(60))
    alone = classify.train(whole, tiny.classify_options(), spec, validation=held)
    assert fitted.vocabularies["source"] == alone.vocabularies["source"]
    assert fitted.vocabularies["target"] == alone.vocabularies["target"]


def test_frames_in_shards_are_scaled_by_all_of_them(tmp_path):
    inputs, labels = signals.recordings(60)
    for k, cut in enumerate(np.split(np.arange(60), [7, 40])):
        some = [inputs[i] for i in cut]
        np.savez(tmp_path / f"p{k}.npz", **signals.padded(some), y=[labels[i] for i in cut])
    spec = DataSpec(target="y", frames=FramesSpec())
    paths = shard_paths(f"{tmp_path}/*.npz")
    source = Shards("parts", paths, lambda path: read_examples(path, spec))
    training = tiny.training(epochs=1)
    fitted = classify.train(source, ClassifyOptions(**FRAMES), training, data=spec)
    assert source.fraction == 0
    source.fraction, source.seed = training.validation_fraction, training.seed
    kept = np.concatenate([x for k in range(3) for x in source.load(k).inputs]).astype(np.float64)
    assert fitted.weights["frames.mean"] == pytest.approx(kept.mean(axis=0), rel=1e-6)
    assert fitted.weights["frames.scale"] == pytest.approx(kept.std(axis=0), rel=1e-6)


@pytest.mark.parametrize("stop", [2, 5, 9])
def test_a_run_over_shards_resumes_bit_for_bit(stop, tmp_path):
    folder = write_shards(tmp_path / "parts")

    def train(where):
        options, spec = tiny.classify_options(), tiny.training(epochs=2)
        return classify.train(shards(folder), options, spec, run=where)

    train(Run(tmp_path / "whole"))
    stopped(train, tmp_path / "cut", at("step", stop, signal.SIGTERM))
    train(Run(tmp_path / "cut", resume=True))
    assert same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("name", ["parts", "parts/*.csv"])
def test_the_command_takes_a_folder_or_a_pattern(name, tmp_path, run: Command):
    write_shards(tmp_path / "parts")
    flags = [*tiny.FLAGS, "--epochs=6", "--lr=0.03", "--quiet"]
    given = ["--out", tmp_path / "model", "--valid", tmp_path / name, *flags]
    done = run("train", "classify", tmp_path / name, *given)
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert sum(map(sum, metrics["confusion"])) == 60
    found = run("evaluate", tmp_path / "model", tmp_path / "parts" / "part-1.csv", "--json")
    assert json.loads(found.out)["accuracy"] > 0.8


def test_shards_are_evaluated_together_and_answered_in_order(tmp_path, run: Command):
    folder, model = write_shards(tmp_path / "parts"), tmp_path / "model"
    assert run("train", "classify", folder, "--out", model, *tiny.FLAGS, "--quiet").code == 0
    whole = tiny.write_reviews(tmp_path / "whole.csv", 60)
    for data in (folder, folder / "*.csv"):
        found, told = (json.loads(run("evaluate", model, d, "--json").out) for d in (data, whole))
        assert found == told
        assert run("predict", model, data).out == run("predict", model, whole).out
    (folder / "part-9.csv").write_text("text,label\na good film,sideways\n")
    done = run("evaluate", model, folder)
    assert done.code == 2
    assert "part-9.csv, row 2" in done.err
    assert "'sideways' was not seen in training" in done.err
    (folder / "part-9.csv").write_text("other,text\n1,a good film\n")
    done = run("predict", model, folder)
    assert done.code == 2
    assert "part-9.csv: its columns are other, text, not those of the first file" in done.err


def test_shards_that_are_not_there_or_unlike_are_told(tmp_path, run: Command):
    done = run("train", "classify", tmp_path / "none" / "*.csv", "--out", tmp_path / "m")
    assert done.code == 2
    assert "no files to read there" in done.err
    for k, names in enumerate((("a", "b"), ("a", "c"))):
        row = {"id": 1, names[0]: 1.0, names[1]: 2.0, "label": "x"}
        polars.DataFrame([row]).write_csv(tmp_path / f"p{k}.csv")
    given = ["--sequence", "id", *tiny.FLAGS, "--validation-fraction=0.001"]
    done = run("train", "classify", tmp_path / "p*.csv", "--out", tmp_path / "m", *given)
    assert done.code == 2
    assert "held out none of its examples" in done.err
    valid = ["--valid", tmp_path / "p0.csv"]
    done = run("train", "classify", tmp_path / "p*.csv", "--out", tmp_path / "m", *given, *valid)
    assert done.code == 2
    assert f"p1.csv: features a, c, but {tmp_path / 'p0.csv'}: features a, b" in done.err


def test_memory_holds_one_shard_at_a_time(tmp_path):
    """Of each shard no more is alive than the one that is read and the one before it."""
    alive: list[weakref.ref] = []
    most = 0

    def read(path: str) -> Examples:
        nonlocal most
        k = int(path)
        texts, labels = tiny.reviews(20)
        table = Held([f"{text} {k}" for text in texts])
        alive.append(weakref.ref(table))
        most = max(most, sum(each() is not None for each in alive))
        return Examples(table, labels, f"shard {k}")

    source = Shards("shards", list(map(str, range(10))), read)
    held = Examples(*tiny.reviews(8))
    classify.train(source, tiny.classify_options(), tiny.training(epochs=2), validation=held)
    assert len(alive) >= 40
    assert most <= 3


class Held(list):
    """A list that can be watched."""


def write_pairs(folder: Path) -> Path:
    """Words and their spelling in three files, unlike in size."""
    folder.mkdir()
    sources, targets = tiny.words(60)
    for k, (begin, end) in enumerate(((0, 25), (25, 32), (32, 60))):
        rows = zip(sources[begin:end], targets[begin:end], strict=True)
        (folder / f"part-{k}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in rows))
    return folder


def pair_shards(folder: Path, alive: list[weakref.ref] | None = None) -> FileShards[Pairs]:
    def read(path: str) -> Pairs:
        table = read_pairs(path, "source", "target")
        sources = Held(texts(table, "source"))
        if alive is not None:
            alive.append(weakref.ref(sources))
        return Pairs(sources, texts(table, "target"), table.path, table.rows)

    return FileShards(str(folder), shard_paths(str(folder)), read)


def test_pairs_in_shards_have_the_vocabularies_and_the_lengths_of_all(tmp_path):
    folder = write_pairs(tmp_path / "parts")
    alive: list[weakref.ref] = []
    source, held = pair_shards(folder, alive), Pairs(*tiny.words(8))
    options, spec = tiny.translate_options(max_length=2), tiny.training(epochs=2, batch_size=20)
    with pytest.warns(UserWarning, match="60 of 60 targets .* the first is .*part-0.tsv, row 1"):
        fitted = translate.train(source, options, spec, validation=held, run=Run(tmp_path / "m"))
    with pytest.warns(UserWarning, match="longer than 2 units"):
        whole = translate.train(Pairs(*tiny.words(60)), options, spec, validation=held)
    for name, vocabulary in whole.vocabularies.items():
        assert fitted.vocabularies[name] == vocabulary
    # Batches of one file each: 2 + 1 + 2 an epoch.
    assert log(tmp_path / "m")[-1]["step"] == 10
    assert len(alive) >= 5 * 3
    assert sum(each() is not None for each in alive) <= 1


@pytest.mark.parametrize("stop", [2, 5])
def test_a_run_over_pairs_in_shards_resumes_bit_for_bit(stop, tmp_path):
    folder = write_pairs(tmp_path / "parts")

    def train(where):
        return translate.train(
            pair_shards(folder), tiny.translate_options(), tiny.training(epochs=2), run=where
        )

    train(Run(tmp_path / "whole"))
    stopped(train, tmp_path / "cut", at("step", stop, signal.SIGTERM))
    train(Run(tmp_path / "cut", resume=True))
    assert same_run(tmp_path / "whole", tmp_path / "cut")


def test_the_command_translates_from_a_pattern(tmp_path, run: Command):
    folder = write_pairs(tmp_path / "parts")
    flags = [*tiny.FLAGS, "--quiet"]
    told = ["train", "translate", folder / "*.tsv", "--out", tmp_path / "model", *flags]
    done = run(*told)
    assert done.code == 0, done.err
    found = run("evaluate", tmp_path / "model", folder / "part-1.tsv", "--json")
    assert json.loads(found.out)["count"] == 7
    every = run("evaluate", tmp_path / "model", folder, "--json")
    assert json.loads(every.out)["count"] == 60
    done = run(*told, "--overwrite", "--source-tokens", "bpe")
    assert (done.code, "tokens 'bpe' reads all texts at once" in done.err) == (2, True)
    done = run(*told, "--overwrite", "--target-file", folder / "part-1.tsv")
    assert (done.code, "--target-file is for one file; " in done.err) == (2, True)
    (folder / "part-9.tsv").write_text("lone\n")
    done = run(*told, "--overwrite")
    assert (done.code, "part-9.tsv, row 1" in done.err) == (2, True)
