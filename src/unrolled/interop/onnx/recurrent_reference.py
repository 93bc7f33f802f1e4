"""ONNX's RNN, GRU and LSTM as plain numpy, one direction and one step at a time.

Equations: github.com/onnx/onnx, `docs/Operators.md`, with everything that the operators allow.
Gates stand in ONNX's order. It is what the native engine is held against, and nothing is arranged
for speed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.runtime.operator import Activation
from unrolled.runtime.reference import activate

Array = NDArray[Any]


class Direction(NamedTuple):
    """One direction of a node: W [G*H, I], R [G*H, H], b [2*G*H], P [3*H], and its choices."""

    op: str
    W: Array
    R: Array
    b: Array
    P: Array
    activations: tuple[Activation, ...]
    clip: float = 0.0
    input_forget: bool = False
    linear_before_reset: bool = False


def step(d: Direction, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Return h[t] and c[t] [N, H] from x[t] [N, I], h[t-1] and c[t-1] (LSTM only)."""

    def f(k: int, a: Array) -> Array:
        return activate(d.activations[k], np.clip(a, -d.clip, d.clip) if d.clip else a)

    Wb, Rb = np.split(d.b, 2)
    if d.op == "RNN":
        return f(0, x @ d.W.T + h @ d.R.T + Wb + Rb), c
    if d.op == "LSTM":
        i, o, g, n = np.split(x @ d.W.T + h @ d.R.T + Wb + Rb, 4, axis=-1)
        P_i, P_o, P_f = np.split(d.P, 3)
        i = f(0, i + P_i * c)
        g = 1 - i if d.input_forget else f(0, g + P_f * c)
        c = g * c + i * f(1, n)
        o = f(0, o + P_o * c)
        return o * activate(d.activations[2], c), c
    a_z, a_r, a_n = np.split(x @ d.W.T + Wb, 3, axis=-1)
    (R_z, R_r, R_n), (b_z, b_r, b_n) = np.split(d.R, 3), np.split(Rb, 3)
    z, r = f(0, a_z + h @ R_z.T + b_z), f(0, a_r + h @ R_r.T + b_r)
    inner = r * (h @ R_n.T + b_n) if d.linear_before_reset else (r * h) @ R_n.T + b_n
    n = f(1, a_n + inner)
    return (1 - z) * n + z * h, c


def run(
    d: Direction, x: Array, h: Array, c: Array, ends: Array, *, reverse: bool
) -> tuple[Array, Array, Array]:
    """Return y [T, N, H] and the last h and c [N, H] of one direction over x [T, N, I].

    `ends` [N] are the rows' lengths; y is zero behind them, and a row of length 0 keeps its state.
    """
    steps = len(x)
    y = np.zeros((steps, *h.shape), x.dtype)
    for t in reversed(range(steps)) if reverse else range(steps):
        inside = (t < ends)[:, None]
        h_t, c_t = step(d, x[t], h, c)
        h, c = np.where(inside, h_t, h), np.where(inside, c_t, c)
        y[t] = np.where(inside, h, 0)
    return y, h, c
