"""Words per second of a translator's whole decode, ours and the same weights in a loop of torch.

`python -m bench.decode` times greedy search and a beam of 5, one word at a time and in batches,
turn about, and refuses to time answers that differ. The network is that of a
grapheme-to-phoneme translator: a bidirectional GRU, Bahdanau's attention, hidden 256, embedding
128, with random weights; the limit of length ends every answer.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

import unrolled
from unrolled.data.vocab import BOS, EOS, PAD
from unrolled.nn.build import build
from unrolled.runtime import decode
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.spec import AttentionSpec, RecurrentSpec, TranslatorSpec

HIDDEN, EMBEDDING, LETTERS, PHONEMES = 256, 128, 34, 46
STEPS = 8
BLAS = "OPENBLAS_NUM_THREADS"
Answer = tuple[tuple[int, ...], float]


def spec() -> TranslatorSpec:
    """Return the translator's sizes."""
    encoder = RecurrentSpec(
        cell="gru", input_size=EMBEDDING, hidden_sizes=(HIDDEN,), bidirectional=True
    )
    decoder = RecurrentSpec(cell="gru", input_size=EMBEDDING + 2 * HIDDEN, hidden_sizes=(HIDDEN,))
    return TranslatorSpec(
        source_vocab_size=LETTERS,
        target_vocab_size=PHONEMES,
        source_embedding_size=EMBEDDING,
        target_embedding_size=EMBEDDING,
        encoder=encoder,
        decoder=decoder,
        readout_size=HIDDEN,
        attention=AttentionSpec(
            kind="additive", query_size=HIDDEN, key_size=2 * HIDDEN, size=HIDDEN
        ),
    )


class Eager(nn.Module):
    """The translator as a user of torch writes it: modules, masks made once, one loop."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.source = nn.Embedding(LETTERS, EMBEDDING)
        self.target = nn.Embedding(PHONEMES, EMBEDDING)
        self.encoder = nn.GRU(EMBEDDING, HIDDEN, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(EMBEDDING + 2 * HIDDEN, HIDDEN)
        self.key = nn.Linear(2 * HIDDEN, HIDDEN)
        self.query = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.score = nn.Linear(HIDDEN, 1, bias=False)
        self.bridge = nn.Linear(2 * HIDDEN, HIDDEN)
        self.readout = nn.Linear(3 * HIDDEN + EMBEDDING, HIDDEN)
        self.output = nn.Linear(HIDDEN, PHONEMES)
        names = {
            "source.": "source_embedding.",
            "target.": "target_embedding.",
            "key.": "attention.key.",
            "query.": "attention.query.",
            "score.": "attention.score.",
            "bridge.": "bridge.h.",
            "cell.": "decoder.",
        }
        found = {}
        for name in self.state_dict():
            theirs = name
            for ours, given in names.items():
                if name.startswith(ours):
                    theirs = given + name.removeprefix(ours) + "_l0" * (ours == "cell.")
            found[name] = weights[theirs]
        self.load_state_dict(found)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return memory [N, S, 2H], keys [N, S, H], the mask of padding and the first state."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.source(source), lengths, batch_first=True, enforce_sorted=False
        )
        y, h = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
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

    def greedy(self, source: Tensor, lengths: Tensor, limit: int) -> list[Answer]:
        """Write the likeliest token at every step; rows go on until all have ended."""
        memory, keys, past, h = self.encode(source, lengths)
        tokens = torch.full((len(source),), BOS)
        total, done = torch.zeros(len(source)), torch.zeros(len(source), dtype=torch.bool)
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

    def beam(self, source: Tensor, lengths: Tensor, limit: int, width: int = 5) -> list[Answer]:
        """Keep `width` hypotheses a row in one batch; one that has ended keeps its place.

        Without a length penalty a finished hypothesis competes as it is, so the search is exact
        about which of them are kept.
        """
        rows = len(source)
        parts = self.encode(source, lengths)
        memory, keys, past, h = (part.repeat_interleave(width, dim=0) for part in parts)
        tokens = torch.full((rows * width,), BOS)
        total = torch.full((rows, width), -torch.inf)
        total[:, 0] = 0.0
        done = torch.zeros(rows, width, dtype=torch.bool)
        written = torch.empty(rows, width, 0, dtype=torch.long)
        first = torch.arange(rows)[:, None] * width
        ended = torch.full((PHONEMES,), -torch.inf)
        ended[EOS] = 0.0
        for t in range(limit + 1):
            found, h = self.step(tokens, h, memory, keys, past)
            log_probs = found.view(rows, width, PHONEMES)
            if t == limit:
                log_probs = log_probs + ended
            log_probs = torch.where(done[:, :, None], ended, log_probs)
            flat = (total[:, :, None] + log_probs).view(rows, -1)
            total, picked = flat.topk(width, dim=-1)
            parents, chosen = picked // PHONEMES, picked % PHONEMES
            h = h[(first + parents).view(-1)]
            done = done.gather(1, parents) | (chosen == EOS)
            kept = written.gather(1, parents[:, :, None].expand(-1, -1, t))
            written = torch.cat((kept, chosen[:, :, None]), dim=-1)
            tokens = chosen.view(-1)
            if done.all():
                break
        return _answers(written[:, 0], total[:, 0])


def _answers(written: Tensor, total: Tensor) -> list[Answer]:
    rows = written.tolist()
    return [
        (tuple(row[: row.index(EOS)]), float(score))
        for row, score in zip(rows, total.tolist(), strict=True)
    ]


def words(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return letters [N, S] of words of 4 to 11 letters, and their lengths [N]."""
    random = np.random.default_rng(seed)
    lengths = random.integers(4, 12, rows)
    source = random.integers(4, LETTERS, (rows, int(lengths.max())))
    source[np.arange(source.shape[1]) >= lengths[:, None]] = PAD
    return source, lengths


def check(ours: Sequence[Answer], theirs: Sequence[Answer]) -> None:
    """Raise SystemExit unless the answers are the same, or as likely to within 1e-4."""
    for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if abs(a[1] - b[1]) > 1e-4 * max(1.0, abs(b[1])):
            raise SystemExit(f"word {row}: ours {a}, torch's {b}")


def main() -> None:
    """Check, time and print the four cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    # numpy's BLAS reads it when it is loaded: the script begins anew with it.
    if os.environ.get(BLAS) != str(given.threads):
        command = [sys.executable, "-m", "bench.decode", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, BLAS: str(given.threads)})
    torch.set_num_threads(given.threads)
    unrolled.set_num_threads(given.threads)
    torch.manual_seed(0)
    weights = build(spec()).state_dict()
    eager = Eager(weights).eval()
    network = TranslatorNetwork(spec(), {k: v.numpy() for k, v in weights.items()})
    print("| search | N | unrolled, words/s | torch, words/s | ratio |\n|---|---|---|---|---|")
    for width, rows in ((1, 1), (5, 1), (1, 64), (5, 64)):
        source, lengths = words(rows, seed=rows)
        x, ends = torch.from_numpy(source), torch.from_numpy(lengths)

        def ours(
            width: int = width, source: np.ndarray = source, lengths: np.ndarray = lengths
        ) -> list[Answer]:
            if width == 1:
                found = decode.greedy(network, source, lengths, STEPS, length_penalty=0.0)
            else:
                found = decode.beam(
                    network, source, lengths, beam=width, max_length=STEPS, length_penalty=0.0
                )
            return [(best[0].tokens, best[0].log_prob) for best in found]

        def theirs(width: int = width, x: Tensor = x, ends: Tensor = ends) -> list[Answer]:
            with torch.inference_mode():
                return (eager.greedy if width == 1 else eager.beam)(x, ends, STEPS)

        check(ours(), theirs())
        best = [float("inf"), float("inf")]
        for _ in range(given.rounds * (10 if rows == 1 else 1)):
            for side, call in enumerate((ours, theirs)):
                start = time.perf_counter()
                call()
                best[side] = min(best[side], time.perf_counter() - start)
        name = "greedy" if width == 1 else f"beam {width}"
        mine, other = (rows / seconds for seconds in best)
        print(f"| {name} | {rows} | {mine:,.0f} | {other:,.0f} | {mine / other:.1f} |", flush=True)


if __name__ == "__main__":
    main()
