"""Runs of the training loop that stop, crash and go on, for the tests of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import tiny
from unrolled import artifact
from unrolled.tasks import classify, translate
from unrolled.tasks.base import Run
from unrolled.train.checkpoint import LAST
from unrolled.train.loop import Interrupted


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
