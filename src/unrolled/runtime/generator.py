"""The generator without torch: tokens or frames to what comes next, state in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.state import fingerprint
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
from unrolled.spec import GeneratorSpec, Precision
from unrolled.validation import check_network


class GeneratorNetwork:
    """The numpy twin of `unrolled.nn.generator.Generator`, from the same spec and weights.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self, spec: GeneratorSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        check_network(spec)
        self.spec = spec
        width = spec.recurrent.output_size
        self.embedding: Array | None = None
        if spec.vocab_size:
            self.embedding = take(
                weights, "embedding.weight", (spec.vocab_size, spec.embedding_size)
            )
        with part_of_model("recurrent"):
            self.recurrent = Recurrent(
                spec.recurrent, under(weights, "recurrent"), precision=precision
            )
        self.projection: Linear | None = None
        if spec.projected:
            self.projection = Linear(weights, "projection", width, spec.embedding_size)
        if spec.tied:
            assert self.embedding is not None
            self.weight, self.bias = self.embedding, take(weights, "bias", (spec.vocab_size,))
        else:
            output = Linear(weights, "output", width, spec.vocab_size or spec.frame_size)
            self.weight, self.bias = output.weight, output.bias
        self.weights = kept(weights, recurrent=self.recurrent)

    def read(self, inputs: Array) -> Array:
        """Return what the stack reads: the embedding of tokens [...], or frames [..., I]."""
        if self.embedding is None:
            return np.asarray(inputs, self.recurrent.dtype)
        read: Array = self.embedding[inputs]
        return read

    def logits_of(self, y: Array) -> Array:
        """Map outputs of the stack [..., P] to logits [..., V or I]."""
        if self.projection is not None:
            y = self.projection(y)
        logits: Array = y @ self.weight.T
        logits += self.bias
        return logits

    def logits(
        self, inputs: Array, state: Any = None, lengths: Array | None = None
    ) -> tuple[Array, Any]:
        """Map tokens [N, T], or frames [N, T, I], to logits [N, T, V or I] and the last state."""
        y, state = self.recurrent(self.read(inputs), state, lengths)
        return self.logits_of(y), state

    def log_probs(
        self, inputs: Array, state: Any = None, lengths: Array | None = None
    ) -> tuple[Array, Any]:
        """Return log p(next token | tokens so far), [N, T, V], and the last state."""
        logits, state = self.logits(inputs, state, lengths)
        return log_softmax(logits), state

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of everything that a step passes on its way to what comes next."""
        parts = {f"recurrent.{name}": value for name, value in self.recurrent.weights.items()}
        parts |= {"output.weight": self.weight, "output.bias": self.bias}
        if self.embedding is not None:
            parts["embedding"] = self.embedding
        if self.projection is not None:
            parts["projection.weight"] = self.projection.weight
            parts["projection.bias"] = self.projection.bias
        return fingerprint(self.spec, parts)
