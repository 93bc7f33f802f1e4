"""Many to many, aligned: a tag score for every word of a sentence, or for every frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.nn.embedding import Embedding
from unrolled.nn.encoder import final_states
from unrolled.nn.frames import Frames
from unrolled.nn.rnn import recurrent
from unrolled.spec import CharacterSpec, Engine, TaggerSpec
from unrolled.validation import check_network


class Characters(nn.Module):
    """Words from their spelling: the last states of a recurrent stack (Ling et al. 2015, 3.2).

    The top layer's directions stand side by side.
    """

    def __init__(self, spec: CharacterSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        self.spec = spec
        self.embedding = Embedding(spec.vocab_size, spec.embedding_size)
        self.recurrent = recurrent(spec.recurrent, batch_first=True, engine=engine)

    def forward(self, spellings: Tensor, lengths: Tensor) -> Tensor:
        """Map spellings [U, W] int64 with lengths [U] of 1 or more to words [U, D * P]."""
        _, hx = self.recurrent(self.embedding(spellings), lengths=lengths)
        return final_states(self.spec.recurrent, hx)[0]


class Chain(nn.Module):
    """What a CRF adds to the emissions: transitions [K, K], start [K], end [K], zero at first."""

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))


def _small(vocab_size: int, size: int) -> Embedding | None:
    """Return an embedding drawn from N(0, 1 / E), so that a rare word's spelling outweighs it."""
    if not size:
        return None
    embedding = Embedding(vocab_size, size)
    with torch.no_grad():
        embedding.weight.mul_(size**-0.5)
    return embedding


class Tagger(nn.Module):
    """Scores of K tags at each step: W dropout(rnn(dropout([e(word); spelling]))) + b.

    With an intent, V max_t rnn(...)_t + c scores the labels of the whole sequence. The word and
    character model is that of Plank et al. 2016; with a CRF over it, of Lample et al. 2016.
    """

    def __init__(self, spec: TaggerSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        self.embedding = _small(spec.vocab_size, spec.embedding_size)
        self.characters = (
            None if spec.characters is None else Characters(spec.characters, engine=engine)
        )
        self.frames = Frames(spec.frame_size) if spec.frame_size else None
        self.recurrent = recurrent(spec.recurrent, batch_first=True, engine=engine)
        self.output = nn.Linear(spec.recurrent.output_size, spec.num_tags)
        self.crf = Chain(spec.num_tags) if spec.head == "crf" else None
        self.intent = (
            nn.Linear(spec.recurrent.output_size, spec.num_intents) if spec.num_intents else None
        )

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor,
        spellings: Tensor | None = None,
        spelling_lengths: Tensor | None = None,
        words: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return emissions [N, T, K] and intent logits [N, J], None without an intent.

        `inputs` are word ids [N, T] int64 or frames [N, T, I], `lengths` [N] 1 or more. `spellings`
        [U, W] with `spelling_lengths` [U] are the different words of the batch, and `words` [N, T]
        says which of them each word is.
        """
        read = self._read(inputs, spellings, spelling_lengths, words)
        read = F.dropout(read, self.spec.dropout, self.training)
        y, _ = self.recurrent(read, lengths=lengths)
        y = F.dropout(y, self.spec.dropout, self.training)
        if self.intent is None:
            return self.output(y), None
        past = torch.arange(y.shape[1], device=y.device) >= lengths.to(y.device).unsqueeze(1)
        pooled = y.masked_fill(past.unsqueeze(2), -math.inf).amax(1)
        return self.output(y), self.intent(pooled)

    def _read(
        self,
        inputs: Tensor,
        spellings: Tensor | None,
        spelling_lengths: Tensor | None,
        words: Tensor | None,
    ) -> Tensor:
        if self.frames is not None:
            scaled: Tensor = self.frames(inputs)
            return scaled
        parts = [] if self.embedding is None else [self.embedding(inputs)]
        if self.characters is not None:
            spelled: Tensor = self.characters(spellings, spelling_lengths)
            parts.append(spelled[words])
        return torch.cat(parts, dim=-1)
