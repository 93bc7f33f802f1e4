"""Writing a target sequence: greedy search and beam search over a `DecoderNetwork`.

All rows, times all hypotheses of each, advance in one batch; a row whose search has ended leaves
it. `<pad>` and `<s>` are never written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from unrolled.data.vocab import BOS, EOS, PAD
from unrolled.errors import ConfigError
from unrolled.runtime.networks import DecoderNetwork, Memory
from unrolled.runtime.weights import Array

LENGTH_PENALTY = 0.6

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


def search(
    network: DecoderNetwork,
    source: Array,
    lengths: Array,
    max_length: int | Array,
    *,
    width: int,
    n_best: int,
    length_penalty: float,
) -> list[list[Hypothesis]]:
    """Return what `beam` finds at this width; at width 1 `greedy` finds the same for less."""
    if width == n_best == 1:
        return greedy(network, source, lengths, max_length, length_penalty=length_penalty)
    return beam(
        network,
        source,
        lengths,
        beam=width,
        max_length=max_length,
        length_penalty=length_penalty,
        n_best=n_best,
    )


def greedy(
    network: DecoderNetwork,
    source: Array,
    lengths: Array,
    max_length: int | Array,
    *,
    length_penalty: float = LENGTH_PENALTY,
) -> list[list[Hypothesis]]:
    """Write the likeliest token at every step until `</s>`: one hypothesis for each row.

    source [N, S], lengths [N] of 1 or more; `max_length` is the most tokens a row may have (one
    number, or one per row), after which `</s>` is forced and its log-probability counted.
    Raises ConfigError for a max_length below 1 or a negative length_penalty.
    """
    _check_search(1, 1, length_penalty)
    limits = _limits(max_length, len(source))
    memory = network.encode(source, lengths)
    state = memory.first
    rows = np.arange(len(source))
    tokens = np.full(len(source), BOS)
    log_prob = np.zeros(len(source))
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
    source: Array,
    lengths: Array,
    *,
    beam: int,
    max_length: int | Array,
    length_penalty: float = LENGTH_PENALTY,
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    """Return for each row its `n_best` hypotheses of the highest score, best first.

    At every step the `beam` likeliest continuations go on; one that writes `</s>` while among the
    `beam` likeliest is finished. A row ends when `beam` of its hypotheses have finished or when
    nothing unfinished can still score above its `n_best` finished ones. A row may find fewer than
    `n_best` where the vocabulary and `max_length` allow no more. Arguments else as in `greedy`.

    Raises ConfigError for a beam or n_best below 1, n_best above beam, a negative length_penalty.
    """
    _check_search(beam, n_best, length_penalty)
    limits = _limits(max_length, len(source))
    memory = network.encode(source, lengths)
    state = memory.first.take(np.repeat(np.arange(len(source)), beam))
    rows = np.arange(len(source))
    tokens = np.full((len(source), beam), BOS)
    log_prob = np.full((len(source), beam), -np.inf)
    log_prob[:, 0] = 0.0
    trace = _Trace(memory)
    finished: list[list[_Finished]] = [[] for _ in rows]
    while len(rows):
        result = network.step(tokens, state, memory)
        log_probs = allow(result.log_probs, trace.length >= limits[rows])
        scores, parents, choices = _best(log_prob[:, :, None] + log_probs, 2 * beam)
        norm = length_norm(trace.length + 1, length_penalty)
        ends = (choices == EOS) & np.isfinite(scores)
        for place, rank in np.argwhere(ends[:, :beam]):
            value = float(scores[place, rank])
            finished[rows[place]].append(
                _Finished(value / norm, value, trace.length, int(parents[place, rank]))
            )
        slots = np.argsort(ends, axis=1, kind="stable")[:, :beam]
        log_prob, parents, tokens = (
            np.take_along_axis(each, slots, axis=1)
            for each in (np.where(ends, -np.inf, scores), parents, choices)
        )
        trace.add(rows, tokens, parents, result.weights)
        bound = log_prob.max(axis=1) / length_norm(limits[rows] + 1, length_penalty)
        keep = np.flatnonzero(
            [not _ended(finished[row], beam, n_best, bound[i]) for i, row in enumerate(rows)]
        )
        picked = (keep[:, None] * beam + parents[keep]).reshape(-1)
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


def _limits(max_length: int | Array, rows: int) -> Array:
    limits = np.broadcast_to(np.asarray(max_length), (rows,))
    if rows and limits.min() < 1:
        raise ConfigError(f"max_length is {limits.min()}, expected 1 or more.")
    return limits


def _check_search(beam: int, n_best: int, length_penalty: float) -> None:
    if beam < 1:
        raise ConfigError(f"beam is {beam}, expected 1 or more.")
    if not 1 <= n_best <= beam:
        raise ConfigError(f"n_best is {n_best}, expected 1 to beam ({beam}).")
    if length_penalty < 0:
        raise ConfigError(f"length_penalty is {length_penalty}, expected 0 or more.")
