"""A run that stopped goes on exactly as if it had not, and nothing else is taken for it."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
import unrolled
from training_runs import (
    SETTINGS,
    Train,
    Watch,
    at,
    classifier,
    log,
    same_run,
    stopped,
    translator,
)
from unrolled.errors import ConfigError, ModelError, TrainingError
from unrolled.tasks import classify
from unrolled.tasks.base import Run
from unrolled.train.checkpoint import LAST
from unrolled.train.loop import Interrupted


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
from training_runs import SETTINGS, Watch
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
from training_runs import SETTINGS, Watch
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
