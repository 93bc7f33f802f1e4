"""Classifier and regressor without torch: a sequence to outputs, and the attention over it."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.runtime.attention import AttentionPooling, softmax
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.weights import Array, Linear, Weights, kept, part_of_model, take, under
from unrolled.spec import ClassifierSpec, PooledSpec, Precision, RecurrentSpec, RegressorSpec
from unrolled.validation import check_network


class Reader:
    """What the stack reads of tokens or frames: their embeddings, or numbers on one scale.

    `arrays` are the weights that say how, by name.
    """

    def __init__(self, spec: PooledSpec, weights: Weights) -> None:
        self.masks = spec.mask_missing
        if spec.frame_size:
            width = (spec.frame_size,)
            names = ("frames.mean", "frames.scale")
            self.arrays = {name: take(weights, name, width) for name in names}
        else:
            shape = (spec.vocab_size, spec.embedding_size)
            self.arrays = {"embedding": take(weights, "embedding.weight", shape)}

    def __call__(self, inputs: Array) -> Array:
        """Map ids [...] to [..., E], frames [..., I] to [..., I], or [..., 2 I] where it masks."""
        if "embedding" in self.arrays:
            embedded: Array = self.arrays["embedding"][inputs]
            return embedded
        scaled: Array = (inputs - self.arrays["frames.mean"]) / self.arrays["frames.scale"]
        if not self.masks:
            return scaled
        missing = np.isnan(inputs)
        return np.concatenate([np.where(missing, 0, scaled), missing], axis=-1, dtype=scaled.dtype)


class PooledNetwork:
    """The numpy twin of `unrolled.nn.heads.Pooled`, from the same spec and weights.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self,
        spec: ClassifierSpec | RegressorSpec,
        weights: Weights,
        *,
        precision: Precision = "float32",
    ) -> None:
        check_network(spec)
        self.spec = spec
        self.read = Reader(spec, weights)
        with part_of_model("recurrent"):
            self.recurrent = Recurrent(
                spec.recurrent, under(weights, "recurrent"), precision=precision
            )
        self.pooling: AttentionPooling | None = None
        if spec.attention is not None:
            with part_of_model("pooling"):
                self.pooling = AttentionPooling(spec.attention, weights, "pooling.")
        self.output = Linear(weights, "output", spec.recurrent.output_size, spec.num_outputs)
        self.weights = kept(weights, recurrent=self.recurrent)

    def outputs(self, inputs: Array, lengths: Array) -> tuple[Array, Array | None]:
        """Return outputs [N, C] of tokens [N, T] or frames [N, T, I] with lengths [N] of 1 or more.

        With attention pooling its weights [N, T] come with them, else None.
        """
        y, state = self.recurrent(self.read(inputs), lengths=lengths)
        if self.pooling is not None:
            pooled, weights = self.pooling(y, lengths)
            return self.output(pooled), weights
        return self.output(_pool(self.spec, y, state, lengths)), None

    def attention(self, inputs: Array, lengths: Array) -> Array:
        """Return each step's share in the pooled vector, [N, T]; rows sum to 1.

        Raises ValueError where the network pools without attention.
        """
        weights = self.outputs(inputs, lengths)[1]
        if weights is None:
            raise ValueError(
                f"this network pools by {self.spec.pooling!r} and has no attention weights"
            )
        return weights


class ClassifierNetwork(PooledNetwork):
    """The numpy twin of `unrolled.nn.heads.Classifier`; `thresholds` [C] with several labels."""

    def __init__(
        self, spec: ClassifierSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        super().__init__(spec, weights, precision=precision)
        self.spec: ClassifierSpec = spec
        self.thresholds: Array | None = None
        if spec.multi_label:
            self.thresholds = take(weights, "thresholds", (spec.num_classes,))

    def logits(self, inputs: Array, lengths: Array) -> Array:
        """Return logits [N, C]; inputs as in `outputs`."""
        return self.outputs(inputs, lengths)[0]

    def shares(self, logits: Array) -> Array:
        """Return the probabilities that logits [..., C] mean: softmax, or sigmoid a label."""
        if self.spec.multi_label:
            found: Array = 0.5 * (1 + np.tanh(0.5 * logits))
            return found
        return softmax(logits)

    def probabilities(self, inputs: Array, lengths: Array) -> Array:
        """Return p(class | inputs), [N, C]; rows sum to 1 but for several labels."""
        return self.shares(self.logits(inputs, lengths))

    def classify(self, inputs: Array, lengths: Array) -> tuple[Array, Array | None]:
        """Return logits [N, C] and, with attention pooling, its weights [N, T], in one pass."""
        return self.outputs(inputs, lengths)


class RegressorNetwork(PooledNetwork):
    """The numpy twin of `unrolled.nn.heads.Regressor`."""

    def __init__(
        self, spec: RegressorSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        super().__init__(spec, weights, precision=precision)
        self.spec: RegressorSpec = spec
        width = (spec.num_targets,)
        self.mean = take(weights, "targets.mean", width)
        self.scale = take(weights, "targets.scale", width)

    def undo(self, outputs: Array) -> Array:
        """Return outputs [..., K] on the scale of the targets."""
        found: Array = outputs * self.scale + self.mean
        return found

    def predict(self, inputs: Array, lengths: Array) -> Array:
        """Return the targets [N, K], on their own scale; inputs as in `outputs`."""
        return self.undo(self.outputs(inputs, lengths)[0])


def _pool(spec: PooledSpec, y: Array, state: Any, lengths: Array) -> Array:
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
