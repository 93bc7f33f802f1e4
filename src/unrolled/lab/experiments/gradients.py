"""How gradients vanish and explode, and what clipping does about it.

Going back k steps multiplies the gradient by k Jacobians:

    dL/dh[t-k] = J[t-k+1]^T ... J[t]^T dL/dh[t],     J[t] = diag(1 - h[t]^2) U

The spectral radius of U decides which way this goes (Pascanu et al. 2013, section 2): below 1 the
product vanishes for sure, above 1 it may explode, as far as the slopes of tanh let it. An LSTM has
a way without J: along its cell state the factor is the forget gate.

First part: layers as they begin, no training. |dL/dh[T-k]| / |dL/dh[T]| for a loss on the last
state, for an RNN with U = radius * Q, Q orthogonal, and for an LSTM with forget biases.

Second part: clipping. A tanh RNN with radius 1.5 and one with radius 0.5 learn to recall a symbol
after some steps, with and without clipping. What explodes can be clipped; what has vanished cannot
be brought back: clipping scales dL/dh[T-k] and dL/dh[T] alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn as torch_nn
from torch.nn import functional as F

from unrolled import nn
from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.problems import recall
from unrolled.lab.training import fit, last, open_forget_gate, recurrent

SYMBOLS, CLIP = 8, 1.0


@dataclass(frozen=True)
class Settings:
    """Lags to look at, the radii and biases to begin with, and the training of the second part."""

    lags: tuple[int, ...]
    radii: tuple[float, ...]
    biases: tuple[float, ...]
    hidden: int
    steps: int
    lag: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Measure the flow in fresh layers, then train with and without clipping."""
    torch.manual_seed(seed)
    rows = []
    for radius in settings.radii:
        rows += _flow(_scaled(radius, settings.hidden), f"RNN {radius:g}", settings)
    for bias in settings.biases:
        rows += _flow(_open(bias, settings.hidden), f"LSTM {bias:g}", settings)
    for radius in (0.5, 1.5):
        for clip in (0.0, CLIP):
            found = _train(seed, radius, clip, settings)
            start = f"RNN {radius:g}, {'clipped' if clip else 'not clipped'}"
            rows.append({"part": "training", "start": start, "lag": settings.lag, **found})
    return rows


def _scaled(radius: float, hidden: int) -> nn.RNN:
    layer = nn.RNN(hidden, hidden, batch_first=True, dtype=torch.float64)
    weights = dict(layer.named_parameters())
    torch_nn.init.orthogonal_(weights["weight_hh_l0"])
    with torch.no_grad():
        weights["weight_hh_l0"].mul_(radius)
    return layer


def _open(bias: float, hidden: int) -> nn.LSTM:
    layer = nn.LSTM(hidden, hidden, batch_first=True, dtype=torch.float64)
    open_forget_gate(layer, bias)
    return layer


def _flow(layer: Any, start: str, settings: Settings) -> list[dict[str, Any]]:
    x = 0.1 * torch.randn(8, max(settings.lags) + 1, layer.spec.input_size, dtype=torch.float64)
    with nn.gradient_flow(layer) as flow:
        y, _ = layer(x)
        (y[:, -1] @ torch.randn(y.shape[-1], dtype=torch.float64)).sum().backward()
    norms = (flow.c or flow.h)[0][0]
    return [
        {
            "part": "flow",
            "start": start,
            "lag": lag,
            "ratio": float(norms[-1 - lag] / norms[-1]),
        }
        for lag in settings.lags
    ]


def _train(seed: int, radius: float, clip: float, settings: Settings) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    layer = recurrent("rnn", SYMBOLS + 1, settings.hidden)
    with torch.no_grad():
        dict(layer.named_parameters())["weight_hh_l0"].mul_(radius)
    head = torch_nn.Linear(settings.hidden, SYMBOLS)

    def loss() -> torch.Tensor:
        x, symbol = recall(32, settings.lag, SYMBOLS, random)
        return F.cross_entropy(head(last(layer(x)[1])), symbol)

    parameters = [*layer.parameters(), *head.parameters()]
    history = fit(parameters, loss, settings.steps, clip=clip, optimizer="sgd", lr=0.3)
    x, symbol = recall(512, settings.lag, SYMBOLS, random)
    with nn.gradient_flow(layer) as flow:
        said = head(last(layer(x)[1]))
        F.cross_entropy(said, symbol).backward()  # type: ignore[no-untyped-call]
    norms = flow.h[0][0]
    return {
        "ratio": float(norms[0] / norms[-1]),
        "accuracy": float((said.argmax(-1) == symbol).float().mean()),
        "largest_step": max(history.norms),
    }


def judge(results: Results) -> Verdict:
    """Holds where small radii vanish, large ones do not, and clipping helps these alone."""
    flow = results.where(part="flow")
    farthest = max(flow.values("lag"))
    ratios = {s: flow.mean("ratio", start=s, lag=farthest).mean for s in flow.values("start")}
    told = ", ".join(f"{start}: {ratio:.0e}" for start, ratio in ratios.items())
    train = results.where(part="training")
    gains = {
        radius: train.difference(
            "accuracy",
            {"start": f"RNN {radius:g}, clipped"},
            {"start": f"RNN {radius:g}, not clipped"},
        )
        for radius in (0.5, 1.5)
    }
    longest = {
        radius: train.mean("largest_step", start=f"RNN {radius:g}, not clipped").mean
        for radius in gains
    }
    words = (
        f"Gradient {farthest} steps back over that of the last step: {told}. Clipping changes "
        "the accuracy "
        f"of a recall task by {gains[1.5]} where the RNN begins with radius 1.5 (longest gradient "
        f"{longest[1.5]:.2g}), and by {gains[0.5]} with radius 0.5 (longest {longest[0.5]:.2g})."
    )
    vanishes = ratios["RNN 0.5"] < 1e-6 and ratios["RNN 1"] > 1e3 * ratios["RNN 0.5"]
    kept = max(v for s, v in ratios.items() if s.startswith("LSTM")) > 0.05
    cured = gains[1.5].low > 0 and abs(gains[0.5].mean) < 0.1
    if vanishes and kept and cured:
        return Verdict("holds", words)
    if vanishes and kept:
        return Verdict("depends", f"{words} Whether clipping is needed depends on the run.")
    return Verdict("does not hold", words)


EXPERIMENT = Experiment(
    name="gradients",
    title="Vanishing and exploding gradients",
    claim=(
        "Gradients through a vanilla RNN vanish or explode with the spectral radius; the "
        "gates' additive "
        "path keeps them; clipping cures explosion, not vanishing."
    ),
    text=__doc__,
    run=run,
    judge=judge,
    columns=("part", "start", "lag"),
    numbers=("ratio", "accuracy", "largest_step"),
    plots=(
        Plot(
            number="ratio",
            x="lag",
            by="start",
            panels="part",
            title="How much of the gradient arrives",
            x_title="steps back",
            y_title="length over that of the last step",
            reading="A straight line down is exponential vanishing; flat is what a memory needs.",
            log_y=True,
        ),
    ),
    quick=Settings(
        lags=(1, 10, 25, 50, 100),
        radii=(0.5, 0.9, 1.0, 1.1, 1.5, 3.0),
        biases=(0.0, 1.0, 4.0),
        hidden=48,
        steps=800,
        lag=30,
    ),
    full=Settings(
        lags=(1, 5, 10, 25, 50, 100, 200),
        radii=(0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.5, 2.0, 3.0),
        biases=(-1.0, 0.0, 1.0, 2.0, 4.0, 6.0),
        hidden=128,
        steps=3000,
        lag=50,
    ),
)
