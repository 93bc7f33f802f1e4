"""Linear-chain conditional random fields over numpy arrays, by the native engine.

The model of Lafferty et al. 2001: p(y | x) = exp(score(y)) / Z with

    score(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_L].

Emissions are [N, T, K], lengths [N] in 1..T. `runtime/crf_reference.py` is the plain loop that this
is held against.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled import _native
from unrolled.data.schemes import Legal
from unrolled.runtime.weights import Array


class Scores(NamedTuple):
    """What a chain adds to the emissions; -inf forbids.

    `transitions` [K, K] from the row's tag to the column's, `start` [K], `end` [K].
    """

    transitions: Array
    start: Array
    end: Array

    def where(self, legal: Legal | None) -> Scores:
        """Return the scores of what is legal, and -inf elsewhere."""
        if legal is None:
            return self
        never = self.start.dtype.type(-np.inf)
        return Scores(*(np.where(a, b, never) for a, b in zip(legal, self, strict=True)))


def log_partition(emissions: Array, scores: Scores, lengths: Array) -> Array:
    """Return log Z = log sum_y exp(score(y)) of each row, [N] float64."""
    chain = _arguments(emissions, scores, lengths)
    log_z = np.empty(len(emissions))
    _native.crf_log_partition(*chain, log_z, None)
    return log_z


def marginals(emissions: Array, scores: Scores, lengths: Array) -> Array:
    """Return p(y_t = k | x), [N, T, K]; zero past each row's end."""
    chain = _arguments(emissions, scores, lengths)
    found, start = np.empty_like(chain[0]), np.empty_like(chain[2])
    log_z, alphas = np.empty(len(emissions)), np.empty(emissions.shape)
    _native.crf_log_partition(*chain, log_z, alphas)
    _native.crf_gradient(
        *chain,
        log_z,
        alphas,
        np.ones(len(emissions)),
        found,
        np.empty_like(chain[1]),
        start,
        np.empty_like(start),
    )
    return found


def viterbi(
    emissions: Array, scores: Scores, lengths: Array, *, n_best: int = 1
) -> tuple[NDArray[np.int64], Array]:
    """Return the best tag sequences [N, n, T], best first, and their scores [N, n] float64.

    Tags are -1 past a row's end, and whole sequences are where fewer than n are allowed; their
    score is -inf. Of equal scores the sequence whose last differing tag is lower comes first.
    """
    chain = _arguments(emissions, scores, lengths)
    rows, steps, _ = emissions.shape
    paths = np.empty((rows, n_best, steps), dtype=np.int64)
    found = np.empty((rows, n_best))
    _native.crf_viterbi(*chain, paths, found)
    return paths, found


def _arguments(
    emissions: Array, scores: Scores, lengths: Array
) -> tuple[Array, Array, Array, Array, NDArray[np.int64]]:
    dtype = emissions.dtype
    transitions, start, end = (np.ascontiguousarray(score, dtype) for score in scores)
    ends = np.ascontiguousarray(lengths, np.int64)
    return np.ascontiguousarray(emissions), transitions, start, end, ends
