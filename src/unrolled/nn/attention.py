"""Attention between queries and a memory, and attention that pools one sequence.

Shapes: N rows, T queries, S memory steps, Q query width, M memory width, A attention width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unrolled.nn.state import Lengths, check_lengths
from unrolled.shapes import check_attention
from unrolled.spec import AttentionSpec


def sequence_mask(lengths: Lengths, memory: Tensor) -> Tensor:
    """Return [N, S], true inside each row's length, for a memory [N, S, M].

    Raises ValueError for lengths outside 1..S, naming the row: a row with nothing to attend to has
    no weights that sum to 1.
    """
    rows, steps = memory.shape[:2]
    value = check_lengths(lengths, rows=rows, steps=steps, device=memory.device)
    _refuse_empty(value > 0)
    return torch.arange(steps, device=memory.device) < value[:, None]


def _refuse_empty(filled: Tensor) -> None:
    if not bool(filled.all()):
        empty = int((~filled).nonzero()[0, 0])
        raise ValueError(
            f"row {empty} has nothing to attend to: its length is 0 or its mask is all false"
        )


class Attention(nn.Module):
    """Weights of queries over a memory, and the memory's weighted sum.

    a[t, s] = softmax over s of score(q[t], m[s]); context[t] = sum over s of a[t, s] m[s], where

        additive, concat   score = v . tanh(W q + U m + b)
        dot                score = q . m
        general            score = q . (W m)

    `additive` is Bahdanau et al. 2015, A.1.2; the others Luong et al. 2015, 3.1, whose
    v . tanh(W [q; m]) is W in two blocks, so that U m is computed once for all queries. Parameters:
    query.weight [A, Q], key.weight [A, M], key.bias [A], score.weight [1, A]; general:
    key.weight [Q, M]; dot: none.
    """

    def __init__(
        self,
        spec: AttentionSpec,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_attention(spec)
        self.spec = spec
        self.query = self.key = self.score = None
        if spec.kind == "general":
            self.key = nn.Linear(
                spec.key_size, spec.query_size, bias=False, device=device, dtype=dtype
            )
        elif spec.kind != "dot":
            self.query = nn.Linear(
                spec.query_size, spec.size, bias=False, device=device, dtype=dtype
            )
            self.key = nn.Linear(spec.key_size, spec.size, device=device, dtype=dtype)
            self.score = nn.Linear(spec.size, 1, bias=False, device=device, dtype=dtype)

    def precompute(self, memory: Tensor) -> Tensor:
        """Return what queries are scored against, from the memory [N, S, M] alone.

        [N, S, A] for additive and concat, [N, S, Q] for general, the memory itself for dot.
        Computed once for a sequence and given back as `keys=` at each of its steps.
        """
        if memory.dim() != 3 or memory.shape[-1] != self.spec.key_size:
            raise ValueError(
                f"memory must be [N, S, {self.spec.key_size}], got {list(memory.shape)}"
            )
        return memory if self.key is None else self.key(memory)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return score(q[t], m[s]) [N, T, S] of queries [N, T, Q] and precomputed keys."""
        if self.query is None or self.score is None:
            return query @ keys.transpose(1, 2)
        hidden = torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1))
        return hidden @ self.score.weight[0]

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        lengths: Lengths | None = None,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the context [N, T, M] and the weights [N, T, S]; without T for a query [N, Q].

        `lengths` [N] of the memory, or a boolean mask [N, S] (`sequence_mask` makes one that serves
        many steps), give weight exactly 0 outside. Raises ValueError for a row with nothing inside
        and for shapes that do not fit.
        """
        rows, size = memory.shape[0], self.spec.query_size
        if query.dim() not in (2, 3) or query.shape[0] != rows or query.shape[-1] != size:
            raise ValueError(
                f"query must be [{rows}, {size}] or [{rows}, T, {size}] for memory "
                f"{list(memory.shape)}, got {list(query.shape)}"
            )
        if keys is None:
            keys = self.precompute(memory)
        scores = self.scores(query.unsqueeze(1) if query.dim() == 2 else query, keys)
        if lengths is not None:
            scores = scores.masked_fill(~_mask(lengths, memory).unsqueeze(1), -math.inf)
        weights = torch.softmax(scores, dim=-1)
        context = weights @ memory
        if query.dim() == 2:
            return context.squeeze(1), weights.squeeze(1)
        return context, weights

    def extra_repr(self) -> str:
        """Return the spec's kind and sizes."""
        spec = self.spec
        return f"{spec.kind!r}, query_size={spec.query_size}, key_size={spec.key_size}"


def _mask(lengths: Lengths, memory: Tensor) -> Tensor:
    """Return the mask [N, S] of lengths or of a mask, with no row empty."""
    if not isinstance(lengths, Tensor) or lengths.dtype != torch.bool:
        return sequence_mask(lengths, memory)
    if lengths.shape != memory.shape[:2]:
        raise ValueError(
            f"a mask must be [N, S] = {list(memory.shape[:2])}, got {list(lengths.shape)}"
        )
    _refuse_empty(lengths.any(dim=1))
    return lengths


class AttentionPooling(nn.Module):
    """One sequence [N, S, M] summed up in a context [N, M] by a learned query.

    a[s] = softmax over s of score(q, m[s]), context = sum over s of a[s] m[s], with q the parameter
    `query_vector` [Q] and score as in `Attention` (whose parameters are under `attention.`). After
    Yang et al. 2016, 2.2, whose word attention is the additive case.
    """

    def __init__(
        self,
        spec: AttentionSpec,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.attention = Attention(spec, device=device, dtype=dtype)
        bound = 1.0 / math.sqrt(spec.query_size)
        query = torch.empty(spec.query_size, device=device, dtype=dtype).uniform_(-bound, bound)
        self.query_vector = nn.Parameter(query)

    def forward(self, memory: Tensor, lengths: Lengths | None = None) -> tuple[Tensor, Tensor]:
        """Return the context [N, M] and the weights [N, S]; raises as `Attention` does."""
        query = self.query_vector.expand(memory.shape[0], -1)
        context, weights = self.attention(query, memory, lengths)
        return context, weights


__all__ = ["Attention", "AttentionPooling", "sequence_mask"]
