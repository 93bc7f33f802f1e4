"""One recurrent layer over a whole sequence in numpy: the one place where an engine plugs in.

Work is ordered for numpy: one product of the weights with every input step, then one recurrent
product a step over the rows that still run. Rows are sorted by length, longest first, so that those
are always the first ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.spec import RecurrentSpec

Array = NDArray[np.floating]


class Weights(NamedTuple):
    """One direction of one layer, laid out for products from the right.

    ih [I, G*H], hh [P, G*H] with LSTM's gates in the order i f o g; b_ih, b_hh [G*H]; hr [H, P].
    """

    ih: Array
    hh: Array
    b_ih: Array
    b_hh: Array
    hr: Array | None


def pack(
    spec: RecurrentSpec,
    ih: Array,
    hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    hr: Array | None,
) -> Weights:
    """Return torch's weights of one direction, laid out for `run` and `step`.

    LSTM's cell gate goes last, so that the three sigmoids are one call.
    """
    zeros = np.zeros(len(ih), ih.dtype)
    parts = [ih, hh, zeros if b_ih is None else b_ih, zeros if b_hh is None else b_hh]
    if spec.cell == "lstm":
        parts = [
            np.concatenate([i, f, o, g])
            for i, f, g, o in (np.split(part, spec.gates) for part in parts)
        ]
    return Weights(
        ih=np.ascontiguousarray(parts[0].T),
        hh=np.ascontiguousarray(parts[1].T),
        b_ih=parts[2],
        b_hh=parts[3],
        hr=None if hr is None else np.ascontiguousarray(hr.T),
    )


def input_product(spec: RecurrentSpec, w: Weights, x: Array) -> Array:
    """Return W x + b [..., G*H], with the recurrent bias in it wherever no gate stands between."""
    gx = x @ w.ih
    if spec.cell == "gru" and spec.reset == "after":
        gx += w.b_ih
        size = 2 * w.hh.shape[0]
        gx[..., :size] += w.b_hh[:size]
    else:
        gx += w.b_ih + w.b_hh
    return gx


def cell(
    spec: RecurrentSpec, w: Weights, gx: Array, h: Array, c: Array | None
) -> tuple[Array, Array | None]:
    """Return h[t] [N, P] and c[t] [N, H] from the input product gx [N, G*H]; gx is overwritten."""
    if spec.cell == "gru":
        return _gru(spec, w, gx, h), None
    gx += h @ w.hh
    if c is not None:
        return _lstm(w, gx, c)
    if spec.nonlinearity == "relu":
        return np.maximum(gx, 0, out=gx), None
    return np.tanh(gx, out=gx), None


def _lstm(w: Weights, gates: Array, c: Array) -> tuple[Array, Array]:
    size = c.shape[-1]
    s = _sigmoid(gates[..., : 3 * size])
    g = np.tanh(gates[..., 3 * size :])
    c = s[..., size : 2 * size] * c
    c += s[..., :size] * g
    h = np.tanh(c)
    h *= s[..., 2 * size :]
    return (h if w.hr is None else h @ w.hr), c


def _gru(spec: RecurrentSpec, w: Weights, gx: Array, h: Array) -> Array:
    size = h.shape[-1]
    if spec.reset == "after":
        gh = h @ w.hh
        gates = gx[..., : 2 * size]
        gates += gh[..., : 2 * size]
        s = _sigmoid(gates)
        n = gh[..., 2 * size :]
        n += w.b_hh[2 * size :]
        n *= s[..., :size]
    else:
        s = _sigmoid(gx[..., : 2 * size] + h @ w.hh[:, : 2 * size])
        n = (s[..., :size] * h) @ w.hh[:, 2 * size :]
    n += gx[..., 2 * size :]
    np.tanh(n, out=n)
    out = h - n
    out *= s[..., size:]
    out += n
    return out


def _sigmoid(a: Array) -> Array:
    """The logistic function, which as a tanh cannot overflow."""
    s: Array = np.tanh(a * 0.5)
    s += 1
    s *= 0.5
    return s


def run(
    spec: RecurrentSpec,
    weights: tuple[Weights, ...],
    x: Array,
    h: Array,
    c: Array | None,
    lengths: NDArray[np.int64] | None,
) -> tuple[Array, Array, Array | None]:
    """Run one layer in its D directions: y [N, T, D*P], last h [D, N, P], last c [D, N, H].

    x [N, T, I], h [D, N, P], c [D, N, H] for LSTM; lengths [N] in 0..T or None. y is zero past each
    row's end, the backward direction begins there, and a row of length 0 keeps its state.
    """
    rows, steps, _ = x.shape
    width = h.shape[-1]
    y = np.zeros((rows, steps, len(weights) * width), x.dtype)
    h, c = h.copy(), None if c is None else c.copy()
    running = np.full(steps, rows)
    order: NDArray[np.intp] | slice = slice(None)
    if lengths is not None:
        order = np.argsort(-lengths, kind="stable")
        running = (lengths[:, None] > np.arange(steps)).sum(axis=0)
    time_major = np.ascontiguousarray(x[order].transpose(1, 0, 2))
    for d, w in enumerate(weights):
        out = y[order, :, d * width : (d + 1) * width]
        state = h[d, order], None if c is None else c[d, order]
        gx = input_product(spec, w, time_major)
        h_d, c_d = _direction(spec, w, gx, state, running, out, reverse=d == 1)
        y[order, :, d * width : (d + 1) * width] = out
        h[d, order] = h_d
        if c is not None:
            c[d, order] = c_d
    return y, h, c


def _direction(
    spec: RecurrentSpec,
    w: Weights,
    gx: Array,
    state: tuple[Array, Array | None],
    running: NDArray[np.int64],
    out: Array,
    *,
    reverse: bool,
) -> tuple[Array, Array | None]:
    """Run one direction over rows sorted longest first, writing h[t] to `out` [N, T, P].

    At step t only the first `running[t]` rows take part; the others' states stay.
    """
    h, c = state
    steps = range(len(gx))
    for t in reversed(steps) if reverse else steps:
        n = running[t]
        h_new, c_new = cell(spec, w, gx[t, :n], h[:n], None if c is None else c[:n])
        out[:n, t] = h_new
        if n == len(h):
            h, c = h_new, c_new
        else:
            h[:n] = h_new
            if c is not None:
                c[:n] = c_new
    return h, c
