"""The decoder's way from target tokens to readouts, one function per way of going through time.

Every function computes what `stepwise` computes; the others are for speed, where nothing that the
network wrote is read again. The embedding e(y_{t-1}), the context c_t and the readout r_t are as in
`unrolled.spec.TranslatorSpec`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn import bahdanau
from unrolled.nn.attention import Attention
from unrolled.ops import reference
from unrolled.ops.layer import LayerWeights
from unrolled.spec import DecoderSpec

States = tuple[Tensor, ...]


@dataclass(frozen=True)
class Memory:
    """What the decoder may look at: values [N, S, M] and, for attention, their keys.

    `mask` [N, S] is true inside each row's length.
    """

    values: Tensor
    mask: Tensor
    keys: Tensor | None


@dataclass(frozen=True)
class Seen:
    """What a decoder did whose cell is not run by its own module, so that no hook of it is called.

    `x` [N, T, I] is what its first layer read, `state` its first state, as the module takes both;
    `flow` [1, T, N, 2] of each layer gets |dL/dh[t]| and |dL/dc[t]| in the backward pass.
    """

    x: Tensor
    state: Any
    flow: list[Tensor]


@dataclass(frozen=True)
class Decoder:
    """The parts of a network that write: its layers by name, and whether dropout acts.

    `watch` is told what was `Seen` where the cell is run step by step; there the gradient through
    the state goes back `truncate` steps at most, where that is above 0.
    """

    spec: DecoderSpec
    recurrent: nn.Module
    attention: Attention | None
    readout: nn.Linear
    training: bool
    watch: Callable[[Seen], None] | None = None
    truncate: int = 0

    @property
    def additive(self) -> bool:
        """Whether the context enters the cell (Bahdanau) instead of joining its output (Luong)."""
        return self.spec.attention is not None and self.spec.attention.kind == "additive"


def is_parallel(decoder: Decoder) -> bool:
    """Whether all steps can run at once, given the true tokens: no context or readout returns."""
    return not decoder.additive and not decoder.spec.input_feeding


def parallel(
    decoder: Decoder, embedded: Tensor, h: States, c: States | None, memory: Memory
) -> Tensor:
    """Readouts [N, T, R] with one pass of the stack over all steps and one batched attention."""
    hx = _per_layer(h) if c is None else (_per_layer(h), _per_layer(c))
    y = decoder.recurrent(embedded, hx)[0]
    if decoder.attention is not None:
        context, _ = decoder.attention(y, memory.values, memory.mask, memory.keys)
        y = torch.cat([y, context], dim=-1)
    return torch.tanh(decoder.readout(y))


def _per_layer(states: States) -> States:
    return tuple(state.unsqueeze(0) for state in states)


def stepwise(
    decoder: Decoder,
    next_embedding: Callable[[int, Tensor | None], Tensor],
    steps: int,
    h: States,
    c: States | None,
    memory: Memory,
) -> tuple[Tensor, States]:
    """Readouts [N, T, R] one step after the other, and h of every layer after the last.

    Every kind of attention and feeding. `next_embedding(t, r_{t-1})` gives e(y_{t-1}) [N, E], from
    the true token or from the one that the readout before it (None at t = 0) speaks for.
    """
    spec, attention = decoder.spec, decoder.attention
    layers = layer_weights(decoder)
    masks = _state_masks(decoder, h)
    readout: Tensor | None = None
    written, read, flow = [], [], _no_flow(decoder, h, steps)
    first_state = _state(h, c)
    for t in range(steps):
        if decoder.truncate and t and t % decoder.truncate == 0:
            h, c = _detached(h), None if c is None else _detached(c)
            readout = None if readout is None else readout.detach()
        embedded = next_embedding(t, readout)
        x, context = embedded, None
        if attention is not None and decoder.additive:
            context, _ = attention(h[-1], memory.values, memory.mask, memory.keys)
            x = torch.cat([embedded, context], dim=-1)
        elif spec.input_feeding:
            fed = h[-1].new_zeros(len(embedded), spec.readout_size) if readout is None else readout
            x = torch.cat([embedded, fed], dim=-1)
        first = F.linear(x, layers[0].ih, layers[0].b_ih)
        y, h, c = _stack(decoder, layers, first, h, c, masks)
        if flow:
            _record(flow, t, h, c)
            read.append(x.detach())
        if attention is None:
            joined = y
        elif context is None:
            joined = torch.cat(
                [y, attention(y, memory.values, memory.mask, memory.keys)[0]], dim=-1
            )
        else:
            joined = torch.cat([y, context, embedded], dim=-1)
        readout = torch.tanh(decoder.readout(joined))
        written.append(readout)
    if decoder.watch is not None:
        decoder.watch(Seen(torch.stack(read, dim=1), first_state, flow))
    return torch.stack(written, dim=1), h


def _detached(states: States) -> States:
    return tuple(state.detach() for state in states)


def _no_flow(decoder: Decoder, h: States, steps: int) -> list[Tensor]:
    """Return what a watched decoder's flow is written to, a tensor a layer; else nothing."""
    if decoder.watch is None:
        return []
    return [state.new_zeros(1, steps, len(state), 2) for state in h]


def _state(h: States, c: States | None) -> Any:
    """Return the first state as the decoder's module takes it, apart from its graph."""
    first = _per_layer(_detached(h))
    return first if c is None else (first, _per_layer(_detached(c)))


def _record(flow: list[Tensor], t: int, h: States, c: States | None) -> None:
    """Let the backward pass write the norms of dL/dh[t] and dL/dc[t] of every layer, by row."""
    for column, states in enumerate((h, c or ())):
        for norms, state in zip(flow, states, strict=False):
            if state.requires_grad:
                hook = partial(_note, norms[0, t, :, column])
                state.register_hook(hook)  # type: ignore[no-untyped-call]


def _note(norms: Tensor, gradient: Tensor) -> None:
    norms.copy_(gradient.norm(dim=1))


def layer_weights(decoder: Decoder) -> list[LayerWeights]:
    """Return the weights of each of the decoder's layers."""
    module, spec = decoder.recurrent, decoder.spec.decoder
    return [
        LayerWeights(
            ih=getattr(module, f"weight_ih_l{layer}"),
            hh=getattr(module, f"weight_hh_l{layer}"),
            b_ih=getattr(module, f"bias_ih_l{layer}") if spec.bias else None,
            b_hh=getattr(module, f"bias_hh_l{layer}") if spec.bias else None,
            hr=getattr(module, f"weight_hr_l{layer}") if spec.proj_size else None,
        )
        for layer in range(spec.num_layers)
    ]


def _state_masks(decoder: Decoder, h: States) -> list[Tensor | None]:
    rate = decoder.spec.decoder.recurrent_dropout if decoder.training else 0.0
    return [F.dropout(torch.ones_like(state), rate) if rate else None for state in h]


def _stack(
    decoder: Decoder,
    layers: list[LayerWeights],
    first: Tensor,
    h: States,
    c: States | None,
    masks: list[Tensor | None],
) -> tuple[Tensor, States, States | None]:
    """One step of all layers; `first` is the first layer's input product [N, G * H]."""
    spec = decoder.spec.decoder
    new_h, new_c = [], []
    gates = y = first
    for layer, weights in enumerate(layers):
        if layer:
            x = F.dropout(y, spec.dropout, decoder.training)
            gates = F.linear(x, weights.ih, weights.b_ih)
        mask = masks[layer]
        read = h[layer] if mask is None else h[layer] * mask
        if spec.cell == "lstm":
            assert c is not None
            out, cell = reference.lstm_step(weights, gates, read, c[layer])
            new_c.append(cell)
        elif spec.cell == "gru":
            out = reference.gru_step(spec, weights, gates, read, h[layer])
        else:
            out = reference.rnn_step(spec, weights, gates, read)
        y = x + out if spec.residual and layer else out
        new_h.append(out)
    return y, tuple(new_h), tuple(new_c) if new_c else None


def additive(
    decoder: Decoder, embedded: Tensor, h: States, c: States | None, memory: Memory
) -> Tensor:
    """Readouts [N, T, R] of the Bahdanau decoder given all true tokens.

    Only what depends on the step before stays in the loop: the embeddings' share of the first
    layer's input product and all of the readout are one product over all steps, and lengths become
    one additive mask.
    """
    attention, keys = decoder.attention, memory.keys
    assert attention is not None
    assert attention.query is not None
    assert attention.score is not None
    assert keys is not None
    spec, width = decoder.spec.decoder, embedded.shape[-1]
    layers = layer_weights(decoder)
    masks = _state_masks(decoder, h)
    mask = torch.zeros_like(keys[:, :, 0]).masked_fill_(~memory.mask, -torch.inf)
    gates = F.linear(embedded.transpose(0, 1), layers[0].ih[:, :width], layers[0].b_ih)
    weights = bahdanau.Weights(
        context=layers[0].ih[:, width:],
        hidden=layers[0].hh,
        bias=layers[0].b_hh,
        query=attention.query.weight,
        score=attention.score.weight[0],
    )
    flow = _no_flow(decoder, h, embedded.shape[1])
    if bahdanau.supports(spec) and masks[0] is None:
        first_c = None if c is None else c[0]
        norms = flow[0][0] if flow else None
        y, context = bahdanau.run(
            spec, weights, gates, memory.values, keys, mask, h[0], first_c, norms
        )
    else:
        y, context = _additive_loop(
            decoder, layers, weights, gates, h, c, memory, mask, masks, flow
        )
    if decoder.watch is not None:
        read = torch.cat([embedded.detach(), context.detach().transpose(0, 1)], dim=-1)
        decoder.watch(Seen(read, _state(h, c), flow))
    joined = torch.cat([y, context, embedded.transpose(0, 1)], dim=-1)
    return torch.tanh(decoder.readout(joined)).transpose(0, 1)


def _additive_loop(
    decoder: Decoder,
    layers: list[LayerWeights],
    weights: bahdanau.Weights,
    gates: Tensor,
    h: States,
    c: States | None,
    memory: Memory,
    mask: Tensor,
    masks: list[Tensor | None],
    flow: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """What `bahdanau.run` returns, for any stack, through autograd."""
    w_context, w_query, keys = weights.context.t(), weights.query.t(), memory.keys
    assert keys is not None
    outputs, contexts = [], []
    for t, step_gates in enumerate(gates.unbind(0)):
        query = torch.mm(h[-1], w_query).unsqueeze(1)
        scores = torch.matmul(torch.tanh(query + keys), weights.score) + mask
        context = torch.bmm(torch.softmax(scores, dim=-1).unsqueeze(1), memory.values).squeeze(1)
        first = torch.addmm(step_gates, context, w_context)
        y, h, c = _stack(decoder, layers, first, h, c, masks)
        _record(flow, t, h, c)
        outputs.append(y)
        contexts.append(context)
    return torch.stack(outputs), torch.stack(contexts)
