"""Many to one: a recurrent stack over tokens, pooled over time, read out as classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn.attention import AttentionPooling
from unrolled.nn.embedding import Embedding
from unrolled.nn.rnn import recurrent
from unrolled.spec import ClassifierSpec, Engine, RecurrentSpec
from unrolled.validation import check_network


class Classifier(nn.Module):
    """Logits of C classes: W dropout(pool(rnn(e(x)))) + b.

    Pooling over the steps of each row: `last` the top layer's final states, its directions merged
    as the spec merges outputs; `mean` and `max` over the outputs; `attention` their average by
    learned weights (`unrolled.nn.attention.AttentionPooling`).
    """

    def __init__(self, spec: ClassifierSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        self.embedding = Embedding(spec.vocab_size, spec.embedding_size)
        self.recurrent = recurrent(spec.recurrent, batch_first=True, engine=engine)
        self.pooling = None if spec.attention is None else AttentionPooling(spec.attention)
        self.output = nn.Linear(spec.recurrent.output_size, spec.num_classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens [N, T] int64 with lengths [N] of 1 or more to logits [N, C]."""
        y, hx = self.recurrent(self.embedding(tokens), lengths=lengths)
        pooled = self._pool(y, hx, lengths)
        logits: Tensor = self.output(F.dropout(pooled, self.spec.dropout, self.training))
        return logits

    def _pool(self, y: Tensor, hx: Any, lengths: Tensor) -> Tensor:
        if self.pooling is not None:
            pooled: Tensor = self.pooling(y, lengths)[0]
            return pooled
        if self.spec.pooling == "last":
            return last_output(self.spec.recurrent, hx)
        lengths = lengths.to(y.device)
        if self.spec.pooling == "mean":
            return y.sum(1) / lengths.unsqueeze(1)
        past = torch.arange(y.shape[1], device=y.device) >= lengths.unsqueeze(1)
        return y.masked_fill(past.unsqueeze(2), -math.inf).amax(1)


def last_output(spec: RecurrentSpec, hx: Any) -> Tensor:
    """Return the top layer's final h with its directions merged as outputs are."""
    h_n = hx[0] if spec.cell == "lstm" else hx
    last: Tensor = h_n[-1] if isinstance(h_n, tuple) else h_n[-spec.num_directions :]
    if not spec.bidirectional:
        return last[0]
    if spec.merge == "concat":
        return torch.cat(tuple(last), dim=-1)
    if spec.merge == "mul":
        return last[0] * last[1]
    total = last[0] + last[1]
    return total / 2 if spec.merge == "mean" else total
