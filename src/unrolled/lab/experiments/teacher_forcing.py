"""Teacher forcing, or the model's own output in training.

A decoder learns p(y[t] | y[1..t-1], x) and reads the **true** y[t-1] while it learns (Williams and
Zipser 1989). When it writes it reads its own, and after a mistake it is where it never was:
exposure bias. Scheduled sampling feeds its own output with a share that grows during training
(Bengio et al. 2015).

    read[t] = y[t-1]                  with probability e
              argmax p(y[t-1] | ...)  else

e is 1 (teacher forcing), falls from 1 to 0.5, or is 0 from the start. Tested within the lengths of
training and beyond them, where mistakes are likelier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unrolled.data.vocab import SPECIALS
from unrolled.lab import translation
from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.training import fit

SHARES = {"teacher forcing": (1.0, 1.0), "scheduled": (1.0, 0.5), "own output": (0.0, 0.0)}


@dataclass(frozen=True)
class Settings:
    """Lengths to train on and to test at, symbols, width, steps of training."""

    trained: tuple[int, int]
    lengths: tuple[int, ...]
    symbols: int
    hidden: int
    steps: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train by each way and test at each length."""
    rows = []
    for way, (first, final) in SHARES.items():
        torch.manual_seed(seed)
        random = torch.Generator().manual_seed(seed)
        model = translation.network(
            settings.symbols + len(SPECIALS), hidden_size=settings.hidden, attention="dot"
        )
        done = iter(range(settings.steps))

        def loss(
            model: Any = model,
            random: torch.Generator = random,
            ends: tuple[float, float] = (first, final),
            done: Any = done,
        ) -> torch.Tensor:
            share = ends[0] + (ends[1] - ends[0]) * next(done) / settings.steps
            pairs = translation.reversal(32, settings.trained, settings.symbols, random)
            return translation.loss(model, pairs, share, random)

        fit(model.parameters(), loss, settings.steps)
        for length in settings.lengths:
            pairs = translation.reversal(300, (length, length), settings.symbols, random)
            right = translation.right(model, model.spec, pairs).float().mean()
            rows.append({"way": way, "length": length, "right": float(right)})
    return rows


def judge(results: Results) -> Verdict:
    """Holds where feeding back own output is better at the longest length beyond the interval."""
    longest = max(results.values("length"))
    changes = {
        way: results.difference("right", {"way": way}, {"way": "teacher forcing"}, length=longest)
        for way in ("scheduled", "own output")
    }
    within = {
        way: results.difference("right", {"way": way}, {"way": "teacher forcing"})
        for way in changes
    }
    words = (
        f"Right answers against teacher forcing, at length {longest}: scheduled sampling "
        f"{changes['scheduled']}, own output from the start {changes['own output']}; mean over "
        "lengths: "
        f"{within['scheduled']} and {within['own output']}."
    )
    if changes["scheduled"].low > 0:
        return Verdict("holds", words)
    if within["scheduled"].high < 0:
        return Verdict("does not hold", words)
    return Verdict("depends", f"{words} These seeds do not tell the ways apart for sure.")


EXPERIMENT = Experiment(
    name="teacher-forcing",
    title="Teacher forcing or its own output?",
    claim="Feeding the model its own output in training cures exposure bias.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("way", "length"),
    numbers=("right",),
    plots=(
        Plot(
            number="right",
            x="length",
            by="way",
            title="Right answers by length",
            x_title="symbols of the source",
            y_title="share right",
            reading="The last length is longer than any in training.",
        ),
    ),
    quick=Settings((2, 7), (3, 6, 8), 8, 48, 400),
    full=Settings((2, 10), (5, 8, 10, 13), 16, 96, 1200),
)
