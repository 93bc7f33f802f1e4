"""Microseconds a step: one session and 1,000, in each precision, beside ONNX Runtime and torch.

`python -m bench.sessions` prints a row for each cell, width and precision. One thread; I = H. What
disagrees with torch in float64 is not timed: see ALLOWED. Sides of a row run turn about, and each
time is the least of all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch

from unrolled import set_num_threads
from unrolled.bench import onnx_sides, torch_sides
from unrolled.bench.cases import Case
from unrolled.bench.problem import COMPARED_STEPS, Problem, problem
from unrolled.runtime import Recurrent, SessionPool
from unrolled.spec import Precision

MANY = 1000
WIDTHS = (16, 64, 128, 256, 512)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# The largest error of an output after three steps, relative to the largest output; of low precision
# what tests/agree/test_low_precision.py allows against float32.
ALLOWED = {"float32": 1e-5, "bf16": 2e-2, "int8": 6e-2}
Calls = dict[str, Callable[[], object]]


def many_calls(layer: Recurrent, p: Problem) -> Calls:
    """Return a step of many sessions in one call, and the plain batch of as many rows."""
    x = np.ascontiguousarray(p.x[0])
    pool = SessionPool(layer, len(x))
    rows = pool.rows([pool.open() for _ in x])
    batch = x[:, None]
    state: Any = layer(batch)[1]

    def plain() -> None:
        nonlocal state
        _, state = layer(batch, state)

    return {"sessions": lambda: pool.step(x, rows), "batch": plain}


def check(name: str, found: np.ndarray, expected: np.ndarray, allowed: float) -> None:
    """Raise SystemExit where outputs are further apart than is allowed."""
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not error <= allowed:
        raise SystemExit(f"{name} is off by {error:.2g}, allowed {allowed:.2g}")


def fastest(calls: Calls, seconds: float) -> dict[str, float]:
    """Return the least time of a call of each, in microseconds, measured turn about."""
    least = dict.fromkeys(calls, float("inf"))
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(2e-3 / (time.perf_counter() - start)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            least[name] = min(least[name], (time.perf_counter() - start) / repeats[name])
    return {name: 1e6 * each for name, each in least.items()}


def measured(cell: Any, width: int, seconds: float) -> dict[str, float]:
    """Check and time every side of one cell and width."""
    one = problem(Case(cell=cell, task="step", N=1, T=1, H=width, threads=1))
    many = problem(Case(cell=cell, task="step", N=MANY, T=1, H=width, threads=1))
    right = {id(p): torch_sides.expected(p)["y"] for p in (one, many)}
    single: Calls = {}
    batched: Calls = {}
    for precision in PRECISIONS:
        layer = Recurrent(one.case.spec, one.weights, precision=precision)
        session, frame = layer.stream(), np.ascontiguousarray(one.x[0, 0])
        for _ in range(COMPARED_STEPS):
            y = session.step(frame)
        check(f"one {precision}", y[None], right[id(one)], ALLOWED[precision])
        single[precision] = lambda step=session.step, x=frame: step(x)
        wide = Recurrent(many.case.spec, many.weights, precision=precision)
        pool = SessionPool(wide, MANY)
        rows = pool.rows([pool.open() for _ in range(MANY)])
        for _ in range(COMPARED_STEPS):
            y = pool.step(many.x[0], rows)
        check(f"many {precision}", y, right[id(many)], ALLOWED[precision])
        for name, call in many_calls(wide, many).items():
            batched[f"{precision} {name}"] = call
    for p, calls in ((one, single), (many, batched)):
        for side in (onnx_sides.onnxruntime_side(p), torch_sides.torch_sides(p)[0]):
            check(f"{side.name} {p.case.name}", side.outputs()["y"], right[id(p)], 1e-5)
            calls[side.name] = side.run
    return fastest(single, seconds) | {
        f"many {name}": each for name, each in fastest(batched, seconds).items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="for a half of a row")
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    given = parser.parse_args()
    set_num_threads(1)
    torch.set_num_threads(1)
    print(
        "| cell | H | precision | session, µs | onnxruntime | torch | float32 / this "
        f"| {MANY:,} sessions, µs | batch | share | onnxruntime | torch |\n" + "| --- " * 12 + "|"
    )
    for cell in ("lstm", "gru"):
        for width in map(int, given.widths.split(",")):
            t = measured(cell, width, given.seconds)
            for precision in PRECISIONS:
                sessions, batch = (t[f"many {precision} {k}"] for k in ("sessions", "batch"))
                cells = [f"{t[precision]:.2f}", f"{t['onnxruntime']:.1f}", f"{t['torch']:.1f}"]
                cells += [f"{t['float32'] / t[precision]:.2f}", f"{sessions:.0f}", f"{batch:.0f}"]
                cells += [f"{batch / sessions:.0%}", f"{t['many onnxruntime']:.0f}"]
                cells += [f"{t['many torch']:.0f}"]
                print(f"| {cell} | {width} | {precision} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
