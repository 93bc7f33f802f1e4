"""A generator that reads one sequence step by step and says after each what may come next."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from unrolled.data.vocab import BOS
from unrolled.errors import DataError
from unrolled.runtime.attention import softmax
from unrolled.runtime.state import SessionState
from unrolled.runtime.weights import Array

if TYPE_CHECKING:
    from unrolled.runtime.generator_model import GeneratorModel


class GeneratorSession:
    """One sequence, read as it comes; `model.stream()` makes it.

    It begins where sequences begin. A step costs the same however long the sequence is already.
    """

    def __init__(self, model: GeneratorModel) -> None:
        self.model = model
        self._network = model.network
        self._session = model.network.recurrent.stream()
        self._mark = model.network.fingerprint
        self.reset()

    def reset(self) -> None:
        """Begin with another sequence."""
        self._session.reset()
        frames = self._network.spec.frame_size
        self._y = self._advance(np.zeros(frames) if frames else np.int64(BOS))

    def step(self, token: int | Array) -> Array:
        """Read a token's id, or a frame [I]; return the probabilities of what comes next.

        They are [V] and sum to 1; for frames [I], of each key on its own. Raises DataError for an
        id that is not in the vocabulary and a frame of another width.
        """
        spec = self._network.spec
        if spec.frame_size:
            frame = np.asarray(token, self._network.recurrent.dtype)
            if frame.shape != (spec.frame_size,):
                raise DataError(
                    f"a frame must be [{spec.frame_size}] numbers, got {list(frame.shape)}"
                )
            self._y = self._advance(frame)
            return self.probabilities
        if not isinstance(token, (int, np.integer)) or not 0 <= token < spec.vocab_size:
            raise DataError(f"{token!r} is no token's id; expected 0 to {spec.vocab_size - 1}")
        self._y = self._advance(np.int64(token))
        return self.probabilities

    def read(self, text: str) -> Array:
        """Read on in a text, unit by unit; return the probabilities [V] of what comes next."""
        for token in self.model.encode(text):
            self._y = self._advance(np.int64(token))
        return self.probabilities

    @property
    def probabilities(self) -> Array:
        """What may come next, [V], or for frames [I], of each key on its own."""
        logits = self.logits
        if self._network.spec.frame_size:
            keys: Array = 1 / (1 + np.exp(-logits))
            return keys
        found: Array = softmax(logits[None])[0]
        return found

    @property
    def logits(self) -> Array:
        """The same before the softmax or sigmoid, [V] or [I]."""
        return self._network.logits_of(self._y)

    def fork(self) -> GeneratorSession:
        """Return another session that goes on from here; the two do not touch each other."""
        other = copy.copy(self)
        other._session = self._session.fork()
        return other

    @property
    def state(self) -> SessionState:
        """The state at this moment, to keep, to send or to set another session to.

        Setting it raises DataError where it is of another model.
        """
        row = np.concatenate([self._session.state.values[0], self._y])
        return SessionState(self._mark, row[None])

    @state.setter
    def state(self, state: SessionState) -> None:
        state.check(self._mark, self.state.values)
        held, y = np.split(state.values[0], [-len(self._y)])
        self._session.state = SessionState(self._network.recurrent.fingerprint, held[None])
        self._y = y.copy()

    def _advance(self, read: Array | np.int64) -> Array:
        return self._session.step(self._network.read(np.asarray(read)))
