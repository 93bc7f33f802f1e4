"""A tagger ready to answer: sentences in, tags with their probabilities out, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import ModelConfig, TaggingSpec
from unrolled.data.batch import buckets
from unrolled.data.schemes import Legal, legal
from unrolled.data.tagging import Corpus, TaggerInput, encode_words
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.runtime.session import SessionPool
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.tagging_session import TaggerSession
from unrolled.runtime.weights import Array
from unrolled.spec import Precision, TaggerSpec

if TYPE_CHECKING:
    from unrolled.explain.results import Explanation

BATCH_SIZE = 256


@dataclass(frozen=True)
class Tagging:
    """One answer for a sequence: its tags [T].

    `confidences` [T] are p(tag at t | x), summed over all sequences of tags that may be answered;
    `log_prob` is log p(tags | x) in nats, of the whole answer.
    """

    tags: tuple[str, ...]
    confidences: Array
    log_prob: float


@dataclass(frozen=True)
class Intent:
    """The label of a whole sequence: the likeliest, its probability, and all of them [J]."""

    label: str
    probability: float
    probabilities: Array


@dataclass(frozen=True)
class Tagged:
    """Answers of a tagger: the n best of each sequence, best first, and its intent.

    `marginals` are p(tag at t | x), [T, K] for each sequence, where they were asked for.
    """

    answers: list[list[Tagging]]
    intents: list[Intent] | None
    marginals: list[Array] | None = None


class TaggerModel:
    """Tags for sentences or frames. `config`, `tags` and `network` say what it is.

    A sentence is a sequence of words, or a text that is split at white space; frames are an array
    [T, I]. Sequences of any length are tagged whole.
    """

    def __init__(
        self,
        config: ModelConfig,
        network: TaggerNetwork,
        labels: LabelVocabulary,
        words: Vocabulary | None = None,
        characters: Vocabulary | None = None,
        intents: LabelVocabulary | None = None,
    ) -> None:
        self.config = config
        self.network = network
        self.labels = labels
        self.vocabulary = words
        self.characters = characters
        self.intent_labels = intents
        self.legal: Legal | None = None
        if self.tagging.constrained:
            self.legal = legal(labels.labels, self.tagging.scheme)

    @classmethod
    def from_artifact(cls, found: Artifact, *, precision: Precision | None = None) -> TaggerModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec = found.config.network
        labels, intents = (found.vocabularies.get(name) for name in ("target", "intent"))
        words, characters = (found.vocabularies.get(name) for name in ("source", "characters"))
        if not (
            isinstance(spec, TaggerSpec)
            and isinstance(labels, LabelVocabulary)
            and isinstance(words, Vocabulary | None)
            and isinstance(characters, Vocabulary | None)
            and isinstance(intents, LabelVocabulary | None)
        ):
            raise ModelError(f"{found.folder}: a tagger needs tags, and a vocabulary of its words")
        sizes = {
            "target": (labels, spec.num_tags),
            "source": (words, spec.vocab_size),
            "characters": (characters, spec.characters.vocab_size if spec.characters else 0),
            "intent": (intents, spec.num_intents),
        }
        for name, (vocabulary, expected) in sizes.items():
            size = 0 if vocabulary is None else len(vocabulary)
            if size != expected:
                raise ModelError(
                    f"{found.folder}: the {name} vocabulary has {size} entries but the network has "
                    f"{expected}"
                )
        network = TaggerNetwork(spec, found.weights, precision=precision or found.config.precision)
        return cls(found.config, network, labels, words, characters, intents)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, in the order of the columns of `predict_proba`."""
        return self.labels.labels

    @property
    def intents(self) -> tuple[str, ...]:
        """The labels of whole sequences; empty where the model has none."""
        return () if self.intent_labels is None else self.intent_labels.labels

    @property
    def tagging(self) -> TaggingSpec:
        """How it reads and answers."""
        return self.config.data.tagging or TaggingSpec()

    @property
    def reads_frames(self) -> bool:
        """Whether its inputs are numbers instead of words."""
        return self.network.spec.frame_size > 0

    def predict(self, sequences: str | Sequence[Any]) -> list[list[str]]:
        """Return the best tags of each sequence; one text gives a list of one.

        Raises DataError for a sequence without a step, and for frames of another width.
        """
        return [list(best[0].tags) for best in self.tag(sequences).answers]

    def predict_proba(self, sequences: str | Sequence[Any]) -> list[Array]:
        """Return the marginals p(tag at t | x) of each sequence, [T, K] each."""
        return self.tag(sequences, marginals=True).marginals or []

    def tag(
        self, sequences: str | Sequence[Any], *, n_best: int = 1, marginals: bool = False
    ) -> Tagged:
        """Return the `n_best` answers of each sequence with confidences, and its intent.

        A sequence has fewer answers where fewer are legal. `marginals` asks for the probabilities
        of all tags too. Raises as `predict` does, and ConfigError for an n_best below 1.
        """
        if n_best < 1:
            raise ConfigError(f"n_best is {n_best}; expected 1 or more")
        corpus = self.corpus(sequences)
        answers: dict[int, list[Tagging]] = {}
        intents: dict[int, Intent] = {}
        kept: dict[int, Array] = {}
        for rows in buckets(corpus.lengths, batch_size=max(1, BATCH_SIZE // n_best)):
            batch = corpus.batch(rows)
            emissions, intent = self.network.emissions(batch)
            shares = self.network.marginals(emissions, batch.lengths, self.legal)
            paths, log_probs = self.network.best(
                emissions, batch.lengths, self.legal, n_best=n_best
            )
            for place, row in enumerate(rows):
                steps = np.arange(batch.lengths[place])
                answers[int(row)] = [
                    self._answer(path[steps], shares[place, steps], log_prob)
                    for path, log_prob in zip(paths[place], log_probs[place], strict=True)
                    if log_prob > -np.inf
                ]
                if marginals:
                    kept[int(row)] = shares[place, steps]
                if intent is not None:
                    intents[int(row)] = self._intent(np.exp(intent[place]))
        order = range(len(corpus.values))
        return Tagged(
            [answers[row] for row in order],
            [intents[row] for row in order] if self.intents else None,
            [kept[row] for row in order] if marginals else None,
        )

    def stream(
        self,
        *,
        lag: int | None = None,
        lookahead: int | None = None,
        pool: SessionPool | None = None,
    ) -> TaggerSession:
        """Begin a sequence that arrives step by step; each step is tagged as it comes.

        With `lag` a tag is decided that many steps later, `lookahead` is for a tagger that reads in
        both directions, and sessions of one `pool` can be advanced together: see `TaggerSession`.
        """
        return TaggerSession(self, lag=lag, lookahead=lookahead, pool=pool)

    def answers(self, emissions: Array, intent: Array | None) -> Tagged:
        """Return the best answer for emissions [T, K] of one sequence and log p(intent) [J]."""
        ends = np.array([len(emissions)])
        shares = self.network.marginals(emissions[None], ends, self.legal)
        paths, log_probs = self.network.best(emissions[None], ends, self.legal)
        answer = self._answer(paths[0, 0], shares[0], float(log_probs[0, 0]))
        intents = None if intent is None else [self._intent(np.exp(intent))]
        return Tagged([[answer]], intents, [shares[0]])

    def explain(
        self, sequence: Any, methods: Sequence[str] | str | None = None, **choices: Any
    ) -> Explanation:
        """Return why a sequence gets its tags: which steps mattered, gates, memory.

        `methods` and `choices` (target, how, seed) are those of `unrolled.explain.explain`.
        """
        from unrolled.explain.explaining import explain

        return explain(self, sequence, methods, **choices)

    def encode(self, sequences: str | Sequence[Any]) -> TaggerInput:
        """Return sequences as the network reads them, one batch; raises as `predict` does."""
        corpus = self.corpus(sequences)
        return corpus.batch(range(len(corpus.values)))

    def _answer(self, path: Array, marginals: Array, log_prob: float) -> Tagging:
        tags = tuple(self.labels.label(int(k)) for k in path)
        return Tagging(tags, marginals[np.arange(len(path)), path], float(log_prob))

    def _intent(self, probabilities: Array) -> Intent:
        top = int(probabilities.argmax())
        return Intent(self.intents[top], float(probabilities[top]), probabilities)

    def corpus(self, sequences: str | Sequence[Any]) -> Corpus:
        """Return sequences as what the network reads; raises DataError as `predict` does."""
        given = [sequences] if isinstance(sequences, str) else list(sequences)
        if self.reads_frames:
            return Corpus([self._frames(i, each) for i, each in enumerate(given)])
        sentences = [each.split() if isinstance(each, str) else list(each) for each in given]
        for i, sentence in enumerate(sentences, start=1):
            if not sentence:
                raise DataError(f"sentence {i} is empty; expected at least one word")
            for k, word in enumerate(sentence, start=1):
                if not isinstance(word, str):
                    kind = type(word).__name__
                    raise DataError(f"sentence {i}: word {k} is {word!r} ({kind}), not a string")
        return encode_words(
            sentences, self.vocabulary, self.characters, self.tagging.max_word_length
        )

    def _frames(self, i: int, given: Any) -> Array:
        width = self.network.spec.frame_size
        try:
            frames = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError):
            raise DataError(f"sequence {i + 1}: expected frames of {width} numbers") from None
        if frames.ndim != 2 or frames.shape[1] != width or not len(frames):
            raise DataError(
                f"sequence {i + 1}: expected frames [T, {width}] with T at least 1, "
                f"got {list(frames.shape)}"
            )
        if not np.isfinite(frames).all():
            raise DataError(f"sequence {i + 1}: holds a value that is missing or not finite")
        return frames
