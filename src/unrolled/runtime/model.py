"""A model folder ready to answer: text in, labels or translated text out, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled import artifact
from unrolled.artifact import Artifact
from unrolled.config import ModelConfig
from unrolled.data.batch import pad
from unrolled.data.vocab import Vocabulary
from unrolled.errors import ConfigError, ModelError
from unrolled.runtime import decode
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.runtime.pooled_model import Attended, Classified, ClassifierModel, RegressorModel
from unrolled.runtime.reading import (
    BATCH_SIZE,
    Encoded,
    batches,
    check_size,
    encode,
    units_of,
    warn_cut,
)
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.runtime.weights import Array
from unrolled.runtime.writing import WritingSession
from unrolled.spec import (
    CaptionerSpec,
    ClassifierSpec,
    ForecasterSpec,
    GeneratorSpec,
    Precision,
    RegressorSpec,
    TaggerSpec,
    TranslatorSpec,
)

if TYPE_CHECKING:
    from unrolled.explain.results import Explanation

__all__ = [
    "Attended",
    "Classified",
    "ClassifierModel",
    "Encoded",
    "Model",
    "RegressorModel",
    "TaggerModel",
    "Translated",
    "Translation",
    "TranslatorModel",
    "encode",
    "from_artifact",
    "load",
]


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
        check_size(found.folder, "source", len(source), spec.source_vocab_size)
        check_size(found.folder, "target", len(target), spec.target_vocab_size)
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
        warn_cut(found.truncated, self.config)
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
        for rows, tokens, lengths in batches(encoded.ids, max(1, batch_size // max(1, beam))):
            limit = 2 * lengths + 20 if max_length is None else max_length
            found = decode.beam(
                self.network,
                tokens,
                lengths,
                max_length=limit,
                beam=beam,
                n_best=n_best,
                length_penalty=length_penalty,
            )
            for row, hypotheses in zip(rows, found, strict=True):
                units = units_of(self.source_vocabulary, encoded.ids[row])
                answers[row] = [self._answer(units, each) for each in hypotheses]
        return Translated(answers, encoded.truncated)

    def stream(self, text: str, *, max_length: int | None = None) -> WritingSession:
        """Begin the answer to one text: iterating gives each unit as greedy search decodes it.

        Arguments, and what is raised and warned of, as in `predict`.
        """
        encoded = encode(text, self.source_vocabulary, self.config.data.max_length)
        warn_cut(encoded.truncated, self.config)
        ids = encoded.ids[0]
        memory = self.network.encode(*pad([ids]))
        limit = 2 * len(ids) + 20 if max_length is None else max_length
        return WritingSession(self.network, self.target_vocabulary, memory, limit, ids)

    def explain(
        self, text: str, methods: Sequence[str] | str | None = None, **choices: Any
    ) -> Explanation:
        """Return why a text gets its answer: which steps mattered, gates, memory.

        `methods` and `choices` (target, how, seed, stack) are those of `unrolled.explain.explain`.
        """
        from unrolled.explain.explaining import explain

        return explain(self, text, methods, **choices)

    def _answer(self, source: tuple[str, ...], hypothesis: decode.Hypothesis) -> Translation:
        return Translation(
            self.target_vocabulary.decode(hypothesis.tokens),
            hypothesis.score,
            hypothesis.log_prob,
            source,
            units_of(self.target_vocabulary, hypothesis.tokens),
            hypothesis.alignment,
        )


Model = (
    ClassifierModel
    | TranslatorModel
    | TaggerModel
    | RegressorModel
    | GeneratorModel
    | ForecastModel
    | CaptionerModel
)


def load(folder: str | Path, *, precision: Precision | None = None) -> Model:
    """Read a model folder and return the model that answers; no torch is imported.

    `precision` is that of the recurrent layers' products, "float32", "bf16" or "int8"; left out it
    is the one that the folder was stored with. Raises ModelError, naming the file or weight, where
    the folder is missing, damaged or newer, or its layers have no such precision.
    """
    found = artifact.load(folder)
    try:
        return from_artifact(found, precision=precision)
    except ConfigError as error:
        raise ModelError(f"{found.folder / artifact.CONFIG}: {error}") from None


def from_artifact(found: Artifact, *, precision: Precision | None = None) -> Model:
    """Return the model of a folder in memory; raises ModelError where its parts do not fit."""
    if isinstance(found.config.network, ClassifierSpec):
        return ClassifierModel.from_artifact(found, precision=precision)
    if isinstance(found.config.network, RegressorSpec):
        return RegressorModel.from_artifact(found, precision=precision)
    if isinstance(found.config.network, TaggerSpec):
        return TaggerModel.from_artifact(found, precision=precision)
    if isinstance(found.config.network, CaptionerSpec):
        return CaptionerModel.from_artifact(found, precision=precision)
    if isinstance(found.config.network, GeneratorSpec):
        return GeneratorModel.from_artifact(found, precision=precision)
    if isinstance(found.config.network, ForecasterSpec):
        return ForecastModel.from_artifact(found, precision=precision)
    return TranslatorModel.from_artifact(found, precision=precision)
