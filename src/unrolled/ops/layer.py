"""What every engine is given and gives back: one layer, in D directions, over a whole sequence.

An engine is one function of this shape; nothing else crosses between `nn` and the engines:

    layer(spec, weights, x, h, c, *, ragged=None, mask=None, states=False, flow=None) -> LayerResult
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from unrolled.spec import RecurrentSpec


class LayerWeights(NamedTuple):
    """The weights of one direction of one layer, in torch's order and layout.

    ih [G*H, I], hh [G*H, P], b_ih and b_hh [G*H] or None, hr [P, H] or None.
    """

    ih: Tensor
    hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    hr: Tensor | None = None


class LayerResult(NamedTuple):
    """What one layer computes: y [T, N, D*P], last h [D, N, P] and c [D, N, H] (LSTM).

    `cells` holds c[t] at every step, [T, N, D*H], where it was asked for and the cell has one.
    """

    y: Tensor
    h: Tensor
    c: Tensor | None = None
    cells: Tensor | None = None


class Packing(NamedTuple):
    """How the steps inside each row's length lie when packed: time by time, longest row first.

    `order` [n] lists the rows of length 1 or more, longest first; `batch_sizes` [longest] counts
    the rows still running at each step (on the CPU); `steps` finds each packed step in [T*N].
    """

    order: Tensor
    batch_sizes: Tensor
    steps: Tensor


@dataclass(frozen=True)
class Ragged:
    """The lengths [N] (int64, 0 to T) of a padded batch of T steps, and what follows from them."""

    lengths: Tensor
    steps: int

    @cached_property
    def active(self) -> Tensor:
        """[T, N, 1], true inside each row's length."""
        time = torch.arange(self.steps, device=self.lengths.device)
        return (time[:, None] < self.lengths[None, :]).unsqueeze(-1)

    @cached_property
    def packing(self) -> Packing:
        """The packed order of the steps that count."""
        lengths, order = torch.sort(self.lengths, descending=True, stable=True)
        running = int((lengths > 0).sum())
        lengths, order = lengths[:running], order[:running]
        time = torch.arange(self.steps, device=lengths.device)
        active = time[:, None] < lengths[None, :]
        index = (time[:, None] * len(self.lengths) + order[None, :])[active]
        batch_sizes = active.sum(1)
        return Packing(order, batch_sizes[batch_sizes > 0].cpu(), index)


class LayerFunction(Protocol):
    """The signature of an engine.

    x [T, N, I] may have any strides; h [D, N, P]; c [D, N, H] for LSTM, else None. `mask`
    [D, N, P] multiplies h[t-1] inside the recurrent product (recurrent dropout). `states` asks for
    `LayerResult.cells`. `flow` [D, T, N, 2], zeros to begin with, is filled by the backward pass
    with each row's norms of dL/dh[t] and (LSTM) dL/dc[t]. y is zero past each row's length; the
    last states are each row's own last, and a row of length 0 keeps h and c as given.
    """

    def __call__(
        self,
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
        """Run one layer."""
        ...
