"""Our sides of a session: one by itself, or N of a pool in one call, and a plain batch of N."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.bench.problem import COMPARED_STEPS, Outputs, Problem, Side
from unrolled.bench.results import BATCH, FLOAT32, OURS, STEP_MANY
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.rows import to_state
from unrolled.runtime.session import SessionPool, step_many


def session_sides(p: Problem) -> list[Side]:
    """Return sessions in the precision of the case, what they stand beside, and in float32."""
    case = p.case
    layer = Recurrent(case.spec, p.weights, precision=case.precision)
    low = case.precision != "float32"
    full = Recurrent(case.spec, p.weights) if low else layer
    if case.N == 1:
        return [_one(OURS, layer, p), *([_one(FLOAT32, full, p)] if low else [])]
    found = [_many(OURS, layer, p), _many(STEP_MANY, layer, p), _batch(layer, p)]
    return [*found, *([_many(FLOAT32, full, p)] if low else [])]


def _outputs(y: Any, state: Any) -> Outputs:
    """Return y [N, H] and the state, copied: what a later step writes is not compared."""
    parts = state if isinstance(state, tuple) else (state,)
    named = zip("hc", parts, strict=False)
    return {"y": np.array(y), **{key: np.array(part) for key, part in named}}


def _one(name: str, layer: Recurrent, p: Problem) -> Side:
    """Return a session that reads a frame [I]."""
    frame = np.ascontiguousarray(p.x[0, 0])
    step = layer.stream().step

    def outputs() -> Outputs:
        session = layer.stream()
        for _ in range(COMPARED_STEPS):
            y = session.step(frame)
        return _outputs(y[None], to_state(layer.spec, session.state.values))

    return Side(name, lambda: step(frame), outputs, precision=layer.precision)


def _many(name: str, layer: Recurrent, p: Problem) -> Side:
    """Return N sessions of a pool in one call: by their rows, or by `step_many` of their list."""
    x = np.ascontiguousarray(p.x[0])
    pool = SessionPool(layer, len(x))
    sessions = [pool.open() for _ in x]
    rows = pool.rows(sessions)

    def run() -> Any:
        return step_many(sessions, x) if name == STEP_MANY else pool.step(x, rows)

    def outputs() -> Outputs:
        for session in sessions:
            session.reset()
        for _ in range(COMPARED_STEPS):
            y = run()
        return _outputs(y, to_state(layer.spec, pool.read(rows)))

    return Side(name, run, outputs, precision=layer.precision)


def _batch(layer: Recurrent, p: Problem) -> Side:
    """Return a step of a batch of N rows, its state passed in and out."""
    x = np.ascontiguousarray(p.x[0])
    state: Any = None

    def run() -> None:
        nonlocal state
        _, state = layer.step(x, state)

    def outputs() -> Outputs:
        found: Any = None
        for _ in range(COMPARED_STEPS):
            y, found = layer.step(x, found)
        return _outputs(y, found)

    return Side(BATCH, run, outputs, precision=layer.precision)
