"""Greedy and beam search as plain loops over the steps of any `DecoderNetwork`.

The engine's search is held against these, and they search for decoders that it does not have. All
rows, times all hypotheses of each, advance in one batch; a row whose search has ended leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from unrolled.data.vocab import BOS, EOS, PAD
from unrolled.runtime.networks import DecoderNetwork, Memory
from unrolled.runtime.weights import Array

Steps = TypeVar("Steps", float, Array)


@dataclass(frozen=True)
class Hypothesis:
    """One answer to one source row.

    `tokens` without `<s>` and `</s>`; `log_prob` = log p(tokens, </s> | source) in nats; `score` is
    `log_prob` over `length_norm`; `alignment` [T, S] has a row per token over the source steps,
    None without attention.
    """

    tokens: tuple[int, ...]
    score: float
    log_prob: float
    alignment: Array | None


def length_norm(steps: Steps, length_penalty: float) -> Steps:
    """((5 + n) / 6)^a for n steps, `</s>` included (Wu et al. 2016, equation 14); a = 0 is none."""
    norm: Steps = ((5.0 + steps) / 6.0) ** length_penalty
    return norm


def greedy(
    network: DecoderNetwork, memory: Memory, limits: Array, length_penalty: float
) -> list[list[Hypothesis]]:
    """Write the likeliest token at every step until `</s>`; limits [N] as in `decode.greedy`."""
    state = memory.first
    rows = np.arange(len(limits))
    tokens = np.full(len(limits), BOS)
    log_prob = np.zeros(len(limits))
    trace = _Trace(memory)
    found: list[list[Hypothesis]] = [[] for _ in rows]
    while len(rows):
        result = network.step(tokens[:, None], state, memory)
        log_probs = allow(result.log_probs, trace.length >= limits[rows])[:, 0]
        tokens = log_probs.argmax(axis=-1)
        log_prob[rows] += log_probs[np.arange(len(rows)), tokens]
        for row in rows[tokens == EOS]:
            score = float(log_prob[row] / length_norm(trace.length + 1, length_penalty))
            found[row].append(trace.hypothesis(int(row), 0, score, float(log_prob[row])))
        trace.add(rows, tokens[:, None], np.zeros((len(rows), 1), dtype=np.intp), result.weights)
        state = result.state
        keep = np.flatnonzero(tokens != EOS)
        if len(keep) < len(rows):
            rows, tokens = rows[keep], tokens[keep]
            state, memory = state.take(keep), memory.take(keep)
    return found


def beam(
    network: DecoderNetwork,
    memory: Memory,
    limits: Array,
    *,
    width: int,
    length_penalty: float,
    n_best: int,
) -> list[list[Hypothesis]]:
    """Keep the `width` likeliest hypotheses of each row; limits [N], all else as `decode.beam`."""
    state = memory.first.take(np.repeat(np.arange(len(limits)), width))
    rows = np.arange(len(limits))
    tokens = np.full((len(limits), width), BOS)
    log_prob = np.full((len(limits), width), -np.inf)
    log_prob[:, 0] = 0.0
    trace = _Trace(memory)
    finished: list[list[_Finished]] = [[] for _ in rows]
    while len(rows):
        result = network.step(tokens, state, memory)
        log_probs = allow(result.log_probs, trace.length >= limits[rows])
        scores, parents, choices = _best(log_prob[:, :, None] + log_probs, 2 * width)
        norm = length_norm(trace.length + 1, length_penalty)
        ends = (choices == EOS) & np.isfinite(scores)
        for place, rank in np.argwhere(ends[:, :width]):
            value = float(scores[place, rank])
            finished[rows[place]].append(
                _Finished(value / norm, value, trace.length, int(parents[place, rank]))
            )
        slots = np.argsort(ends, axis=1, kind="stable")[:, :width]
        log_prob, parents, tokens = (
            np.take_along_axis(each, slots, axis=1)
            for each in (np.where(ends, -np.inf, scores), parents, choices)
        )
        trace.add(rows, tokens, parents, result.weights)
        bound = log_prob.max(axis=1) / length_norm(limits[rows] + 1, length_penalty)
        keep = np.flatnonzero(
            [not _ended(finished[row], width, n_best, bound[i]) for i, row in enumerate(rows)]
        )
        picked = (keep[:, None] * width + parents[keep]).reshape(-1)
        state = result.state.take(picked)
        if len(keep) < len(rows):
            rows, tokens, log_prob = rows[keep], tokens[keep], log_prob[keep]
            memory = memory.take(keep)
    return [
        [
            trace.hypothesis(row, end.slot, end.score, end.log_prob, end.length)
            for end in sorted(ends, key=lambda end: -end.score)[:n_best]
        ]
        for row, ends in enumerate(finished)
    ]


class _Finished(NamedTuple):
    """A hypothesis that wrote `</s>` after `length` tokens, the last of them in `slot`."""

    score: float
    log_prob: float
    length: int
    slot: int


def _ended(finished: list[_Finished], beam: int, n_best: int, bound: float) -> bool:
    """Whether a row's search is over; `bound` is the best score that an unfinished one can reach.

    A log-probability only falls with every step, and the largest divisor is that of the limit.
    """
    if bound == -np.inf or len(finished) >= beam:
        return True
    if len(finished) < n_best:
        return False
    return bool(sorted(end.score for end in finished)[-n_best] >= bound)


class _Trace:
    """What was written at every step, kept so that a hypothesis can be read back from its end."""

    def __init__(self, memory: Memory) -> None:
        self.lengths = memory.lengths
        self.aligned = memory.keys is not None
        self.steps: list[tuple[Array, Array, Array, Array | None]] = []

    @property
    def length(self) -> int:
        """Tokens that every hypothesis still going has."""
        return len(self.steps)

    def add(self, rows: Array, tokens: Array, parents: Array, weights: Array | None) -> None:
        """Note a step of `rows` (ascending): tokens and parents [n, K], attention [n, K, S].

        A slot's parent is the slot before that it continues; attention is by parent.
        """
        self.steps.append((rows, tokens, parents, weights))

    def hypothesis(
        self, row: int, slot: int, score: float, log_prob: float, length: int | None = None
    ) -> Hypothesis:
        """Read back the hypothesis of `row` whose last token lies in `slot` of step `length`."""
        tokens: list[int] = []
        aligned: list[Array] = []
        for rows, chosen, parents, weights in reversed(self.steps[:length]):
            place = int(np.searchsorted(rows, row))
            tokens.append(int(chosen[place, slot]))
            slot = int(parents[place, slot])
            if weights is not None:
                aligned.append(weights[place, slot, : self.lengths[row]])
        alignment = None
        if self.aligned:
            alignment = np.array(aligned[::-1]).reshape(len(tokens), self.lengths[row])
        return Hypothesis(tuple(tokens[::-1]), score, log_prob, alignment)


def _best(totals: Array, count: int) -> tuple[Array, Array, Array]:
    """Return log-probability, slot and token of the `count` best of [N, K, V], best first."""
    rows, _, vocabulary = totals.shape
    flat = totals.reshape(rows, -1)
    count = min(count, flat.shape[1])
    picked = np.argpartition(-flat, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(flat, picked, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    picked = np.take_along_axis(picked, order, axis=1)
    return np.take_along_axis(values, order, axis=1), picked // vocabulary, picked % vocabulary


def allow(log_probs: Array, at_limit: Array) -> Array:
    """Return log-probabilities [N, K, V] in float64 with -inf for what may not be written.

    That is `<pad>`, `<s>`, and in rows at their limit all but `</s>`.
    """
    allowed = log_probs.astype(np.float64)
    allowed[:, :, PAD] = allowed[:, :, BOS] = -np.inf
    if at_limit.any():
        allowed[at_limit, :, :EOS] = -np.inf
        allowed[at_limit, :, EOS + 1 :] = -np.inf
    return allowed
