"""Shapley values of time steps, with the old steps of a long sequence pruned to one player.

Bento et al. 2021 (TimeSHAP), sections 3.2 and 3.3: most of a long past hardly matters, so it is one
player, and only the steps since then are told apart. A player that is out of a coalition has its
steps removed or replaced, as everywhere in this room.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from unrolled.explain.results import Attribution, numbers
from unrolled.explain.subject import Array, How, Subject, scores

TOLERANCE = 0.025
MOST_CUTS = 128
MOST_PLAYERS = 64
MOST_EXACT = 10
PAIRS = 24


def timeshap(
    subject: Subject,
    how: How,
    *,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    pairs: int = PAIRS,
) -> Attribution:
    """Return each step's Shapley value: its mean gain over the orders in which steps may arrive.

    Steps before the pruning index are one player, the lump; its value is shared out evenly among
    them. Up to that index the lump's own Shapley value, in the game of two players against all
    later steps, is at most `tolerance` of the largest. Up to 10 players are
    summed over all coalitions, more are sampled: `pairs` random orders, each also reversed
    (`standard_error`, the largest of a player). More than 64 recent steps are grouped into equal
    blocks. Values sum to f(all) - f(nothing).
    """
    steps = len(subject.steps)
    cut = pruning_index(subject, how, tolerance=tolerance)
    players = _players(steps, cut)
    if len(players) <= MOST_EXACT:
        values, error = _exact(subject, players, how), 0.0
    else:
        values, error = _sampled(subject, players, how, seed, pairs)
    each = np.zeros(steps)
    for value, player in zip(values, players, strict=True):
        each[player] = value / player.sum()
    return Attribution(
        method="timeshap",
        title="TimeSHAP",
        unit=subject.quantity,
        values=numbers(each),
        reading="The score's mean gain when this step joins others (Shapley value)."
        + _said(steps, cut),
        details={
            "pruning_index": float(cut),
            "lump": float(values[0]) if cut else 0.0,
            "players": float(len(players)),
            "standard_error": error,
        },
    )


def pruning_index(subject: Subject, how: How, *, tolerance: float = TOLERANCE) -> int:
    """Return how many of the oldest steps together matter at most `tolerance` of the whole.

    The Shapley value of the lump of steps before t, against the lump of the others, is
    ((f(all) - f(late)) + (f(old) - f(nothing))) / 2. The index is the last t up to which it stays
    small against the largest; the paper takes the last at which it is, which also prunes steps that
    matter but cancel. Of sequences longer than 128 steps, 128 values of t are tried.
    """
    steps = len(subject.steps)
    cuts = np.unique(np.linspace(0, steps - 1, min(steps, MOST_CUTS)).astype(int))
    place = np.arange(steps)
    old = place[None, :] < cuts[:, None]
    ends = np.stack([np.ones(steps, bool), np.zeros(steps, bool)])
    found = scores(subject, np.concatenate([old, ~old, ends]), how)
    f_old, f_late = found[: len(cuts)], found[len(cuts) : -2]
    everything, nothing = found[-2:]
    lump = ((everything - f_late) + (f_old - nothing)) / 2
    most = max(abs(everything - nothing), float(np.abs(lump).max()))
    # A lump whose steps cancel is small too: it goes only where every shorter one is small.
    large = np.flatnonzero(np.abs(lump) > tolerance * most)
    return int(cuts[max(large[0] - 1, 0) if len(large) else -1])


def _said(steps: int, cut: int) -> str:
    """Return which steps the values do not tell apart, in words."""
    told = (
        f" The first {cut} steps together hardly matter and are not told apart." if cut > 1 else ""
    )
    if cut == 1:
        told = " The first step hardly matters."
    if steps - cut > MOST_PLAYERS:
        told += f" The others stand together in {MOST_PLAYERS} blocks."
    return told


def _players(steps: int, cut: int) -> Array:
    """Return one mask [S] a player: the lump, where there is one, and the recent steps."""
    recent = np.arange(cut, steps)
    blocks = np.array_split(recent, min(len(recent), MOST_PLAYERS))
    parts = [np.arange(cut), *blocks] if cut else blocks
    players = np.zeros((len(parts), steps), dtype=bool)
    for row, part in enumerate(parts):
        players[row, part] = True
    return players


def _exact(subject: Subject, players: Array, how: How) -> Array:
    """Sum over all coalitions: sum_C |C|! (n - |C| - 1)! / n! (f(C + i) - f(C))."""
    count = len(players)
    codes = np.arange(1 << count)
    inside = (codes[:, None] >> np.arange(count)) & 1
    found = scores(subject, (inside @ players).astype(bool), how)
    sizes = inside.sum(axis=1)
    share = np.array([factorial(c) * factorial(count - c - 1) for c in range(count)], dtype=float)
    share /= factorial(count)
    values = np.zeros(count)
    for i in range(count):
        out = codes[inside[:, i] == 0]
        values[i] = (share[sizes[out]] * (found[out | (1 << i)] - found[out])).sum()
    return values


def _sampled(
    subject: Subject, players: Array, how: How, seed: int, pairs: int
) -> tuple[Array, float]:
    """Average the gains over random orders and their reverses (antithetic sampling)."""
    count = len(players)
    draw = np.random.default_rng(seed)
    orders = np.array([draw.permutation(count) for _ in range(pairs)])
    orders = np.stack([orders, orders[:, ::-1]], axis=1).reshape(-1, count)
    arrived = np.cumsum(players[orders], axis=1).astype(bool)
    empty = np.zeros((len(orders), 1, players.shape[1]), dtype=bool)
    keep = np.concatenate([empty, arrived], axis=1)
    found = scores(subject, keep.reshape(-1, players.shape[1]), how)
    gains = np.diff(found.reshape(len(orders), count + 1), axis=1)
    values = np.zeros((len(orders), count))
    np.put_along_axis(values, orders, gains, axis=1)
    by_pair = values.reshape(pairs, 2, count).mean(axis=1)
    error = by_pair.std(axis=0, ddof=1).max() / np.sqrt(pairs) if pairs > 1 else np.inf
    return by_pair.mean(axis=0), float(error)
