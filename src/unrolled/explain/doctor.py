"""A doctor of training runs: from the log and the gradients' flow to findings in words. No torch.

Every finding has its threshold in `THRESHOLDS`, the numbers that it rests on, and advice: what to
change, as options that a trial can run, or in words where no option says it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from unrolled.config import ModelConfig
from unrolled.spec import RecurrentSpec
from unrolled.train.describe_flow import place, reach

Record = Mapping[str, Any]

# What is looked at, the bound beyond which it is said, and what the bound means.
THRESHOLDS: dict[str, tuple[float, str]] = {
    "vanishing": (1e-3, "share of a pull at the last state that is left at the farthest lag"),
    "vanishing_lag": (10, "the farthest lag must be at least this many steps back"),
    "growing": (1e2, "times the pull at the last state, at any lag"),
    "clipped": (0.5, "share of steps whose gradient was clipped in the last epoch"),
    "clipped_norm": (5.0, "times the clipping norm that the mean gradient norm then has"),
    "dead": (0.25, "share of relu units that were 0 at every step of every row looked at"),
    "saturated": (0.8, "share of a gate's values within 0.05 of an end"),
    "update_high": (3e-2, "median size of a step relative to its weights, in the fastest epoch"),
    "update_low": (3e-5, "the same, below which hardly anything moves"),
    "update_usual": (1e-3, "the same, as it usually is: what a new learning rate aims at"),
    "overfit_worse": (0.1, "relative worsening of the validation loss or error since its best"),
    "overfit_better": (0.1, "relative fall of the training loss over the same epochs"),
}
# Of a step that did not move at all.
TINY = 1e-12
# What validation logs, in the order in which it is believed; +1 where more is better.
VALIDATED = {
    "log_loss": -1,
    "nats": -1,
    "crps": -1,
    "mase": -1,
    "rmse": -1,
    "per": -1,
    "wer": -1,
    "accuracy": 1,
}


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """Something to try: words, and the options that a trial would run (empty: words only)."""

    words: str
    changes: dict[str, Any] = {}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong: its name, a sentence with its numbers, the numbers, and what to try."""

    name: str
    words: str
    evidence: dict[str, Any]
    advice: tuple[Advice, ...]


def bound(name: str) -> float:
    """Return a threshold."""
    return THRESHOLDS[name][0]


def recurrent_of(config: ModelConfig) -> RecurrentSpec:
    """Return the stack that reads the input, or, of a captioner, the one that writes."""
    stacks = (getattr(config.network, name, None) for name in ("encoder", "recurrent", "decoder"))
    return next(each for each in stacks if isinstance(each, RecurrentSpec))


def diagnose(config: ModelConfig, log: Sequence[Record]) -> list[Finding]:
    """Return what is wrong with a run by its log, an epoch a record, and its flow where watched."""
    spec = recurrent_of(config)
    found = [*_overfitting(config, log)]
    flow = [record["flow"] for record in log if "flow" in record]
    if flow:
        last = flow[-1]
        found += [*_vanishing(config, spec, last), *_growing(config, spec, last)]
        found += [*_dead(config, last), *_saturated(config, spec, last), *_updates(config, flow)]
    return [*found, *_clipped(config, spec, log)]


def _vanishing(config: ModelConfig, spec: RecurrentSpec, last: Record) -> Iterator[Finding]:
    for layer in last["layers"]:
        memory = layer.get("memory", ())
        far = len(memory) - 1
        if far < bound("vanishing_lag") or memory[0] <= 0:
            continue
        left = memory[far] / memory[0]
        if left >= bound("vanishing"):
            continue
        lost = reach(memory, bound("vanishing"))
        yield Finding(
            name="vanishing gradients",
            words=(
                f"{place(layer)}: gradients at lag {far} are {_times(left)} of those at lag 0, and"
                f" from lag {lost} on less than {bound('vanishing'):g}: vanishing. Nothing that far"
                " back can be learned from the end; if the answer does not hang on it, no harm is"
                " done."
            ),
            evidence={"lag": far, "left": left, "lost_from_lag": lost, "place": place(layer)},
            advice=tuple(_remember(config, spec, lost or far)),
        )


def _times(value: float) -> str:
    return "less than 1e-18" if value < 1e-18 else f"{value:.0e}"


def _remember(config: ModelConfig, spec: RecurrentSpec, lag: int) -> Iterator[Advice]:
    """Yield what lengthens a memory, as far as the run does not have it already."""
    if spec.cell == "rnn":
        yield Advice(words="a GRU", changes={"cell": "gru"})
        yield Advice(words="an LSTM", changes={"cell": "lstm"})
    if spec.init != "orthogonal":
        yield Advice(
            words="orthogonal recurrent weights, and an LSTM's forget bias at 1",
            changes={"init": "orthogonal"},
        )
    network = config.network
    if getattr(network, "pooling", None) == "last":
        yield Advice(words="attention over all steps", changes={"pooling": "attention"})
    if config.task == "translate" and getattr(network, "attention", None) is None:
        yield Advice(words="attention over the source", changes={"attention": "additive"})
    yield Advice(words=f"--truncate {lag}: what lies further back teaches nothing as it is")


def _growing(config: ModelConfig, spec: RecurrentSpec, last: Record) -> Iterator[Finding]:
    for layer in last["layers"]:
        for kind in ("memory", "h"):
            curve = layer.get(kind, ())
            if len(curve) < 2 or curve[0] <= 0 or max(curve) / curve[0] < bound("growing"):
                continue
            grown, lag = max(curve) / curve[0], curve.index(max(curve))
            radius = max(last["radius"][layer["name"]].values(), key=lambda g: max(g.values()))
            yield Finding(
                name="exploding gradients",
                words=(
                    f"{place(layer)}: gradients at lag {lag} are {grown:.0e} times those at lag 0:"
                    f" exploding. The largest spectral radius is {max(radius.values()):.2f}."
                ),
                evidence={"lag": lag, "grown": grown, "radius": radius, "place": place(layer)},
                advice=tuple(_calm(config, spec)),
            )
            break


def _calm(config: ModelConfig, spec: RecurrentSpec) -> Iterator[Advice]:
    training = config.training
    if training.clip_norm == 0 or training.clip_norm > 1:
        yield Advice(words="clipping at a norm of 1", changes={"clip_norm": 1.0})
    if spec.init != "orthogonal":
        yield Advice(words="orthogonal recurrent weights", changes={"init": "orthogonal"})
    yield Advice(words="a third of the learning rate", changes={"lr": training.lr / 3})
    if spec.cell == "rnn" and spec.nonlinearity == "relu":
        yield Advice(words="tanh instead of relu", changes={"nonlinearity": "tanh"})
    if spec.cell == "rnn":
        yield Advice(words="a GRU", changes={"cell": "gru"})


def _clipped(config: ModelConfig, spec: RecurrentSpec, log: Sequence[Record]) -> Iterator[Finding]:
    limit = config.training.clip_norm
    if not log or limit == 0:
        return
    share, norm = log[-1].get("clipped_share", 0.0), log[-1].get("gradient_norm", 0.0)
    if share >= bound("clipped") and norm >= bound("clipped_norm") * limit:
        yield Finding(
            name="clipping does the learning",
            words=(
                f"{100 * share:.0f} % of the last epoch's steps were clipped, at a mean norm of"
                f" {norm:.3g} where {limit:g} is allowed: nearly every step has the same length,"
                " whatever its gradient says."
            ),
            evidence={"clipped_share": share, "gradient_norm": norm, "clip_norm": limit},
            advice=tuple(a for a in _calm(config, spec) if "clip_norm" not in a.changes),
        )


def _gates(last: Record) -> Iterator[tuple[str, str, float]]:
    for name, of in last["gates"].items():
        for suffix, shares in of.items():
            for gate, value in shares.items():
                yield f"{name} {suffix}", gate, value


def _dead(config: ModelConfig, last: Record) -> Iterator[Finding]:
    for where, gate, share in _gates(last):
        if gate == "dead" and share >= bound("dead"):
            yield Finding(
                name="dead units",
                words=(
                    f"{where}: {100 * share:.0f} % of the relu units are 0 at every step looked at;"
                    " no gradient passes through them and they cannot come back."
                ),
                evidence={"place": where, "dead": share},
                advice=(
                    Advice(words="tanh instead of relu", changes={"nonlinearity": "tanh"}),
                    Advice(
                        words="a third of the learning rate",
                        changes={"lr": config.training.lr / 3},
                    ),
                ),
            )


def _saturated(config: ModelConfig, spec: RecurrentSpec, last: Record) -> Iterator[Finding]:
    for where, gate, share in _gates(last):
        if gate.endswith("_mean") or gate == "dead" or share < bound("saturated"):
            continue
        called = "unit" if gate == "h" else f"{gate} gate"
        yield Finding(
            name="saturated gates",
            words=(
                f"{where}: {100 * share:.0f} % of the {called}'s values are within 0.05 of an end,"
                " where its slope is nearly 0: it no longer learns when to move."
            ),
            evidence={"place": where, "gate": gate, "share": share},
            advice=(
                Advice(
                    words="a third of the learning rate", changes={"lr": config.training.lr / 3}
                ),
                Advice(
                    words="ten times the weight decay",
                    changes={"weight_decay": 10 * max(config.training.weight_decay, 0.001)},
                ),
            ),
        )


def _updates(config: ModelConfig, flow: Sequence[Record]) -> Iterator[Finding]:
    fastest = max(flow, key=lambda record: record["lr"])
    if not fastest["update_ratio"]:
        return
    ratio = statistics.median(fastest["update_ratio"].values())
    lr = config.training.lr
    evidence = {"median_update_ratio": ratio, "epoch": fastest["epoch"], "lr": fastest["lr"]}
    if ratio >= bound("update_high"):
        yield Finding(
            name="learning rate too high",
            words=(
                f"In epoch {fastest['epoch']} a step changed the weights by {100 * ratio:.1f} % of"
                " their size (median over matrices); about 0.1 % is usual."
            ),
            evidence=evidence,
            advice=tuple(
                Advice(words=f"a learning rate of {lr / k:.2g}", changes={"lr": lr / k})
                for k in _factors(ratio / bound("update_usual"))
            ),
        )
    if ratio <= bound("update_low"):
        yield Finding(
            name="learning rate too low",
            words=(
                f"In epoch {fastest['epoch']} a step changed the weights by {ratio:.0e} of their"
                " size (median over matrices); about 1e-3 is usual."
            ),
            evidence=evidence,
            advice=tuple(
                Advice(words=f"a learning rate of {lr * k:.2g}", changes={"lr": lr * k})
                for k in _factors(bound("update_usual") / max(ratio, TINY))
            ),
        )


def _factors(apart: float) -> tuple[float, float]:
    """Return what a learning rate goes by so that steps `apart` times off come near the usual."""
    power = max(round(math.log10(apart)), 1)
    return (10.0 ** (power - 1), 10.0**power) if power > 1 else (3.0, 10.0)


def _overfitting(config: ModelConfig, log: Sequence[Record]) -> Iterator[Finding]:
    key = next((k for k in VALIDATED if log and k in log[-1]), None)
    if key is None:
        return
    losses = [_as_loss(record[key], VALIDATED[key]) for record in log]
    best = losses.index(min(losses))
    now, then = log[-1]["train_loss"], log[best]["train_loss"]
    worse = losses[-1] / losses[best] - 1 if losses[best] > 0 else math.inf * losses[-1]
    better = 1 - now / then if then > 0 else 0.0
    if not (worse >= bound("overfit_worse") and better >= bound("overfit_better")):
        return
    yield Finding(
        name="overfitting",
        words=(
            f"Since epoch {log[best]['epoch']} the training loss fell from {then:.3g} to {now:.3g},"
            f" while validation {key.replace('_', ' ')} went from {log[best][key]:.3g} to"
            f" {log[-1][key]:.3g}: the model learns its training data by heart."
        ),
        evidence={"metric": key, "best_epoch": log[best]["epoch"], "worse": worse, "fall": better},
        advice=tuple(_generalise(config)),
    )


def _as_loss(value: float, sign: int) -> float:
    return 1 - value if sign > 0 else value


def _generalise(config: ModelConfig) -> Iterator[Advice]:
    dropout = getattr(config.network, "dropout", 0.0)
    size = recurrent_of(config).hidden_sizes[0]
    if dropout < 0.5:
        more = round(min(dropout + 0.3, 0.6), 2)
        yield Advice(words=f"dropout of {more:g}", changes={"dropout": more})
    yield Advice(words=f"half the units ({size // 2})", changes={"hidden_size": max(size // 2, 1)})
    yield Advice(
        words="ten times the weight decay",
        changes={"weight_decay": 10 * max(config.training.weight_decay, 0.001)},
    )
    if config.training.patience == 0:
        yield Advice(words="patience of 3: the best epoch is kept anyway, the rest is time saved")
