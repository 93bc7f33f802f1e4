"""A generator ready to answer: what comes next, how likely a sequence is, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import GenerationSpec, ModelConfig
from unrolled.data.batch import buckets, pad
from unrolled.data.streams import Ids, encode_text
from unrolled.data.vocab import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.runtime.attention import softmax
from unrolled.runtime.generator import GeneratorNetwork
from unrolled.runtime.generator_session import GeneratorSession
from unrolled.runtime.sampling import Sampling, distribution, draw
from unrolled.runtime.weights import Array
from unrolled.spec import GeneratorSpec, Precision

if TYPE_CHECKING:
    from unrolled.explain.results import Explanation

BATCH_SIZE = 64
CHUNK = 1024
Sequenced = str | Sequence[Any] | Array


@dataclass(frozen=True)
class Recommended:
    """Items for one history, best first, with their probabilities."""

    items: tuple[str, ...]
    probabilities: Array


class GeneratorModel:
    """What comes next. `config`, `network` and `vocabulary` (None for frames) say what it is.

    A sequence is a text, a list of items, or frames [T, I] of 0 and 1, by `kind`.
    """

    def __init__(
        self, config: ModelConfig, network: GeneratorNetwork, vocabulary: Vocabulary | None
    ) -> None:
        self.config = config
        self.network = network
        self.vocabulary = vocabulary
        self.generation = config.data.generation or GenerationSpec()

    @classmethod
    def from_artifact(
        cls, found: Artifact, *, precision: Precision | None = None
    ) -> GeneratorModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec, vocabulary = found.config.network, found.vocabularies.get("source")
        if not isinstance(spec, GeneratorSpec) or not isinstance(vocabulary, Vocabulary | None):
            raise ModelError(f"{found.folder}: a generator needs a vocabulary of its units")
        size = 0 if vocabulary is None else len(vocabulary)
        if size != spec.vocab_size:
            raise ModelError(
                f"{found.folder}: the source vocabulary has {size} entries but the network has "
                f"{spec.vocab_size}"
            )
        network = GeneratorNetwork(
            spec, found.weights, precision=precision or found.config.precision
        )
        return cls(found.config, network, vocabulary)

    @property
    def kind(self) -> str:
        """What a sequence is: "text", "items" or "frames"."""
        return self.generation.kind

    def encode(self, sequence: Sequenced) -> list[int]:
        """Return the ids of a text or of a list of items; `<unk>` for what is not known."""
        vocabulary = self._units()
        if self.kind == "text":
            if not isinstance(sequence, str):
                raise DataError("this model reads texts; expected a str")
            return encode_text(sequence, vocabulary)
        given = sequence.split() if isinstance(sequence, str) else sequence
        return vocabulary.encode_words(map(str, given))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; items come with a space between them."""
        pieces = list(self._pieces(ids, begun=False))
        return "".join(pieces)

    def log_likelihood(
        self, sequences: Sequenced | Sequence[Sequenced], *, batch_size: int = BATCH_SIZE
    ) -> Array:
        """Return log p of each sequence in nats, [N], from its beginning; one gives [1].

        The end is counted where the model has learned it. Of frames, the sum over all keys.
        """
        one = isinstance(sequences, str) or getattr(sequences, "ndim", 0) == 2
        many: Any = [sequences] if one else sequences
        return np.array([-sum(part.sum() for part in self.losses(each)) for each in many])

    def losses(self, sequence: Sequenced) -> Iterator[Array]:
        """Yield -log p of every step given those before, in nats, chunk by chunk."""
        if self.kind == "frames":
            yield frame_losses(self.network, self.frames(sequence))
            return
        ids = self.encode(sequence)
        if self.kind == "items" and self.generation.ends:
            ids = [*ids, EOS]
        yield from self.stream_losses(np.array([BOS, *ids], np.int32))

    def stream_losses(self, ids: Ids, *, chunk: int = CHUNK) -> Iterator[Array]:
        """Yield -log p of ids[1:], each given all before it, the state carried through.

        `chunk` is how many steps are computed at once: memory and not the result depends on it.
        """
        state: Any = None
        for begin in range(0, len(ids) - 1, chunk):
            part = np.asarray(ids[begin : begin + chunk + 1], np.int64)
            found, state = self.network.log_probs(part[None, :-1], state)
            yield -found[0, np.arange(len(part) - 1), part[1:]]

    def generate(
        self,
        prompt: Sequenced = "",
        *,
        max_length: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        n: int = 1,
    ) -> list[Any]:
        """Return `n` continuations of a prompt, of at most `max_length` units each.

        `Sampling` says what the further arguments do; equal arguments give equal answers. Of
        items, a continuation is a list; it ends where the model ends it. Of frames it is an array
        [max_length, I], each key drawn on its own, with the temperature only.
        """
        generator = np.random.default_rng(seed)
        if self.kind == "frames":
            return self._frames_after(prompt, max_length, temperature, generator, n)
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
        )
        ids = self._prompt(prompt)
        rows: list[list[int]] = [[] for _ in range(n)]
        going = np.ones(n, bool)
        for tokens in self._draws(ids, max_length, sampling, generator, n):
            if self.kind == "items":
                going &= tokens != EOS
            for row in np.flatnonzero(going):
                rows[row].append(int(tokens[row]))
            if not going.any():
                break
        if self.kind == "items":
            return [[self._units().unit(k) for k in row] for row in rows]
        begun = bool(ids) and ids[-1] not in (BOS, EOS)
        return ["".join(self._pieces(row, begun=begun)) for row in rows]

    def iterate(
        self,
        prompt: Sequenced = "",
        *,
        max_length: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield a continuation unit by unit as it is drawn: the pieces of what `generate` returns.

        Raises ModelError for a model of frames.
        """
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
        )
        ids = self._prompt(prompt)
        draws = self._draws(ids, max_length, sampling, np.random.default_rng(seed), 1)
        last = ids[-1]
        for tokens in draws:
            token = int(tokens[0])
            if self.kind == "items" and token == EOS:
                return
            yield from self._pieces([token], begun=last not in (BOS, EOS))
            last = token

    def recommend(
        self, history: Sequence[Any] | str, k: int = 10, *, exclude_seen: bool = True
    ) -> Recommended:
        """Return the `k` items most likely to follow a history, best first.

        `exclude_seen` leaves out those in the history. Probabilities are shares among the items
        that may be answered. Raises DataError where no item of the history is known.
        """
        if k < 1:
            raise ConfigError(f"k is {k}; expected 1 or more")
        ids = self.encode(history)
        if not any(token != UNK for token in ids):
            raise DataError("the history holds no item that the model knows")
        scores = self.next_scores([ids], exclude_seen=exclude_seen)[0]
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[np.isfinite(scores[best])]
        shares = softmax(scores[None].astype(np.float64))[0]
        items = tuple(self._units().unit(int(token)) for token in best)
        return Recommended(items, shares[best])

    def next_scores(self, histories: Sequence[Sequence[int]], *, exclude_seen: bool) -> Array:
        """Return a score of every unit after each history of ids, [N, V]; -inf for specials."""
        scores = np.empty((len(histories), len(self._units())), self.network.recurrent.dtype)
        begun = [[BOS, *ids] for ids in histories]
        for rows in buckets([len(ids) for ids in begun], batch_size=BATCH_SIZE):
            tokens, lengths = pad([begun[row] for row in rows])
            y, _ = self.network.recurrent(self.network.read(tokens), None, lengths)
            scores[rows] = self.network.logits_of(y[np.arange(len(rows)), lengths - 1])
        scores[:, : len(SPECIALS)] = -np.inf
        if exclude_seen:
            for row, ids in enumerate(histories):
                scores[row, list(ids)] = -np.inf
        return scores

    def stream(self) -> GeneratorSession:
        """Begin a sequence that arrives step by step; each gives what may come next."""
        return GeneratorSession(self)

    def explain(
        self, sequence: Any, methods: Sequence[str] | str | None = None, **choices: Any
    ) -> Explanation:
        """Return why the unit after a sequence is what it is: which steps mattered, gates, memory.

        `methods` and `choices` (target, how, seed) are those of `unrolled.explain.explain`.
        """
        from unrolled.explain.explaining import explain

        return explain(self, sequence, methods, **choices)

    def frames(self, given: Any) -> Array:
        """Return frames [T, I]; raises DataError where they do not fit the model."""
        size = self.network.spec.frame_size
        frames = np.asarray(given, self.network.recurrent.dtype)
        if frames.ndim != 2 or frames.shape[1] != size or not len(frames):
            raise DataError(f"expected frames [T, {size}], got {list(frames.shape)}")
        if not ((frames == 0) | (frames == 1)).all():
            raise DataError("frames hold values other than 0 and 1")
        return frames

    def _units(self) -> Vocabulary:
        if self.vocabulary is None:
            raise ModelError("this model reads frames of numbers; it has no units of text")
        return self.vocabulary

    def _prompt(self, prompt: Sequenced) -> list[int]:
        return [BOS, *self.encode(prompt)]

    def _draws(
        self,
        ids: list[int],
        max_length: int,
        sampling: Sampling,
        generator: np.random.Generator,
        n: int,
    ) -> Iterator[Array]:
        """Yield `max_length` times the tokens [n] drawn after `ids`."""
        network = self.network
        session = network.recurrent.stream(n)
        y = session.run(np.repeat(network.read(np.array([ids])), n, axis=0))[:, -1]
        seen = np.zeros((n, network.spec.vocab_size), bool)
        seen[:, ids] = True
        for _ in range(max_length):
            chances = distribution(network.logits_of(y), sampling, seen)
            if self.kind == "items" and not self.generation.ends:
                chances[:, EOS] = 0
            tokens = draw(chances, generator)
            yield tokens
            seen[np.arange(n), tokens] = True
            y = session.step(network.read(tokens))

    def _frames_after(
        self,
        prompt: Sequenced,
        max_length: int,
        temperature: float,
        generator: np.random.Generator,
        n: int,
    ) -> list[Array]:
        Sampling(temperature=temperature)
        size, dtype = self.network.spec.frame_size, self.network.recurrent.dtype
        begin = np.zeros((1, size), dtype)
        if len(prompt):
            begin = np.concatenate([begin, self.frames(prompt)])
        session = self.network.recurrent.stream(n)
        y = session.run(np.repeat(begin[None], n, axis=0))[:, -1]
        frames = np.empty((n, max_length, size), dtype)
        for t in range(max_length):
            logits = self.network.logits_of(y).astype(np.float64)
            if temperature == 0:
                drawn = logits > 0
            else:
                drawn = generator.random(logits.shape) < _sigmoid(logits / temperature)
            frames[:, t] = drawn
            y = session.step(frames[:, t])
        return list(frames)

    def _pieces(self, ids: Sequence[int], *, begun: bool) -> Iterator[str]:
        """Yield the text of each unit with the space before it; `begun`: not at a line's start."""
        vocabulary = self._units()
        tokens = "word" if self.kind == "items" else vocabulary.spec.tokens
        for token in ids:
            if token in (PAD, BOS):
                continue
            if token == EOS:
                yield "\n" if tokens != "char" else ""
                begun = False
                continue
            unit = vocabulary.unit(token)
            if tokens == "word":
                unit = f" {unit}" if begun else unit
            elif tokens == "bpe":
                unit = unit.replace("▁", " ")
                unit = unit if begun else unit.removeprefix(" ")
            begun = True
            yield unit


def frame_losses(network: GeneratorNetwork, frames: Array) -> Array:
    """Return -log p of each frame [T, I] given those before it, [T], from silence, in nats."""
    begun = np.concatenate([np.zeros_like(frames[:1]), frames[:-1]])
    logits = network.logits(begun[None])[0][0].astype(np.float64)
    losses: Array = (np.logaddexp(0, logits) - frames * logits).sum(axis=1)
    return losses


def _sigmoid(x: Array) -> Array:
    positive: Array = np.exp(-np.logaddexp(0, -x))
    return positive
