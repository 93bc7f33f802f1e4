"""Tag: a label for every word of a sentence, or for every frame (many to many, aligned).

Training needs the `train` extra; a fitted tagger predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, TaggingSpec, TrainSpec, VocabularySpec
from unrolled.data.schemes import Legal, legal
from unrolled.data.sequences import Sequences
from unrolled.data.shards import FileShards, SourceOf, as_source, check_beside, divided
from unrolled.data.tagging import Corpus, TagBatch, encode_words, tag_batch
from unrolled.data.vocab import UNK, LabelVocabulary, Vocabulary
from unrolled.errors import ConfigError
from unrolled.options import TagOptions, recurrent_spec
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.spec import CharacterSpec, RecurrentSpec, TaggerSpec
from unrolled.tasks.base import Plan, Run, execute
from unrolled.tasks.evaluate import evaluate_tagger
from unrolled.tasks.shelf import Cutter, Lengths, Shelf, epoch_of, limited, shelve
from unrolled.tasks.tag_data import (
    Prepared,
    Survey,
    count_words,
    data_hash,
    hiding_rates,
    survey,
    tagging_spec,
)
from unrolled.tasks.words import frame_moments, hashes, start_from, with_vectors

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights


@dataclass(frozen=True)
class EncodedSequences:
    """Sequences of a shard as arrays, with their tags and, where they have any, intents [N]."""

    corpus: Corpus
    tags: Sequence[Sequence[int]]
    intents: NDArray[np.int64] | None

    @property
    def lengths(self) -> Lengths:
        """How long the sequences are."""
        return self.corpus.lengths, None

    def batch(self, index: NDArray[Any]) -> TagBatch:
        """Return the sequences at `index` [N], padded."""
        return tag_batch(self.corpus, self.tags, self.intents, index)


def train(
    sequences: Sequences | FileShards[Sequences],
    options: TagOptions,
    training: TrainSpec,
    *,
    validation: Sequences | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train a tagger and return the best model by validation.

    Better is: with an intent more sentences right as a whole, with spans a higher F1, then a higher
    accuracy, then a lower log loss. Without `validation`, `training.validation_fraction` of the
    distinct sequences are held out. Raises DataError for data that cannot be trained on,
    ConfigError for options that contradict each other.
    """
    run = run or Run()
    if options.head == "crf" and training.label_smoothing > 0:
        raise ConfigError("label_smoothing is for head 'softmax'; a CRF has no label of its own")
    found = survey(as_source(sequences), options)
    if not (options.embedding_size or options.vectors or options.characters or found.features):
        raise ConfigError("embedding_size is 0 and characters is off: nothing of a word is read")
    if options.vectors and found.features:
        raise ConfigError(f"vectors: {sequences.name} holds numbers; vectors are of words")
    tagging = tagging_spec(as_source(sequences), found, options, run)
    told = ""
    if validation is not None:
        check_beside(validation, found.features, found.form, sequences.name)
        told = data_hash(validation, hashes(options.vectors))
    fraction, seed = training.validation_fraction, training.seed
    source, held = divided(sequences, validation, fraction, seed)
    plan, prepared = make_plan(source, found, options, training, tagging, run)
    plan = replace(plan, validation_hash=told)
    return execute(plan, run, lambda **hooks: make_job(plan, prepared, source, held, run, **hooks))


def make_plan(
    source: SourceOf[Sequences],
    found: Survey,
    options: TagOptions,
    training: TrainSpec,
    tagging: TaggingSpec,
    run: Run,
) -> tuple[Plan, Prepared]:
    """Fix the vocabularies, the network and the reading of data from options and data."""
    data = DataSpec(
        source=options.words,
        target=options.column,
        source_vocabulary=VocabularySpec(
            tokens="word",
            lowercase=options.lowercase,
            min_count=options.min_count,
            max_size=options.max_size,
        ),
        max_length=options.max_length,
        tagging=tagging,
    )
    vocabularies: dict[str, Vocabulary | LabelVocabulary] = {"target": found.labels}
    if found.features:
        prepared = Prepared(moments=frame_moments(source, run, named=True))
    else:
        words = count_words(source, options.max_length)
        prepared, spec = Prepared(words), data.source_vocabulary
        if options.vectors:
            known, vectors = with_vectors(options.vectors, words.counts, spec, run)
            vocabularies["source"], prepared = known, Prepared(words, vectors)
        elif options.embedding_size:
            vocabularies["source"] = Vocabulary.of_words(words.counts.elements(), spec)
        if options.characters:
            spelled = VocabularySpec(tokens="char", max_size=options.max_size)
            vocabularies["characters"] = Vocabulary.build(words.counts.elements(), spelled)
    if found.intents is not None:
        vocabularies["intent"] = found.intents
    sizes = {role: len(each) for role, each in vocabularies.items()}
    width = prepared.vectors.size if prepared.vectors else options.embedding_size
    network = network_spec(options, sizes, width, len(found.features))
    return Plan("tag", network, data, training, vocabularies, found.hash), prepared


def network_spec(
    options: TagOptions, sizes: dict[str, int], embedding_size: int, frame_size: int = 0
) -> TaggerSpec:
    """Return the network that `options` describe for vocabularies of these sizes, by role."""
    characters = None
    if "characters" in sizes:
        characters = CharacterSpec(
            vocab_size=sizes["characters"],
            embedding_size=options.character_embedding_size,
            recurrent=RecurrentSpec(
                cell=options.cell,
                input_size=options.character_embedding_size,
                hidden_sizes=(options.character_hidden_size,),
                nonlinearity=options.nonlinearity,
                bidirectional=True,
                reset=options.reset,
                init=options.init,
            ),
        )
    reads = frame_size
    if not frame_size:
        reads = embedding_size + (characters.output_size if characters else 0)
    return TaggerSpec(
        num_tags=sizes["target"],
        recurrent=recurrent_spec(options, input_size=reads, layers=options.layers),
        vocab_size=sizes.get("source", 0),
        embedding_size=0 if frame_size else embedding_size,
        characters=characters,
        frame_size=frame_size,
        head=options.head,
        num_intents=sizes.get("intent", 0),
        dropout=options.dropout,
    )


def make_job(
    plan: Plan,
    prepared: Prepared,
    source: SourceOf[Sequences],
    validation: Sequences,
    run: Run,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    """Return what the training loop needs: the model, its batches, its loss, its validation."""
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, seed_all

    training, labels = plan.training, plan.vocabularies["target"]
    assert isinstance(labels, LabelVocabulary)
    shelf = _shelf(plan, labels, source, run)
    seed_all(training.seed)
    model = build(plan.network, engine=training.engine)
    start_from(model, prepared.moments, plan.vocabularies.get("source"), prepared.vectors)
    return Job(
        model=model,
        batches=lambda epoch: epoch_of(shelf, training, epoch),
        loss=_loss(plan, labels, hiding_rates(plan, prepared.words)),
        validate=_validation(plan, validation),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _shelf(
    plan: Plan, labels: LabelVocabulary, source: SourceOf[Sequences], run: Run
) -> Shelf[Sequences]:
    """Encode every shard once, for its lengths; tell how many sequences are cut."""
    limit, intents = plan.data.max_length, plan.vocabularies.get("intent")

    def encode(sequences: Sequences, cut: Cutter) -> EncodedSequences:
        tags = [labels.encode(found).tolist() for found in sequences.tags]
        whole = None
        if isinstance(intents, LabelVocabulary):
            whole = intents.encode(sequences.intents, sequences.where)
        corpus = _corpus(plan, sequences).cut(limit)
        return EncodedSequences(corpus, cut(tags, "sequences", sequences.where), whole)

    return shelve(source, encode, limit, run, "sequences")


def _loss(plan: Plan, labels: LabelVocabulary, hiding: tuple[Any, Any]) -> Callable[..., Any]:
    """Return the loss: mean -log p(tag) over steps (CRF: -log p(tags) / steps), plus the intent's.

    `hiding` are the probabilities with which words and characters are read as `<unk>`.
    """
    import torch
    from torch.nn import functional

    smoothing = plan.training.label_smoothing
    tagging = plan.data.tagging or TaggingSpec()
    allowed = legal(labels.labels, tagging.scheme) if tagging.constrained_training else None
    engine = plan.training.engine

    def loss(model: Any, batch: TagBatch, share: float, generator: torch.Generator) -> Any:
        assert batch.inputs is not None
        assert batch.tags is not None
        device = next(model.parameters()).device
        values, lengths, spellings, *rest = (
            None if part is None else torch.from_numpy(part) for part in batch.inputs
        )
        values, spellings = (
            _hide(ids, rates, generator)
            for ids, rates in zip((values, spellings), hiding, strict=True)
        )
        read = (values, lengths, spellings, *rest)
        emissions, intent = model(*(part if part is None else part.to(device) for part in read))
        tags, ends = torch.from_numpy(batch.tags).to(device), batch.inputs.lengths
        if model.crf is None:
            inside = torch.from_numpy(np.arange(tags.shape[1]) < ends[:, None]).to(device)
            total = functional.cross_entropy(
                emissions[inside], tags[inside], label_smoothing=smoothing
            )
        else:
            likelihood = _log_likelihood(model.crf, allowed, emissions, tags, lengths, engine)
            total = -likelihood.sum() / ends.sum()
        if intent is not None:
            wanted = torch.from_numpy(batch.labels).to(device)
            total = total + functional.cross_entropy(intent, wanted, label_smoothing=smoothing)
        return total, int(ends.sum())

    return loss


def _hide(ids: Any, rates: Any, generator: Any) -> Any:
    """Read each id as `<unk>` with its own probability."""
    import torch

    if rates is None:
        return ids
    return ids.masked_fill(torch.rand(ids.shape, generator=generator) < rates[ids], UNK)


def _log_likelihood(
    chain: Any, allowed: Legal | None, emissions: Any, tags: Any, lengths: Any, engine: Any
) -> Any:
    import torch

    from unrolled.ops.crf import log_likelihood

    scores = (chain.transitions, chain.start, chain.end)
    if allowed is not None:
        masks = (torch.from_numpy(~mask).to(emissions.device) for mask in allowed)
        scores = tuple(
            score.masked_fill(mask, -torch.inf) for score, mask in zip(scores, masks, strict=True)
        )
    return log_likelihood(emissions, *scores, tags, lengths, engine=engine)


def _validation(plan: Plan, sequences: Sequences) -> Callable[[Weights], Score]:
    """Score through the runtime, decoding included."""
    from unrolled.train.loop import Score

    sequences = limited(sequences, plan.training)
    kept = ("accuracy", "span_f1", "intent_accuracy", "sentence_accuracy", "log_loss")

    def validate(weights: Weights) -> Score:
        model = TaggerModel.from_artifact(plan.artifact(weights))
        found = evaluate_tagger(model, sequences)
        metrics = {name: found[name] for name in kept if name in found}
        first = metrics["sentence_accuracy"] if "intent_accuracy" in metrics else 0.0
        rates = (-first, -metrics.get("span_f1", 0.0), -metrics["accuracy"])
        return Score(metrics, (*rates, metrics.get("log_loss", 0.0)))

    return validate


def _corpus(plan: Plan, sequences: Sequences) -> Corpus:
    if sequences.features:
        return Corpus(list(sequences.inputs))
    words, characters = (plan.vocabularies.get(role) for role in ("source", "characters"))
    assert isinstance(words, Vocabulary | None)
    assert isinstance(characters, Vocabulary | None)
    limit = (plan.data.tagging or TaggingSpec()).max_word_length
    return encode_words(sequences.inputs, words, characters, limit)
