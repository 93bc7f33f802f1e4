"""The plain numpy loop of low precision: what the kernels compute, one row and one step at a time.

bf16: the float32 loop over rounded weights. int8: each row of a weight and each of x, h and (GRU
with `reset="before"`) r * h becomes codes and a factor, see `unrolled.precision`; with a and b the
factors of weight and activation,

    (W v)_j = a_j b sum_k q_jk p_k,    the sum an exact integer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unrolled.precision import from_bf16, to_bf16, to_int8
from unrolled.runtime.reference import Array, merge, sigmoid
from unrolled.shapes import suffixes
from unrolled.spec import Precision, RecurrentSpec


def product(weight: Array, values: Array, precision: Precision) -> Array:
    """Return W v [R] of W [R, K] and v [K], both float32, as the precision computes it."""
    if precision == "float32":
        return weight @ values
    if precision == "bf16":
        return from_bf16(to_bf16(weight)) @ values
    q, a = to_int8(weight)
    p, b = to_int8(values[None])
    sums = q.astype(np.int32) @ p[0].astype(np.int32)
    result: Array = (a * b[0]) * sums.astype(np.float32)
    return result


def step(
    spec: RecurrentSpec,
    weights: Mapping[str, Array],
    suffix: str,
    x: Array,
    state: tuple[Array, Array | None],
    precision: Precision,
) -> tuple[Array, Array | None]:
    """Return h[t] [H] and, for LSTM, c[t] [H] from x[t] [I] and the state before, of one row."""
    h, c = state
    W, U = weights["weight_ih" + suffix], weights["weight_hh" + suffix]
    zeros = np.zeros(len(U), np.float32)
    a = product(W, x, precision) + weights.get("bias_ih" + suffix, zeros)
    b = weights.get("bias_hh" + suffix, zeros)
    if spec.cell == "rnn":
        a = a + product(U, h, precision) + b
        return (np.maximum(a, 0) if spec.nonlinearity == "relu" else np.tanh(a)), None
    if c is not None:
        i, f, g, o = np.split(a + product(U, h, precision) + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    (a_r, a_z, a_n), (U_r, U_z, U_n), (b_r, b_z, b_n) = (np.split(v, 3) for v in (a, U, b))
    r = sigmoid(a_r + product(U_r, h, precision) + b_r)
    z = sigmoid(a_z + product(U_z, h, precision) + b_z)
    if spec.reset == "after":
        inner = r * (product(U_n, h, precision) + b_n)
    else:
        inner = product(U_n, r * h, precision) + b_n
    n = np.tanh(a_n + inner)
    return (1 - z) * n + z * h, None


def sequence(
    spec: RecurrentSpec, weights: Mapping[str, Array], x: Array, precision: Precision
) -> Array:
    """Run the stack over one row x [T, I] from where it begins and return y [T, out]."""
    for k in range(spec.num_layers):
        outs = []
        for d, suffix in enumerate(suffixes(spec, k)):
            zeros = np.zeros(spec.hidden_sizes[k], np.float32)
            h = weights.get("h0" + suffix, zeros)
            c = weights.get("c0" + suffix, zeros) if spec.cell == "lstm" else None
            out = np.zeros((len(x), len(h)), np.float32)
            for t in range(len(x)) if d == 0 else reversed(range(len(x))):
                h, c = step(spec, weights, suffix, x[t], (h, c), precision)
                out[t] = h
            outs.append(out)
        y = merge(spec, outs)
        x = y + x if spec.residual and k else y
    return x
