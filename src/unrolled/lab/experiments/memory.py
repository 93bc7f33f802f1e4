"""How long a vanilla RNN, an LSTM and a GRU remember.

A symbol is shown once. Then come k steps of noise, and then the question: which symbol was it?

    x[0] = one of 8 symbols,   x[1..k] = noise,   answer = softmax(V h[k])

To learn this, the gradient of the answer has to reach step 0 through k steps. In a vanilla RNN it
passes the matrix diag(1 - h^2) U at each of them; in an LSTM there is a way along the cell state, d
c[t] / d c[t-1] = f[t], that a gate can keep open (Hochreiter and Schmidhuber 1997).

Beside it the adding problem: of a sequence of numbers two are marked, and their sum is wanted.
Guessing its mean has a squared error of 1/6 = 0.167.

Every cell gets the same width, the same steps of training and the same learning rate. The vanilla
RNN runs twice: from torch's small uniform weights, and from an orthogonal U, whose powers neither
grow nor shrink (Saxe et al. 2014; Le et al. 2015). The gated cells begin orthogonal, the LSTM with
a forget bias of 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.problems import adding, recall
from unrolled.lab.training import fit, last, recurrent

SYMBOLS = 8
STARTS = {
    "rnn": ("rnn", "torch"),
    "rnn, orthogonal": ("rnn", "orthogonal"),
    "lstm": ("lstm", "orthogonal"),
    "gru": ("gru", "orthogonal"),
}


@dataclass(frozen=True)
class Settings:
    """Lags of the two problems, width of the layers, steps of training."""

    lags: tuple[int, ...]
    lengths: tuple[int, ...]
    hidden: int
    steps: int
    batch: int = 32


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each cell on each problem at each lag."""
    rows = []
    for cell in STARTS:
        for problem, lags, solve in (
            ("recall", settings.lags, _recall),
            ("adding", settings.lengths, _adding),
        ):
            for lag in lags:
                found = solve(seed, cell, lag, settings)
                rows.append({"problem": problem, "cell": cell, "lag": lag, **found})
    return rows


def _recall(seed: int, cell: str, lag: int, settings: Settings) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    kind, init = STARTS[cell]
    layer = recurrent(kind, SYMBOLS + 1, settings.hidden, init=init)
    head = nn.Linear(settings.hidden, SYMBOLS)

    def loss() -> torch.Tensor:
        x, symbol = recall(settings.batch, lag, SYMBOLS, random)
        return F.cross_entropy(head(last(layer(x)[1])), symbol)

    fit([*layer.parameters(), *head.parameters()], loss, settings.steps)
    with torch.no_grad():
        x, symbol = recall(512, lag, SYMBOLS, random)
        right = head(last(layer(x)[1])).argmax(-1) == symbol
    share = float(right.float().mean())
    return {"accuracy": share, "solved": float(share > 0.9)}


def _adding(seed: int, cell: str, length: int, settings: Settings) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    kind, init = STARTS[cell]
    layer = recurrent(kind, 2, settings.hidden, init=init)
    head = nn.Linear(settings.hidden, 1)

    def loss() -> torch.Tensor:
        x, total = adding(settings.batch, length, random)
        return F.mse_loss(head(last(layer(x)[1]))[:, 0], total)

    fit([*layer.parameters(), *head.parameters()], loss, settings.steps)
    with torch.no_grad():
        x, total = adding(512, length, random)
        error = float(F.mse_loss(head(last(layer(x)[1]))[:, 0], total))
    return {"accuracy": max(0.0, 1 - error * 6), "solved": float(error < 0.0167)}


def judge(results: Results) -> Verdict:
    """The claim holds where both gated cells beat both vanilla RNNs on both problems."""
    words, beaten, pairs = [], 0, 0
    for problem in results.values("problem"):
        told = ", ".join(
            f"{cell} {results.mean('accuracy', cell=cell, problem=problem)}" for cell in STARTS
        )
        words.append(f"{problem}: {told}")
        for gated in ("lstm", "gru"):
            for plain in ("rnn", "rnn, orthogonal"):
                gain = results.difference(
                    "accuracy", {"cell": gated}, {"cell": plain}, problem=problem
                )
                beaten += gain.low > 0
                pairs += 1
    said = (
        f"Score, mean over lags. {'; '.join(words)}. In {beaten} of {pairs} pairs of a gated "
        "cell and "
        "a vanilla RNN the gated one is better beyond the 95 % interval."
    )
    if beaten == pairs:
        return Verdict("holds", said)
    if beaten:
        return Verdict(
            "depends",
            f"{said} It depends on the problem, on how U begins, and on how long training may "
            "take.",
        )
    return Verdict("does not hold", said)


EXPERIMENT = Experiment(
    name="memory",
    title="How long do the cells remember?",
    claim="A vanilla RNN loses what it saw long ago; LSTM and GRU keep it.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("problem", "cell", "lag"),
    numbers=("accuracy", "solved"),
    plots=(
        Plot(
            number="accuracy",
            x="lag",
            by="cell",
            panels="problem",
            title="What is left of what was seen",
            x_title="steps to remember",
            y_title="share right; for adding: 1 - error / error of guessing",
            reading="At 1 the problem is solved. Recall by guessing is at 0.125, adding at 0.",
            log_x=True,
        ),
    ),
    quick=Settings(lags=(10, 40, 100), lengths=(40,), hidden=48, steps=800),
    full=Settings(lags=(10, 50, 150, 500), lengths=(30, 100), hidden=64, steps=1000),
)
