"""Loops over more than fits: added-up gradients, validation within an epoch, tokens, shards."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

import forecasting
import signals
import tagging
import tiny
from commands import Command
from tolerances import close
from training_runs import at, log, same_run, stopped
from unrolled.data.batch import rows_within
from unrolled.data.examples import Examples
from unrolled.data.streams import text_lines
from unrolled.options import ClassifyOptions, GenerateOptions, RegressOptions
from unrolled.tasks import classify, forecast, generate, regress, tag, translate
from unrolled.tasks.base import Run

STILL = {"dropout": 0.0, "token_dropout": 0.0}
FRAMES = {"hidden_size": 6, "dropout": 0.0}


def frames() -> Examples:
    inputs, labels = signals.recordings()
    return Examples(inputs, labels, features=("a", "b"))


def numbers() -> Examples:
    inputs, targets = signals.sums()
    return Examples(inputs, list(targets), features=("a", "b"))


def several() -> Examples:
    texts, labels = tiny.reviews()
    return Examples(texts, [(label, "odd") if i % 3 else () for i, label in enumerate(labels)])


def tagger(head: str):
    options = tagging.options(head=head, dropout=0.0, word_dropout=0.0)
    return lambda spec: tag.train(tagging.sentences(), options, spec)


TASKS = {
    "classify": lambda spec: classify.train(tiny.examples(), tiny.classify_options(**STILL), spec),
    "weighted": lambda spec: classify.train(
        tiny.examples(), tiny.classify_options(**STILL, class_weights="up=3"), spec
    ),
    "several": lambda spec: classify.train(
        several(), tiny.classify_options(**STILL, multi_label=True), spec
    ),
    "frames": lambda spec: classify.train(frames(), ClassifyOptions(**FRAMES), spec),
    "regress": lambda spec: regress.train(numbers(), RegressOptions(**FRAMES, target="m,s"), spec),
    "translate": lambda spec: translate.train(tiny.pairs(), tiny.translate_options(**STILL), spec),
    "tag-crf": tagger("crf"),
    "tag-softmax": tagger("softmax"),
}


@pytest.mark.parametrize("small", [{"batch_size": 5}, {"batch_tokens": 24}], ids=["rows", "tokens"])
@pytest.mark.parametrize("task", TASKS)
def test_gradients_added_up_are_those_of_the_larger_batch(task, small):
    """All batches of an epoch in one step, against one batch of all: whatever order they are in."""
    common = {"epochs": 2, "seed": 1, "optimizer": "sgd", "lr": 0.1, "schedule": "constant"}
    common |= {"clip_norm": 0.5, "warmup": 0.0}
    apart = TASKS[task](tiny.training(**common, **small, accumulate=1000)).weights
    whole = TASKS[task](tiny.training(**common, batch_size=1000)).weights
    fresh = TASKS[task](tiny.training(**{**common, "lr": 1e-9}, batch_size=1000)).weights
    assert apart.keys() == whole.keys()
    moved = 0.0
    for name, weight in whole.items():
        close(apart[name].astype(np.float32), weight.astype(np.float32), "forward")
        moved = max(moved, float(np.abs(weight - fresh[name]).max()))
    assert moved > 1e-3


def test_a_step_takes_as_many_batches_as_are_told(tmp_path):
    train = classify.train
    options, spec = tiny.classify_options(), tiny.training(epochs=3, accumulate=2)
    train(tiny.examples(), options, spec, run=Run(tmp_path / "model"))
    # 36 texts are five batches of eight: three steps an epoch, the last of one batch.
    assert [record["step"] for record in log(tmp_path / "model")] == [3, 6, 9]


def test_validation_within_an_epoch_is_logged_kept_and_shown(tmp_path):
    run = Run(tmp_path / "model")
    spec = tiny.training(epochs=2, validate_every=2)
    fitted = classify.train(tiny.examples(), tiny.classify_options(), spec, run=run)
    records = log(tmp_path / "model")
    assert [record["epoch"] for record in records] == [0.4, 0.8, 1, 1.2, 1.6, 2]
    assert [record["step"] for record in records] == [2, 4, 5, 6, 8, 10]
    best = [record for record in records if record["best"]][-1]
    assert fitted.metrics["epoch"] == best["epoch"]
    assert fitted.metrics["epochs_run"] == 2
    kept = load_file(tmp_path / "model" / "model.safetensors")
    assert all(np.array_equal(kept[name], fitted.weights[name]) for name in kept)


def test_patience_counts_validations_within_epochs_too():
    spec = tiny.training(epochs=50, validate_every=1, patience=3, lr=1e-12)
    fitted = classify.train(tiny.examples(), tiny.classify_options(), spec)
    assert fitted.metrics["epochs_run"] == 1


@pytest.mark.parametrize("stop", [3, 4])
def test_a_run_that_validates_within_epochs_resumes_bit_for_bit(stop, tmp_path):
    spec = tiny.training(epochs=2, validate_every=2, accumulate=2, batch_size=4)

    def train(run):
        return classify.train(tiny.examples(), tiny.classify_options(), spec, run=run)

    train(Run(tmp_path / "whole"))
    stopped(train, tmp_path / "cut", at("step", stop, signal.SIGTERM))
    train(Run(tmp_path / "cut", resume=True))
    assert same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("task", TASKS)
def test_truncated_gradients_train_another_model(task):
    common = {"epochs": 1, "seed": 1, "optimizer": "sgd", "lr": 0.1, "batch_size": 1000}
    common |= {"schedule": "constant", "warmup": 0.0}
    whole, short, long = (
        TASKS[task](tiny.training(**common, truncate=steps)).weights for steps in (0, 2, 1000)
    )
    assert all(np.array_equal(long[name], weight) for name, weight in whole.items())
    moved = [name for name, weight in whole.items() if not np.array_equal(short[name], weight)]
    assert any("weight_hh" in name for name in moved)


def test_watching_and_truncating_exclude_each_other(tmp_path, run: Command):
    data = tiny.write_reviews(tmp_path / "data.csv")
    flags = [*tiny.FLAGS, "--truncate", "3", "--watch"]
    found = run("train", "classify", data, "--out", tmp_path / "model", *flags)
    assert found.code == 2
    assert "--watch measures gradients through whole sequences; leave --truncate out" in found.err


def test_rows_of_one_length_fill_batches_to_so_many_tokens():
    assert rows_within(60, batch_size=50, batch_tokens=120) == 2
    assert rows_within(60, batch_size=50, batch_tokens=10) == 1
    assert rows_within(60, batch_size=50) == 50


def test_texts_and_windows_take_batches_by_tokens(tmp_path):
    text = "the cat sat on the mat " * 40
    options = GenerateOptions(hidden_size=4, embedding_size=4, bptt=20)
    run, spec = Run(out=tmp_path / "text"), tiny.training(epochs=1, batch_tokens=60)
    generate.train_text(text_lines(text), options, spec, run=run)
    # A tenth is held out: 829 units in 3 streams of 276 steps, 20 at a time.
    assert log(tmp_path / "text")[-1]["step"] == 14
    # Windows of 12 steps and 4 of the horizon: 160 tokens are 10 rows.
    panel, steps = forecasting.panel(), []
    for name, sizes in {"tokens": {"batch_tokens": 160}, "rows": {"batch_size": 10}}.items():
        told = {"run": Run(out=tmp_path / name)}
        forecast.train(panel, forecasting.options(), tiny.training(epochs=1, **sizes), **told)
        steps.append(log(tmp_path / name)[-1]["step"])
    assert steps[0] == steps[1] > 1
