"""Many to one: a recurrent stack over a sequence, pooled over time, read out as one answer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn.attention import AttentionPooling
from unrolled.nn.embedding import Embedding
from unrolled.nn.frames import Frames
from unrolled.nn.rnn import recurrent
from unrolled.spec import ClassifierSpec, Engine, RecurrentSpec, RegressorSpec
from unrolled.validation import check_network


class Pooled(nn.Module):
    """One vector of a sequence: W dropout(pool(rnn(e(x)))) + b, where e embeds tokens or scales.

    Pooling over the steps of each row: `last` the top layer's final states, its directions merged
    as the spec merges outputs; `mean` and `max` over the outputs; `attention` their average by
    learned weights (`unrolled.nn.attention.AttentionPooling`).
    """

    def __init__(self, spec: ClassifierSpec | RegressorSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        self.embedding: Embedding | None = None
        self.frames: Frames | None = None
        if spec.frame_size:
            self.frames = Frames(spec.frame_size, mask_missing=spec.mask_missing)
        else:
            self.embedding = Embedding(spec.vocab_size, spec.embedding_size)
        self.recurrent = recurrent(spec.recurrent, batch_first=True, engine=engine)
        self.pooling = None if spec.attention is None else AttentionPooling(spec.attention)
        self.output = nn.Linear(spec.recurrent.output_size, spec.num_outputs)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens [N, T] int64, or frames [N, T, I], to outputs [N, C]; lengths [N] of 1 on."""
        read = self.embedding if self.frames is None else self.frames
        assert read is not None
        y, hx = self.recurrent(read(inputs), lengths=lengths)
        pooled = self._pool(y, hx, lengths)
        outputs: Tensor = self.output(F.dropout(pooled, self.spec.dropout, self.training))
        return outputs

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


class Classifier(Pooled):
    """Logits of C classes: a softmax over them, or with several labels a sigmoid each."""

    thresholds: Tensor

    def __init__(self, spec: ClassifierSpec, *, engine: Engine = "auto") -> None:
        super().__init__(spec, engine=engine)
        if spec.multi_label:
            self.register_buffer("thresholds", torch.full((spec.num_classes,), 0.5))


class Regressor(Pooled):
    """K real numbers on the scale of the training data's targets: (y - mean) / scale."""

    def __init__(self, spec: RegressorSpec, *, engine: Engine = "auto") -> None:
        super().__init__(spec, engine=engine)
        self.targets = Frames(spec.num_targets)


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
