"""Whether stacking layers makes a better network.

A stack of L layers, each reading the outputs of the one below:

    h_l[t] = GRU(h_{l-1}[t], h_l[t-1]),     h_0[t] = x[t]

is compared at equal width and at equal parameters, on the adding problem and on text: the next
character of Python's documentation, in bits a character (lower is better). Everything else is the
same: steps of training, learning rate, batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.problems import adding
from unrolled.lab.text import CharacterModel, Corpus, bits, corpus
from unrolled.lab.training import fit, last, recurrent, size, width


@dataclass(frozen=True)
class Settings:
    """Depths, the width of one layer, length of the adding problem, steps of training."""

    depths: tuple[int, ...]
    hidden: int
    length: int
    steps: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each depth at equal width and at equal parameters on both problems."""
    text = corpus()
    rows = []
    for depth in settings.depths:
        for equal in ("width", "parameters"):
            hidden = settings.hidden if equal == "width" else _narrower(depth, settings.hidden)
            common = {"depth": depth, "equal": equal, "hidden": hidden}
            rows.append({"problem": "adding", **common, **_adding(seed, depth, hidden, settings)})
            rows.append({"problem": "text", **common, **_text(seed, depth, hidden, text, settings)})
    return rows


def _narrower(depth: int, hidden: int) -> int:
    """Return the width at which `depth` layers have about as many parameters as one of `hidden`."""
    budget = 3 * hidden * (hidden + hidden + 2)
    each = budget / depth
    return width("gru", 0, int(each / 2)) if depth > 1 else hidden


def _adding(seed: int, depth: int, hidden: int, settings: Settings) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    layer, head = recurrent("gru", 2, hidden, num_layers=depth), nn.Linear(hidden, 1)

    def loss() -> torch.Tensor:
        x, total = adding(32, settings.length, random)
        return F.mse_loss(head(last(layer(x)[1]))[:, 0], total)

    fit([*layer.parameters(), *head.parameters()], loss, settings.steps)
    with torch.no_grad():
        x, total = adding(512, settings.length, random)
        error = float(F.mse_loss(head(last(layer(x)[1]))[:, 0], total))
    return {"loss": error, "size": size(layer, head)}


def _text(seed: int, depth: int, hidden: int, text: Corpus, settings: Settings) -> dict[str, float]:
    torch.manual_seed(seed)
    model = CharacterModel("gru", hidden, text.characters, layers=depth)
    random = torch.Generator().manual_seed(seed)
    fit(model.parameters(), lambda: model.loss(text.batch(16, 64, random)), settings.steps)
    return {"loss": bits(model, text.held_out), "size": size(model)}


def judge(results: Results) -> Verdict:
    """Deeper is better for sure where every step deeper lowers the loss beyond the interval."""
    depths = sorted(results.values("depth"))
    words, better, worse = [], 0, 0
    for problem in results.values("problem"):
        for equal in results.values("equal"):
            found = results.where(problem=problem, equal=equal)
            changes = [
                found.difference("loss", {"depth": b}, {"depth": a}) for a, b in pairwise(depths)
            ]
            better += sum(change.high < 0 for change in changes)
            worse += sum(change.low > 0 for change in changes)
            told = ", ".join(
                f"{b} layers {change}" for b, change in zip(depths[1:], changes, strict=True)
            )
            words.append(f"{problem}, equal {equal}: {told}")
    steps = len(words) * (len(depths) - 1)
    said = (
        "Change of the loss by more layers (below 0 is better): " + "; ".join(words) + ". "
        f"Of {steps} steps deeper {better} are better and {worse} worse beyond the 95 % interval."
    )
    return Verdict("does not hold" if better == steps else "holds", said)


EXPERIMENT = Experiment(
    name="depth",
    title="Is deeper better?",
    claim="Stacking deeper does not assure better results.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("problem", "equal", "depth"),
    numbers=("loss", "size"),
    plots=(
        Plot(
            number="loss",
            x="depth",
            by="equal",
            panels="problem",
            title="Loss by depth",
            x_title="layers",
            y_title="squared error, or bits a character",
            reading="Lower is better. One line keeps the width, one the parameters.",
        ),
    ),
    quick=Settings((1, 2, 4), 64, 30, 250),
    full=Settings((1, 2, 4), 96, 60, 800),
)
