"""The classifier without torch: tokens to logits, and the attention that pooled them."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.runtime.attention import AttentionPooling, softmax
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.weights import Array, Linear, Weights, kept, part_of_model, take, under
from unrolled.spec import ClassifierSpec, Precision, RecurrentSpec
from unrolled.validation import check_network


class ClassifierNetwork:
    """The numpy twin of `unrolled.nn.heads.Classifier`, from the same spec and weights.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self, spec: ClassifierSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        check_network(spec)
        self.spec = spec
        self.embedding = take(weights, "embedding.weight", (spec.vocab_size, spec.embedding_size))
        with part_of_model("recurrent"):
            self.recurrent = Recurrent(
                spec.recurrent, under(weights, "recurrent"), precision=precision
            )
        self.pooling: AttentionPooling | None = None
        if spec.attention is not None:
            with part_of_model("pooling"):
                self.pooling = AttentionPooling(spec.attention, weights, "pooling.")
        self.output = Linear(weights, "output", spec.recurrent.output_size, spec.num_classes)
        self.weights = kept(weights, recurrent=self.recurrent)

    def logits(self, tokens: Array, lengths: Array) -> Array:
        """Map tokens [N, T] with lengths [N] of 1 or more to logits [N, C]."""
        return self.classify(tokens, lengths)[0]

    def probabilities(self, tokens: Array, lengths: Array) -> Array:
        """Return p(class | tokens), [N, C]; rows sum to 1."""
        return softmax(self.logits(tokens, lengths))

    def attention(self, tokens: Array, lengths: Array) -> Array:
        """Return each step's share in the pooled vector, [N, T]; rows sum to 1.

        Raises ValueError where the classifier pools without attention.
        """
        weights = self.classify(tokens, lengths)[1]
        if weights is None:
            raise ValueError(
                f"this classifier pools by {self.spec.pooling!r} and has no attention weights"
            )
        return weights

    def classify(self, tokens: Array, lengths: Array) -> tuple[Array, Array | None]:
        """Return logits [N, C] and, with attention pooling, its weights [N, T], in one pass."""
        y, state = self.recurrent(self.embedding[tokens], lengths=lengths)
        if self.pooling is not None:
            pooled, weights = self.pooling(y, lengths)
            return self.output(pooled), weights
        return self.output(_pool(self.spec, y, state, lengths)), None


def _pool(spec: ClassifierSpec, y: Array, state: Any, lengths: Array) -> Array:
    if spec.pooling == "last":
        return last_output(spec.recurrent, state)
    if spec.pooling == "mean":
        mean: Array = y.sum(axis=1) / lengths[:, None].astype(y.dtype)
        return mean
    past = np.arange(y.shape[1]) >= lengths[:, None]
    pooled: Array = np.where(past[:, :, None], -np.inf, y).max(axis=1)
    return pooled


def last_output(spec: RecurrentSpec, state: Any) -> Array:
    """Return the top layer's final h with its directions merged as outputs are."""
    last = last_layer(spec, state[0] if spec.cell == "lstm" else state)
    if not spec.bidirectional:
        only: Array = last[0]
        return only
    if spec.merge == "concat":
        return np.concatenate(tuple(last), axis=-1)
    if spec.merge == "mul":
        product: Array = last[0] * last[1]
        return product
    total: Array = last[0] + last[1]
    return total / 2 if spec.merge == "mean" else total


def last_layer(spec: RecurrentSpec, states: Any) -> Array:
    """Return the top layer's part [D, N, H] of h or c of a whole stack."""
    top: Array = states[-1] if isinstance(states, tuple) else states[-spec.num_directions :]
    return top
