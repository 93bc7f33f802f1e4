"""The tagger without torch: words or frames to tag scores, best sequences and marginals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unrolled.data.schemes import Legal
from unrolled.data.tagging import TaggerInput
from unrolled.runtime import crf
from unrolled.runtime.crf import Scores
from unrolled.runtime.heads import last_layer
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.weights import (
    Array,
    Linear,
    Weights,
    kept,
    log_softmax,
    part_of_model,
    take,
    under,
)
from unrolled.spec import CharacterSpec, Precision, TaggerSpec
from unrolled.validation import check_network


class TaggerNetwork:
    """The numpy twin of `unrolled.nn.tagger.Tagger`, from the same spec and weights.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self, spec: TaggerSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        check_network(spec)
        self.spec = spec
        self.embedding: Array | None = None
        if spec.embedding_size:
            shape = (spec.vocab_size, spec.embedding_size)
            self.embedding = take(weights, "embedding.weight", shape)
        self.characters = None
        if spec.characters is not None:
            self.characters = _Characters(spec.characters, weights, precision)
        self.scaling: tuple[Array, Array] | None = None
        if spec.frame_size:
            width = (spec.frame_size,)
            self.scaling = (
                take(weights, "frames.mean", width),
                take(weights, "frames.scale", width),
            )
        with part_of_model("recurrent"):
            self.recurrent = Recurrent(
                spec.recurrent, under(weights, "recurrent"), precision=precision
            )
        width_out = spec.recurrent.output_size
        self.output = Linear(weights, "output", width_out, spec.num_tags)
        self.intent = None
        if spec.num_intents:
            self.intent = Linear(weights, "intent", width_out, spec.num_intents)
        self.scores = _scores(spec, weights, self.output.weight.dtype)
        self.weights = kept(weights, recurrent=self.recurrent)
        if self.characters is not None:
            self.weights |= kept({}, characters__recurrent=self.characters.recurrent)

    def emissions(self, batch: TaggerInput) -> tuple[Array, Array | None]:
        """Return emissions [N, T, K] and log p(intent | x) [N, J], None without an intent.

        The emissions of a softmax head are log p(y_t | x).
        """
        y, _ = self.recurrent(self.read(batch), lengths=batch.lengths)
        found = self.emit(y)
        if self.intent is None:
            return found, None
        past = np.arange(y.shape[1]) >= batch.lengths[:, None]
        pooled = np.where(past[:, :, None], -np.inf, y).max(axis=1).astype(y.dtype)
        return found, log_softmax(self.intent(pooled))

    def emit(self, y: Array) -> Array:
        """Return the emissions [..., K] of the stack's outputs y [..., P]."""
        found = self.output(y)
        return log_softmax(found) if self.spec.head == "softmax" else found

    def marginals(self, emissions: Array, lengths: Array, legal: Legal | None = None) -> Array:
        """Return p(y_t = k | x) [N, T, K], given that y is `legal`; zero past each row's end."""
        return crf.marginals(emissions, self.scores.where(legal), lengths)

    def best(
        self, emissions: Array, lengths: Array, legal: Legal | None = None, *, n_best: int = 1
    ) -> tuple[NDArray[np.int64], Array]:
        """Return the n best `legal` tag sequences [N, n, T] and log p(y | x, y is legal) [N, n]."""
        scores = self.scores.where(legal)
        paths, found = crf.viterbi(emissions, scores, lengths, n_best=n_best)
        return paths, found - crf.log_partition(emissions, scores, lengths)[:, None]

    def read(self, batch: TaggerInput) -> Array:
        """Return what the stack reads of a batch, [N, T, I]."""
        if self.scaling is not None:
            mean, scale = self.scaling
            scaled: Array = (batch.values - mean) / scale
            return scaled
        parts = [] if self.embedding is None else [self.embedding[batch.values]]
        if self.characters is not None:
            parts.append(self.characters(batch.spellings, batch.spelling_lengths)[batch.words])
        return np.concatenate(parts, axis=-1)


class _Characters:
    def __init__(self, spec: CharacterSpec, weights: Weights, precision: Precision) -> None:
        self.spec = spec.recurrent
        shape = (spec.vocab_size, spec.embedding_size)
        self.embedding = take(weights, "characters.embedding.weight", shape)
        with part_of_model("characters.recurrent"):
            self.recurrent = Recurrent(
                spec.recurrent, under(weights, "characters.recurrent"), precision=precision
            )

    def __call__(self, spellings: Array | None, lengths: Array | None) -> Array:
        _, state = self.recurrent(self.embedding[spellings], lengths=lengths)
        h = state[0] if self.spec.cell == "lstm" else state
        return np.concatenate(tuple(last_layer(self.spec, h)), axis=-1)


def _scores(spec: TaggerSpec, weights: Weights, dtype: np.dtype[np.floating]) -> Scores:
    """Return a CRF's scores; a softmax head is a chain whose own are all zero."""
    tags = spec.num_tags
    if spec.head == "crf":
        return Scores(
            take(weights, "crf.transitions", (tags, tags)),
            take(weights, "crf.start", (tags,)),
            take(weights, "crf.end", (tags,)),
        )
    return Scores(np.zeros((tags, tags), dtype), np.zeros(tags, dtype), np.zeros(tags, dtype))
