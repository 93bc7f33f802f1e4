"""Three small choices: the squashing, the first state, the forget gate's bias.

* tanh or relu. relu has a slope of 1 wherever it is not 0, so that it does not saturate; but
  nothing bounds it: h[t] = max(0, U h[t-1] + ...) grows without limit where U makes it longer (Le
  et al. 2015 begin it with U = I).
* A first state of zeros, or one that is learned: h[0] = a parameter. The state before the first
  step can matter only as long as the first step is not forgotten.
* The forget gate's bias b. At the start f = sigmoid(b): 0.5 at 0, 0.73 at 1, 0.95 at 3. After k
  steps f^k is left (Gers et al. 2000; Jozefowicz et al. 2015).

All three learn to recall a symbol, after few steps and after more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.problems import recall
from unrolled.lab.training import fit, last, open_forget_gate, recurrent

SYMBOLS = 8
VARIANTS: dict[str, tuple[str, dict[str, Any], float | None]] = {
    "rnn tanh": ("rnn", {}, None),
    "rnn relu": ("rnn", {"nonlinearity": "relu"}, None),
    "gru h0 zero": ("gru", {}, None),
    "gru h0 learned": ("gru", {"initial_state": "learned"}, None),
    "lstm forget 0": ("lstm", {}, 0.0),
    "lstm forget 1": ("lstm", {}, 1.0),
    "lstm forget 3": ("lstm", {}, 3.0),
}


@dataclass(frozen=True)
class Settings:
    """Lags, width, steps of training."""

    lags: tuple[int, ...]
    hidden: int
    steps: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each variant at each lag."""
    return [
        {"variant": variant, "lag": lag, **_recall(seed, variant, lag, settings)}
        for variant in VARIANTS
        for lag in settings.lags
    ]


def _recall(seed: int, variant: str, lag: int, settings: Settings) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    cell, choices, bias = VARIANTS[variant]
    layer = recurrent(cell, SYMBOLS + 1, settings.hidden, **choices)
    if bias is not None:
        open_forget_gate(layer, bias)
    head = nn.Linear(settings.hidden, SYMBOLS)

    def loss() -> torch.Tensor:
        x, symbol = recall(32, lag, SYMBOLS, random)
        return F.cross_entropy(head(last(layer(x)[1])), symbol)

    history = fit([*layer.parameters(), *head.parameters()], loss, settings.steps, lr=2e-3)
    with torch.no_grad():
        x, symbol = recall(512, lag, SYMBOLS, random)
        share = float((head(last(layer(x)[1])).argmax(-1) == symbol).float().mean())
    return {"accuracy": share, "longest_gradient": max(history.norms)}


def judge(results: Results) -> Verdict:
    """The claim holds where no choice moves the mean accuracy over lags beyond chance."""
    relu = results.difference("accuracy", {"variant": "rnn relu"}, {"variant": "rnn tanh"})
    learned = results.difference(
        "accuracy", {"variant": "gru h0 learned"}, {"variant": "gru h0 zero"}
    )
    open_ = results.difference(
        "accuracy", {"variant": "lstm forget 3"}, {"variant": "lstm forget 0"}
    )
    words = (
        f"Change of accuracy, mean over lags: relu for tanh {relu}; a learned first state for "
        "zeros "
        f"{learned}; a forget bias of 3 for 0 {open_}."
    )
    matter = {
        "the squashing": relu,
        "the first state": learned,
        "the forget bias": open_,
    }
    sure = [name for name, change in matter.items() if change.low > 0 or change.high < 0]
    if not sure:
        return Verdict("holds", f"{words} None is told from chance by these seeds.")
    if len(sure) == len(matter):
        return Verdict("does not hold", words)
    return Verdict("depends", f"{words} Beyond chance: {', '.join(sure)}.")


EXPERIMENT = Experiment(
    name="choices",
    title="tanh or relu, the first state, the forget bias",
    claim=(
        "The squashing, the first state and the forget gate's bias are details that matter little."
    ),
    text=__doc__,
    run=run,
    judge=judge,
    columns=("variant", "lag"),
    numbers=("accuracy", "longest_gradient"),
    plots=(
        Plot(
            number="accuracy",
            x="lag",
            by="variant",
            title="Recall under each choice",
            x_title="steps to remember",
            y_title="share right",
            reading="Pairs of lines belong together: rnn, gru, lstm. 0.125 is guessing.",
        ),
    ),
    quick=Settings((10, 40, 80), 48, 400),
    full=Settings((10, 50, 100, 200), 64, 1200),
)
