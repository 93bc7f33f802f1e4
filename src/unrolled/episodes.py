"""What a reset mask cuts the rows of a batch into: whole numbers only, for `nn` and the runtime.

A stream may hold one episode after the other: where its mask is true a row begins anew. Each
episode becomes a row of its own, so that one call of the ragged engine runs them side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
# Above this many times the batch's own steps, episodes are run in groups of alike lengths.
MOST_PADDED = 2


@dataclass(frozen=True)
class Group:
    """Episodes that run together: `steps` [S, m] finds each of their steps in [T * N]."""

    episodes: Ints
    lengths: Ints
    steps: Ints


@dataclass(frozen=True)
class Episodes:
    """The M episodes of N rows of T steps, ordered by row and time.

    `row` and `start` [M] say where each begins, `continued` [M] whether it goes on from the state
    that was given. `first` and `last` [N] are each row's first and last episode. `back` [T * N]
    finds each step among those of all groups, one after the other; steps past a row's end are
    `outside` [T, N].
    """

    row: Ints
    start: Ints
    continued: NDArray[np.bool_]
    first: Ints
    last: Ints
    groups: tuple[Group, ...]
    position: Ints
    back: Ints
    outside: NDArray[np.bool_]


def cut(reset: NDArray[np.bool_], lengths: Ints | None) -> Episodes:
    """Return the episodes of a mask [T, N]; where true, a row begins anew before that step.

    `lengths` [N] end the rows. A row of length 0 is one episode of length 0.
    """
    steps, rows = reset.shape
    ends = np.full(rows, steps) if lengths is None else np.asarray(lengths, np.int64)
    begins = reset & (np.arange(steps)[:, None] < ends)
    begins[0] = True
    row, start = (each.astype(np.int64) for each in np.nonzero(begins.T))
    last = np.cumsum(np.bincount(row, minlength=rows)) - 1
    first = np.append(0, last[:-1] + 1)
    until = np.append(start[1:], 0)
    until[last] = ends
    length = until - start
    continued = np.zeros(len(row), bool)
    continued[first] = ~reset[0] | (ends == 0)
    groups = tuple(
        _group(members, row, start, length, steps, rows)
        for members in _members(length, steps * rows)
    )
    position = np.empty(len(row), np.int64)
    position[np.concatenate([group.episodes for group in groups])] = np.arange(len(row))
    inside = np.arange(steps)[:, None] < ends
    back = _back(begins, first, groups, position, start)
    return Episodes(row, start, continued, first, last, groups, position, back, ~inside)


def _members(length: Ints, size: int) -> list[Ints]:
    """Return all episodes at once, or those of each power of two where padding would be large."""
    if len(length) * max(int(length.max()), 1) <= MOST_PADDED * size:
        return [np.arange(len(length))]
    power = np.ceil(np.log2(np.maximum(length, 1))).astype(np.int64)
    return [np.flatnonzero(power == each) for each in np.unique(power)]


def _group(members: Ints, row: Ints, start: Ints, length: Ints, steps: int, rows: int) -> Group:
    longest = max(int(length[members].max()), 1)
    at = np.minimum(start[members] + np.arange(longest)[:, None], steps - 1)
    return Group(members, length[members], at * rows + row[members])


def _back(
    begins: NDArray[np.bool_], first: Ints, groups: tuple[Group, ...], position: Ints, start: Ints
) -> Ints:
    """Return for every step of [T, N] where it lies among the groups' steps, [T * N]."""
    steps = len(begins)
    offset = np.empty(len(start), np.int64)
    width = np.empty(len(start), np.int64)
    column = np.empty(len(start), np.int64)
    size = 0
    for group in groups:
        count = len(group.episodes)
        offset[group.episodes], width[group.episodes] = size, count
        column[group.episodes] = np.arange(count)
        size += group.steps.size
    episode = first + np.cumsum(begins, axis=0) - 1
    within = np.arange(steps)[:, None] - start[episode]
    places = offset[episode] + within * width[episode] + column[episode]
    # Past a row's end a step may lie beyond its episode's group; it is zeroed whatever it reads.
    found: Ints = np.minimum(places, size - 1).reshape(-1)
    return found


def sources(found: Episodes, directions: int) -> Ints:
    """Return which state each episode begins from, [D, M]: that of its row, or N for a new one.

    The backward direction begins from the state that was given at each row's own end.
    """
    rows = len(found.first)
    each = np.full((directions, len(found.row)), rows, np.int64)
    each[0] = np.where(found.continued, found.row, rows)
    if directions == 2:
        each[1, found.last] = np.arange(rows)
    return each


def finals(found: Episodes, directions: int) -> Ints:
    """Return the place, among all groups' episodes, of each row's last state, [D, N]."""
    ends = [found.last, found.first][:directions]
    return found.position[np.stack(ends)]


def check_reset(value: Any, shape: tuple[int, ...], layout: str) -> None:
    """Raise ValueError unless a mask has this shape; `layout` names it."""
    if tuple(value.shape) != shape:
        raise ValueError(f"reset must be {layout} = {list(shape)}, got {list(value.shape)}")
