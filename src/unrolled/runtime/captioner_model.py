"""A captioner ready to answer: vectors, regions or attributes in, texts out, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import CaptioningSpec, ModelConfig
from unrolled.data.batch import buckets, translation_batch
from unrolled.data.captions import Input, attributes, batch, numbers
from unrolled.data.vocab import UNK, Vocabulary
from unrolled.errors import DataError, ModelError
from unrolled.runtime import decode
from unrolled.runtime.captioner import CaptionerNetwork
from unrolled.runtime.weights import Array
from unrolled.runtime.writing import WritingSession
from unrolled.spec import CaptionerSpec, Precision

BATCH_SIZE = 256


@dataclass(frozen=True)
class Caption:
    """One answer of a captioner.

    `log_prob` is log p(text, </s> | x) in nats, `score` what answers are ordered by (see
    `decode.Hypothesis`); `alignment` [T, S] has a row for each of `units` over `parts`, attributes
    or the numbers of regions, None where the model does not attend.
    """

    text: str
    score: float
    log_prob: float
    units: tuple[str, ...]
    parts: tuple[str, ...]
    alignment: Array | None


class CaptionerModel:
    """Texts about vectors, regions or attributes. `config` and `network` say what it is.

    A vector is an array [F], regions an array [S, F], attributes an object of names and values or a
    list of names. Many are a list of these, or one array with an axis more.
    """

    def __init__(
        self,
        config: ModelConfig,
        network: CaptionerNetwork,
        target: Vocabulary,
        source: Vocabulary | None = None,
    ) -> None:
        self.config = config
        self.network = network
        self.target_vocabulary = target
        self.source_vocabulary = source

    @classmethod
    def from_artifact(
        cls, found: Artifact, *, precision: Precision | None = None
    ) -> CaptionerModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec = found.config.network
        source, target = (found.vocabularies.get(name) for name in ("source", "target"))
        named = isinstance(spec, CaptionerSpec) and spec.inputs == "attributes"
        if not (
            isinstance(spec, CaptionerSpec)
            and isinstance(target, Vocabulary)
            and (isinstance(source, Vocabulary) if named else source is None)
        ):
            raise ModelError(
                f"{found.folder}: a captioner needs a vocabulary of its texts, and one of its "
                "attributes where it reads these"
            )
        sizes = {"target": (len(target), spec.target_vocab_size)}
        if isinstance(source, Vocabulary):
            sizes["source"] = (len(source), spec.feature_size)
        for name, (size, expected) in sizes.items():
            if size != expected:
                raise ModelError(
                    f"{found.folder}: the {name} vocabulary has {size} entries but the network has "
                    f"{expected}"
                )
        network = CaptionerNetwork(
            spec, found.weights, precision=precision or found.config.precision
        )
        return cls(
            found.config, network, target, source if isinstance(source, Vocabulary) else None
        )

    @property
    def captioning(self) -> CaptioningSpec:
        """How it answers."""
        return self.config.data.captioning or CaptioningSpec()

    def predict(
        self,
        features: Any,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = decode.LENGTH_PENALTY,
        batch_size: int = BATCH_SIZE,
    ) -> list[str]:
        """Return the best text for each thing; one thing gives a list of one.

        `beam` 1 is greedy search. `max_length` is the most units of an answer; left out it is twice
        the longest text that was seen in training. Raises DataError for numbers of another width or
        that are not finite, for no attributes, and for more regions than the model has places.
        """
        found = self.caption(
            features,
            beam=beam,
            max_length=max_length,
            length_penalty=length_penalty,
            batch_size=batch_size,
        )
        return [answers[0].text for answers in found]

    def caption(
        self,
        features: Any,
        *,
        beam: int = 1,
        n_best: int = 1,
        max_length: int | None = None,
        length_penalty: float = decode.LENGTH_PENALTY,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[Caption]]:
        """Return the `n_best` answers to each thing with scores and alignments, best first.

        Arguments as in `predict`; `n_best` is at most `beam`.
        """
        given = self.read(features)
        limit = 2 * self.captioning.longest if max_length is None else max_length
        answers: list[list[Caption]] = [[] for _ in given]
        size = max(1, batch_size // max(1, beam))
        for rows in buckets([len(each) for each in given], batch_size=size):
            source, lengths = batch([given[row] for row in rows])
            found = decode.beam(
                self.network,
                source,
                lengths,
                max_length=limit,
                beam=beam,
                n_best=n_best,
                length_penalty=length_penalty,
            )
            for row, hypotheses in zip(rows, found, strict=True):
                answers[row] = [self._answer(given[row], each) for each in hypotheses]
        return answers

    def stream(self, features: Any, *, max_length: int | None = None) -> WritingSession:
        """Begin the text to one thing: iterating gives each unit as greedy search decodes it.

        Arguments, and what is raised, as in `predict`; DataError where there is not one thing.
        """
        given = self.read(features)
        if len(given) != 1:
            raise DataError(f"a stream writes about one thing, got {len(given)}")
        memory = self.network.encode(*batch(given))
        limit = 2 * self.captioning.longest if max_length is None else max_length
        named = self.source_vocabulary is not None
        ids = given[0].tolist() if named else ()
        return WritingSession(self.network, self.target_vocabulary, memory, limit, ids)

    def log_prob(self, features: Any, texts: Sequence[str]) -> Array:
        """Return log p(text, </s> | x) in nats for each thing and its text, [N].

        Raises DataError for a text without a unit, and where there is not one text for each thing.
        """
        given = self.read(features)
        ids = [self.target_vocabulary.encode(text) for text in texts]
        if len(ids) != len(given):
            raise DataError(f"{len(ids)} texts for {len(given)} things")
        for i, tokens in enumerate(ids, start=1):
            if not tokens:
                raise DataError(f"text {i} is empty; expected at least one unit")
        found = np.empty(len(given))
        for rows in buckets([len(tokens) for tokens in ids], batch_size=BATCH_SIZE):
            found[rows] = self._scores([given[row] for row in rows], [ids[row] for row in rows])
        return found

    def _scores(self, given: list[Input], ids: list[list[int]]) -> Array:
        source, lengths = batch(given)
        pairs = translation_batch([[UNK]] * len(ids), ids, range(len(ids)))
        assert pairs.target_in is not None
        assert pairs.target_out is not None
        assert pairs.target_lengths is not None
        log_probs = self.network.log_probs(source, lengths, pairs.target_in, pairs.target_lengths)
        taken = np.take_along_axis(log_probs, pairs.target_out[:, :, None], axis=2)[:, :, 0]
        total: Array = taken.sum(axis=1, dtype=np.float64)
        return total

    def read(self, features: Any) -> list[Input]:
        """Return what the network reads of each thing: numbers [S, F], or ids of attributes [S]."""
        return [self._one(each, f"item {i}") for i, each in enumerate(self._many(features), 1)]

    def _many(self, features: Any) -> list[Any]:
        if isinstance(features, Mapping):
            return [features]
        if isinstance(features, np.ndarray):
            single = {"vector": 1, "regions": 2}.get(self.network.spec.inputs)
            return [features] if features.ndim == single else list(features)
        return list(features)

    def _one(self, given: Any, where: str) -> Input:
        spec = self.network.spec
        if self.source_vocabulary is not None:
            names = attributes(given, where)
            ids = self.source_vocabulary.encode_words(names)
            return np.array(ids, dtype=np.int64)
        found, kind = numbers(given, where)
        single = isinstance(given, np.ndarray) and given.ndim == 2 and len(given) == 1
        if kind != spec.inputs and not single:
            raise DataError(f"{where}: the model reads {spec.inputs}, this is {kind}")
        if found.shape[1] != spec.feature_size:
            raise DataError(
                f"{where}: {found.shape[1]} numbers, but the model reads {spec.feature_size}"
            )
        if spec.positions and len(found) > spec.positions:
            raise DataError(
                f"{where}: {len(found)} regions, but the model has places for {spec.positions}"
            )
        return found

    def _answer(self, given: Input, hypothesis: decode.Hypothesis) -> Caption:
        vocabulary, names = self.target_vocabulary, self.source_vocabulary
        if names is None:
            parts = tuple(str(k) for k in range(1, len(given) + 1))
        else:
            parts = tuple(names.unit(int(index)) for index in given)
        return Caption(
            vocabulary.decode(hypothesis.tokens),
            hypothesis.score,
            hypothesis.log_prob,
            tuple(vocabulary.unit(token) for token in hypothesis.tokens),
            parts,
            hypothesis.alignment,
        )
