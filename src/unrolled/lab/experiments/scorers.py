"""What a trained scorer of attention buys.

Luong's dot compares a query and a memory step by their product and has no weights; Bahdanau's
additive scorer is a small network of its own:

    dot   q . m                        0 parameters
    additive   v . tanh(W q + U m + b)      A (Q + M + 2) parameters

The task is that of a translator whose alignment is not along the diagonal: sequences to write the
other way round. Reported are parameters of the scorer, time of a training step, time of a greedy
answer through the runtime, and right answers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from unrolled.data.vocab import SPECIALS
from unrolled.lab import translation
from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.training import fit, size


@dataclass(frozen=True)
class Settings:
    """Lengths, symbols, width, and after how many steps of training to look."""

    lengths: tuple[int, int]
    symbols: int
    hidden: int
    looks: tuple[int, ...]


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each scorer for each number of steps."""
    rows = []
    for kind in ("dot", "general", "additive", "concat"):
        for steps in settings.looks:
            torch.manual_seed(seed)
            random = torch.Generator().manual_seed(seed)
            model = translation.network(
                settings.symbols + len(SPECIALS), hidden_size=settings.hidden, attention=kind
            )

            def loss(model: Any = model, random: torch.Generator = random) -> torch.Tensor:
                pairs = translation.reversal(32, settings.lengths, settings.symbols, random)
                return translation.loss(model, pairs)

            start = time.process_time()
            fit(model.parameters(), loss, steps)
            spent = time.process_time() - start
            pairs = translation.reversal(300, settings.lengths, settings.symbols, random)
            start = time.process_time()
            right = translation.right(model, model.spec, pairs).float().mean()
            rows.append(
                {
                    "scorer": kind,
                    "steps": steps,
                    "right": float(right),
                    "scorer_size": size(model.attention),
                    "ms_a_step": 1000 * spent / steps,
                    "ms_an_answer": 1000 * (time.process_time() - start) / 300,
                }
            )
    return rows


def judge(results: Results) -> Verdict:
    """Holds where dot is as right as additive at the end, with no parameters and in less time."""
    steps = max(results.values("steps"))
    found = results.where(steps=steps)
    change = found.difference("right", {"scorer": "dot"}, {"scorer": "additive"})
    ratio = (
        found.mean("ms_a_step", scorer="additive").mean / found.mean("ms_a_step", scorer="dot").mean
    )
    words = (
        f"After {steps} steps dot answers {change} more of the sequences rightly than additive, "
        "with "
        f"{found.mean('scorer_size', scorer='dot').mean:.0f} parameters in the scorer against "
        f"{found.mean('scorer_size', scorer='additive').mean:.0f}; a training step with the "
        "additive "
        f"scorer takes {ratio:.2f} times as long (its context enters the cell, so that its "
        "steps cannot "
        "run as one call)."
    )
    if change.high < 0:
        return Verdict("depends", f"{words} The trained scorer is worth its price here.")
    return Verdict("holds" if ratio > 1 else "depends", words)


EXPERIMENT = Experiment(
    name="scorers",
    title="Dot or additive?",
    claim="Luong's dot needs no trained scorer, is faster than Bahdanau's, and as good.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("scorer", "steps"),
    numbers=("right", "scorer_size", "ms_a_step", "ms_an_answer"),
    plots=(
        Plot(
            number="right",
            x="steps",
            by="scorer",
            title="Right answers by steps of training",
            x_title="steps of training",
            y_title="share right",
            reading="The earlier a line rises, the sooner its scorer is learned.",
        ),
    ),
    quick=Settings((3, 8), 8, 48, (150, 300, 500)),
    full=Settings((5, 12), 16, 96, (400, 800, 1600)),
)
