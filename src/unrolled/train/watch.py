"""Watchers of a run: a progress bar on a terminal, plain lines elsewhere, TensorBoard events."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import msgspec

from unrolled.artifact import write_files
from unrolled.errors import ConfigError, TrainingError
from unrolled.train.checkpoint import Counters

RATES = {
    "per": "PER",
    "wer": "WER",
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "exact_accuracy": "all right",
    "span_f1": "span F1",
    "intent_accuracy": "intent",
    "sentence_accuracy": "sentences",
    "ndcg@10": "NDCG@10",
    "recall@20": "recall@20",
    "mrr@20": "MRR@20",
}


ERRORS = {"mae": "MAE", "rmse": "RMSE", "r2": "R2", "spearman": "Spearman"}


def describe(record: Mapping[str, Any]) -> str:
    """Return the metrics of a log record as words: rates in %, the rest as numbers."""
    parts = [f"loss {record['train_loss']:.3f}"]
    if shown := describe_metrics(record):
        parts.append(shown)
    if record.get("clipped_share"):
        parts.append(f"clipped {100 * record['clipped_share']:.0f} %")
    return "  ".join(parts)


def describe_metrics(record: Mapping[str, Any]) -> str:
    """Return the metrics among a record's values as words."""
    parts = []
    for name, value in record.items():
        if name in RATES:
            parts.append(f"{RATES[name]} {100 * value:.2f} %")
        elif name in ("log_loss", "bleu", "nats", "perplexity"):
            parts.append(f"{name.replace('_', ' ')} {value:.3f}")
        elif name in ERRORS:
            parts.append(f"{ERRORS[name]} {value:.4g}")
        elif name in ("mae", "mase", "crps"):
            parts.append(f"{name.upper()} {value:.4g}")
    return "  ".join(parts)


class Lines:
    """One plain line an epoch, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.epochs = 0

    def begin(self, epochs: int, counters: Counters) -> None:
        """Remember how many epochs there are."""
        self.epochs = epochs

    def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
        """Say nothing within an epoch."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Write the epoch's line; `*` marks the best so far."""
        mark = " *" if record["best"] else ""
        text = f"epoch {record['epoch']}/{self.epochs}  {describe(record)}"
        self.note(f"{text}  {record['seconds']:.0f} s{mark}")

    def note(self, text: str) -> None:
        """Write a line."""
        print(text, file=self.stream, flush=True)

    def end(self) -> None:
        """Nothing to close."""


class Bar:
    """A progress bar with loss, last validation and time left, and a line for each epoch."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            TextColumn("{task.fields[metrics]}"),
            console=self.console,
        )
        self.task = self.progress.add_task("training", total=1.0, left="?", metrics="")
        self.lines = 0
        self.epochs = 0
        self.smooth: float | None = None
        self.validated = ""
        self.start = 0.0
        self.first_share: float | None = None

    def begin(self, epochs: int, counters: Counters) -> None:
        """Show the bar."""
        self.epochs = epochs
        self.start = time.monotonic()
        self.progress.start()

    def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
        """Move the bar; the loss shown is a running mean."""
        self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss
        if self.first_share is None:
            self.first_share = share
        gone = share - self.first_share
        spent = time.monotonic() - self.start
        left = _clock(spent * (1 - share) / gone) if gone > 0 else "?"
        self.progress.update(
            self.task,
            completed=share,
            description=f"epoch {epoch}/{self.epochs}",
            left=left,
            metrics=f"loss {self.smooth:.3f}  {self.validated}",
        )

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print the epoch's line above the bar."""
        mark = " *" if record["best"] else ""
        self.validated = "  ".join(p for p in describe(record).split("  ")[1:2])
        self.note(f"epoch {record['epoch']}/{self.epochs}  {describe(record)}{mark}")

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(text, highlight=False, markup=False)

    def end(self) -> None:
        """Leave the bar as it stands."""
        self.progress.stop()


class LogFile:
    """`training/log.jsonl` of the model folder: one JSON object an epoch.

    A resumed run writes the file anew from its checkpoint, so that no epoch stands in it twice.
    """

    NAME = "training/log.jsonl"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, epochs: int, counters: Counters) -> None:
        """Write the epochs that are already done."""
        write_files(self.folder, {self.NAME: b"".join(map(_line, counters.log))})

    def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
        """Write nothing within an epoch."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Append the epoch."""
        path = self.folder / self.NAME
        try:
            with path.open("ab") as stream:
                stream.write(_line(record))
        except OSError as error:
            raise TrainingError(
                f"{path}: could not write ({error.strerror}); the checkpoint of epoch "
                f"{record['epoch']} is saved"
            ) from error

    def end(self) -> None:
        """Nothing to close."""


class TensorBoard:
    """Events for TensorBoard in `training/tensorboard` of the model folder."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError(
                "tensorboard = true needs the package: pip install 'unrolled[tensorboard]'"
            ) from None
        self.writer: Any = SummaryWriter(str(folder / "training" / "tensorboard"))

    def begin(self, epochs: int, counters: Counters) -> None:
        """Nothing to announce."""

    def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
        """Nothing within an epoch."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Write every number of the record at its optimizer step."""
        for name, value in record.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self.writer.add_scalar(name, value, record["step"])

    def end(self) -> None:
        """Flush the events."""
        self.writer.close()


def _line(record: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
