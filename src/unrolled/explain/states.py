"""Gates and states of a recurrent stack, step by step, in numpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from unrolled.errors import ConfigError
from unrolled.explain.results import Gate, LayerStates, numbers
from unrolled.explain.subject import Array
from unrolled.runtime.operator import PEEPHOLE, STANDARD
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.reference import merge, sigmoid
from unrolled.shapes import suffixes
from unrolled.spec import RecurrentSpec

CLOSED, OPEN = 0.1, 0.9
MOST_UNITS = 16
NAMES = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
    "rnn": ("candidate",),
}


@dataclass(frozen=True)
class Trace:
    """What one direction of one layer did over T steps, in the order of the input.

    `gates` name to [T, H]: input, forget, output of an LSTM, reset and update of a GRU, and
    `candidate` of every cell; `h` [T, P] and, of an LSTM, `c` [T, H].
    """

    layer: int
    backward: bool
    cell: str
    gates: dict[str, Array]
    h: Array
    c: Array | None


def trace(layer: Recurrent, x: Any, start: Any = None) -> list[Trace]:
    """Return the gates and states of every layer and direction over one sequence x [T, I].

    The equations of `unrolled.nn.LSTM`, `GRU` and `RNN`, one step at a time, from the state `start`
    of one row as `Recurrent.step` takes it, by default the layer's own. Raises ValueError for
    a shape that does not fit, and for cells with options or peepholes.
    """
    spec = layer.spec
    if layer.options != STANDARD or any(name.startswith(PEEPHOLE) for name in layer.weights):
        raise ValueError("a cell with options or peepholes has no trace")
    read = np.asarray(x, layer.dtype)
    if read.ndim != 2 or read.shape[1] != spec.input_size:
        raise ValueError(f"x must be [T, {spec.input_size}], got {list(read.shape)}")
    traces: list[Trace] = []
    for k in range(spec.num_layers):
        found = [
            _direction(layer, k, d, suffix, read, start)
            for d, suffix in enumerate(suffixes(spec, k))
        ]
        y = merge(spec, [each.h for each in found])
        read = y + read if spec.residual and k else y
        traces += found
    return traces


def _direction(layer: Recurrent, k: int, d: int, suffix: str, x: Array, start: Any) -> Trace:
    spec, weights = layer.spec, layer.weights
    hidden, count = spec.hidden_sizes[k], spec.gates
    ih, hh = weights["weight_ih" + suffix], weights["weight_hh" + suffix]
    zero = np.zeros(len(hh), layer.dtype)
    given = x @ ih.T + weights.get("bias_ih" + suffix, zero)
    bias = weights.get("bias_hh" + suffix, zero)
    h = weights.get("h0" + suffix, np.zeros(spec.state_size(k), layer.dtype))
    c = weights.get("c0" + suffix, np.zeros(hidden, layer.dtype))
    if start is not None:
        first, cells = start if spec.cell == "lstm" else (start, None)
        h = _of(spec, first, k, d)
        c = c if cells is None else _of(spec, cells, k, d)
    steps = len(x)
    hs, cs = np.empty((steps, len(h)), layer.dtype), np.empty((steps, hidden), layer.dtype)
    gates = np.empty((steps, count, hidden), layer.dtype)
    for t in reversed(range(steps)) if d else range(steps):
        a, b = given[t].reshape(count, hidden), (hh @ h + bias).reshape(count, hidden)
        if spec.cell == "lstm":
            i, f, o = sigmoid(a[[0, 1, 3]] + b[[0, 1, 3]])
            g = np.tanh(a[2] + b[2])
            c = f * c + i * g
            h = o * np.tanh(c)
            if spec.proj_size:
                h = weights["weight_hr" + suffix] @ h
            gates[t] = i, f, g, o
        elif spec.cell == "gru":
            r, z = sigmoid(a[:2] + b[:2])
            inner = r * b[2]
            if spec.reset == "before":
                inner = hh[2 * hidden :] @ (r * h) + bias[2 * hidden :]
            n = np.tanh(a[2] + inner)
            h = (1 - z) * n + z * h
            gates[t] = r, z, n
        else:
            h = (np.tanh if spec.nonlinearity == "tanh" else lambda v: np.maximum(v, 0))(
                a[0] + b[0]
            )
            gates[t] = h
        hs[t], cs[t] = h, c
    named = {name: gates[:, place] for place, name in enumerate(NAMES[spec.cell])}
    return Trace(k, bool(d), spec.cell, named, hs, cs if spec.cell == "lstm" else None)


def _of(spec: RecurrentSpec, state: Any, k: int, d: int) -> Array:
    """Return a layer's and direction's part of a state of one row, [L * D, 1, P] or a tuple."""
    if isinstance(state, tuple):
        return np.asarray(state[k][d, 0])
    return np.asarray(state[k * spec.num_directions + d, 0])


def cut(found: Trace, first: int) -> Trace:
    """Return a trace without its first steps."""
    return Trace(
        found.layer,
        found.backward,
        found.cell,
        {name: values[first:] for name, values in found.gates.items()},
        found.h[first:],
        None if found.c is None else found.c[first:],
    )


def time_constants(found: Trace) -> Array | None:
    """Return for each unit how many steps pass until what it holds has faded to 1/e, [H].

    tau = -1 / mean over t of log k_t, where k_t is what multiplies the state of the step before:
    the forget gate of c_t = f c_(t-1) + i g, and the update gate of h_t = (1 - z) n + z h_(t-1).
    Tallec and Ollivier 2018, section 2, read 1 / (1 - k) as the characteristic forgetting time of a
    gated cell; -1 / log k is the same for k near 1. None for a cell without such a gate.
    """
    name = {"lstm": "forget", "gru": "update"}.get(found.cell)
    if name is None:
        return None
    kept = np.maximum(found.gates[name].astype(np.float64), np.finfo(np.float64).tiny)
    with np.errstate(divide="ignore"):
        constants: Array = -1.0 / np.log(kept).mean(axis=0)
    return np.abs(constants)


def layer_states(found: Trace) -> LayerStates:
    """Return a trace in numbers: gate activity, saturation, time constants, its liveliest units."""
    constants = time_constants(found)
    state = found.h if found.c is None else found.c
    lively = np.sort(np.argsort(-state.std(axis=0), kind="stable")[:MOST_UNITS])
    gates = tuple(
        Gate(
            name=name,
            over_time=numbers(values.mean(axis=1)),
            by_unit=numbers(values.mean(axis=0)),
            closed=float((values < CLOSED).mean()),
            open=float((values > OPEN).mean()),
        )
        for name, values in found.gates.items()
        if name != "candidate"
    )
    finite = None
    if constants is not None:
        finite = tuple(float(tau) if np.isfinite(tau) else None for tau in constants)
    middle = None if constants is None else float(np.median(constants))
    return LayerStates(
        layer=found.layer,
        direction="backward" if found.backward else "forward",
        cell=found.cell,
        gates=gates,
        time_constants=finite,
        median_time_constant=middle if middle is not None and np.isfinite(middle) else None,
        units=tuple(map(int, lively)),
        heat=tuple(numbers(state[:, unit]) for unit in lively),
        state="h" if found.c is None else "c",
    )


@dataclass(frozen=True)
class Peak:
    """Where a unit is largest in an input: which input, which step, and h there."""

    input: int
    step: int
    value: float


def nearest(
    layer: Recurrent,
    inputs: Iterable[Array],
    unit: str,
    *,
    starts: Iterable[Any] | None = None,
    count: int = 5,
) -> list[Peak]:
    """Return the inputs [T, I] whose largest h of a unit is highest, best first.

    `starts` are the states from which each is read, as `trace` takes them.
    `unit` is a layer and a unit, both from 0, such as "L0:17"; with "r" after the layer, as in
    "L0r:17", that of the backward direction. Raises ConfigError for a unit that there is not.
    """
    k, backward, place = parse_unit(layer, unit)
    peaks = []
    pairs = zip(inputs, repeat(None) if starts is None else starts, strict=False)
    for row, (x, start) in enumerate(pairs):
        traced = trace(layer, x, start)
        found = next(each for each in traced if (each.layer, each.backward) == (k, backward))
        step = int(found.h[:, place].argmax())
        peaks.append(Peak(row, step, float(found.h[step, place])))
    return sorted(peaks, key=lambda peak: -peak.value)[:count]


def parse_unit(layer: Recurrent, unit: str) -> tuple[int, bool, int]:
    """Return layer, whether backward, and place of a unit such as "L0:17" or "L1r:3"."""
    spec = layer.spec
    head, _, tail = unit.removeprefix("L").partition(":")
    backward = head.endswith("r")
    head = head.removesuffix("r")
    if not (unit.startswith("L") and head.isdecimal() and tail.isdecimal()):
        raise ConfigError(f"unit {unit!r}: expected a layer and a unit, such as L0:17")
    k, place = int(head), int(tail)
    if k >= spec.num_layers or (backward and not spec.bidirectional):
        raise ConfigError(
            f"unit {unit!r}: the stack has {spec.num_layers} layers, L0 to L{spec.num_layers - 1},"
            f" {'in two directions' if spec.bidirectional else 'and no backward direction'}"
        )
    if place >= spec.state_size(k):
        raise ConfigError(f"unit {unit!r}: layer L{k} has units 0 to {spec.state_size(k) - 1}")
    return k, backward, place
