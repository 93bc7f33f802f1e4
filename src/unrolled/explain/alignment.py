"""What an alignment says, in numbers and in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.explain.labels import shown

Weights = npt.NDArray[np.float64]

MOSTLY = 0.5
WORTH_NAMING = 0.1
MOST_NAMED = 3
OVERLOOKED = 0.2
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class AlignmentSummary:
    """What attention weights a [T, S] of T target over S source tokens say.

    `peaks` [T] = argmax_s a[t, s] and `peak_weights` their weights. `monotonicity` is the share of
    steps t -> t + 1 whose peak does not move back (1 where T < 2). `coverage` is the share of
    source tokens whose weights add up to 0.2 or more; `overlooked` are the positions of the rest.
    `entropy` is the mean over t of -sum_s a[t, s] log2 a[t, s] in bits: 0 where every target token
    looks at one source token, log2 S where it looks at all alike. `sentences` has one for each
    target token, `overview` is the numbers in words.
    """

    peaks: tuple[int, ...]
    peak_weights: tuple[float, ...]
    monotonicity: float
    coverage: float
    overlooked: tuple[int, ...]
    entropy: float
    sentences: tuple[str, ...]
    overview: str


def checked(weights: Any, target: Sequence[str], source: Sequence[str]) -> Weights:
    """Return `weights` as float64 [T, S] after checking that they are an alignment of the tokens.

    Raises `ValueError` for another shape, a weight outside [0, 1], or a row that does not sum to 1.
    """
    array = np.asarray(weights, dtype=np.float64)
    expected = (len(target), len(source))
    if array.shape != expected:
        raise ValueError(
            f"the weights have shape {list(array.shape)}; expected {list(expected)}:"
            f" {len(target)} target by {len(source)} source tokens"
        )
    good = (array >= -SUM_TOLERANCE) & (array <= 1 + SUM_TOLERANCE)
    if not good.all():
        t, s = (int(k[0]) for k in np.nonzero(~good))
        raise ValueError(f"the weight of row {t}, column {s} is {array[t, s]:.4g}; expected 0 to 1")
    sums = array.sum(axis=1)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        t = int(np.flatnonzero(off)[0])
        raise ValueError(f"the weights of row {t} sum to {sums[t]:.4g}; expected 1")
    return array


def summary(
    weights: Any,
    source: Sequence[str],
    target: Sequence[str],
    *,
    source_unit: str = "token",
    target_unit: str = "token",
) -> AlignmentSummary:
    """Say what each target token looked at, and how orderly, complete and sharp the whole is.

    `weights` [T, S]; `source_unit` and `target_unit` are what a token is called in the sentences
    ("letter", "phoneme"). Raises as `checked` does.
    """
    array = checked(weights, target, source)
    if not target:
        return AlignmentSummary((), (), 1.0, 0.0, (), 0.0, (), f"No {target_unit} was written.")
    peaks = array.argmax(axis=1)
    moves = np.diff(peaks) >= 0
    monotonicity = float(moves.mean()) if len(moves) else 1.0
    missed = tuple(int(s) for s in np.flatnonzero(array.sum(axis=0) < OVERLOOKED))
    coverage = 1 - len(missed) / len(source)
    logs = np.log2(array, out=np.zeros_like(array), where=array > 0)
    # Adding 0 turns the -0.0 of a row that looks at one token into 0.0.
    entropy = float(-(array * logs).sum(axis=1).mean()) + 0.0
    names = _names(source, source_unit)
    sentences = tuple(
        _sentence(row, shown(token), names) for row, token in zip(array, target, strict=True)
    )
    overview = (
        f"From one {target_unit} to the next the strongest weight does not move back in"
        f" {100 * monotonicity:.0f} % of the steps; {100 * coverage:.0f} % of the {source_unit}s"
        f" were looked at; a {target_unit} looks at {2**entropy:.1f} {source_unit}s on average"
        f" (entropy {entropy:.2f} bits)."
    )
    if missed:
        overview += f" Hardly looked at: {', '.join(names[s] for s in missed)}."
    return AlignmentSummary(
        tuple(int(s) for s in peaks),
        tuple(float(p) for p in array.max(axis=1)),
        monotonicity,
        coverage,
        missed,
        entropy,
        sentences,
        overview,
    )


def _names(source: Sequence[str], unit: str) -> list[str]:
    """Quote every token; one that occurs more than once gets its place, counted from 1."""
    counts = Counter(source)
    return [
        f"'{shown(token)}' ({unit} {s})" if counts[token] > 1 else f"'{shown(token)}'"
        for s, token in enumerate(source, start=1)
    ]


def _sentence(row: Weights, token: str, names: Sequence[str]) -> str:
    order = np.argsort(-row, kind="stable")
    first = int(order[0])
    if row[first] >= MOSTLY:
        return f"{token} looked mostly at {names[first]}: {row[first]:.2f}."
    named = [int(s) for s in order[:MOST_NAMED] if row[s] >= WORTH_NAMING] or [first]
    parts = ", ".join(f"{names[s]}: {row[s]:.2f}" for s in named)
    return f"{token} looked at several, the most at {parts}."
