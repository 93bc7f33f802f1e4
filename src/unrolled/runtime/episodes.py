"""Rows that begin anew in the middle, in numpy: each episode as a row of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.episodes import check_reset, cut, finals, sources
from unrolled.runtime.layer import Array

# Outputs [N, T, P], and h and c a layer, of inputs, h and c a layer, and lengths.
Stack = Callable[
    [Array, list[Array], list[Array], NDArray[np.int64] | None],
    tuple[Array, list[Array], list[Array]],
]


def mask_of(reset: ArrayLike, rows: int, steps: int) -> NDArray[np.bool_]:
    """Return a mask [N, T] of booleans; raises ValueError where it is none or of another shape."""
    mask = np.asarray(reset)
    if mask.dtype != bool:
        raise ValueError(f"reset must be of booleans, got {mask.dtype}")
    check_reset(mask, (rows, steps), "[N, T]")
    return mask


def by_episodes(
    stack: Stack,
    x: Array,
    state: tuple[list[Array], list[Array]],
    new: tuple[list[Array], list[Array]],
    ends: NDArray[np.int64] | None,
    reset: NDArray[np.bool_],
) -> tuple[Array, list[Array], list[Array]]:
    """Run `stack` over the episodes of x [N, T, I], as `unrolled.nn.episodes.by_episodes` does."""
    rows, steps, _ = x.shape
    found = cut(reset.T, ends)
    directions = len(state[0][0])
    source, final = sources(found, directions), finals(found, directions)
    begin = [
        [_pick(np.concatenate(pair, axis=1), source) for pair in zip(old, first, strict=True)]
        for old, first in zip(state, new, strict=True)
    ]
    outputs, last = [], []
    for group in found.groups:
        longest = len(group.steps)
        time, row = np.divmod(group.steps.T, rows)
        h, c = ([part[:, group.episodes] for part in parts] for parts in begin)
        even = bool((group.lengths == longest).all())
        y, h, c = stack(x[row, time], h, c, None if even else group.lengths)
        outputs.append(y.swapaxes(0, 1).reshape(-1, y.shape[-1]))
        last.append((h, c))
    packed = np.concatenate(outputs)
    y = packed[found.back].reshape(steps, rows, -1)
    y[found.outside] = 0
    h, c = (
        [_pick(np.concatenate(parts, axis=1), final) for parts in zip(*each, strict=True)]
        for each in zip(*last, strict=True)
    )
    return np.ascontiguousarray(y.swapaxes(0, 1)), h, c


def _pick(values: Array, index: Any) -> Array:
    """Return values [D, N, P] at index [D, M], each direction by its own."""
    return np.stack([each[index[d]] for d, each in enumerate(values)])
