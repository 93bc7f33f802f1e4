"""The training loop: one pass a call of `_epoch`, from batches to a better model.

It knows no task. A task gives a model, the batches of an epoch, the loss of a batch and a way to
score weights; the loop gives back the best weights and the log.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.artifact import write_files
from unrolled.config import TrainSpec
from unrolled.data.batch import Batch
from unrolled.errors import TrainingError
from unrolled.train import checkpoint, schedule
from unrolled.train.checkpoint import LAST, Counters
from unrolled.train.signals import caught_signals

Weights = dict[str, NDArray[Any]]


class Interrupted(Exception):  # noqa: N818
    """Training stopped at a signal, its checkpoint written."""

    def __init__(self, number: int, folder: Path | None) -> None:
        self.signal_number = number
        where = f"; go on with --resume (checkpoint in {folder}/{LAST})" if folder else ""
        super().__init__(f"stopped by {signal.Signals(number).name}{where}")


@dataclass(frozen=True)
class Score:
    """A validation: `metrics` for the log, `rank` to compare by (smaller is better).

    `tuned` are weights that the validation itself chose, such as thresholds; they ship with it.
    """

    metrics: dict[str, float]
    rank: tuple[float, ...]
    tuned: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a task hands to the loop.

    `batches(epoch)` depends on nothing but the epoch and the seed; `loss(model, batch, share,
    generator)` returns the mean loss and the number of units it is a mean of (or what they weigh);
    `validate(weights)` scores weights through the runtime; `keep(weights, metrics)` stores a new
    best model, and `recall()` reads it back when a run resumes. `carried` holds what the loss hands
    from one batch of an epoch to the next, such as the detached state of truncated BPTT; it is
    empty at the first.
    """

    model: nn.Module
    batches: Callable[[int], Sequence[Batch]]
    loss: Callable[[nn.Module, Batch, float, torch.Generator], tuple[Tensor, float]]
    validate: Callable[[Weights], Score]
    keep: Callable[[Weights, dict[str, Any]], None]
    recall: Callable[[], Weights]
    signature: str
    carried: dict[str, Tensor] = field(default_factory=dict)


class Watcher(Protocol):
    """Sees the run go by; changes nothing in it."""

    def begin(self, epochs: int, counters: Counters) -> None:
        """Called once, before the first step."""

    def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
        """Called after every optimizer step; `share` (0 to 1) of the run is done."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Called after every validation with the line that enters the log."""

    def end(self) -> None:
        """Called once, however the run ends."""


@dataclass(frozen=True)
class Outcome:
    """The best weights, the log by epoch, and what it took."""

    weights: Weights
    log: list[dict[str, Any]]
    seconds: float
    best_epoch: int


def seed_all(seed: int) -> None:
    """Seed every random source that training draws from: torch's, on all devices."""
    torch.manual_seed(seed)


def fit(
    job: Job,
    spec: TrainSpec,
    *,
    watchers: Sequence[Watcher] = (),
    folder: Path | None = None,
    resume: bool = False,
) -> Outcome:
    """Train `job.model` as `spec` says and return the best weights by validation.

    With a `folder`, a checkpoint is written after every epoch and at SIGINT or SIGTERM; `resume`
    continues from it, bit for bit as if the run had not stopped (on the same machine and with
    `max_minutes` unset). Raises Interrupted at a signal, TrainingError where the loss or the
    gradient stops being finite.
    """
    run = _Run(job, spec, folder)
    if resume:
        if folder is None:
            raise TrainingError("resume needs the folder of the run that it continues")
        run.restore(folder / LAST)
    try:
        for watcher in watchers:
            watcher.begin(spec.epochs, run.at)
        with caught_signals() as caught:
            while not run.finished():
                if not _epoch(run, watchers, caught):
                    break
                record = _validate(run)
                for watcher in watchers:
                    watcher.epoch(record)
                if caught and not run.finished():
                    raise Interrupted(caught[0], run.folder)
    finally:
        for watcher in watchers:
            watcher.end()
    return Outcome(run.best, run.at.log, run.at.seconds, run.at.best_epoch)


class _Run:
    """The moving parts of one run, so that the functions below read as steps."""

    def __init__(self, job: Job, spec: TrainSpec, folder: Path | None) -> None:
        self.job, self.spec, self.folder = job, spec, folder
        self.device = next(job.model.parameters()).device
        self.optimizer = _optimizer(job.model, spec)
        self.average = _copies(job.model) if spec.ema > 0 else None
        self.at = Counters()
        self.best: Weights = {}
        self.clock = time.monotonic()
        self.last_norm = math.nan

    def restore(self, path: Path) -> None:
        self.at = checkpoint.restore(
            path,
            self.job.model,
            self.optimizer,
            self.average,
            self.job.signature,
            self.job.carried,
        )
        if self.at.best_score:
            self.best = self.job.recall()

    def save(self) -> None:
        if self.folder is not None:
            content = checkpoint.pack(
                self.job.model,
                self.optimizer,
                self.average,
                self.at,
                self.job.signature,
                self.job.carried,
            )
            write_files(self.folder, {LAST: content})

    def tick(self) -> None:
        now = time.monotonic()
        self.at.seconds += now - self.clock
        self.clock = now

    def share(self, of: int) -> float:
        by_step = (self.at.epoch * of + self.at.batch) / (self.spec.epochs * of)
        if self.spec.max_minutes == 0:
            return by_step
        return max(by_step, self.at.seconds / (60 * self.spec.max_minutes))

    def out_of_time(self) -> bool:
        return 0 < 60 * self.spec.max_minutes <= self.at.seconds

    def finished(self) -> bool:
        if self.at.epoch == 0:
            return False
        return self.at.epoch >= self.spec.epochs or self.out_of_time() or self.stalled()

    def stalled(self) -> bool:
        return 0 < self.spec.patience <= self.at.stale


def _epoch(run: _Run, watchers: Sequence[Watcher], caught: list[int]) -> bool:
    """Train until the epoch ends, or the time; False where validation within it ended the run."""
    batches = run.job.batches(run.at.epoch)
    run.job.model.train()
    if run.at.batch == 0:
        run.job.carried.clear()
    while run.at.batch < len(batches) and not run.out_of_time():
        share = run.share(len(batches))
        end = min(run.at.batch + run.spec.accumulate, len(batches))
        loss = _step(run, [batches[k] for k in range(run.at.batch, end)], share)
        run.tick()
        for watcher in watchers:
            watcher.step(run.at.epoch + 1, run.at.batch, len(batches), loss, share)
        every = run.spec.validate_every
        if every and run.at.step % every == 0 and run.at.batch < len(batches):
            record = _score(run, run.at.epoch + run.at.batch / len(batches))
            if run.folder is not None:
                run.save()
            for watcher in watchers:
                watcher.epoch(record)
            if run.stalled():
                return False
            run.job.model.train()
        if caught:
            _require_finite_weights(run)
            run.save()
            raise Interrupted(caught[0], run.folder)
    return True


def _step(run: _Run, batches: Sequence[Batch], share: float) -> float:
    """Step by the mean loss over all `batches`, each weighing as much as its units count."""
    spec, at, model = run.spec, run.at, run.job.model
    rate = schedule.learning_rate(spec, share, at.plateau)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + at.step)
    teacher = schedule.teacher_forcing(spec, share)
    run.optimizer.zero_grad(set_to_none=True)
    value, count = 0.0, 0.0
    for batch in batches:
        loss, units = run.job.loss(model, batch, teacher, generator)
        value, count = value + float(loss.detach()) * units, count + units
        # One batch is left as it is: its loss is the mean already, and stays it to the last bit.
        weighed = loss if len(batches) == 1 else loss * units
        weighed.backward()  # type: ignore[no-untyped-call]
    value = float(loss.detach()) if len(batches) == 1 else value / count
    if len(batches) > 1:
        _divide_gradients(model, count)
    if not math.isfinite(value):
        raise TrainingError(_diagnosis(run, f"the loss is {value}", at.step + 1))
    limit = spec.clip_norm if spec.clip_norm > 0 else math.inf
    try:
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), limit, error_if_nonfinite=True))
    except RuntimeError:
        raise TrainingError(_diagnosis(run, "the gradient is not finite", at.step + 1)) from None
    run.optimizer.step()
    if run.average is not None:
        _average(run.average, model, spec.ema, at.step)
    run.last_norm = norm
    at.lr = rate
    at.clipped += norm > limit
    at.epoch_clipped += norm > limit
    at.norm_sum += norm
    at.loss_sum += value * count
    at.loss_count += count
    at.epoch_steps += 1
    at.step += 1
    at.batch += len(batches)
    return value


def _divide_gradients(model: nn.Module, count: float) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(count)


def _validate(run: _Run) -> dict[str, Any]:
    """Score the weights, keep them if they are the best so far, close the epoch, checkpoint."""
    at = run.at
    record = _score(run, at.epoch + 1)
    at.epoch, at.batch = at.epoch + 1, 0
    at.loss_sum, at.loss_count, at.norm_sum, at.epoch_steps, at.epoch_clipped = 0.0, 0, 0.0, 0, 0
    if run.folder is not None:
        run.save()
    return record


def _score(run: _Run, epoch: float) -> dict[str, Any]:
    """Score the weights, keep them if they are the best so far, and log it as of `epoch`.

    Within an epoch that is a fraction, and the training loss is that of its batches so far.
    """
    at, spec = run.at, run.spec
    _require_finite_weights(run)
    weights = _shipped(run)
    score = run.job.validate(weights)
    better = not at.best_score or list(score.rank) < at.best_score
    steps = max(at.epoch_steps, 1)
    record: dict[str, Any] = {
        "epoch": epoch if isinstance(epoch, int) else round(epoch, 3),
        "step": at.step,
        "train_loss": at.loss_sum / max(at.loss_count, 1),
        **score.metrics,
        "lr": at.lr,
        "gradient_norm": at.norm_sum / steps,
        "clipped_share": at.epoch_clipped / steps,
        "best": better,
    }
    run.tick()
    record["seconds"] = round(at.seconds, 3)
    at.log = [*at.log, record]
    if better:
        at.best_score, at.best_epoch, at.stale = list(score.rank), at.epoch + 1, 0
        run.best = {name: value.copy() for name, value in (weights | score.tuned).items()}
        run.job.keep(run.best, record)
    else:
        at.stale += 1
        if at.stale % spec.plateau_patience == 0:
            at.plateau *= spec.plateau_factor
    return record


def _shipped(run: _Run) -> Weights:
    source: Mapping[str, Tensor] = run.job.model.state_dict()
    if run.average is not None:
        source = {**source, **run.average}
    return {name: value.detach().cpu().numpy() for name, value in source.items()}


def _optimizer(model: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """Weight decay for matrices only: biases and learned states have no scale to shrink."""
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": decay, "weight_decay": spec.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    return torch.optim.AdamW(groups, lr=spec.lr, betas=(0.9, 0.98), fused=True)


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every name of every parameter: a shared one ships under each of its names."""
    return model.named_parameters(remove_duplicate=False)


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in _named(model)}


def _average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move the average; a short memory at first, so that the first weights do not linger."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, parameter in _named(model):
            average[name].lerp_(parameter, 1 - decay)


def _require_finite_weights(run: _Run) -> None:
    """Stop before weights that hold NaN or Inf replace the last good ones."""
    if not all(torch.isfinite(p).all() for p in run.job.model.parameters()):
        raise TrainingError(_diagnosis(run, "the weights are not finite", run.at.step))


def _diagnosis(run: _Run, what: str, step: int) -> str:
    """Say what happened at which step, the gradient norm, and which parameters are to blame."""
    named = list(run.job.model.named_parameters())
    gradients = {n: p.grad for n, p in named if p.grad is not None}
    bad = [n for n, p in named if not torch.isfinite(p).all()]
    bad_gradients = [n for n, g in gradients.items() if not torch.isfinite(g).all()]
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
    before = "" if math.isnan(run.last_norm) else f", {run.last_norm:.3g} at the step before"
    parts = [
        f"epoch {run.at.epoch + 1}, step {step}: {what}",
        f"the gradient norm is {norm:.3g}{before}",
    ]
    if bad:
        parts.append(f"not finite: the weights of {', '.join(bad[:3])}")
    else:
        size, name = max((float(p.detach().abs().max()), n) for n, p in named)
        parts.append(f"the largest weight is {size:.3g} in {name}")
    if bad_gradients:
        parts.append(f"not finite: the gradients of {', '.join(bad_gradients[:3])}")
    if run.folder is not None and run.at.epoch > 0:
        parts.append(f"the model and checkpoint of epoch {run.at.epoch} are kept in {run.folder}")
    parts.append("try a lower lr, or a lower clip_norm")
    return "; ".join(parts)


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """Return the generator that orders the batches of `epoch`: a function of both, no state."""
    return np.random.default_rng([seed, epoch])
