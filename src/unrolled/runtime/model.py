"""A model folder ready to answer: text in, labels or translated text out, without torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unrolled import artifact
from unrolled.artifact import Artifact
from unrolled.data.batch import buckets, pad
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import DataError, ModelError
from unrolled.runtime import decode
from unrolled.runtime.heads import ClassifierNetwork
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.runtime.running import ClassifierSession
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.runtime.weights import Array
from unrolled.spec import ClassifierSpec, ModelConfig, Precision, TaggerSpec, TranslatorSpec

if TYPE_CHECKING:
    from unrolled.explain.results import Explanation

BATCH_SIZE = 256


class Encoded(NamedTuple):
    """Texts as ids, each at most as long as the model reads, and which of them were cut to that."""

    ids: list[list[int]]
    truncated: tuple[int, ...]


@dataclass(frozen=True)
class Classified:
    """Answers of a classifier: labels [N], probabilities [N, C], rows that were cut."""

    labels: list[str]
    probabilities: Array
    truncated: tuple[int, ...]


@dataclass(frozen=True)
class Attended:
    """One text as the classifier saw it: its units [T] and each one's share of attention [T]."""

    units: tuple[str, ...]
    weights: Array


@dataclass(frozen=True)
class Translation:
    """One answer of a translator.

    `log_prob` is log p(target, </s> | source) in nats, `score` what answers are ordered by (see
    `decode.Hypothesis`); `alignment` [T, S] has a row for each of `target_units` over
    `source_units`, None without attention.
    """

    text: str
    score: float
    log_prob: float
    source_units: tuple[str, ...]
    target_units: tuple[str, ...]
    alignment: Array | None


@dataclass(frozen=True)
class Translated:
    """Answers of a translator: the n best of each row, best first, and the rows that were cut."""

    answers: list[list[Translation]]
    truncated: tuple[int, ...]


class ClassifierModel:
    """Labels for texts. `config`, `classes` and `network` say what it is."""

    def __init__(
        self,
        config: ModelConfig,
        network: ClassifierNetwork,
        vocabulary: Vocabulary,
        labels: LabelVocabulary,
    ) -> None:
        self.config = config
        self.network = network
        self.vocabulary = vocabulary
        self.labels = labels

    @classmethod
    def from_artifact(
        cls, found: Artifact, *, precision: Precision | None = None
    ) -> ClassifierModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec = found.config.network
        source, target = (found.vocabularies.get(name) for name in ("source", "target"))
        if not (
            isinstance(spec, ClassifierSpec)
            and isinstance(source, Vocabulary)
            and isinstance(target, LabelVocabulary)
        ):
            raise ModelError(f"{found.folder}: a classifier needs a vocabulary and class labels")
        _check_size(found.folder, "source", len(source), spec.vocab_size)
        _check_size(found.folder, "target", len(target), spec.num_classes)
        network = ClassifierNetwork(
            spec, found.weights, precision=precision or found.config.precision
        )
        return cls(found.config, network, source, target)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.labels.labels

    def units(self, text: str) -> tuple[str, ...]:
        """Return the units of a text as the model reads it, `<unk>` for those it does not know."""
        encoded = encode(text, self.vocabulary, self.config.data.max_length)
        return _units(self.vocabulary, encoded.ids[0])

    def predict(self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE) -> list[str]:
        """Return the likeliest label of each text; one text gives a list of one.

        Raises DataError for an empty text. Texts longer than `config.data.max_length` units are
        cut there, with a warning that counts them; `classify` returns which.
        """
        found = self.classify(texts, batch_size=batch_size)
        _warn(found.truncated, self.config)
        return found.labels

    def predict_proba(self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE) -> Array:
        """Return the probability of each class for each text, [N, C]; otherwise as `predict`."""
        found = self.classify(texts, batch_size=batch_size)
        _warn(found.truncated, self.config)
        return found.probabilities

    def classify(self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE) -> Classified:
        """Return labels, probabilities and which texts were cut; otherwise as `predict`."""
        encoded = encode(texts, self.vocabulary, self.config.data.max_length)
        probabilities = np.empty((len(encoded.ids), len(self.labels)))
        for rows, tokens, lengths in _batches(encoded.ids, batch_size):
            probabilities[rows] = self.network.probabilities(tokens, lengths)
        labels = [self.labels.label(int(index)) for index in probabilities.argmax(axis=1)]
        return Classified(labels, probabilities, encoded.truncated)

    def explain(
        self, text: str, methods: Sequence[str] | str | None = None, **choices: Any
    ) -> Explanation:
        """Return why a text gets its label: which steps mattered, gates, memory.

        `methods` and `choices` (target, how, seed) are those of `unrolled.explain.explain`.
        """
        from unrolled.explain.explaining import explain

        return explain(self, text, methods, **choices)

    def stream(self) -> ClassifierSession:
        """Begin a text that arrives piece by piece; each piece gives the probabilities so far.

        Raises ModelError where the classifier reads in both directions.
        """
        return ClassifierSession(self)

    def attention(
        self, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> list[Attended]:
        """Return what each text's units weighed in its label; the weights of a text sum to 1.

        Raises ModelError where the model pools without attention; otherwise as `predict`.
        """
        if self.network.pooling is None:
            raise ModelError(
                f"this classifier pools by {self.network.spec.pooling!r}: it has no attention to "
                "show; train one with pooling 'attention'"
            )
        encoded = encode(texts, self.vocabulary, self.config.data.max_length)
        found: dict[int, Attended] = {}
        for rows, tokens, lengths in _batches(encoded.ids, batch_size):
            weights = self.network.attention(tokens, lengths)
            for place, row in enumerate(rows):
                units = _units(self.vocabulary, encoded.ids[row])
                found[int(row)] = Attended(units, weights[place, : len(units)])
        _warn(encoded.truncated, self.config)
        return [found[row] for row in range(len(encoded.ids))]


class TranslatorModel:
    """Sequences for sequences. `config` and `network` say what it is."""

    def __init__(
        self,
        config: ModelConfig,
        network: TranslatorNetwork,
        source: Vocabulary,
        target: Vocabulary,
    ) -> None:
        self.config = config
        self.network = network
        self.source_vocabulary = source
        self.target_vocabulary = target

    @classmethod
    def from_artifact(
        cls, found: Artifact, *, precision: Precision | None = None
    ) -> TranslatorModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec = found.config.network
        source, target = (found.vocabularies.get(name) for name in ("source", "target"))
        if not (
            isinstance(spec, TranslatorSpec)
            and isinstance(source, Vocabulary)
            and isinstance(target, Vocabulary)
        ):
            raise ModelError(f"{found.folder}: a translator needs a source and a target vocabulary")
        _check_size(found.folder, "source", len(source), spec.source_vocab_size)
        _check_size(found.folder, "target", len(target), spec.target_vocab_size)
        network = TranslatorNetwork(
            spec, found.weights, precision=precision or found.config.precision
        )
        return cls(found.config, network, source, target)

    def predict(
        self,
        texts: str | Sequence[str],
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = decode.LENGTH_PENALTY,
        batch_size: int = BATCH_SIZE,
    ) -> list[str]:
        """Return the best target text for each source text; one text gives a list of one.

        `beam` 1 is greedy search. `max_length` is the most units of an answer; left out it is
        twice the source's and 20 more. Raises DataError for an empty text. Texts longer than
        `config.data.max_length` units are cut there, with a warning that counts them.
        """
        found = self.translate(
            texts,
            beam=beam,
            max_length=max_length,
            length_penalty=length_penalty,
            batch_size=batch_size,
        )
        _warn(found.truncated, self.config)
        return [answers[0].text for answers in found.answers]

    def translate(
        self,
        texts: str | Sequence[str],
        *,
        beam: int = 1,
        n_best: int = 1,
        max_length: int | None = None,
        length_penalty: float = decode.LENGTH_PENALTY,
        batch_size: int = BATCH_SIZE,
    ) -> Translated:
        """Return the `n_best` answers of each text with scores and alignments, best first.

        Arguments as in `predict`; `n_best` is at most `beam`.
        """
        encoded = encode(texts, self.source_vocabulary, self.config.data.max_length)
        answers: list[list[Translation]] = [[] for _ in encoded.ids]
        for rows, tokens, lengths in _batches(encoded.ids, max(1, batch_size // max(1, beam))):
            limit = 2 * lengths + 20 if max_length is None else max_length
            if beam == n_best == 1:
                found = decode.greedy(
                    self.network, tokens, lengths, limit, length_penalty=length_penalty
                )
            else:
                found = decode.beam(
                    self.network,
                    tokens,
                    lengths,
                    beam=beam,
                    max_length=limit,
                    length_penalty=length_penalty,
                    n_best=n_best,
                )
            for row, hypotheses in zip(rows, found, strict=True):
                units = _units(self.source_vocabulary, encoded.ids[row])
                answers[row] = [self._answer(units, each) for each in hypotheses]
        return Translated(answers, encoded.truncated)

    def explain(
        self, text: str, methods: Sequence[str] | str | None = None, **choices: Any
    ) -> Explanation:
        """Return why a text gets its answer: which steps mattered, gates, memory.

        `methods` and `choices` (target, how, seed) are those of `unrolled.explain.explain`.
        """
        from unrolled.explain.explaining import explain

        return explain(self, text, methods, **choices)

    def _answer(self, source: tuple[str, ...], hypothesis: decode.Hypothesis) -> Translation:
        return Translation(
            self.target_vocabulary.decode(hypothesis.tokens),
            hypothesis.score,
            hypothesis.log_prob,
            source,
            _units(self.target_vocabulary, hypothesis.tokens),
            hypothesis.alignment,
        )


Model = ClassifierModel | TranslatorModel | TaggerModel


def load(folder: str | Path, *, precision: Precision | None = None) -> Model:
    """Read a model folder and return the model that answers; no torch is imported.

    `precision` is that of the recurrent layers' products, "float32", "bf16" or "int8"; left out it
    is the one that the folder was stored with. Raises ModelError, naming the file or weight, where
    the folder is missing, damaged or newer, or its layers have no such precision.
    """
    return from_artifact(artifact.load(folder), precision=precision)


def from_artifact(found: Artifact, *, precision: Precision | None = None) -> Model:
    """Return the model of a folder in memory; raises ModelError where its parts do not fit."""
    if isinstance(found.config.network, ClassifierSpec):
        return ClassifierModel.from_artifact(found, precision=precision)
    if isinstance(found.config.network, TaggerSpec):
        return TaggerModel.from_artifact(found, precision=precision)
    return TranslatorModel.from_artifact(found, precision=precision)


def encode(texts: str | Sequence[str], vocabulary: Vocabulary, max_length: int) -> Encoded:
    """Return the ids of each text, cut after `max_length`; raises DataError where one is empty."""
    ids, truncated = [], []
    for row, text in enumerate([texts] if isinstance(texts, str) else texts):
        found = vocabulary.encode(text)
        if not found:
            raise DataError(f"text {row + 1} is empty; expected at least one unit to read")
        if len(found) > max_length:
            truncated.append(row)
        ids.append(found[:max_length])
    return Encoded(ids, tuple(truncated))


def _batches(ids: list[list[int]], size: int) -> Iterator[tuple[Array, Array, Array]]:
    """Yield rows [n], padded tokens [n, T] and lengths [n], at most `size` of near lengths each."""
    for rows in buckets([len(row) for row in ids], batch_size=size):
        yield rows, *pad([ids[row] for row in rows])


def _units(vocabulary: Vocabulary, ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(vocabulary.unit(index) for index in ids)


def _warn(truncated: tuple[int, ...], config: ModelConfig) -> None:
    if truncated:
        warnings.warn(
            f"{len(truncated)} of the texts are longer than {config.data.max_length} units and "
            f"were cut there, the first of them text {truncated[0] + 1}",
            stacklevel=3,
        )


def _check_size(folder: Path, name: str, found: int, expected: int) -> None:
    if found != expected:
        raise ModelError(
            f"{folder}: the {name} vocabulary has {found} entries but the network has {expected}"
        )
