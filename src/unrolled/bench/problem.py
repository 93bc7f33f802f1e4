"""The arrays of a case, the same for every side, and what a side is."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.bench.cases import Case
from unrolled.shapes import parameter_shapes
from unrolled.spec import Precision

Array = NDArray[np.float32]
# What a side computes, by name: y [N, T, D*H], h and c [L*D, N, H], and `d.` before a gradient.
Outputs = Mapping[str, NDArray[np.floating]]

# Steps that the sides of a step case take before their outputs are compared.
COMPARED_STEPS = 3


@dataclass(frozen=True)
class Problem:
    """Weights by torch's names, time-major input x [T, N, I], and gradients of the outputs."""

    case: Case
    weights: dict[str, Array]
    x: Array
    dy: Array
    dh: Array
    dc: Array
    lengths: NDArray[np.int64] | None


@dataclass(frozen=True)
class Side:
    """One library at one case.

    `run` is what is timed; `outputs` runs once and returns what it computed, empty where that
    cannot be compared, and then `note` says why. `given` holds the addresses of torch's inputs and
    weights, whose memory is not the side's. `precision` says how far outputs may be off.
    """

    name: str
    run: Callable[[], object]
    outputs: Callable[[], Outputs]
    note: str = ""
    given: frozenset[int] = frozenset()
    precision: Precision = "float32"


def problem(case: Case) -> Problem:
    """Draw the arrays of a case; the same case has the same numbers in every process."""
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    spec, bound = case.spec, case.H**-0.5

    def normal(*shape: int) -> Array:
        return random.standard_normal(shape, dtype=np.float32)

    weights = {
        name: random.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in parameter_shapes(spec).items()
    }
    states = (case.layers * case.directions, case.N, case.H)
    return Problem(
        case=case,
        weights=weights,
        x=normal(case.T, case.N, case.H),
        dy=normal(case.T, case.N, spec.output_size),
        dh=normal(*states),
        dc=normal(*states),
        lengths=ragged_lengths(case, random) if case.ragged else None,
    )


def ragged_lengths(case: Case, random: np.random.Generator) -> NDArray[np.int64]:
    """Return lengths [N] in no order, the longest T, that sum to N times the dense steps."""
    lowest = max(1, 2 * case.dense_steps - case.T)
    lengths = random.integers(lowest, case.T + 1, case.N)
    lengths[0] = case.T
    while (excess := int(lengths.sum()) - case.tokens) != 0:
        able = np.flatnonzero(lengths[1:] > 1 if excess > 0 else lengths[1:] < case.T) + 1
        if not len(able):
            break
        some = random.permutation(able)[: abs(excess)]
        lengths[some] -= np.sign(excess)
    random.shuffle(lengths)
    return lengths
