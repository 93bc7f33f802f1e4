"""The sides that need numpy only: our torch-free layer, and a step written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.bench.problem import COMPARED_STEPS, Array, Outputs, Problem, Side
from unrolled.runtime.recurrent import Recurrent


def _state(state: Any) -> dict[str, Any]:
    return dict(zip("hc", state if isinstance(state, tuple) else (state,), strict=False))


def runtime_side(p: Problem) -> Side:
    """Return `unrolled.runtime.Recurrent` over a whole batch, or by one step."""
    layer = Recurrent(p.case.spec, p.weights)
    if p.case.task == "step":
        return _step_side(layer, p)
    x = np.ascontiguousarray(p.x.transpose(1, 0, 2))

    def run() -> Any:
        return layer(x, lengths=p.lengths)

    def outputs() -> Outputs:
        y, state = run()
        return {"y": y, **_state(state)}

    return Side("unrolled", run, outputs)


def _step_side(layer: Recurrent, p: Problem) -> Side:
    x = np.ascontiguousarray(p.x[0])
    _, state = layer.step(x)

    def run() -> None:
        nonlocal state
        _, state = layer.step(x, state)

    def outputs() -> Outputs:
        found: Any = None
        for _ in range(COMPARED_STEPS):
            y, found = layer.step(x, found)
        return {"y": y, **_state(found)}

    return Side("unrolled", run, outputs)


def numpy_step(p: Problem) -> Side:
    """Return one step as someone would write it in numpy, from the equations."""
    layers = [
        tuple(
            p.weights[f"{kind}_l{k}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for k in range(p.case.layers)
    ]
    step = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}[p.case.cell]
    x = np.ascontiguousarray(p.x[0])
    zero = np.zeros((2, p.case.N, p.case.H), np.float32)

    def advance(states: list[Any]) -> list[Any]:
        y, new = x, []
        for weights, (h, c) in zip(layers, states, strict=True):
            y, c = step(weights, y, h, c)
            new.append((y, c))
        return new

    states: list[Any] = [(zero[0], zero[1])] * p.case.layers

    def run() -> None:
        nonlocal states
        states = advance(states)

    def outputs() -> Outputs:
        found: list[Any] = [(zero[0], zero[1])] * p.case.layers
        for _ in range(COMPARED_STEPS):
            found = advance(found)
        result = {"y": found[-1][0], "h": np.stack([h for h, _ in found])}
        if p.case.cell == "lstm":
            result["c"] = np.stack([c for _, c in found])
        return result

    return Side("numpy", run, outputs)


def _sigmoid(x: Array) -> Array:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def _rnn(w: tuple[Array, ...], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    return np.tanh(x @ w[0].T + w[2] + h @ w[1].T + w[3]), c


def _lstm(w: tuple[Array, ...], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, g, o = np.split(x @ w[0].T + w[2] + h @ w[1].T + w[3], 4, axis=-1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _gru(w: tuple[Array, ...], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    rx, zx, nx = np.split(x @ w[0].T + w[2], 3, axis=-1)
    rh, zh, nh = np.split(h @ w[1].T + w[3], 3, axis=-1)
    z = _sigmoid(zx + zh)
    return (1 - z) * np.tanh(nx + _sigmoid(rx + rh) * nh) + z * h, c
