"""The captioner with teacher forcing: a vector or a set in, a sequence out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.nn.attention import Attention, sequence_mask
from unrolled.nn.decoder import Memory
from unrolled.nn.embedding import Embedding
from unrolled.nn.encoder import Bridge
from unrolled.nn.rnn import recurrent
from unrolled.nn.writer import Writer, Written
from unrolled.spec import CaptionerSpec, Engine
from unrolled.validation import check_network, readout_input_size


class Captioner(Writer):
    """Logits of every token of a text given what it describes and the tokens before it.

    The equations are in `unrolled.spec.CaptionerSpec`. S regions or attributes, F numbers each, M
    the width of the memory. `feature_mean` and `feature_scale` [F] standardise the numbers; they
    are set from the training data and not trained.
    Sources: Vinyals et al. 2015 (the vector as first state); Xu et al. 2015, 3.1 (regions).
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, spec: CaptionerSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        if spec.inputs == "attributes":
            self.embedding = Embedding(spec.feature_size, spec.memory_size)
        else:
            self.project = nn.Linear(spec.feature_size, spec.memory_size)
            self.register_buffer("feature_mean", torch.zeros(spec.feature_size))
            self.register_buffer("feature_scale", torch.ones(spec.feature_size))
        if spec.positions:
            self.position = nn.Parameter(torch.zeros(spec.positions, spec.memory_size))
        self.bridge = Bridge(spec.memory_size, spec.memory_size, spec.decoder)
        self.target_embedding = Embedding(spec.target_vocab_size, spec.target_embedding_size)
        self.decoder = recurrent(spec.decoder, batch_first=True, engine=engine)
        self.attention = None if spec.attention is None else Attention(spec.attention)
        self.readout = nn.Linear(readout_input_size(spec), spec.readout_size)
        self.output = nn.Linear(spec.readout_size, spec.target_vocab_size)

    def encode(self, source: Tensor, lengths: Tensor) -> Written:
        """Read numbers [N, S, F], or attributes [N, S] int64, with lengths [N] of 1 or more."""
        values = self._rows(source)
        inside = sequence_mask(lengths, values)
        values = values * inside.unsqueeze(-1)
        summary = values.sum(dim=1)
        if self.spec.inputs != "attributes":
            summary = summary / inside.sum(dim=1, keepdim=True)
        keys = None if self.attention is None else self.attention.precompute(values)
        h, c = self.bridge(summary, None)
        fed = summary if self.spec.condition == "every" else None
        return Written(Memory(values, inside, keys), h, c, fed)

    def _rows(self, source: Tensor) -> Tensor:
        if self.spec.inputs == "attributes":
            found: Tensor = self.embedding(source)
            return found
        standard = (source - self.feature_mean) * self.feature_scale
        projected: Tensor = self.project(standard)
        if self.spec.positions:
            projected = projected + self.position[: source.shape[1]]
        return torch.tanh(projected)
