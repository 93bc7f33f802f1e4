"""The torch engine: torch's own recurrent kernels, one call a layer (cuDNN on CUDA)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import _VF, Tensor

from unrolled.ops.layer import LayerResult, LayerWeights, Ragged
from unrolled.spec import RecurrentSpec

_FUNCTIONS: dict[tuple[str, str], Any] = {
    ("rnn", "tanh"): _VF.rnn_tanh,
    ("rnn", "relu"): _VF.rnn_relu,
    ("gru", "tanh"): _VF.gru,
    ("lstm", "tanh"): _VF.lstm,
}


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
    """Run one layer in its D directions; see `ops.layer.LayerFunction`.

    Ragged rows are packed here, in any order, and unpacked again. `ops.choose` keeps away what
    these kernels lack (reset before, recurrent dropout, c at every step, the gradient flow).
    """
    assert mask is None
    assert flow is None
    if ragged is None:
        y, h, c = _call(spec, weights, x, h, c, None)
        return LayerResult(y, h, c)
    order, batch_sizes, packed_steps = ragged.packing
    steps, rows, _ = x.shape
    width = spec.num_directions * h.shape[-1]
    if not len(order):
        return LayerResult(x.new_zeros(steps, rows, width), h, c)
    packed = x.reshape(steps * rows, -1).index_select(0, packed_steps)
    h_in = h.index_select(1, order)
    c_in = None if c is None else c.index_select(1, order)
    y, h_out, c_out = _call(spec, weights, packed, h_in, c_in, batch_sizes)
    y = y.new_zeros(steps * rows, width).index_copy(0, packed_steps, y).view(steps, rows, width)
    h = h.index_copy(1, order, h_out)
    if c is not None and c_out is not None:
        c = c.index_copy(1, order, c_out)
    return LayerResult(y, h, c)


def _call(
    spec: RecurrentSpec,
    weights: tuple[LayerWeights, ...],
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    batch_sizes: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Call torch's kernel on padded [T, N, I] or packed [sum of lengths, I] input.

    `train` only says whether to keep what a backward pass needs: dropout is not the kernel's here.
    """
    function = _FUNCTIONS[spec.cell, spec.nonlinearity if spec.cell == "rnn" else "tanh"]
    flat = [tensor for w in weights for tensor in w if tensor is not None]
    hx = h.contiguous() if c is None else [h.contiguous(), c.contiguous()]
    options = (flat, spec.bias, 1, 0.0, torch.is_grad_enabled(), spec.bidirectional)
    if batch_sizes is None:
        result = function(x, hx, *options, False)
    else:
        result = function(x, batch_sizes, hx, *options)
    y, h_out, *rest = cast("tuple[Tensor, ...]", result)
    return y, h_out, rest[0] if rest else None
