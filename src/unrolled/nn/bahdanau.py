"""The one-layer Bahdanau decoder's loop with its gradient written out by hand.

Autograd through the plain loop adds every weight's gradient once a step and keeps tanh(W q + U k),
[N, S, A], of every step. Here weight gradients are one product over all steps after the loop, the
two products of h[t-1] are one, and the tanh is computed again on the way back, so that memory
grows with T (G H + A + M + S) and not with T S A.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.spec import RecurrentSpec

_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


class Weights(NamedTuple):
    """What the loop reads at every step.

    Of the cell: context [G * H, M] (its columns of weight_ih), hidden [G * H, H], bias [G * H] or
    None. Of the attention: query [A, H] and score [A].
    """

    context: Tensor
    hidden: Tensor
    bias: Tensor | None
    query: Tensor
    score: Tensor


def supports(spec: RecurrentSpec) -> bool:
    """Whether `run` computes this decoder: one layer, no projection, GRU with reset after."""
    return spec.num_layers == 1 and not spec.proj_size and spec.reset == "after"


def run(
    spec: RecurrentSpec,
    weights: Weights,
    gates: Tensor,
    values: Tensor,
    keys: Tensor,
    mask: Tensor,
    h: Tensor,
    c: Tensor | None,
    flow: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return every h_t [T, N, H] and context [T, N, M] of the decoder; differentiable once.

    `gates` [T, N, G * H] is the embeddings' share of the first product with bias_ih; the memory is
    `values` [N, S, M] with `keys` [N, S, A] and an additive `mask` [N, S]. The backward pass writes
    |dL/dh[t]| and |dL/dc[t]| to `flow` [T, N, 2] where it is given.
    """
    kind = spec.nonlinearity if spec.cell == "rnn" else spec.cell
    bias = gates.new_zeros(gates.shape[-1]) if weights.bias is None else weights.bias
    first_c = torch.zeros_like(h) if c is None else c
    result: tuple[Tensor, Tensor] = _Loop.apply(  # type: ignore[no-untyped-call]
        (kind, flow), gates, *weights._replace(bias=bias), values, keys, mask, h, first_c
    )
    return result


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kind_and_flow: tuple[str, Tensor | None],
        gates: Tensor,
        w_context: Tensor,
        w_hidden: Tensor,
        bias: Tensor,
        w_query: Tensor,
        score: Tensor,
        values: Tensor,
        keys: Tensor,
        mask: Tensor,
        h: Tensor,
        c: Tensor,
    ) -> tuple[Tensor, Tensor]:
        kind, ctx.flow = kind_and_flow
        steps, rows, wide = gates.shape
        step_forward = _CELLS[kind].forward
        w_both, w_context_t = torch.cat([w_hidden, w_query]).t(), w_context.t()
        bias_both = torch.cat([bias, bias.new_zeros(len(w_query))])
        outputs = gates.new_empty(steps, rows, h.shape[1])
        contexts = gates.new_empty(steps, rows, values.shape[2])
        weights = gates.new_empty(steps, *mask.shape)
        scratch = torch.empty_like(keys)
        queries, saved, cells = [], [], [c]
        for t in range(steps):
            both = torch.addmm(bias_both, outputs[t - 1] if t else h, w_both)
            queries.append(both[:, wide:])
            _hidden(keys, queries[t], scratch)
            scores = torch.addmv(mask.flatten(), scratch.flatten(0, 1), score).view_as(mask)
            torch.softmax(scores, dim=1, out=weights[t])
            torch.bmm(weights[t].unsqueeze(1), values, out=contexts[t].unsqueeze(1))
            x = torch.addmm(gates[t], contexts[t], w_context_t)
            previous = outputs[t - 1] if t else h
            kept, cell = step_forward(x, both[:, :wide], previous, cells[t], outputs[t])
            saved.append(kept)
            cells.append(cell)
        ctx.kind, ctx.saved, ctx.cells, ctx.queries = kind, saved, cells, queries
        ctx.save_for_backward(
            w_context, w_hidden, w_query, score, values, keys, h, outputs, contexts, weights
        )
        return outputs, contexts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_contexts: Tensor) -> tuple[Tensor | None, ...]:
        w_context, w_hidden, w_query, score, values, keys, h, outputs, contexts, weights = (
            ctx.saved_tensors
        )
        step_backward = _CELLS[ctx.kind].backward
        steps, rows, _ = outputs.shape
        wide = len(w_hidden)
        w_both = torch.cat([w_hidden, w_query])
        d_gates = outputs.new_empty(steps, rows, wide)
        d_both = outputs.new_empty(steps, rows, len(w_both))
        d_read = torch.empty_like(contexts)
        d_squares = torch.zeros_like(keys)
        d_scores = torch.zeros_like(weights[0])
        d_score = torch.zeros_like(score)
        hidden = torch.empty_like(keys)
        dh, dc = torch.zeros_like(h), torch.zeros_like(ctx.cells[0])
        for t in reversed(range(steps)):
            previous = outputs[t - 1] if t else h
            dh = dh + d_outputs[t]
            kept, cells = ctx.saved[t], ctx.cells[t]
            if ctx.flow is not None:
                _note(ctx.kind, ctx.flow[t], kept, dh, dc)
            direct, dc = step_backward(
                kept, previous, cells, dh, dc, d_gates[t], d_both[t, :, :wide]
            )
            torch.addmm(d_contexts[t], d_gates[t], w_context, out=d_read[t])
            d_weights = torch.bmm(values, d_read[t].unsqueeze(2)).squeeze(2)
            ds = torch._softmax_backward_data(d_weights, weights[t], 1, weights.dtype)
            _hidden(keys, ctx.queries[t], hidden)
            d_score.addmv_(hidden.flatten(0, 1).t(), ds.flatten())
            hidden.mul_(hidden)
            # The gradient of a softmax sums to zero over s: of ds (1 - tanh^2), ds drops out.
            through = torch.bmm(ds.unsqueeze(1), hidden).squeeze(1)
            torch.mul(through, -score, out=d_both[t, :, wide:])
            d_squares.addcmul_(ds.unsqueeze(2), hidden)
            d_scores += ds
            dh = torch.addmm(direct, d_both[t], w_both)
        before = torch.cat([h.unsqueeze(0), outputs[:-1]]).flatten(0, 1)
        d_w_both = d_both.flatten(0, 1).t() @ before
        d_w_context = d_gates.flatten(0, 1).t() @ contexts.flatten(0, 1)
        d_values = torch.bmm(weights.permute(1, 2, 0), d_read.transpose(0, 1))
        d_keys = (d_scores.unsqueeze(2) - d_squares) * score
        return (
            None,
            d_gates,
            d_w_context,
            d_w_both[:wide],
            d_both[:, :, :wide].sum((0, 1)),
            d_w_both[wide:],
            d_score,
            d_values,
            d_keys,
            None,
            dh,
            dc,
        )


def _note(kind: str, flow: Tensor, kept: tuple[Tensor, ...], dh: Tensor, dc: Tensor) -> None:
    """Write the norms of the whole dL/dh[t] and, of an LSTM, dL/dc[t] to `flow` [N, 2]."""
    flow[:, 0] = dh.norm(dim=1)
    if kind == "lstm":
        o, squashed = kept[3:]
        flow[:, 1] = (dc + _tanh_backward(dh * o, squashed)).norm(dim=1)


def _hidden(keys: Tensor, query: Tensor, out: Tensor) -> None:
    """Write tanh(W q + U k) [N, S, A] to `out`."""
    torch.add(keys, query.unsqueeze(1), out=out).tanh_()


def _gru_forward(
    x: Tensor, both: Tensor, h: Tensor, c: Tensor, out: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    size = h.shape[1]
    rz = torch.add(x[:, : 2 * size], both[:, : 2 * size]).sigmoid_()
    recurrent = both[:, 2 * size :]
    n = torch.addcmul(x[:, 2 * size :], rz[:, :size], recurrent).tanh_()
    torch.lerp(n, h, rz[:, size:], out=out)
    return (rz, n, recurrent), c


def _gru_backward(
    kept: tuple[Tensor, ...],
    h: Tensor,
    c: Tensor,
    dh: Tensor,
    dc: Tensor,
    d_x: Tensor,
    d_both: Tensor,
) -> tuple[Tensor, Tensor]:
    rz, n, recurrent = kept
    size = h.shape[1]
    r, z = rz[:, :size], rz[:, size:]
    d_rz, d_n = d_x[:, : 2 * size], d_x[:, 2 * size :]
    direct = dh * z
    _tanh_backward.grad_input(dh - direct, n, grad_input=d_n)
    torch.mul(d_n, recurrent, out=d_x[:, :size])
    torch.mul(dh, h - n, out=d_x[:, size : 2 * size])
    _sigmoid_backward.grad_input(d_rz, rz, grad_input=d_rz)
    d_both[:, : 2 * size] = d_rz
    torch.mul(d_n, r, out=d_both[:, 2 * size :])
    return direct, dc


def _lstm_forward(
    x: Tensor, both: Tensor, h: Tensor, c: Tensor, out: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    size = h.shape[1]
    i, f, g, o = (x + both).split(size, dim=1)  # type: ignore[no-untyped-call]
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = torch.addcmul(f * c, i, g)
    squashed = c.tanh()
    torch.mul(o, squashed, out=out)
    return (i, f, g, o, squashed), c


def _lstm_backward(
    kept: tuple[Tensor, ...],
    h: Tensor,
    c: Tensor,
    dh: Tensor,
    dc: Tensor,
    d_x: Tensor,
    d_both: Tensor,
) -> tuple[Tensor, Tensor]:
    i, f, g, o, squashed = kept
    dc = dc + _tanh_backward(dh * o, squashed)
    parts = (
        _sigmoid_backward(dc * g, i),
        _sigmoid_backward(dc * c, f),
        _tanh_backward(dc * i, g),
        _sigmoid_backward(dh * squashed, o),
    )
    torch.cat(parts, dim=1, out=d_x)
    d_both.copy_(d_x)
    return torch.zeros_like(dh), dc * f


def _tanh_forward(
    x: Tensor, both: Tensor, h: Tensor, c: Tensor, out: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    torch.add(x, both, out=out).tanh_()
    return (out,), c


def _relu_forward(
    x: Tensor, both: Tensor, h: Tensor, c: Tensor, out: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    torch.add(x, both, out=out).relu_()
    return (out,), c


def _tanh_step_backward(
    kept: tuple[Tensor, ...],
    h: Tensor,
    c: Tensor,
    dh: Tensor,
    dc: Tensor,
    d_x: Tensor,
    d_both: Tensor,
) -> tuple[Tensor, Tensor]:
    d_x.copy_(_tanh_backward(dh, kept[0]))
    d_both.copy_(d_x)
    return torch.zeros_like(dh), dc


def _relu_step_backward(
    kept: tuple[Tensor, ...],
    h: Tensor,
    c: Tensor,
    dh: Tensor,
    dc: Tensor,
    d_x: Tensor,
    d_both: Tensor,
) -> tuple[Tensor, Tensor]:
    torch.mul(dh, kept[0] > 0, out=d_x)
    d_both.copy_(d_x)
    return torch.zeros_like(dh), dc


class _Cell(NamedTuple):
    """A cell's pointwise part, one step.

    forward(x, both, h, c, out) writes h' to `out` from the gates' two products and returns what
    backward needs and c'; backward(kept, h, c, dh, dc, d_x, d_both) writes the gradients of the two
    products and returns those of h (outside the product) and c.
    """

    forward: Callable[..., tuple[tuple[Tensor, ...], Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor]]


_CELLS = {
    "gru": _Cell(_gru_forward, _gru_backward),
    "lstm": _Cell(_lstm_forward, _lstm_backward),
    "tanh": _Cell(_tanh_forward, _tanh_step_backward),
    "relu": _Cell(_relu_forward, _relu_step_backward),
}
