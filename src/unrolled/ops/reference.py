"""The reference engine: plain loops over time in torch operations that are twice differentiable.

It computes every request, in any floating dtype on any device, also under `torch.func` transforms,
and is what the fast engines are held against. Equations, with W = weight_ih, U = weight_hh, and
b, d the biases of each; s is the logistic function, * is elementwise:

    RNN   h' = f(W x + b + U h + d)                                      (Elman 1990)
    LSTM  i, f, o = s(...), g = tanh(...); c' = f*c + i*g; h' = o*tanh(c')  (Gers et al. 2000)
          with projection h' = weight_hr (o*tanh(c'))                    (Sak et al. 2014)
    GRU   r, z = s(...); h' = (1 - z)*n + z*h                            (Cho et al. 2014)
          reset after   n = tanh(W x + b + r*(U h + d))
          reset before  n = tanh(W x + b + U (r*h) + d)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.ops.layer import LayerResult, LayerWeights, Ragged
from unrolled.spec import RecurrentSpec


def rnn_step(spec: RecurrentSpec, w: LayerWeights, gx: Tensor, h_in: Tensor) -> Tensor:
    """Return h[t] of a vanilla RNN from the input product `gx` [N, H] and h[t-1]."""
    a = gx + linear(h_in, w.hh, w.b_hh)
    return torch.relu(a) if spec.nonlinearity == "relu" else torch.tanh(a)


def lstm_step(w: LayerWeights, gx: Tensor, h_in: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return h[t] [N, P] and c[t] [N, H] of an LSTM from the input product `gx` [N, 4*H]."""
    i, f, g, o = (gx + linear(h_in, w.hh, w.b_hh)).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if w.hr is None else linear(h, w.hr)), c


def gru_step(spec: RecurrentSpec, w: LayerWeights, gx: Tensor, h_in: Tensor, h: Tensor) -> Tensor:
    """Return h[t] [N, H] of a GRU from the input product `gx` [N, 3*H].

    `h_in` is what the recurrent product reads (h[t-1], masked by recurrent dropout); `h` is what
    the update gate carries over.
    """
    size = h.shape[-1]
    if spec.reset == "after":
        gh = linear(h_in, w.hh, w.b_hh)
        r, z = torch.sigmoid(gx[..., : 2 * size] + gh[..., : 2 * size]).chunk(2, dim=-1)
        n = torch.tanh(gx[..., 2 * size :] + r * gh[..., 2 * size :])
    else:
        b_rz, b_n = (None, None) if w.b_hh is None else (w.b_hh[: 2 * size], w.b_hh[2 * size :])
        a = gx[..., : 2 * size] + linear(h_in, w.hh[: 2 * size], b_rz)
        r, z = torch.sigmoid(a).chunk(2, dim=-1)
        n = torch.tanh(gx[..., 2 * size :] + linear(r * h_in, w.hh[2 * size :], b_n))
    return n + z * (h - n)


def record_norm(value: Tensor, norm: Tensor) -> None:
    """Have the backward pass write the norms of dL/dvalue's rows [N, H] into `norm` [N]."""

    def write(gradient: Tensor) -> None:
        norm.copy_(gradient.detach().norm(dim=-1))

    if value.requires_grad:
        value.register_hook(write)  # type: ignore[no-untyped-call]


def direction(
    spec: RecurrentSpec,
    w: LayerWeights,
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    *,
    reverse: bool,
    active: Tensor | None,
    mask: Tensor | None,
    flow: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Run one direction: y [T, N, P], last h [N, P], last c [N, H], every c [T, N, H].

    A row takes part at step t only where `active[t]`; until then, or after, its state stays. So the
    backward direction begins at each row's own end.
    """
    gx = linear(x, w.ih, w.b_ih).unbind(0)
    steps = range(len(gx))
    ys: list[Tensor] = []
    cells: list[Tensor] = []
    for t in reversed(steps) if reverse else steps:
        h_in = h if mask is None else h * mask
        c_new = c
        if spec.cell == "rnn":
            h_new = rnn_step(spec, w, gx[t], h_in)
        elif spec.cell == "gru":
            h_new = gru_step(spec, w, gx[t], h_in, h)
        else:
            assert c is not None
            h_new, c_new = lstm_step(w, gx[t], h_in, c)
        if flow is not None:
            record_norm(h_new, flow[t, :, 0])
            if c_new is not None:
                record_norm(c_new, flow[t, :, 1])
        y, cell = h_new, c_new
        if active is not None:
            y, h_new = h_new * active[t], torch.where(active[t], h_new, h)
            if c is not None and c_new is not None:
                cell, c_new = c_new * active[t], torch.where(active[t], c_new, c)
        h, c = h_new, c_new
        ys.append(y)
        if cell is not None:
            cells.append(cell)
    if reverse:
        ys.reverse()
        cells.reverse()
    return torch.stack(ys), h, c, torch.stack(cells) if cells else None


def layer(
    spec: RecurrentSpec,
    weights: tuple[LayerWeights, ...],
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    *,
    ragged: Ragged | None = None,
    mask: Tensor | None = None,
    states: bool = False,
    flow: Tensor | None = None,
) -> LayerResult:
    """Run one layer in its D directions; see `ops.layer.LayerFunction`."""
    active = None
    if ragged is not None:
        active = ragged.active
        x = torch.where(active, x, torch.zeros_like(x))
    results = [
        direction(
            spec,
            w,
            x,
            h[d],
            None if c is None else c[d],
            reverse=d == 1,
            active=active,
            mask=None if mask is None else mask[d],
            flow=None if flow is None else flow[d],
        )
        for d, w in enumerate(weights)
    ]
    ys, hs, cs, cells = zip(*results, strict=True)
    return LayerResult(
        y=torch.cat(ys, dim=-1),
        h=torch.stack(hs),
        c=None if c is None else torch.stack(cs),
        cells=torch.cat(cells, dim=-1) if states and c is not None else None,
    )
