"""The encoder-decoder with teacher forcing: what training needs of it, and nothing more."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn import decoder as decoding
from unrolled.nn.attention import Attention, sequence_mask
from unrolled.nn.decoder import Decoder, Memory, States
from unrolled.nn.embedding import Embedding
from unrolled.nn.encoder import Bridge, final_states
from unrolled.nn.rnn import recurrent
from unrolled.spec import Engine, TranslatorSpec
from unrolled.validation import check_network, readout_input_size


class Translator(nn.Module):
    """Logits of every target token given the source and the target tokens before it.

    The equations are in `unrolled.spec.TranslatorSpec`. S source length, T target length, M the
    encoder's output width, V the target vocabulary.
    Sources: Sutskever et al. 2014; Bahdanau et al. 2015, A.1 and A.2; Luong et al. 2015, 3;
    Bengio et al. 2015 (scheduled sampling).
    """

    def __init__(self, spec: TranslatorSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        self.source_embedding = Embedding(spec.source_vocab_size, spec.source_embedding_size)
        self.target_embedding = Embedding(spec.target_vocab_size, spec.target_embedding_size)
        self.encoder = recurrent(spec.encoder, batch_first=True, engine=engine)
        self.bridge = Bridge(spec.encoder, spec.decoder)
        self.decoder = recurrent(spec.decoder, batch_first=True, engine=engine)
        if spec.share_parameters:
            for name, _ in list(self.decoder.named_parameters()):
                setattr(self.decoder, name, getattr(self.encoder, name))
        self.attention = None if spec.attention is None else Attention(spec.attention)
        self.readout = nn.Linear(readout_input_size(spec), spec.readout_size)
        self.output = nn.Linear(spec.readout_size, spec.target_vocab_size)

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
        """Map source [N, S] and target_in [N, T] (both int64, the latter from `<s>`) to [N, T, V].

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
        memory, h, c = self._encode(source, source_lengths)
        parts = Decoder(self.spec, self.decoder, self.attention, self.readout, self.training)
        embedded = self.target_embedding(target_in)
        if teacher_forcing < 1:
            return self._sampled(parts, target_in, teacher_forcing, generator, h, c, memory)
        if stepwise or self.spec.input_feeding:
            steps = embedded.unbind(1)
            return decoding.stepwise(parts, lambda t, _: steps[t], len(steps), h, c, memory)
        if decoding.is_parallel(parts):
            return decoding.parallel(parts, embedded, h, c, memory)
        return decoding.additive(parts, embedded, h, c, memory)

    def _encode(self, source: Tensor, lengths: Tensor) -> tuple[Memory, States, States | None]:
        values, hx = self.encoder(self.source_embedding(source), lengths=lengths)
        keys = None if self.attention is None else self.attention.precompute(values)
        h, c = self.bridge(*final_states(self.spec.encoder, hx))
        return Memory(values, sequence_mask(lengths, values), keys), h, c

    def _sampled(
        self,
        parts: Decoder,
        target_in: Tensor,
        teacher_forcing: float,
        generator: torch.Generator | None,
        h: States,
        c: States | None,
        memory: Memory,
    ) -> Tensor:
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
            return embedded

        return decoding.stepwise(parts, next_embedding, len(tokens), h, c, memory)

    def _logits(self, readouts: Tensor) -> Tensor:
        logits: Tensor = self.output(F.dropout(readouts, self.spec.dropout, self.training))
        return logits
