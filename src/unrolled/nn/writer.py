"""What every network that writes a sequence shares in training: the teacher-forced forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn import decoder as decoding
from unrolled.nn.attention import Attention
from unrolled.nn.decoder import Decoder, Memory, Seen, States
from unrolled.nn.embedding import Embedding
from unrolled.nn.recurrent import Recurrent


class Written(NamedTuple):
    """What is written about: the memory, the decoder's first states, and what each step reads.

    `fed` [N, M] is read beside every token, where the network does so.
    """

    memory: Memory
    h: States
    c: States | None
    fed: Tensor | None = None


class Writer(nn.Module):
    """A decoder over what `encode` makes of the inputs; its kinds hold the layers.

    N rows, T target length, V the target vocabulary. Sources: Bengio et al. 2015 (scheduled
    sampling); the decoders are in `unrolled.nn.decoder`. `watch` is told what a decoder did that
    its own module does not run; it acts in training only.
    """

    spec: Any
    target_embedding: Embedding
    decoder: nn.Module
    attention: Attention | None
    readout: nn.Linear
    output: nn.Linear
    watch: Callable[[Seen], None] | None = None

    def encode(self, source: Tensor, lengths: Tensor) -> Written:
        """Read the inputs [N, S, ...] with lengths [N] of 1 or more."""
        raise NotImplementedError

    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target_in: Tensor,
        target_lengths: Tensor,
        teacher_forcing: float = 1.0,
        generator: torch.Generator | None = None,
        *,
        stepwise: bool = False,
    ) -> Tensor:
        """Map the inputs and target_in [N, T] (int64, from `<s>`) to logits [N, T, V].

        Logits past a row's target length mean nothing. Each step after the first reads the true
        token with probability `teacher_forcing`, by one coin a step and row from `generator`, else
        the likeliest token by the step before; no gradient passes through that choice.
        `stepwise` takes the plain loop also where a faster way computes the same.
        """
        r = self.readouts(
            source, source_lengths, target_in, teacher_forcing, generator, stepwise=stepwise
        )
        return self._logits(r)

    def packed_logits(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target_in: Tensor,
        target_lengths: Tensor,
        teacher_forcing: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits [K, V] of the K steps within their rows' lengths, and the mask [N, T].

        `target_out[mask]` lies in the same order. No output product is spent on padding.
        """
        r = self.readouts(source, source_lengths, target_in, teacher_forcing, generator)
        steps = torch.arange(target_in.shape[1], device=r.device)
        mask = steps < target_lengths.to(r.device).unsqueeze(1)
        return self._logits(r[mask]), mask

    def readouts(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target_in: Tensor,
        teacher_forcing: float = 1.0,
        generator: torch.Generator | None = None,
        *,
        stepwise: bool = False,
    ) -> Tensor:
        """Return r_t for every step, [N, T, R]; arguments as in `forward`."""
        about = self.encode(source, source_lengths)
        memory, h, c, fed = about
        watch = self.watch if self.training else None
        limit = self._limit(target_in.shape[1])
        parts = Decoder(
            self.spec, self.decoder, self.attention, self.readout, self.training, watch, limit
        )
        embedded = self.target_embedding(target_in)
        if teacher_forcing < 1:
            return self._sampled(parts, target_in, teacher_forcing, generator, about)
        if fed is not None:
            every = fed.unsqueeze(1).expand(-1, embedded.shape[1], -1)
            embedded = torch.cat([embedded, every], dim=-1)
        if stepwise or self.spec.input_feeding or (limit and parts.additive):
            steps = embedded.unbind(1)
            return decoding.stepwise(parts, lambda t, _: steps[t], len(steps), h, c, memory)[0]
        if decoding.is_parallel(parts):
            return decoding.parallel(parts, embedded, h, c, memory)
        return decoding.additive(parts, embedded, h, c, memory)

    def _sampled(
        self,
        parts: Decoder,
        target_in: Tensor,
        teacher_forcing: float,
        generator: torch.Generator | None,
        about: Written,
    ) -> Tensor:
        memory, h, c, fed = about
        coins = torch.rand(target_in.shape, generator=generator).to(target_in.device)
        use_true = (coins < teacher_forcing).unbind(1)
        tokens = target_in.unbind(1)

        def next_embedding(t: int, readout: Tensor | None) -> Tensor:
            token = tokens[t]
            if readout is not None:
                with torch.no_grad():
                    guess = self.output(readout).argmax(dim=-1)
                token = torch.where(use_true[t], token, guess)
            embedded: Tensor = self.target_embedding(token)
            return embedded if fed is None else torch.cat([embedded, fed], dim=-1)

        return decoding.stepwise(parts, next_embedding, len(tokens), h, c, memory)[0]

    def _limit(self, steps: int) -> int:
        """Return how far gradients go back through the decoder's state, 0 for all `steps`."""
        assert isinstance(self.decoder, Recurrent)
        limit = self.decoder.truncate if self.training else 0
        return limit if limit < steps else 0

    def _logits(self, readouts: Tensor) -> Tensor:
        logits: Tensor = self.output(F.dropout(readouts, self.spec.dropout, self.training))
        return logits
