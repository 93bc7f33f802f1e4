"""Sessions: streams over a recurrent layer that keep their state from one call to the next.

A session owns its state, [N, S] values, and each call advances it in place. S counts, layer after
layer, h [P] and, for LSTM, c [H]. Sessions of one `SessionPool` are rows of one block, so that any
of them advance in one call of the engine. A session serves one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.runtime.layer import Array
from unrolled.runtime.rows import check_out, first_rows, frames, to_rows, to_state
from unrolled.runtime.state import SessionState

if TYPE_CHECKING:
    from unrolled.runtime.recurrent import Recurrent

Rows = NDArray[np.int64]


class SessionPool:
    """Many sessions over one layer, as rows of one block of state.

    `open()` begins a session, `step` advances any of them by one frame in one call of the engine.
    The block grows as sessions are opened; `capacity` is how many it has room for at first.
    Raises ValueError for a bidirectional layer.
    """

    def __init__(self, layer: Recurrent, capacity: int = 16) -> None:
        if capacity < 1:
            raise ValueError(f"sessions need room for at least 1 row, got {capacity}")
        if layer._stepper is None:
            raise ValueError(
                "a bidirectional layer cannot stream: its backward direction begins at the end of "
                "the sequence; stream(lookahead=k) runs it over the k frames ahead instead"
            )
        self.layer = layer
        self._stepper = layer._stepper
        self._first = first_rows(layer.spec, layer.weights, layer.dtype)
        self._block = np.repeat(self._first, capacity, axis=0)
        self._open = np.zeros(capacity, bool)
        self._free = list(range(capacity - 1, -1, -1))
        self._asked: tuple[tuple[Session, ...], Rows] | None = None

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._open) - len(self._free)

    @property
    def capacity(self) -> int:
        """How many sessions have room before the block grows."""
        return len(self._block)

    def open(self, state: SessionState | None = None) -> Session:
        """Begin a session, where the layer begins or at a `state` that another one had."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._asked = None
        self._open[row] = True
        self._block[row] = self._first
        session = Session(self, row)
        if state is not None:
            session.state = state
        return session

    def rows(self, sessions: Sequence[Session]) -> Rows:
        """Return which rows of the pool `sessions` are, int64 [K], for repeated calls of `step`.

        Raises ValueError where one is closed or of another pool.
        """
        same = tuple(sessions)
        if self._asked is not None and self._asked[0] == same:
            return self._asked[1]
        for k, session in enumerate(same):
            if session.pool is not self or session.closed:
                raise ValueError(f"session {k} is closed or of another pool")
            if session.row is None:
                raise ValueError(f"session {k} is none that a pool opened")
        rows = np.array([session.row for session in same], np.int64)
        rows.flags.writeable = False
        # Who advances the same sessions at every frame has them looked up once; opening or closing
        # one forgets it.
        self._asked = (same, rows)
        return rows

    def step(
        self,
        x: ArrayLike,
        sessions: Sequence[Session] | Rows,
        out: Array | None = None,
        *,
        reset: ArrayLike | None = None,
    ) -> Array:
        """Advance K sessions by one frame: x [K, I] -> y [K, P]; row k of x is for session k.

        `sessions` are sessions of this pool or, faster, what `rows` returned for them. Where
        `reset` [K] is true a session begins anew before it reads. Raises ValueError for shapes that
        do not fit and for sessions that are closed or given twice.
        """
        rows = sessions if isinstance(sessions, np.ndarray) else self.rows(sessions)
        if not self._open[rows].all():
            raise ValueError("one of the sessions is closed")
        if reset is not None:
            self.restart_where(reset, rows)
        return self.advance(x, rows, out)

    def advance(self, x: ArrayLike, rows: Rows | None, out: Array | None) -> Array:
        """Advance rows of the block, or all of it, whether sessions are open or not."""
        y = self._stepper.advance(x, self._block, rows, out)
        return self._advance_any(x, rows, out) if y is None else y

    def _advance_any(self, x: ArrayLike, rows: Rows | None, out: Array | None) -> Array:
        spec = self.layer.spec
        values = frames(x, spec.input_size, self.layer.dtype)
        check_out(out, (*values.shape[:-1], spec.output_size))
        y = cast(Array, self._stepper.advance(values, self._block, rows, None))
        if out is None:
            return y
        np.copyto(out, y)
        return out

    def read(self, rows: Rows | None) -> Array:
        """Return a copy of the state [N, S] of these rows, or of all."""
        return self._block.copy() if rows is None else self._block[rows]

    def write(self, rows: Rows | None, values: Array) -> None:
        """Set the state of these rows, or of all, to values [N, S] or [S]."""
        self._block[slice(None) if rows is None else rows] = values

    def restart(self, rows: Rows | None) -> None:
        """Set the state of these rows, or of all, to where the layer begins."""
        self.write(rows, self._first)

    def restart_where(self, reset: ArrayLike, rows: Rows | None) -> None:
        """Restart those of the rows, or of all, where `reset` [K] is true.

        Raises ValueError where it is not as many booleans.
        """
        chosen = np.arange(len(self._block)) if rows is None else rows
        mask = np.asarray(reset)
        if mask.dtype != bool or mask.shape not in {(len(chosen),), ()}:
            raise ValueError(
                f"reset must be [{len(chosen)}] booleans, got {mask.dtype} {list(mask.shape)}"
            )
        self.restart(chosen[np.broadcast_to(mask, len(chosen))])

    def release(self, row: int) -> None:
        """Take back the row of a session that closes."""
        self._asked = None
        self._open[row] = False
        self._free.append(row)

    def _grow(self) -> None:
        held = len(self._open)
        self._block = np.concatenate([self._block, np.repeat(self._first, held, axis=0)])
        self._open = np.concatenate([self._open, np.zeros(held, bool)])
        self._free = list(range(2 * held - 1, held - 1, -1))


class Session:
    """One stream over a recurrent layer; `layer.stream()` and `SessionPool.open()` make them.

    A frame is [I], or [N, I] for a session of N rows; the bits of what comes out are those of the
    whole sequence in one call, whatever chunks it came in.
    """

    def __init__(self, pool: SessionPool, row: int | None = None) -> None:
        self.pool = pool
        self.row = row  # of the pool; None where all of it is this session's
        self._rows = None if row is None else np.array([row])
        self.closed = False

    @property
    def rows(self) -> int:
        """N, how many streams advance together."""
        return self.pool.capacity if self.row is None else 1

    def step(
        self, x: ArrayLike, out: Array | None = None, *, reset: ArrayLike | None = None
    ) -> Array:
        """Read one frame: x [I] -> y [P], or [N, I] -> [N, P]; `out`, where given, receives y.

        Where `reset`, [N] or one boolean, is true a stream begins anew before it reads. Raises
        ValueError for shapes that do not fit and where the session is closed.
        """
        self._check_open()
        if reset is not None:
            self.pool.restart_where(reset, self._rows)
        return self.pool.advance(x, self._rows, out)

    def run(self, x: ArrayLike, *, reset: ArrayLike | None = None) -> Array:
        """Read a chunk of T frames: x [T, I] -> y [T, P], or [N, T, I] -> [N, T, P]. T may be 0.

        Where `reset`, [T] or [N, T], is true a stream begins anew before that frame. Raises
        ValueError for shapes that do not fit and where the session is closed.
        """
        self._check_open()
        layer = self.pool.layer
        values = np.asarray(x, dtype=layer.dtype)
        single, size = values.ndim == 2, layer.spec.input_size
        if single:
            values = values[None]
        if values.ndim != 3 or values.shape[2] != size or len(values) != self.rows:
            n = self.rows
            given = list(np.shape(x))
            raise ValueError(
                f"a chunk must be [{n}, T, {size}]{f' or [T, {size}]' if n == 1 else ''}, "
                f"got {given}"
            )
        if not values.shape[1]:
            y = np.empty((*values.shape[:2], layer.spec.output_size), layer.dtype)
            return y[0] if single else y
        held = self.pool.read(self._rows)
        mask = np.asarray(reset)[None] if reset is not None and single else reset
        y, state = layer(values, to_state(layer.spec, held), reset=mask)
        self.pool.write(self._rows, to_rows(layer.spec, state))
        return y[0] if single else y

    def reset(self) -> None:
        """Begin anew: the state becomes what the layer begins with."""
        self._check_open()
        self.pool.restart(self._rows)

    def fork(self) -> Session:
        """Return another session that goes on from here; the two do not touch each other."""
        self._check_open()
        held = self.pool.read(self._rows)
        if self._rows is None:
            other = Session(SessionPool(self.pool.layer, len(held)))
        else:
            other = self.pool.open()
        other.pool.write(other._rows, held)
        return other

    @property
    def state(self) -> SessionState:
        """The state at this moment, to keep, to send or to set another session to.

        Setting it raises DataError where it is of another model or another number of rows.
        """
        self._check_open()
        return SessionState(self.pool.layer.fingerprint, self.pool.read(self._rows))

    @state.setter
    def state(self, state: SessionState) -> None:
        self._check_open()
        state.check(self.pool.layer.fingerprint, self.pool.read(self._rows))
        self.pool.write(self._rows, state.values)

    def close(self) -> None:
        """End the session; its row of a pool serves another. Closing twice is no error."""
        if not self.closed and self.row is not None:
            self.pool.release(self.row)
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the session is closed")


def step_many(sessions: Sequence[Session], x: ArrayLike, out: Array | None = None) -> Array:
    """Advance K sessions of one pool by one frame in one call: x [K, I] -> y [K, P].

    Raises ValueError as `SessionPool.step` does, and where there is no session.
    """
    if not sessions:
        raise ValueError("step_many needs at least one session")
    return sessions[0].pool.step(x, sessions, out)
