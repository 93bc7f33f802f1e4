"""The loop that every experiment trains with: Adam, clipping, a rate that falls to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unrolled import nn as layers

CELLS = {"rnn": layers.RNN, "lstm": layers.LSTM, "gru": layers.GRU}


@dataclass(frozen=True)
class History:
    """The loss and the length of the whole gradient, before clipping, at every step."""

    losses: list[float]
    norms: list[float]

    @property
    def diverged(self) -> bool:
        """Whether a loss or a gradient was not a number, at which training stopped."""
        return not (math.isfinite(self.losses[-1]) and math.isfinite(self.norms[-1]))


def fit(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    steps: int,
    *,
    lr: float = 3e-3,
    clip: float = 1.0,
    optimizer: Literal["adam", "sgd"] = "adam",
) -> History:
    """Take `steps` steps down `loss()`, which draws its own batch, and return how it went.

    The rate is `lr` for the first half and then falls to 0 along a line. `clip` 0 clips nothing.
    Training stops at a loss or a gradient that is not finite.
    """
    trained = list(parameters)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    moves = kind(trained, lr=lr)
    losses, norms = [], []
    for step in range(steps):
        for group in moves.param_groups:
            group["lr"] = lr * min(1.0, 2 * (1 - step / steps))
        value = loss()
        moves.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(float(value.detach()))
        norms.append(float(nn.utils.clip_grad_norm_(trained, clip or math.inf)))
        if not (math.isfinite(losses[-1]) and math.isfinite(norms[-1])):
            break
        moves.step()
    return History(losses, norms)


def recurrent(cell: str, inputs: int, hidden: int, **choices: Any) -> layers.RNN | Any:
    """Return a batch-first layer of `cell`: rnn, lstm or gru, orthogonal at first."""
    return CELLS[cell](inputs, hidden, batch_first=True, **{"init": "orthogonal", **choices})


def open_forget_gate(layer: Any, bias: float) -> None:
    """Set the forget gate's bias of a one-layer LSTM: the second quarter of i f g o."""
    hidden = layer.spec.hidden_sizes[0]
    weights = dict(layer.named_parameters())
    with torch.no_grad():
        weights["bias_ih_l0"][hidden : 2 * hidden] = bias
        weights["bias_hh_l0"][hidden : 2 * hidden] = 0.0


def last(state: Any) -> Tensor:
    """Return h of the top layer [N, H] from what a layer returns as its state."""
    h: Tensor = state[0] if isinstance(state, tuple) else state
    return h[-1]


def size(*modules: nn.Module) -> int:
    """Return how many parameters the modules have."""
    return sum(p.numel() for module in modules for p in module.parameters())


def width(cell: str, inputs: int, parameters: int) -> int:
    """Return the hidden size whose layer has about as many parameters: G (H^2 + H I + 2 H)."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    b = inputs + 2
    return max(1, round((-b + math.sqrt(b * b + 4 * parameters / gates)) / 2))
