"""A classifier that reads one sequence piece by piece and says after each what it thinks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.errors import DataError, ModelError
from unrolled.runtime.heads import ClassifierNetwork, last_output
from unrolled.runtime.reading import check_frames
from unrolled.runtime.rows import to_state
from unrolled.runtime.state import SessionState, fingerprint
from unrolled.runtime.weights import Array

if TYPE_CHECKING:
    from unrolled.runtime.pooled_model import ClassifierModel


class ClassifierSession:
    """One text, or one sequence of frames, read as it arrives; `model.stream()` makes it.

    After each piece the probabilities are those of all that came so far, at the cost of the piece
    alone: mean, maximum and attention are kept as running sums. A sequence may be longer than the
    model cuts whole ones to. Raises ModelError where the classifier reads in both directions.
    """

    def __init__(self, model: ClassifierModel) -> None:
        network = model.network
        if network.spec.recurrent.bidirectional:
            raise ModelError(
                "this classifier reads in both directions and cannot stream: its backward "
                "direction begins at the end of the text; train one with bidirectional false"
            )
        self.model = model
        self._network = network
        self._session = network.recurrent.stream()
        self.reset()

    def reset(self) -> None:
        """Begin with another sequence."""
        self._session.reset()
        dtype = self._network.recurrent.dtype
        lowest = -np.inf if self._network.spec.pooling == "max" else 0
        # Of outputs, weighted by `_total`; the weights are relative to the highest score, `_peak`.
        self._pooled = np.full(self._network.spec.recurrent.output_size, lowest, dtype)
        self._total, self._peak = dtype.type(0), dtype.type(-np.inf)
        self.units_read = 0

    def step(self, piece: Any) -> Array:
        """Read on and return the probability of each class, [C], for all that came so far.

        A piece of text holds whole units: words where the model reads words. Of frames it is one
        [I] or several [T, I]. Raises DataError where the text is still empty, and for frames of
        another width or not finite.
        """
        read = self._read(piece)
        if len(read):
            self._add(self._session.run(self._network.read(read)))
            self.units_read += len(read)
        return self.probabilities

    def _read(self, piece: Any) -> Any:
        vocabulary, spec = self.model.vocabulary, self._network.spec
        if vocabulary is not None:
            return vocabulary.encode(piece)
        frames = np.atleast_2d(np.asarray(piece))
        where, masks = f"frames from {self.units_read + 1} on", spec.mask_missing
        return check_frames(frames, spec.frame_size, where, mask_missing=masks)

    @property
    def probabilities(self) -> Array:
        """The probability of each class, [C]; raises DataError before the first unit."""
        if not self.units_read:
            raise DataError("the text is empty so far; expected at least one unit to read")
        found: Array = self._network.shares(self._network.output(self._summary()[None]))[0]
        return found

    @property
    def label(self) -> Any:
        """The likeliest label so far, or the tuple of labels; DataError before the first unit."""
        return self.model.label_of(self.probabilities)

    def fork(self) -> ClassifierSession:
        """Return another session that goes on from here; the two do not touch each other."""
        other = copy.copy(self)
        other._session = self._session.fork()
        return other

    @property
    def state(self) -> SessionState:
        """The state at this moment, to keep, to send or to set another session to.

        Setting it raises DataError where it is of another model.
        """
        ends = [self._total, self._peak, self.units_read]
        row = np.concatenate([self._session.state.values[0], self._pooled, ends])
        return SessionState(_mark(self._network), row[None].astype(self._pooled.dtype))

    @state.setter
    def state(self, state: SessionState) -> None:
        state.check(_mark(self._network), self.state.values)
        held, pooled, ends = np.split(state.values[0], [-3 - len(self._pooled), -3])
        self._session.state = SessionState(self._network.recurrent.fingerprint, held[None])
        self._pooled = pooled.copy()
        self._total, self._peak, self.units_read = ends[0], ends[1], int(ends[2])

    def _add(self, y: Array) -> None:
        """Take outputs y [T, P] into what is pooled."""
        pooling = self._network.pooling
        if pooling is not None:
            scores = pooling.scores(y[None])[0]
            peak = max(self._peak, scores.max())
            kept, weights = np.exp(self._peak - peak), np.exp(scores - peak)
            self._pooled = self._pooled * kept + weights @ y
            self._total, self._peak = self._total * kept + weights.sum(), peak
        elif self._network.spec.pooling == "mean":
            self._pooled = self._pooled + y.sum(axis=0)
            self._total = self._total + len(y)
        elif self._network.spec.pooling == "max":
            self._pooled = np.maximum(self._pooled, y.max(axis=0))

    def _summary(self) -> Array:
        """Return the pooled vector [P] of the text so far."""
        spec = self._network.spec
        if spec.pooling == "last":
            held = to_state(spec.recurrent, self._session.state.values)
            last: Array = last_output(spec.recurrent, held)[0]
            return last
        return self._pooled if spec.pooling == "max" else self._pooled / self._total


def _mark(network: ClassifierNetwork) -> str:
    """Return the fingerprint of everything that a text passes on its way to the classes."""
    parts = dict(network.read.arrays)
    parts |= {f"recurrent.{name}": value for name, value in network.recurrent.weights.items()}
    parts |= {"output.weight": network.output.weight, "output.bias": network.output.bias}
    if network.pooling is not None:
        parts |= {f"pooling.{name}": value for name, value in network.pooling.weights.items()}
    return fingerprint(network.spec, parts)
