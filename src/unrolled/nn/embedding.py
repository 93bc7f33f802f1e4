"""Token embedding: one learned vector per unit of a vocabulary."""

from __future__ import annotations

from torch import nn

from unrolled.data.vocab import PAD


class Embedding(nn.Embedding):
    """Look up a vector per token: x[n, t] = W[token[n, t]], [N, T] int64 -> [N, T, E].

    `weight` is [V, E], drawn from N(0, 1); the row of `<pad>` is zero and gets no gradient.
    """

    def __init__(self, vocab_size: int, size: int) -> None:
        super().__init__(vocab_size, size, padding_idx=PAD)
