"""Many to one and many to many in time: the next steps of a series from a window of its past."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import NegativeBinomial, Normal, StudentT
from torch.nn import functional as F

from unrolled.nn.encoder import Bridge, final_states
from unrolled.nn.rnn import recurrent
from unrolled.runtime.distributions import LEAST_DF, LEAST_MEAN, LEAST_SCALE
from unrolled.spec import Engine, ForecasterSpec
from unrolled.validation import check_network, final_sizes


class Window(NamedTuple):
    """Tensors of `unrolled.data.windows.WindowBatch`, by its names."""

    y: Tensor
    observed: Tensor
    past: Tensor
    known: Tensor
    lengths: Tensor
    ahead: Tensor
    static: Tensor


class Head(nn.Module):
    """All steps at once from the last state h: W h, and a share of what is known of each step.

    linear: o_t = (W h + b)_t + V k_t. mlp: c = relu(W h + b) [H, C],
    o_t = W_2 relu(W_1 [c_t; k_t] + b_1) + b_2 (Wen et al. 2017, a global and a local network).
    """

    def __init__(self, spec: ForecasterSpec) -> None:
        super().__init__()
        self.spec = spec
        width, outputs = spec.recurrent.output_size, spec.num_outputs
        self.local: nn.Linear | None = None
        self.known: nn.Linear | None = None
        if spec.decoder == "mlp":
            size = spec.decoder_size
            self.context = nn.Linear(width, spec.horizon * size)
            self.local = nn.Linear(size + spec.known_size, size)
            self.output = nn.Linear(size, outputs)
        else:
            self.context = nn.Linear(width, spec.horizon * outputs)
            if spec.known_size:
                self.known = nn.Linear(spec.known_size, outputs, bias=False)

    def forward(self, h: Tensor, ahead: Tensor) -> Tensor:
        """Map h [N, D * P] and ahead [N, H, K] to outputs [N, H, O]."""
        context: Tensor = self.context(h).unflatten(1, (self.spec.horizon, -1))
        if self.local is not None:
            read = torch.cat([F.relu(context), ahead], dim=-1)
            outputs: Tensor = self.output(F.relu(self.local(read)))
            return outputs
        if self.known is not None:
            told: Tensor = context + self.known(ahead)
            return told
        return context


class Forecaster(nn.Module):
    """Outputs a step from a window: see `unrolled.spec.ForecasterSpec`.

    Direct decoders: o [N, H, O] of the horizon. Autoregressive: o [N, T, O] of every step of a
    window that spans the horizon, each from the steps before it (teacher forcing).
    """

    def __init__(self, spec: ForecasterSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        self.recurrent = recurrent(spec.recurrent, batch_first=True, engine=engine)
        self.head: Head | None = None
        self.output: nn.Linear | None = None
        if spec.decoder in ("linear", "mlp"):
            self.head = Head(spec)
            return
        stack = spec.recurrent
        if spec.decoder_recurrent is not None:
            stack = spec.decoder_recurrent
            self.bridge = Bridge(*final_sizes(spec.recurrent), stack)
            self.decoder = recurrent(stack, batch_first=True, engine=engine)
        self.output = nn.Linear(stack.output_size, spec.num_outputs)

    def forward(self, window: Window) -> Tensor:
        """Return the outputs of a window."""
        drop = self.spec.dropout
        if self.spec.decoder == "autoregressive":
            assert self.output is not None
            y, _ = self.recurrent(self._read(window, shifted=True), lengths=window.lengths)
            outputs: Tensor = self.output(F.dropout(y, drop, self.training))
            return outputs
        _, hx = self.recurrent(self._read(window), lengths=window.lengths)
        h, c = final_states(self.spec.recurrent, hx)
        if self.head is not None:
            direct: Tensor = self.head(F.dropout(h, drop, self.training), window.ahead)
            return direct
        assert self.output is not None
        first_h, first_c = self.bridge(h, c)
        state = (first_h, first_c) if first_c is not None else first_h
        y, _ = self.decoder(self._ahead(window), _stacked(state))
        ahead: Tensor = self.output(F.dropout(y, drop, self.training))
        return ahead

    def _read(self, window: Window, *, shifted: bool = False) -> Tensor:
        """Return what the stack reads [N, T, I]; `shifted` by a step: the value before."""
        y, observed = window.y, window.observed
        if shifted:
            y, observed = (F.pad(part, (1, 0))[:, :-1] for part in (y, observed))
        parts = [y.unsqueeze(2), observed.unsqueeze(2), window.past, window.known]
        static = window.static.unsqueeze(1).expand(-1, y.shape[1], -1)
        return torch.cat([*parts, static], dim=2)

    def _ahead(self, window: Window) -> Tensor:
        rows, steps = window.ahead.shape[:2]
        place = torch.arange(1, steps + 1, dtype=window.y.dtype, device=window.y.device) / steps
        static = window.static.unsqueeze(1).expand(-1, steps, -1)
        return torch.cat([place.view(1, -1, 1).expand(rows, -1, -1), window.ahead, static], dim=2)


def _stacked(state: object) -> object:
    """Return a first state as layers take it: [L, N, H] where widths are one, else a tuple."""
    if isinstance(state, tuple) and state and isinstance(state[0], tuple):
        return tuple(_stacked(part) for part in state)
    assert isinstance(state, tuple)
    if len({part.shape[1] for part in state}) > 1:
        return tuple(part.unsqueeze(0) for part in state)
    return torch.stack(state)


def forecast_loss(
    spec: ForecasterSpec, outputs: Tensor, y: Tensor, base: Tensor, scale: Tensor, *, kind: str
) -> Tensor:
    """Return the loss of each step [N, T]: the point's error, the pinball loss, or -log p(y).

    `y` and `base` [N, T] are scaled, `scale` [N, 1]; the negative binomial alone needs its counts,
    y * scale. `kind` is that of a point's loss: mae, mse or huber (delta 1).
    """
    if spec.output == "quantiles":
        shares = torch.tensor(spec.quantiles, dtype=y.dtype, device=y.device)
        apart = (y - base).unsqueeze(2) - spread(outputs, spec.quantiles.index(0.5))
        return 2 * torch.maximum(shares * apart, (shares - 1) * apart).mean(2)
    first = outputs[..., 0]
    if spec.output == "negative_binomial":
        mean = scale * (F.softplus(first) + LEAST_MEAN)
        alpha = (F.softplus(outputs[..., 1]) + LEAST_MEAN) / scale.sqrt()
        found = NegativeBinomial(1 / alpha, logits=(mean * alpha).log(), validate_args=False)
        return -found.log_prob((y * scale).round())  # type: ignore[no-untyped-call,no-any-return]
    loc = first + base
    if spec.output == "point":
        if kind == "mae":
            return F.l1_loss(loc, y, reduction="none")
        if kind == "mse":
            return F.mse_loss(loc, y, reduction="none")
        return F.huber_loss(loc, y, reduction="none")
    width = F.softplus(outputs[..., 1]) + LEAST_SCALE
    if spec.output == "normal":
        return -Normal(loc, width, validate_args=False).log_prob(y)  # type: ignore[no-untyped-call,no-any-return]
    df = LEAST_DF + F.softplus(outputs[..., 2])
    return -StudentT(df, loc, width, validate_args=False).log_prob(y)  # type: ignore[no-untyped-call,no-any-return]


def spread(outputs: Tensor, middle: int) -> Tensor:
    """Return quantiles [..., Q] in order; see `unrolled.runtime.distributions.spread_quantiles`."""
    above = F.softplus(outputs[..., middle + 1 :]).cumsum(-1)
    below = F.softplus(outputs[..., :middle]).flip(-1).cumsum(-1).flip(-1)
    centre = outputs[..., middle : middle + 1]
    return torch.cat([centre - below, centre, centre + above], dim=-1)
