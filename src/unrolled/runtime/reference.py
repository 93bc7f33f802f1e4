"""The plain numpy loop: one row, one step, one gate at a time, to hold faster code against.

Weights are torch's, as named in `unrolled.shapes.parameter_shapes`. Equations as in
`unrolled.ops.reference`; nothing here is arranged for speed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from unrolled.shapes import suffixes
from unrolled.spec import RecurrentSpec

Array = NDArray[np.floating]


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), written so that exp never overflows."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1 / (1 + e), e / (1 + e))


def step(
    spec: RecurrentSpec,
    weights: Mapping[str, Array],
    suffix: str,
    x: Array,
    h: Array,
    c: Array | None,
) -> tuple[Array, Array | None]:
    """Return h[t] [P] and, for LSTM, c[t] [H] from x[t] [I], h[t-1] and c[t-1] of one row."""
    U = weights["weight_hh" + suffix]
    b = weights["bias_hh" + suffix] if spec.bias else np.zeros(len(U), U.dtype)
    a = weights["weight_ih" + suffix] @ x
    if spec.bias:
        a = a + weights["bias_ih" + suffix]
    if spec.cell == "rnn":
        a = a + U @ h + b
        return (np.maximum(a, 0) if spec.nonlinearity == "relu" else np.tanh(a)), None
    if c is not None:
        i, f, g, o = np.split(a + U @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return (weights["weight_hr" + suffix] @ h if spec.proj_size else h), c
    (a_r, a_z, a_n), (U_r, U_z, U_n), (b_r, b_z, b_n) = (np.split(v, 3) for v in (a, U, b))
    r = sigmoid(a_r + U_r @ h + b_r)
    z = sigmoid(a_z + U_z @ h + b_z)
    inner = r * (U_n @ h + b_n) if spec.reset == "after" else U_n @ (r * h) + b_n
    n = np.tanh(a_n + inner)
    return (1 - z) * n + z * h, None


def sequence(
    spec: RecurrentSpec,
    weights: Mapping[str, Array],
    x: Array,
    h: list[Array],
    c: list[Array] | None = None,
) -> tuple[Array, list[Array], list[Array]]:
    """Run the stack over one row x [T, I] from h and c, per layer [D, P] and [D, H].

    Returns y [T, out] and the last h and c per layer (c empty but for LSTM).
    """
    last_h, last_c = [], []
    for k in range(spec.num_layers):
        outs, hs, cs = [], [], []
        for d, suffix in enumerate(suffixes(spec, k)):
            h_d, c_d = h[k][d], None if c is None else c[k][d]
            out = np.zeros((len(x), len(h_d)), x.dtype)
            for t in range(len(x)) if d == 0 else reversed(range(len(x))):
                h_d, c_d = step(spec, weights, suffix, x[t], h_d, c_d)
                out[t] = h_d
            outs.append(out)
            hs.append(h_d)
            if c_d is not None:
                cs.append(c_d)
        y = merge(spec, outs)
        x = y + x if spec.residual and k else y
        last_h.append(np.stack(hs))
        if cs:
            last_c.append(np.stack(cs))
    return x, last_h, last_c


def merge(spec: RecurrentSpec, outs: list[Array]) -> Array:
    """Return the outputs [T, P] of the directions as one."""
    if len(outs) == 1:
        return outs[0]
    if spec.merge == "concat":
        return np.concatenate(outs, axis=-1)
    if spec.merge == "mul":
        return outs[0] * outs[1]
    return (outs[0] + outs[1]) / (2 if spec.merge == "mean" else 1)
