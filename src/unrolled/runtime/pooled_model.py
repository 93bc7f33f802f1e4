"""Models of one answer a sequence: labels, or real numbers, for texts or sequences of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import ModelConfig
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import ModelError
from unrolled.runtime.heads import ClassifierNetwork, RegressorNetwork
from unrolled.runtime.reading import (
    BATCH_SIZE,
    batches,
    check_size,
    encode,
    read_frames,
    units_of,
    warn_cut,
)
from unrolled.runtime.running import ClassifierSession
from unrolled.runtime.session import SessionPool
from unrolled.runtime.weights import Array
from unrolled.spec import ClassifierSpec, Precision, RegressorSpec

if TYPE_CHECKING:
    from unrolled.explain.results import Explanation


@dataclass(frozen=True)
class Classified:
    """Answers of a classifier: labels [N], probabilities [N, C], rows that were cut.

    Of a model of several labels each of `labels` is a tuple of them, which may be empty.
    """

    labels: list[Any]
    probabilities: Array
    truncated: tuple[int, ...]


@dataclass(frozen=True)
class Attended:
    """One sequence as the model saw it: its units [T] and each one's share of attention [T].

    The units of frames are their numbers, from 1.
    """

    units: tuple[str, ...]
    weights: Array


class _Inputs(NamedTuple):
    rows: list[Any]
    truncated: tuple[int, ...]


class PooledModel:
    """What the classifier and the regressor share: reading, batches, attention."""

    def __init__(
        self,
        config: ModelConfig,
        network: ClassifierNetwork | RegressorNetwork,
        vocabulary: Vocabulary | None,
    ) -> None:
        self.config = config
        self.network: Any = network
        self.vocabulary = vocabulary

    @property
    def reads_frames(self) -> bool:
        """Whether its inputs are numbers instead of text."""
        return bool(self.network.spec.frame_size)

    def units(self, sequence: Any) -> tuple[str, ...]:
        """Return the units of a text as the model reads it, `<unk>` for those it does not know.

        Of frames they are their numbers, from 1.
        """
        one = sequence if self.vocabulary is not None else [sequence]
        return self._units(self._read(one).rows[0])

    def attention(
        self, sequences: str | Sequence[Any] | Array, *, batch_size: int = BATCH_SIZE
    ) -> list[Attended]:
        """Return what the units of each sequence weighed in its answer; weights sum to 1.

        Raises ModelError where the model pools without attention; otherwise as `predict`.
        """
        if self.network.pooling is None:
            raise ModelError(
                f"this {type(self).__name__.removesuffix('Model').lower()} pools by "
                f"{self.network.spec.pooling!r}: it has no attention to show; train one with "
                "pooling 'attention'"
            )
        read = self._read(sequences)
        found: dict[int, Attended] = {}
        for places, values, lengths in batches(read.rows, batch_size):
            weights = self.network.attention(values, lengths)
            for k, row in enumerate(places):
                units = self._units(read.rows[row])
                found[int(row)] = Attended(units, weights[k, : len(units)])
        warn_cut(read.truncated, self.config)
        return [found[row] for row in range(len(read.rows))]

    def explain(
        self, sequence: Any, methods: Sequence[str] | str | None = None, **choices: Any
    ) -> Explanation:
        """Return why a sequence gets its answer: which steps mattered, gates, memory.

        `methods` and `choices` (target, how, seed) are those of `unrolled.explain.explain`.
        """
        from unrolled.explain.explaining import explain

        return explain(self, sequence, methods, **choices)

    def _units(self, row: Any) -> tuple[str, ...]:
        if self.vocabulary is None:
            return tuple(str(t) for t in range(1, len(row) + 1))
        return units_of(self.vocabulary, row)

    def encode(self, sequence: Any) -> Any:
        """Return one text as ids [T], or frames [T, I], as the network reads them."""
        return self._read(sequence if self.vocabulary is not None else [sequence]).rows[0]

    def _read(self, sequences: Any) -> _Inputs:
        limit, spec = self.config.data.max_length, self.network.spec
        if self.vocabulary is not None:
            return _Inputs(*encode(sequences, self.vocabulary, limit))
        masks = spec.mask_missing
        return _Inputs(*read_frames(sequences, spec.frame_size, limit, mask_missing=masks))

    def _outputs(self, read: _Inputs, batch_size: int) -> Array:
        """Return the network's outputs [N, C] in the order of the rows, float64."""
        outputs = np.empty((len(read.rows), self.network.spec.num_outputs))
        for places, values, lengths in batches(read.rows, batch_size):
            outputs[places] = self.network.outputs(values, lengths)[0]
        return outputs


def _vocabulary(found: Artifact, spec: ClassifierSpec | RegressorSpec) -> Vocabulary | None:
    """Return the vocabulary that a model of texts needs; None for one of frames."""
    source = found.vocabularies.get("source")
    if spec.frame_size:
        return None
    if not isinstance(source, Vocabulary):
        raise ModelError(f"{found.folder}: a model of texts needs a vocabulary of its units")
    check_size(found.folder, "source", len(source), spec.vocab_size)
    return source


class ClassifierModel(PooledModel):
    """Labels for texts or frames. `config`, `classes` and `network` say what it is.

    Frames are an array [T, I] a sequence.
    """

    network: ClassifierNetwork

    def __init__(
        self,
        config: ModelConfig,
        network: ClassifierNetwork,
        vocabulary: Vocabulary | None,
        labels: LabelVocabulary,
    ) -> None:
        super().__init__(config, network, vocabulary)
        self.labels = labels

    @classmethod
    def from_artifact(
        cls, found: Artifact, *, precision: Precision | None = None
    ) -> ClassifierModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec, target = found.config.network, found.vocabularies.get("target")
        if not (isinstance(spec, ClassifierSpec) and isinstance(target, LabelVocabulary)):
            raise ModelError(f"{found.folder}: a classifier needs a vocabulary and class labels")
        source = _vocabulary(found, spec)
        check_size(found.folder, "target", len(target), spec.num_classes)
        network = ClassifierNetwork(
            spec, found.weights, precision=precision or found.config.precision
        )
        return cls(found.config, network, source, target)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.labels.labels

    @property
    def multi_label(self) -> bool:
        """Whether a sequence may have any number of labels."""
        return self.network.spec.multi_label

    @property
    def thresholds(self) -> Array | None:
        """From which probability on each label is given, [C]; None of a model of one label."""
        return self.network.thresholds

    def predict(
        self, sequences: str | Sequence[Any] | Array, *, batch_size: int = BATCH_SIZE
    ) -> list[Any]:
        """Return the likeliest label of each text or sequence of frames; one text gives one.

        A model of several labels gives a tuple of those at or above their threshold. Raises
        DataError for an empty text and for frames that are not [T, I] or not finite. Sequences
        longer than `config.data.max_length` units are cut there, with a warning that counts them;
        `classify` returns which.
        """
        found = self.classify(sequences, batch_size=batch_size)
        warn_cut(found.truncated, self.config)
        return found.labels

    def predict_proba(
        self, sequences: str | Sequence[Any] | Array, *, batch_size: int = BATCH_SIZE
    ) -> Array:
        """Return the probability of each class for each sequence, [N, C]; else as `predict`."""
        found = self.classify(sequences, batch_size=batch_size)
        warn_cut(found.truncated, self.config)
        return found.probabilities

    def classify(
        self, sequences: str | Sequence[Any] | Array, *, batch_size: int = BATCH_SIZE
    ) -> Classified:
        """Return labels, probabilities and which sequences were cut; otherwise as `predict`."""
        read = self._read(sequences)
        probabilities = np.empty((len(read.rows), len(self.labels)))
        for places, values, lengths in batches(read.rows, batch_size):
            probabilities[places] = self.network.probabilities(values, lengths)
        labels = [self.label_of(row) for row in probabilities]
        return Classified(labels, probabilities, read.truncated)

    def label_of(self, probabilities: Array) -> Any:
        """Return the label, or the tuple of labels, that probabilities [C] mean."""
        if self.thresholds is None:
            return self.labels.label(int(probabilities.argmax()))
        given = np.flatnonzero(probabilities >= self.thresholds)
        return tuple(self.labels.label(int(k)) for k in given)

    def stream(self, *, pool: SessionPool | None = None) -> ClassifierSession:
        """Begin a sequence that arrives piece by piece; each gives the probabilities so far.

        Sessions of one `pool` can be advanced together: see `ClassifierSession`. Raises ModelError
        where the classifier reads in both directions.
        """
        return ClassifierSession(self, pool)


class RegressorModel(PooledModel):
    """Real numbers for texts or frames. `config`, `targets` and `network` say what it is.

    Frames are an array [T, I] a sequence.
    """

    network: RegressorNetwork

    @classmethod
    def from_artifact(
        cls, found: Artifact, *, precision: Precision | None = None
    ) -> RegressorModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec = found.config.network
        if not isinstance(spec, RegressorSpec):
            raise ModelError(f"{found.folder}: holds no regressor")
        check_size(found.folder, "target", len(found.config.data.targets), spec.num_targets)
        source = _vocabulary(found, spec)
        precision = precision or found.config.precision
        return cls(found.config, RegressorNetwork(spec, found.weights, precision=precision), source)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the K numbers of an answer."""
        return self.config.data.targets

    def predict(
        self, sequences: str | Sequence[Any] | Array, *, batch_size: int = BATCH_SIZE
    ) -> Array:
        """Return the numbers of each text or sequence of frames: [N], or [N, K] where K is above 1.

        Raises and warns as a classifier's `predict` does.
        """
        values, truncated = self.regress(sequences, batch_size=batch_size)
        warn_cut(truncated, self.config)
        return values[:, 0] if len(self.targets) == 1 else values

    def regress(
        self, sequences: str | Sequence[Any] | Array, *, batch_size: int = BATCH_SIZE
    ) -> tuple[Array, tuple[int, ...]]:
        """Return the numbers [N, K], and which sequences were cut; otherwise as `predict`."""
        read = self._read(sequences)
        return self.network.undo(self._outputs(read, batch_size)), read.truncated
