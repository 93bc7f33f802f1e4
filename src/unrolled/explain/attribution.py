"""Which step mattered: attention, occlusion, gradient x input, integrated gradients."""

from __future__ import annotations

import numpy as np

from unrolled.explain.results import Attribution, numbers
from unrolled.explain.subject import Differentiable, How, Subject, scores

NODES = (32, 64, 128, 256)
SMALL_GAP = 0.01
ROWS_AT_ONCE = 32


def attention(subject: Subject) -> Attribution:
    """Return each step's share of the attention: where the model looked, not why it decided."""
    assert subject.attention is not None
    return Attribution(
        method="attention",
        title="Attention",
        unit="share of the attention",
        values=numbers(subject.attention),
        reading="A step's share of the attention; all shares sum to 1.",
        details={},
    )


def occlusion(subject: Subject, how: How) -> Attribution:
    """Return f(x) - f(x without step t) for each step: Zeiler and Fergus 2014, section 4.2.

    f is the score of the answer, in its unit. Steps are removed or replaced one at a time.
    """
    steps = len(subject.steps)
    keep = np.concatenate([np.ones((1, steps), bool), ~np.eye(steps, dtype=bool)])
    found = scores(subject, keep, how)
    return Attribution(
        method="occlusion",
        title="Occlusion",
        unit=subject.quantity,
        values=numbers(found[0] - found[1:]),
        reading="How far the score falls when this step alone is gone; below 0 it rises.",
        details={},
    )


def gradient_input(subject: Subject, given: Differentiable) -> Attribution:
    """Return sum_i x[t, i] df/dx[t, i] for each step, x being what the recurrent stack reads.

    Exact for a linear f, up to its constant; Shrikumar et al. 2017, section 2.
    """
    _, slope = given.gradient(given.x[None])
    return Attribution(
        method="gradient",
        title="Gradient × input",
        unit=subject.quantity,
        values=numbers((slope[0] * given.x).sum(axis=-1)),
        reading=_read("The slope of the score along this step's input, times the input.", given),
        details={},
    )


def integrated_gradients(subject: Subject, given: Differentiable) -> Attribution:
    """Return sum_i (x - b)[t, i] times the mean of df/dx[t, i] on the line from baseline b to x.

    Sundararajan et al. 2017, section 3. By Gauss-Legendre quadrature with 32 nodes, twice as many
    until the values sum to f(x) - f(b) within 1 %, at most 256. `completeness_gap` is what is left,
    in the unit of the score.
    """
    difference = given.x - given.baseline
    (first, last), _ = given.gradient(np.stack([given.baseline, given.x]))
    values, gap, used = np.zeros(len(difference)), np.inf, 0
    for used in NODES:
        values = _integral(given, difference, used)
        gap = float(values.sum() - (last - first))
        if abs(gap) <= SMALL_GAP * abs(last - first):
            break
    return Attribution(
        method="integrated",
        title="Integrated gradients",
        unit=subject.quantity,
        values=numbers(values),
        reading=_read(
            "This step's part in the score's change from an input that says nothing.", given
        ),
        details={
            "completeness_gap": gap,
            "change_from_baseline": float(last - first),
            "nodes": float(used),
        },
    )


def _read(reading: str, given: Differentiable) -> str:
    return f"{reading} {given.note}" if given.note else reading


def _integral(given: Differentiable, difference: np.ndarray, nodes: int) -> np.ndarray:
    points, weights = np.polynomial.legendre.leggauss(nodes)
    at, weights = (points + 1) / 2, weights / 2
    total = np.zeros_like(difference)
    for start in range(0, nodes, ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        _, slope = given.gradient(given.baseline + at[part, None, None] * difference)
        total += (weights[part, None, None] * slope).sum(axis=0)
    result: np.ndarray = (total * difference).sum(axis=-1)
    return result
