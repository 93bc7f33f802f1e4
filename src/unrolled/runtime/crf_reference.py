"""The conditional random field in plain numpy loops: what the native kernels are held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unrolled.runtime.crf import Scores
from unrolled.runtime.weights import Array

# Sequences of tags with their scores.
Beginnings = list[tuple[float, tuple[int, ...]]]


def log_partition(emissions: Array, scores: Scores, lengths: Array) -> Array:
    """Return log Z of each row, [N]: the forward recursion in logs (Rabiner 1989, III.A).

    alpha_1 = start + e_1;  alpha_t[j] = e_t[j] + log sum_i exp(alpha_t-1[i] + A[i, j]).
    """
    forward = [_forward(e[:n], scores) for e, n in zip(emissions, lengths, strict=True)]
    return np.array([np.logaddexp.reduce(alphas[-1] + scores.end) for alphas in forward])


def marginals(emissions: Array, scores: Scores, lengths: Array) -> Array:
    """Return p(y_t = k | x) = exp(alpha_t[k] + beta_t[k] - log Z), [N, T, K]."""
    found = np.zeros_like(emissions)
    for row, (e, n) in enumerate(zip(emissions, lengths, strict=True)):
        alphas, betas = _forward(e[:n], scores), _backward(e[:n], scores)
        log_z = np.logaddexp.reduce(alphas[-1] + scores.end)
        found[row, :n] = np.exp(alphas + betas - log_z)
    return found


def expected_transitions(emissions: Array, scores: Scores, lengths: Array) -> Array:
    """Return sum_t p(y_t = i, y_t+1 = j | x) of each row, [N, K, K]."""
    found = np.zeros((len(emissions), *scores.transitions.shape), emissions.dtype)
    for row, (e, n) in enumerate(zip(emissions, lengths, strict=True)):
        alphas, betas = _forward(e[:n], scores), _backward(e[:n], scores)
        log_z = np.logaddexp.reduce(alphas[-1] + scores.end)
        for t in range(n - 1):
            ahead = e[t + 1] + betas[t + 1]
            found[row] += np.exp(alphas[t][:, None] + scores.transitions + ahead - log_z)
    return found


def viterbi(
    emissions: Array, scores: Scores, lengths: Array, *, n_best: int = 1
) -> tuple[NDArray[np.int64], Array]:
    """Return the n best tag sequences of each row, [N, n, T], and their scores [N, n].

    Every tag keeps its n best beginnings (Viterbi 1967; the list form of Seshadri and Sundberg
    1994).
    """
    rows, steps, _ = emissions.shape
    paths = np.full((rows, n_best, steps), -1, dtype=np.int64)
    found = np.full((rows, n_best), -np.inf)
    for row, (e, n) in enumerate(zip(emissions, lengths, strict=True)):
        kept: list[Beginnings] = [
            [(float(scores.start[k] + e[0, k]), (k,))] for k in range(len(scores.end))
        ]
        for t in range(1, n):
            kept = [
                [
                    (score + float(e[t, j]), (*path, j))
                    for score, path in _best(kept, scores.transitions[:, j], n_best)
                ]
                for j in range(len(scores.end))
            ]
        for rank, (score, path) in enumerate(_best(kept, scores.end, n_best)):
            paths[row, rank, :n] = path
            found[row, rank] = score
    return paths, found


def _best(kept: list[Beginnings], added: Array, count: int) -> Beginnings:
    every = [
        (score + float(added[k]), path) for k, paths in enumerate(kept) for score, path in paths
    ]
    allowed = [each for each in every if each[0] > -np.inf]
    return sorted(allowed, key=lambda each: (-each[0], each[1][::-1]))[:count]


def _forward(e: Array, scores: Scores) -> Array:
    alphas = np.empty_like(e)
    alphas[0] = scores.start + e[0]
    for t in range(1, len(e)):
        before = alphas[t - 1][:, None] + scores.transitions
        alphas[t] = e[t] + np.logaddexp.reduce(before, axis=0)
    return alphas


def _backward(e: Array, scores: Scores) -> Array:
    betas = np.empty_like(e)
    betas[-1] = scores.end
    for t in reversed(range(len(e) - 1)):
        ahead = scores.transitions + e[t + 1] + betas[t + 1]
        betas[t] = np.logaddexp.reduce(ahead, axis=1)
    return betas
