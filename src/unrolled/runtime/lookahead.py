"""Streams over bidirectional layers: the backward direction sees a bounded window ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from unrolled.errors import DataError
from unrolled.runtime import layer as engine
from unrolled.runtime.layer import Array
from unrolled.runtime.rows import frames
from unrolled.runtime.state import SessionState

if TYPE_CHECKING:
    from unrolled.runtime.recurrent import Recurrent


class LookaheadSession:
    """A stream over a bidirectional stack that gives y[t] once it has seen x[t + k].

    In each layer the forward direction goes on from its state after frame t - 1, and the backward
    direction begins anew at frame t + k: what lies further ahead does not reach y[t]. For one layer
    the forward half of y is therefore that of the whole sequence; the backward half, and in a stack
    whatever reads it, is an approximation that improves with k. Frames that `flush` gives are read
    to the true end. A frame costs about k + 2 steps. How x is cut into chunks changes nothing.
    Raises ValueError for a layer in one direction, which streams exactly without looking ahead.
    """

    def __init__(self, layer: Recurrent, rows: int, lookahead: int) -> None:
        if not layer.spec.bidirectional:
            raise ValueError("a layer in one direction streams exactly: leave out lookahead")
        if lookahead < 0 or rows < 1:
            raise ValueError(
                f"lookahead must be at least 0 and rows at least 1, got {lookahead} and {rows}"
            )
        self.layer = layer
        self.rows = rows
        self.lookahead = lookahead
        self._single = rows == 1
        self.reset()

    def reset(self) -> None:
        """Begin anew: forget the frames that wait, and the state."""
        self._waiting: list[Array] = []
        self._h, self._c = self.layer._split(None, self.rows)

    def fork(self) -> LookaheadSession:
        """Return another session that goes on from here; the two do not touch each other."""
        other = LookaheadSession(self.layer, self.rows, self.lookahead)
        other._single = self._single
        other._waiting = list(self._waiting)
        other._h, other._c = list(self._h), list(self._c)
        return other

    @property
    def state(self) -> SessionState:
        """The state at this moment, to keep, to send or to set another session to.

        A row [1 + S + w * I] holds k, the forward directions' state [S] and the w <= k frames that
        wait, oldest first. Setting it raises DataError where it is of another model, another number
        of rows, or another k.
        """
        return SessionState(self.layer.fingerprint, self._row())

    @state.setter
    def state(self, state: SessionState) -> None:
        state.check_owner(self.layer.fingerprint)
        width = self._width(state.values[:1].ravel())
        state.check(self.layer.fingerprint, np.empty((self.rows, width), self.layer.dtype))
        self.reset()
        at = 1
        for part in self._forward():
            size = part.shape[1]
            part[:] = state.values[:, at : at + size]
            at += size
        self._waiting = [
            state.values[:, k : k + self.layer.spec.input_size].copy()
            for k in range(at, width, self.layer.spec.input_size)
        ]

    def _width(self, row: Array) -> int:
        """Return how many of the numbers that `row` begins with are a state of this session.

        Other numbers may follow where k frames wait. Raises DataError where it is no state that
        looks k frames ahead.
        """
        if not len(row) or row[0] != self.lookahead:
            found = f"{row[0]:g}" if len(row) else "no"
            raise DataError(
                f"the state is of a stream that looks {found} frames ahead, "
                f"this session looks {self.lookahead} ahead"
            )
        held: int = 1 + sum(part.shape[1] for part in self._forward())
        size = self.layer.spec.input_size
        return held + min(self.lookahead, max(0, len(row) - held) // size) * size

    def _row(self) -> Array:
        first = np.full((self.rows, 1), self.lookahead, self.layer.dtype)
        return np.concatenate([first, *self._forward(), *self._waiting], axis=1)

    def _forward(self) -> list[Array]:
        """Return each layer's forward states, h [N, P] and for an LSTM c [N, H]."""
        kinds = (self._h, self._c) if self._c else (self._h,)
        return [kind[k][0] for k in range(len(self._h)) for kind in kinds]

    def step(self, x: ArrayLike) -> Array | None:
        """Read one frame, x [N, I] or [I]; return y [N, P] or [P] of the frame k before, if any.

        Raises ValueError for shapes that do not fit.
        """
        values = frames(x, self.layer.spec.input_size, self.layer.dtype)
        y = self.run(values[..., None, :])
        return y[..., 0, :] if y.shape[-2] else None

    def run(self, x: ArrayLike) -> Array:
        """Read a chunk, x [N, T, I] or [T, I]; return y of every frame that is ready.

        y is [N, T', P] or [T', P], with T' from 0 to T. Raises ValueError for shapes that do not
        fit.
        """
        values = np.asarray(x, dtype=self.layer.dtype)
        single, size = values.ndim == 2, self.layer.spec.input_size
        if single:
            values = values[None]
        if values.ndim != 3 or values.shape[2] != size or len(values) != self.rows:
            raise ValueError(
                f"a chunk must be [{self.rows}, T, {size}]"
                f"{f' or [T, {size}]' if self.rows == 1 else ''}, got {list(np.shape(x))}"
            )
        self._single = single
        ready = []
        for frame in values.swapaxes(0, 1):
            self._waiting.append(frame.copy())
            if len(self._waiting) > self.lookahead:
                ready.append(self._next())
        return self._shaped(ready)

    def flush(self) -> Array:
        """End the stream: return y of the frames that wait, and begin anew."""
        ready = [self._next() for _ in range(len(self._waiting))]
        self.reset()
        return self._shaped(ready)

    def _shaped(self, ready: list[Array]) -> Array:
        shape = (self.rows, 0, self.layer.spec.output_size)
        y = np.stack(ready, axis=1) if ready else np.empty(shape, self.layer.dtype)
        return y[0] if self._single else y

    def _next(self) -> Array:
        """Return y [N, P] of the first frame that waits, and move the forward state past it."""
        values = np.stack(self._waiting, axis=1)
        del self._waiting[0]
        first_h, first_c = self.layer._split(None, self.rows)
        for k, layer in enumerate(self.layer._layers):
            h, c = self._h[k], self._c[k] if self._c else None
            y, _, _ = engine.run(layer, values, h, c, None)
            _, h_1, c_1 = engine.run(layer, values[:, :1], h, c, None)
            self._h[k] = np.stack([h_1[0], first_h[k][1]])
            if c_1 is not None:
                self._c[k] = np.stack([c_1[0], first_c[k][1]])
            values = self.layer._merged(k, y, values)
        return values[:, 0]
