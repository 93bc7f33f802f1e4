"""Autoregressive: at every step of a sequence, how likely each next token or key is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.vocab import PAD
from unrolled.nn.recurrent import Recurrent, locked
from unrolled.nn.rnn import recurrent
from unrolled.spec import Engine, GeneratorSpec
from unrolled.validation import check_network


class Generator(nn.Module):
    """Logits of what comes next: W p(rnn(e(x))) + b, W the embedding's matrix where tied.

    p is a linear layer where a tied output needs one, else nothing. The dropout is AWD-LSTM's
    (Merity et al. 2018, section 4). The state goes in and comes out.
    """

    def __init__(self, spec: GeneratorSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        width = spec.recurrent.output_size
        self.embedding: nn.Embedding | None = None
        if spec.vocab_size:
            self.embedding = nn.Embedding(spec.vocab_size, spec.embedding_size)
            nn.init.normal_(self.embedding.weight, std=spec.embedding_size**-0.5)
        stack = recurrent(spec.recurrent, batch_first=True, engine=engine)
        assert isinstance(stack, Recurrent)
        stack.locked_dropout, stack.weight_dropout = True, spec.weight_dropout
        self.recurrent = stack
        self.projection = nn.Linear(width, spec.embedding_size) if spec.projected else None
        self.output: nn.Linear | None = None
        self.bias: nn.Parameter | None = None
        if spec.tied:
            self.bias = nn.Parameter(torch.zeros(spec.vocab_size))
        else:
            self.output = nn.Linear(width, spec.vocab_size or spec.frame_size)

    def forward(
        self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Map tokens [N, T] int64, or frames [N, T, I], to logits [N, T, V or I] and the state."""
        x = self._read(inputs)
        if self.training and self.spec.input_dropout:
            x = locked(x.transpose(0, 1), self.spec.input_dropout).transpose(0, 1)
        y, state = self.recurrent(x, state, lengths=lengths)
        if self.training and self.spec.dropout:
            y = locked(y.transpose(0, 1), self.spec.dropout).transpose(0, 1)
        if self.projection is not None:
            y = self.projection(y)
        if self.output is not None:
            return self.output(y), state
        assert self.embedding is not None
        return F.linear(y, self.embedding.weight, self.bias), state

    def _read(self, inputs: Tensor) -> Tensor:
        if self.embedding is None:
            return inputs
        weight = self.embedding.weight
        if self.training and self.spec.embedding_dropout:
            kept = F.dropout(weight.new_ones(len(weight), 1), self.spec.embedding_dropout)
            weight = weight * kept
        return F.embedding(inputs, weight, PAD)
