"""How much a hidden state can hold.

Read L symbols, then write them down in the same order: at the end of reading everything has to be
in one state of H numbers. L symbols of 8 hold 3 L bits.

    read s[1..L], then at each of L steps p[j] = softmax(V h[L + j]),   wanted: s[j]

The capacity is the longest L at which nine of ten symbols come back. If H limits it, it should grow
with H (Collins et al. 2017 find about 5 bits a parameter and at most a few bits a unit).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.problems import memorise
from unrolled.lab.training import fit, recurrent

SYMBOLS = 8


@dataclass(frozen=True)
class Settings:
    """Cells, widths, lengths to memorise, steps of training."""

    cells: tuple[str, ...]
    widths: tuple[int, ...]
    lengths: tuple[int, ...]
    steps: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train a layer of each width to memorise sequences of each length."""
    return [
        {
            "cell": cell,
            "hidden": hidden,
            "length": length,
            "share": _memorise(seed, cell, hidden, length, settings.steps),
        }
        for cell in settings.cells
        for hidden in settings.widths
        for length in settings.lengths
    ]


def _memorise(seed: int, cell: str, hidden: int, length: int, steps: int) -> float:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    layer, head = recurrent(cell, SYMBOLS + 1, hidden), nn.Linear(hidden, SYMBOLS)
    one_hot = torch.eye(SYMBOLS + 1)

    def answers(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, symbols = memorise(rows, length, SYMBOLS, random)
        y, _ = layer(one_hot[tokens])
        return head(y[:, length:]), symbols

    def loss() -> torch.Tensor:
        said, symbols = answers(64)
        return F.cross_entropy(said.flatten(0, 1), symbols.flatten())

    fit([*layer.parameters(), *head.parameters()], loss, steps, lr=5e-3)
    with torch.no_grad():
        said, symbols = answers(512)
    return float((said.argmax(-1) == symbols).float().mean())


def capacity(results: Results, cell: str, hidden: int) -> float:
    """Return the length at which the share of symbols that come back falls below 0.9.

    Between two lengths that were run it is found on the line between their shares.
    """
    found = results.where(cell=cell, hidden=hidden)
    before, above = 0.0, 1.0
    for length in sorted(found.values("length")):
        share = found.mean("share", length=length).mean
        if share < 0.9:
            return float(before + (length - before) * (above - 0.9) / (above - share))
        before, above = float(length), share
    return before


def judge(results: Results) -> Verdict:
    """The claim holds where the capacity grows with every doubling of H, for every cell."""
    widths = sorted(results.values("hidden"))
    words, grows, still = [], True, False
    for cell in results.values("cell"):
        held = [capacity(results, cell, hidden) for hidden in widths]
        pairs = ", ".join(f"{h} units: {c:.1f}" for h, c in zip(widths, held, strict=True))
        words.append(f"{cell}: {pairs}")
        grows &= held[-1] > 1.5 * held[0]
        still |= any(b < 0.9 * a for a, b in pairwise(held))
    said = (
        "Symbols (3 bits each) of which nine in ten come back: " + "; ".join(words) + ". "
        "This is what training found in the given steps; it is a lower bound of what could be held."
    )
    if grows and not still:
        return Verdict("holds", said)
    return Verdict("depends" if grows else "does not hold", said)


EXPERIMENT = Experiment(
    name="capacity",
    title="How much can a state hold?",
    claim="The hidden size limits how much can be remembered.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("cell", "hidden", "length"),
    numbers=("share",),
    plots=(
        Plot(
            number="share",
            x="length",
            by="hidden",
            panels="cell",
            title="What comes back",
            x_title="symbols to remember",
            y_title="share of symbols that are right",
            reading="A line is a width; 0.125 is guessing. The wider, the longer a line stays up.",
        ),
    ),
    quick=Settings(("gru",), (4, 8, 16, 32), (2, 4, 6, 8), 500),
    full=Settings(("rnn", "gru", "lstm"), (8, 16, 32, 64), (2, 4, 8, 12, 16), 1000),
)
