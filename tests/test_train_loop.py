"""The training loop: it learns, clips, stops early, and says what is wrong."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import tiny
import unrolled
from training_runs import (
    Watch,
    classifier,
    log,
    translator,
)
from unrolled.config import TrainSpec
from unrolled.data.batch import Batch
from unrolled.errors import DataError, TrainingError
from unrolled.tasks import classify
from unrolled.tasks.base import Run
from unrolled.train import loop
from unrolled.train.checkpoint import LAST
from unrolled.train.loop import Job, Score, fit

# It learns


def test_a_classifier_learns_which_word_decides() -> None:
    fitted = classifier(epochs=8, lr=0.02)(Run())
    assert fitted.metrics["accuracy"] == 1.0
    assert fitted.metrics["train_loss"] < 0.3


def test_a_translator_learns_to_spell_twice() -> None:
    fitted = translator({"hidden_size": 32, "dropout": 0.0}, epochs=30, lr=0.02)(Run())
    assert fitted.metrics["per"] < 0.2


@pytest.mark.parametrize("attention", ["none", "dot", "general", "concat"])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_the_loss_falls_with_every_attention_and_cell(attention: str, cell: str) -> None:
    sizes = {"bidirectional": False, "attention": attention, "cell": cell, "dropout": 0.0}
    watch = Watch()
    translator(sizes, epochs=6, lr=0.03)(Run(watchers=(watch,)))
    assert watch.records[-1]["train_loss"] < 0.9 * watch.records[0]["train_loss"]


def test_seeds_decide_everything() -> None:
    first, again, other = (
        classifier(epochs=1, seed=seed)(Run()).weights["output.weight"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# A loss that is not finite: a plain model, so that it can be broken at will


class Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.second = torch.nn.Linear(4, 2)


def plain_job(loss: Callable[[Plain, int], torch.Tensor], **hooks: Any) -> Job:
    torch.manual_seed(0)
    model, count = Plain(), [0]
    batch = Batch(*(np.zeros((1, 1), dtype=np.int64) for _ in range(3)))

    def counted(model: Any, batch: Batch, share: float, generator: torch.Generator) -> Any:
        count[0] += 1
        return loss(model, count[0]), 1

    validations = iter(hooks.pop("ranks", range(100, 0, -1)))
    kept: list[Any] = hooks.pop("kept", [])
    return Job(
        model=model,
        batches=lambda epoch: [batch] * 4,
        loss=counted,
        validate=lambda weights: Score({"score": (rank := float(next(validations)))}, (rank,)),
        keep=lambda weights, record: kept.append(record),
        recall=dict,
        signature="plain",
    )


def output(model: Plain) -> torch.Tensor:
    return model.second(torch.tanh(model.first(torch.ones(3)))).square().mean()


class ZeroToTheHalf(torch.autograd.Function):
    """A finite value whose gradient is not: sqrt at 0, but for one parameter only."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * math.inf


def test_a_loss_that_is_nan_names_step_norm_and_parameter(tmp_path: Path) -> None:
    kept: list[Any] = []
    job = plain_job(lambda m, n: output(m) * (math.nan if n == 7 else 1), kept=kept)
    with pytest.raises(TrainingError) as caught:
        fit(job, tiny.training(), folder=tmp_path)
    message = str(caught.value)
    assert message.startswith("epoch 2, step 7: the loss is nan; the gradient norm is nan, 0.")
    assert "at the step before" in message
    assert "the largest weight is" in message
    assert "not finite: the gradients of first.weight" in message
    assert f"the model and checkpoint of epoch 1 are kept in {tmp_path}" in message
    assert message.endswith("try a lower lr, or a lower clip_norm")
    assert len(kept) == 1
    assert all(np.isfinite(v).all() for k, v in load_file(tmp_path / LAST).items())


def test_a_gradient_that_is_infinite_names_its_parameter_alone() -> None:
    def loss(model: Plain, n: int) -> torch.Tensor:
        extra = ZeroToTheHalf.apply(model.second.bias).sum() if n == 3 else 0.0
        return output(model) + extra

    with pytest.raises(TrainingError) as caught:
        fit(plain_job(loss), tiny.training())
    message = str(caught.value)
    assert "epoch 1, step 3: the gradient is not finite; the gradient norm is inf" in message
    assert "not finite: the gradients of second.bias;" in message
    assert "kept in" not in message


def test_weights_that_overflow_are_named_and_never_kept(tmp_path: Path) -> None:
    """A rate beyond float32 makes weights infinite in the one step of an epoch."""
    kept: list[Any] = []
    job = replace(plain_job(lambda m, n: output(m), kept=kept))
    one = replace(job, batches=lambda epoch: job.batches(epoch)[:1])
    with pytest.raises(TrainingError) as caught:
        fit(one, tiny.training(lr=1e39, warmup=0.0, schedule="constant"), folder=tmp_path)
    assert "epoch 1, step 1: the weights are not finite" in str(caught.value)
    assert "not finite: the weights of first.weight" in str(caught.value)
    assert kept == []
    assert not (tmp_path / LAST).exists()


def test_a_real_model_driven_to_nan_keeps_its_last_good_epoch(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    calls = [0]

    def explode(spec: TrainSpec, share: float, plateau: float) -> float:
        calls[0] += 1
        return 1e30 if calls[0] > 6 else 0.01

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.schedule, "learning_rate", explode)
        with pytest.raises(TrainingError, match=r"epoch 2, step 8: the (loss|gradient) is"):
            classifier(epochs=4)(Run(folder))
    model = unrolled.load(folder)
    assert np.isfinite(model.predict_proba(["good film"])).all()
    assert [line["epoch"] for line in log(folder)] == [1]


# Clipping, stopping, time


@pytest.mark.parametrize(("limit", "share"), [(1e-6, 1.0), (1e6, 0.0), (0.0, 0.0)])
def test_clipped_steps_are_counted(limit: float, share: float) -> None:
    watch = Watch()
    classifier(clip_norm=limit, epochs=1)(Run(watchers=(watch,)))
    assert watch.records[0]["clipped_share"] == share


def test_clipping_limits_the_step() -> None:
    """With SGD without momentum the weights move by at most rate x limit."""
    spec = tiny.training(
        optimizer="sgd",
        momentum=0.0,
        weight_decay=0.0,
        lr=0.5,
        clip_norm=0.01,
        epochs=1,
        schedule="constant",
        warmup=0.0,
    )
    job = plain_job(lambda m, n: output(m) * 1e3)
    before = {n: p.detach().clone() for n, p in job.model.named_parameters()}
    outcome = fit(job, spec)
    after = job.model.state_dict()
    moved = math.sqrt(sum(float((after[n] - p).square().sum()) for n, p in before.items()))
    assert 0 < moved <= 4 * 0.5 * 0.01 * (1 + 1e-4)
    assert outcome.log[0]["clipped_share"] == 1.0
    assert outcome.log[0]["gradient_norm"] > 0.01


def test_early_stopping_returns_the_best_epoch() -> None:
    kept: list[Any] = []
    job = plain_job(lambda m, n: output(m), ranks=[5, 3, 4, 3, 6, 1, 0], kept=kept)
    outcome = fit(job, tiny.training(epochs=7, patience=3))
    assert [r["score"] for r in outcome.log] == [5, 3, 4, 3, 6]
    assert [r["best"] for r in outcome.log] == [True, True, False, False, False]
    assert outcome.best_epoch == 2
    assert [r["epoch"] for r in kept] == [1, 2]


def test_a_plateau_lowers_the_rate() -> None:
    job = plain_job(lambda m, n: output(m), ranks=[5, 6, 6, 6, 6, 4, 4])
    spec = tiny.training(
        epochs=7, lr=1.0, schedule="plateau", plateau_patience=2, plateau_factor=0.1, warmup=0.0
    )
    rates = [record["lr"] for record in fit(job, spec).log]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_time_limit_finishes_the_run_and_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves 1 s a look: a minute is over long before a thousand epochs."""
    seconds = iter(range(10_000_000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(seconds)))
    watch = Watch()
    job = plain_job(lambda m, n: output(m), ranks=iter(lambda: 1, 0))
    outcome = fit(job, tiny.training(epochs=1000, max_minutes=1.0, warmup=0.0), watchers=(watch,))
    assert 60 <= outcome.seconds <= 63
    assert watch.shares == sorted(watch.shares)
    assert watch.shares[-1] >= 1 - 2 / 60
    rates = [record["lr"] for record in outcome.log]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01 * rates[0]


def test_a_time_limit_of_nothing_still_takes_a_step_and_validates(tmp_path: Path) -> None:
    fitted = classifier(max_minutes=1e-9)(Run(tmp_path / "m"))
    assert fitted.metrics["epochs_run"] == 1
    assert [line["step"] for line in log(tmp_path / "m")] == [1]
    assert unrolled.load(tmp_path / "m").classes == ("down", "up")


def test_the_average_of_weights_is_what_ships() -> None:
    """One step with decay min(0.9, 1/10): nine tenths of the way from the first weights."""
    job = plain_job(lambda m, n: output(m))
    one = replace(job, batches=lambda epoch: job.batches(epoch)[:1])
    before = {n: p.detach().clone() for n, p in job.model.named_parameters()}
    shipped = fit(one, tiny.training(epochs=1, ema=0.9, warmup=0.0)).weights
    for name, now in job.model.state_dict().items():
        expected = 0.1 * before[name] + 0.9 * now
        np.testing.assert_allclose(shipped[name], expected, rtol=1e-5, atol=1e-7)
        assert not np.array_equal(shipped[name], now)


def test_shared_parameters_are_averaged_under_each_of_their_names() -> None:
    options = {"share_parameters": True, "attention": "none", "bidirectional": False}
    weights = translator(options, ema=0.9)(Run()).weights
    for name, weight in weights.items():
        if name.startswith("encoder."):
            np.testing.assert_array_equal(weights[name.replace("encoder.", "decoder.")], weight)


def test_weight_decay_leaves_biases_alone() -> None:
    spec = tiny.training(optimizer="sgd", lr=0.1, weight_decay=0.5, epochs=1, momentum=0.0)
    job = plain_job(lambda m, n: sum(p.sum() for p in m.parameters()) * 0.0)
    before = {n: p.detach().clone() for n, p in job.model.named_parameters()}
    fit(job, spec)
    for name, now in job.model.state_dict().items():
        shrunk = float(now.norm() / before[name].norm())
        assert shrunk == 1.0 if name.endswith("bias") else shrunk < 0.999


# What is written down


def test_the_log_has_each_epoch_once_with_all_that_was_measured(whole) -> None:
    lines = log(whole("adamw, dropout"))
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["step"] for line in lines] == [5, 10, 15]
    measured = {"train_loss", "accuracy", "macro_f1", "log_loss", "lr", "gradient_norm"}
    assert all(measured | {"clipped_share", "best"} <= line.keys() for line in lines)


def test_tensorboard_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    folder = tmp_path / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        classifier(epochs=2, tensorboard=True)(Run(folder))
    events = EventAccumulator(str(folder / "training" / "tensorboard"))
    events.Reload()
    assert {"train_loss", "accuracy", "lr"} <= set(events.Tags()["scalars"])
    found = [(e.step, e.value) for e in events.Scalars("train_loss")]
    logged = [(line["step"], line["train_loss"]) for line in log(folder)]
    assert found == [(step, pytest.approx(value)) for step, value in logged]


def test_counters_survive_their_file(whole) -> None:
    from safetensors import safe_open

    with safe_open(whole("average of weights") / LAST, framework="np") as stream:
        counters = msgspec.json.decode(stream.metadata()["counters"])
    assert (counters["epoch"], counters["batch"], counters["step"]) == (3, 0, 15)
    assert len(counters["log"]) == 3


def test_long_sequences_are_told_once_with_their_row() -> None:
    told: list[str] = []
    texts, labels = tiny.reviews()
    data = classify.Examples(texts, labels, "reviews.csv", range(2, 42))
    options = tiny.classify_options(max_length=2)
    classify.train(data, options, tiny.training(), run=Run(notify=told.append))
    assert told == [
        "36 of 36 texts for training are longer than 2 units (max_length) and were cut there; "
        "the first is reviews.csv, row 2"
    ]


def test_a_validation_label_never_seen_is_told_before_training() -> None:
    watch = Watch()
    held = classify.Examples(["a", "b"], ["up", "sideways"], "valid.csv", [2, 3])
    with pytest.raises(DataError) as caught:
        classify.train(
            tiny.examples(),
            tiny.classify_options(),
            tiny.training(),
            validation=held,
            run=Run(watchers=(watch,)),
        )
    assert str(caught.value) == (
        "valid.csv, row 3: label 'sideways' was not seen in training; the labels are: down, up."
    )
    assert watch.steps == 0


def test_the_command_stops_at_a_signal_with_its_checkpoint(tmp_path: Path) -> None:
    """A process of its own, stopped from outside once its first epoch is logged."""
    folder = tmp_path / "model"
    data = tiny.write_reviews(tmp_path / "reviews.csv", 80)
    command = [sys.executable, "-m", "unrolled", "train", "classify", data, "--out", folder]
    command += [*tiny.FLAGS, "--epochs=100000"]
    child = subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, env=tiny.environment()
    )
    assert child.stderr is not None
    assert child.stderr.readline().startswith("epoch 1/100000")
    child.send_signal(signal.SIGTERM)
    rest = child.communicate()[1]
    assert child.returncode == 143
    last = rest.splitlines()[-1]
    assert last == (
        f"unrolled: stopped by SIGTERM; go on with --resume (checkpoint in {folder}/{LAST})"
    )
    unrolled.load(folder)
