"""A translator as a user of torch writes it: modules, masks made once, a loop of eager steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled.data.vocab import BOS, EOS, PAD
from unrolled.spec import TranslatorSpec

# The tokens of an answer without `</s>`, and its log-probability in nats, `</s>` included.
Answer = tuple[tuple[int, ...], float]
# How this module's parameters are called in a model's weights.
NAMES = {
    "source": "source_embedding",
    "target": "target_embedding",
    "key": "attention.key",
    "query": "attention.query",
    "score": "attention.score",
    "bridge": "bridge.h",
    "cell": "decoder",
}


class Eager(nn.Module):
    """A bidirectional GRU read by a GRU cell through Bahdanau's attention."""

    def __init__(self, spec: TranslatorSpec, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        inputs, hidden = spec.source_embedding_size, spec.encoder.hidden_sizes[0]
        outputs, width = spec.target_embedding_size, spec.decoder.hidden_sizes[0]
        self.source = nn.Embedding(spec.source_vocab_size, inputs)
        self.target = nn.Embedding(spec.target_vocab_size, outputs)
        self.encoder = nn.GRU(inputs, hidden, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(outputs + 2 * hidden, width)
        self.key = nn.Linear(2 * hidden, width)
        self.query = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.bridge = nn.Linear(2 * hidden, width)
        self.readout = nn.Linear(width + 2 * hidden + outputs, spec.readout_size)
        self.output = nn.Linear(spec.readout_size, spec.target_vocab_size)
        self.vocabulary = spec.target_vocab_size
        self.load_state_dict({name: weights[_theirs(name)] for name in self.state_dict()})
        self.eval()

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return memory [N, S, 2H], keys [N, S, H], the mask of padding and the first state."""
        packed = pack_padded_sequence(
            self.source(source), lengths, batch_first=True, enforce_sorted=False
        )
        y, h = self.encoder(packed)
        memory, _ = pad_packed_sequence(y, batch_first=True)
        past = torch.arange(memory.shape[1]) >= lengths[:, None]
        state = torch.tanh(self.bridge(torch.cat((h[0], h[1]), dim=-1)))
        return memory, self.key(memory), past, state

    def step(
        self, tokens: Tensor, h: Tensor, memory: Tensor, keys: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log p(next token) [B, V] and the state after."""
        embedded = self.target(tokens)
        scores = self.score(torch.tanh(self.query(h)[:, None] + keys))[:, :, 0]
        shares = scores.masked_fill(past, -torch.inf).softmax(dim=-1)
        context = torch.bmm(shares[:, None], memory)[:, 0]
        h = self.cell(torch.cat((embedded, context), dim=-1), h)
        readout = torch.tanh(self.readout(torch.cat((h, context, embedded), dim=-1)))
        found = self.output(readout).log_softmax(dim=-1)
        found[:, [PAD, BOS]] = -torch.inf
        return found, h

    def search(self, source: Tensor, lengths: Tensor, limit: int, width: int) -> list[Answer]:
        """Return the best answer to each row by greedy search, or with a beam of `width`."""
        with torch.inference_mode():
            if width == 1:
                return self._greedy(source, lengths, limit)
            return self._beam(source, lengths, limit, width)

    def score_of(self, source: Tensor, lengths: Tensor, answers: Sequence[Sequence[int]]) -> Tensor:
        """Return log p(answer, </s> | source) [N] of answers that are given."""
        with torch.inference_mode():
            memory, keys, past, h = self.encode(source, lengths)
            total = torch.zeros(len(source), dtype=memory.dtype)
            tokens = torch.full((len(source),), BOS)
            for t in range(max(map(len, answers)) + 1):
                found, h = self.step(tokens, h, memory, keys, past)
                ended = torch.tensor([t > len(answer) for answer in answers])
                tokens = torch.tensor([(*answer, EOS)[min(t, len(answer))] for answer in answers])
                total += found.gather(1, tokens[:, None])[:, 0].masked_fill(ended, 0.0)
        return total

    def _greedy(self, source: Tensor, lengths: Tensor, limit: int) -> list[Answer]:
        """Write the likeliest token at every step; rows go on until all have ended."""
        memory, keys, past, h = self.encode(source, lengths)
        tokens = torch.full((len(source),), BOS)
        total = torch.zeros(len(source), dtype=memory.dtype)
        done = torch.zeros(len(source), dtype=torch.bool)
        written = []
        for t in range(limit + 1):
            found, h = self.step(tokens, h, memory, keys, past)
            best, tokens = (found[:, EOS], torch.full_like(tokens, EOS))
            if t < limit:
                best, tokens = found.max(dim=-1)
            total += best.masked_fill(done, 0.0)
            tokens = tokens.masked_fill(done, EOS)
            done = done | (tokens == EOS)
            written.append(tokens)
            if done.all():
                break
        return _answers(torch.stack(written, dim=1), total)

    def _beam(self, source: Tensor, lengths: Tensor, limit: int, width: int) -> list[Answer]:
        """Keep `width` hypotheses a row in one batch; one that has ended keeps its place.

        Without a length penalty a finished hypothesis competes as it is, so the search is exact
        about which of them are kept.
        """
        rows, vocabulary = len(source), self.vocabulary
        parts = self.encode(source, lengths)
        memory, keys, past, h = (part.repeat_interleave(width, dim=0) for part in parts)
        tokens = torch.full((rows * width,), BOS)
        total = torch.full((rows, width), -torch.inf, dtype=memory.dtype)
        total[:, 0] = 0.0
        done = torch.zeros(rows, width, dtype=torch.bool)
        written = torch.empty(rows, width, 0, dtype=torch.long)
        first = torch.arange(rows)[:, None] * width
        ended = torch.full((vocabulary,), -torch.inf, dtype=memory.dtype)
        ended[EOS] = 0.0
        for t in range(limit + 1):
            found, h = self.step(tokens, h, memory, keys, past)
            log_probs = found.view(rows, width, vocabulary)
            if t == limit:
                log_probs = log_probs + ended
            log_probs = torch.where(done[:, :, None], ended, log_probs)
            flat = (total[:, :, None] + log_probs).view(rows, -1)
            total, picked = flat.topk(width, dim=-1)
            parents, chosen = picked // vocabulary, picked % vocabulary
            h = h[(first + parents).view(-1)]
            done = done.gather(1, parents) | (chosen == EOS)
            kept = written.gather(1, parents[:, :, None].expand(-1, -1, t))
            written = torch.cat((kept, chosen[:, :, None]), dim=-1)
            tokens = chosen.view(-1)
            if done.all():
                break
        return _answers(written[:, 0], total[:, 0])


def _theirs(name: str) -> str:
    """Return what a model's weights call a parameter of `Eager`."""
    module, _, kind = name.partition(".")
    end = "_l0" if module == "cell" else ""
    return f"{NAMES.get(module, module)}.{kind}{end}"


def _answers(written: Tensor, total: Tensor) -> list[Answer]:
    rows = written.tolist()
    return [
        (tuple(row[: row.index(EOS)]), float(score))
        for row, score in zip(rows, total.tolist(), strict=True)
    ]
