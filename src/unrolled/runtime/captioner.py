"""The captioner without torch: what is described becomes a memory to write about."""

from __future__ import annotations

import numpy as np

from unrolled.runtime.networks import DecoderNetwork, Memory, bridge
from unrolled.runtime.weights import Array, Linear, Weights, take
from unrolled.spec import CaptionerSpec, Precision


class CaptionerNetwork(DecoderNetwork):
    """The numpy twin of `unrolled.nn.captioner.Captioner`, from the same spec and weights.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self, spec: CaptionerSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        super().__init__(spec, weights, precision=precision)
        self.spec = spec
        size, width = spec.feature_size, spec.memory_size
        if spec.inputs == "attributes":
            self.embedding = take(weights, "embedding.weight", (size, width))
        else:
            self.project = Linear(weights, "project", size, width)
            self.mean = take(weights, "feature_mean", (size,))
            self.scale = take(weights, "feature_scale", (size,))
        if spec.positions:
            self.position = take(weights, "position", (spec.positions, width))
        self.bridge_h, self.bridge_c = bridge(width, width, spec.decoder, weights)

    def encode(self, source: Array, lengths: Array) -> Memory:
        """Read numbers [N, S, F], or attributes [N, S], with lengths [N] of 1 or more."""
        values = self._rows(source)
        values *= (np.arange(values.shape[1]) < lengths[:, None])[:, :, None]
        summary = self._summary(values, lengths)
        first = self.start(summary, summary, (self.bridge_h, self.bridge_c))
        return self.remember(values, lengths, first)

    def beside(self, values: Array, lengths: Array) -> Array | None:
        """Return the summary [N, M] where it stands beside every token."""
        return self._summary(values, lengths) if self.spec.condition == "every" else None

    def _summary(self, values: Array, lengths: Array) -> Array:
        summary: Array = values.sum(axis=1)
        if self.spec.inputs != "attributes":
            summary /= lengths[:, None].astype(summary.dtype)
        return summary

    def _rows(self, source: Array) -> Array:
        if self.spec.inputs == "attributes":
            rows: Array = self.embedding[source]
            return rows
        projected = self.project((source - self.mean) * self.scale)
        if self.spec.positions:
            projected += self.position[: source.shape[1]]
        return np.tanh(projected)
