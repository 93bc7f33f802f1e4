"""The plain numpy loop: one row, one step, one gate at a time, to hold faster code against.

Weights are torch's, as named in `unrolled.shapes.parameter_shapes`, and an LSTM's peepholes as in
`unrolled.runtime.operator`. Equations as in `unrolled.ops.reference` and, with options, in the ONNX
specification; nothing here is arranged for speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from unrolled.runtime.operator import PEEPHOLE, STANDARD, Activation, CellOptions
from unrolled.shapes import suffixes
from unrolled.spec import RecurrentSpec

Array = NDArray[np.floating]


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), written so that exp never overflows."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1 / (1 + e), e / (1 + e))


def activate(by: Activation, a: Array) -> Array:
    """Return the activation function `by` of a."""
    alpha, beta = by.alpha or 0.0, by.beta or 0.0
    functions: dict[str, Callable[[Array], Array]] = {
        "Affine": lambda a: alpha * a + beta,
        "Elu": lambda a: np.where(a >= 0, a, alpha * np.expm1(np.minimum(a, 0))),
        "HardSigmoid": lambda a: np.clip(alpha * a + beta, 0, 1),
        "LeakyRelu": lambda a: np.where(a >= 0, a, alpha * a),
        "Relu": lambda a: np.maximum(a, 0),
        "ScaledTanh": lambda a: alpha * np.tanh(beta * a),
        "Sigmoid": sigmoid,
        "Softplus": lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
        "Softsign": lambda a: a / (1 + np.abs(a)),
        "Tanh": np.tanh,
        "ThresholdedRelu": lambda a: np.where(a < alpha, 0, a),
    }
    return functions[by.name](a)


def functions(spec: RecurrentSpec, options: CellOptions, suffix: str) -> tuple[Activation, ...]:
    """Return f, g and h, as far as the cell has them, of the direction that `suffix` names."""
    if options.activations:
        return options.activations[suffix.endswith("_reverse")]
    if spec.cell == "rnn":
        return (Activation("Relu" if spec.nonlinearity == "relu" else "Tanh"),)
    return Activation("Sigmoid"), Activation("Tanh"), Activation("Tanh")


def step(
    spec: RecurrentSpec,
    weights: Mapping[str, Array],
    suffix: str,
    x: Array,
    h: Array,
    c: Array | None,
    options: CellOptions = STANDARD,
) -> tuple[Array, Array | None]:
    """Return h[t] [P] and, for LSTM, c[t] [H] from x[t] [I], h[t-1] and c[t-1] of one row."""
    U = weights["weight_hh" + suffix]
    b = weights["bias_hh" + suffix] if spec.bias else np.zeros(len(U), U.dtype)
    a = weights["weight_ih" + suffix] @ x
    if spec.bias:
        a = a + weights["bias_ih" + suffix]
    by = functions(spec, options, suffix)
    bound = math.inf if options.clip is None else options.clip

    def gate(a: Array) -> Array:
        return activate(by[0], np.clip(a, -bound, bound))

    def candidate(a: Array) -> Array:
        return activate(by[1], np.clip(a, -bound, bound))

    if spec.cell == "rnn":
        return gate(a + U @ h + b), None
    if c is not None:
        a_i, a_f, a_g, a_o = np.split(a + U @ h + b, 4)
        p_i, p_f, p_o = weights.get(PEEPHOLE + suffix, np.zeros((3, len(c)), c.dtype))
        i = gate(a_i + p_i * c)
        f = 1 - i if options.input_forget else gate(a_f + p_f * c)
        c = f * c + i * candidate(a_g)
        h = gate(a_o + p_o * c) * activate(by[2], c)
        return (weights["weight_hr" + suffix] @ h if spec.proj_size else h), c
    (a_r, a_z, a_n), (U_r, U_z, U_n), (b_r, b_z, b_n) = (np.split(v, 3) for v in (a, U, b))
    r = gate(a_r + U_r @ h + b_r)
    z = gate(a_z + U_z @ h + b_z)
    inner = r * (U_n @ h + b_n) if spec.reset == "after" else U_n @ (r * h) + b_n
    n = candidate(a_n + inner)
    return (1 - z) * n + z * h, None


def sequence(
    spec: RecurrentSpec,
    weights: Mapping[str, Array],
    x: Array,
    h: list[Array],
    c: list[Array] | None = None,
    options: CellOptions = STANDARD,
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
                h_d, c_d = step(spec, weights, suffix, x[t], h_d, c_d, options)
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
