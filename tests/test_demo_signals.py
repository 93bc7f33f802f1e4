"""The demonstration on scanned digits, on a few of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import unrolled
from commands import Command
from unrolled.data.examples import read_examples
from unrolled.demo import signals
from unrolled.tasks.evaluate import evaluate_classifier

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

TRAINING = msgspec.structs.replace(signals.TRAINING, epochs=2, max_minutes=0.0)
OPTIONS = msgspec.structs.replace(signals.OPTIONS, hidden_size=8)


def test_every_digit_is_in_one_part():
    every = signals.load_digits()
    assert (len(every), every.inputs[0].shape) == (1797, (8, 8))
    parts = signals.split(every, seed=0)
    assert sorted(i for part in parts.values() for i in part) == list(range(1797))


def test_the_demo_leaves_a_model_its_data_and_a_page(tmp_path):
    found = signals.run(tmp_path / "out", training=TRAINING, options=OPTIONS, limit=300)
    model = unrolled.load(tmp_path / "out" / "model")
    test = read_examples(tmp_path / "out" / "data" / "test.npz", model.config.data)
    again = evaluate_classifier(model, test)
    assert again["accuracy"] == found["accuracy"] == model_metrics(tmp_path)["accuracy"]
    assert again["count"] == found["test_digits"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Confusion matrix" in page
    assert "Attention over the steps" in page


def model_metrics(folder: Path) -> dict:
    return msgspec.json.decode((folder / "out" / "model" / "metrics.json").read_bytes())


def test_the_command_draws_some_digits(tmp_path, run: Command, monkeypatch):
    monkeypatch.setattr(signals, "OPTIONS", OPTIONS)
    done = run("demo", "signals", "--words", "200", "--epochs", "1", "--out", tmp_path / "o")
    assert done.code == 0, done.err
    assert "held-out digits" in done.out
    assert ", is " in done.out
