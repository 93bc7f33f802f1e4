"""The training loop: it learns, stops and goes on exactly, and says what is wrong."""

from __future__ import annotations

import json
import math
import os
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
from unrolled import artifact
from unrolled.config import TrainSpec
from unrolled.data.batch import Batch
from unrolled.errors import ConfigError, DataError, ModelError, TrainingError
from unrolled.tasks import classify, translate
from unrolled.tasks.base import Run
from unrolled.train import loop
from unrolled.train.checkpoint import LAST
from unrolled.train.loop import Interrupted, Job, Score, fit


class Watch:
    """Counts steps and epochs, and calls `act(event, count)` at each: `step` or `epoch`."""

    def __init__(self, act: Callable[[str, int], None] = lambda event, count: None) -> None:
        self.act = act
        self.steps = self.epochs = self.ended = 0
        self.shares: list[float] = []
        self.records: list[dict[str, Any]] = []

    def begin(self, epochs: int, counters: Any) -> None:
        self.begun_at = (counters.epoch, counters.batch)

    def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
        self.steps += 1
        self.shares.append(share)
        self.act("step", self.steps)

    def epoch(self, record: Any) -> None:
        self.epochs += 1
        self.records.append(dict(record))
        self.act("epoch", self.epochs)

    def end(self) -> None:
        self.ended += 1


class Crash(BaseException):
    """The process ends here, without a chance to write anything."""


def at(event: str, count: int, what: int | None) -> Watch:
    """Send signal `what` at the event, or crash where it is None."""

    def act(happened: str, number: int) -> None:
        if (happened, number) == (event, count):
            if what is None:
                raise Crash
            os.kill(os.getpid(), what)

    return Watch(act)


Train = Callable[[Run], artifact.Artifact]


def classifier(options: dict | None = None, **spec: object) -> Train:
    # 36 of 40 texts are trained on: five batches of eight an epoch.
    chosen = tiny.classify_options(**{"dropout": 0.3, **(options or {})})
    given = tiny.training(**{"epochs": 3, **spec})
    return lambda run: classify.train(tiny.examples(), chosen, given, run=run)


def translator(options: dict | None = None, **spec: object) -> Train:
    chosen = tiny.translate_options(**(options or {}))
    given = tiny.training(**{"epochs": 3, **spec})
    return lambda run: translate.train(tiny.pairs(), chosen, given, run=run)


def log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "training" / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def same_run(a: Path, b: Path) -> bool:
    """Whether model, optimizer, averages, random state and log are equal, bit for bit."""
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    first, second = load_file(a / LAST), load_file(b / LAST)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.tobytes() == second[name].tobytes(), name
    assert log(a) == log(b)
    return True


def stopped(train: Train, folder: Path, watch: Watch, *, resume: bool = False) -> str:
    with pytest.raises((Interrupted, Crash)) as caught:
        train(Run(folder, resume=resume, watchers=(watch,)))
    assert watch.ended == 1
    return str(caught.value)


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


# It goes on as if it had never stopped

SETTINGS: dict[str, Train] = {
    "adamw, dropout": classifier(),
    "lstm, recurrent dropout": classifier(
        {"cell": "lstm", "recurrent_dropout": 0.3, "layers": 2, "token_dropout": 0.2}
    ),
    "average of weights": classifier(ema=0.9),
    "sgd, plateau, patience": classifier(
        optimizer="sgd", lr=1.0, schedule="plateau", plateau_patience=1, patience=9, epochs=4
    ),
    "scheduled sampling": translator(
        teacher_forcing=0.9, teacher_forcing_end=0.2, ema=0.9, label_smoothing=0.1
    ),
    "batches by tokens": translator(batch_tokens=80, schedule="linear"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an uninterrupted run of each setting, trained once."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("whole") / "model"
            SETTINGS[name](Run(folders[name]))
        return folders[name]

    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_resume_within_an_epoch_is_bit_identical(name, whole, tmp_path: Path) -> None:
    train, folder = SETTINGS[name], tmp_path / "model"
    message = stopped(train, folder, at("step", 8, signal.SIGINT))
    assert message == f"stopped by SIGINT; go on with --resume (checkpoint in {folder}/{LAST})"
    resumed = Watch()
    train(Run(folder, resume=True, watchers=(resumed,)))
    assert resumed.begun_at != (0, 0)
    assert resumed.begun_at[1] > 0
    assert same_run(folder, whole(name))


@pytest.mark.parametrize(
    ("event", "count", "what"),
    [
        ("step", 1, signal.SIGTERM),  # in the first step of all: no model is there yet
        ("step", 5, signal.SIGTERM),  # after the last batch of an epoch, before its validation
        ("step", 6, signal.SIGINT),  # in the first step of an epoch
        ("epoch", 1, signal.SIGTERM),  # while an epoch is validated
        ("step", 15, signal.SIGINT),  # in the last step of all
        ("epoch", 2, None),  # killed between two epochs
        ("step", 8, None),  # killed within an epoch: it starts again
    ],
)
def test_resume_is_bit_identical_wherever_it_stopped(
    event: str, count: int, what: int | None, whole, tmp_path: Path
) -> None:
    name, folder = "average of weights", tmp_path / "model"
    stopped(SETTINGS[name], folder, at(event, count, what))
    SETTINGS[name](Run(folder, resume=True))
    assert same_run(folder, whole(name))


def test_a_run_may_stop_again_and_again(whole, tmp_path: Path) -> None:
    name, folder = "scheduled sampling", tmp_path / "model"
    stopped(SETTINGS[name], folder, at("step", 2, signal.SIGINT))
    for _ in range(3):
        stopped(SETTINGS[name], folder, at("step", 3, signal.SIGTERM), resume=True)
    SETTINGS[name](Run(folder, resume=True))
    assert same_run(folder, whole(name))
    assert [line["epoch"] for line in log(folder)] == [1, 2, 3]


def test_a_signal_while_the_last_epoch_is_validated_stops_nothing(tmp_path: Path) -> None:
    fitted = classifier()(Run(tmp_path / "m", watchers=(at("epoch", 3, signal.SIGINT),)))
    assert fitted.metrics["epochs_run"] == 3


def test_the_handlers_of_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    classifier(epochs=1)(Run())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_without_a_folder_a_signal_still_stops() -> None:
    with pytest.raises(Interrupted, match=r"^stopped by SIGINT$"):
        classifier()(Run(watchers=(at("step", 2, signal.SIGINT),)))


def test_resume_when_all_is_done_changes_nothing(tmp_path: Path) -> None:
    train, folder = classifier(), tmp_path / "model"
    first = train(Run(folder))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    watch = Watch()
    again = train(Run(folder, resume=True, watchers=(watch,)))
    assert watch.steps == 0
    assert again.metrics == first.metrics
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


KILLED = """
import os, signal, sys
from pathlib import Path
import tiny
from test_train_loop import Watch, SETTINGS
from unrolled.tasks.base import Run

def act(event, count):
    if (event, count) == ("epoch", 2):
        os.kill(os.getpid(), signal.SIGKILL)

SETTINGS["adamw, dropout"](Run(Path(sys.argv[1]), watchers=(Watch(act),)))
"""


def test_a_process_killed_outright_leaves_a_model_and_goes_on(whole, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    found = tiny.python(KILLED, folder, variables={"PYTHONPATH": str(Path(__file__).parent)})
    assert found.returncode == -signal.SIGKILL
    assert unrolled.load(folder).predict("good film") in (["up"], ["down"])
    SETTINGS["adamw, dropout"](Run(folder, resume=True))
    assert same_run(folder, whole("adamw, dropout"))


FULL = """
import resource, sys
from pathlib import Path
import tiny
from test_train_loop import Watch, SETTINGS
from unrolled.errors import TrainingError
from unrolled.tasks.base import Run

def act(event, count):
    if (event, count) == ("step", int(sys.argv[2])):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))

try:
    SETTINGS["adamw, dropout"](Run(Path(sys.argv[1]), watchers=(Watch(act),)))
except TrainingError as error:
    print(error)
"""


@pytest.mark.parametrize(("step", "room"), [(6, 1000), (1, 1000)])
def test_a_disk_full_in_training_leaves_the_checkpoint_before(
    step: int, room: int, whole, tmp_path: Path
) -> None:
    """The limit on the size of a file stands in for a disk with `room` bytes left."""
    folder = tmp_path / "model"
    path = str(Path(__file__).parent)
    found = tiny.python(FULL, folder, step, room, variables={"PYTHONPATH": path})
    assert found.stderr == ""
    assert found.stdout == (
        f"{folder}: could not save (File too large); what was saved before is untouched\n"
    )
    if step == 6:
        unrolled.load(folder)
        SETTINGS["adamw, dropout"](Run(folder, resume=True))
        assert same_run(folder, whole("adamw, dropout"))


def test_a_log_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    path = folder / "training" / "log.jsonl"

    def act(event: str, count: int) -> None:
        if (event, count) == ("epoch", 1):
            path.unlink()
            path.mkdir()

    with pytest.raises(TrainingError, match=r"log\.jsonl: could not write .* epoch 1 is saved"):
        classifier()(Run(folder, watchers=(Watch(act),)))


# Resuming something else


@pytest.mark.parametrize(
    "other",
    [
        classifier({"hidden_size": 9}),
        classifier({"dropout": 0.4}),
        classifier({"token_dropout": 0.3}),
        classifier({"max_length": 3}),
        classifier(lr=0.02),
        classifier(seed=1),
        classifier(epochs=4),
        translator(),
        lambda run: classify.train(
            tiny.examples(39),
            tiny.classify_options(dropout=0.3),
            tiny.training(epochs=3),
            run=replace(run, notify=print),
        ),
    ],
)
def test_resume_with_other_options_or_data_is_refused(other: Train, whole) -> None:
    folder = whole("adamw, dropout")
    before = (folder / LAST).read_bytes()
    with pytest.raises(ModelError, match=r"last\.safetensors: belongs to a run with other options"):
        other(Run(folder, resume=True))
    assert (folder / LAST).read_bytes() == before


def test_resume_with_other_validation_data_is_refused(tmp_path: Path) -> None:
    def train(count: int, resume: bool) -> None:
        classify.train(
            tiny.examples(),
            tiny.classify_options(),
            tiny.training(),
            validation=tiny.examples(count),
            run=Run(tmp_path / "m", resume=resume),
        )

    train(8, resume=False)
    train(8, resume=True)
    with pytest.raises(ModelError, match="other options or data"):
        train(10, resume=True)


def test_the_time_limit_may_change_in_a_resumed_run(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    stopped(classifier(max_minutes=50), folder, at("step", 3, signal.SIGINT))
    fitted = classifier(max_minutes=0)(Run(folder, resume=True))
    assert fitted.metrics["epochs_run"] == 3


def test_resume_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"last\.safetensors: no checkpoint to resume from"):
        classifier()(Run(tmp_path / "new", resume=True))
    with pytest.raises(ConfigError, match="resume needs the model folder"):
        classifier()(Run(resume=True))


def test_resume_from_a_damaged_checkpoint(whole, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    stopped(classifier(), folder, at("step", 8, signal.SIGINT))
    content = (folder / LAST).read_bytes()
    (folder / LAST).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"last\.safetensors: damaged or cut short"):
        classifier()(Run(folder, resume=True))
    (folder / LAST).write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="belongs to a run with other options"):
        classifier()(Run(folder, resume=True))


def test_overwrite_starts_anew(whole, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    stopped(classifier(), folder, at("step", 8, signal.SIGINT))
    watch = Watch()
    classifier()(Run(folder, overwrite=True, watchers=(watch,)))
    assert watch.begun_at == (0, 0)
    assert same_run(folder, whole("adamw, dropout"))


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
