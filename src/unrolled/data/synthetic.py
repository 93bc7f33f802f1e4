"""Made-up tasks whose answer lies far back: how long a network remembers.

The adding problem (Hochreiter and Schmidhuber 1997, section 5.4) and copy memory (Arjovsky, Shah
and Bengio 2016, section 4.1), both as Bai, Kolter and Koltun (2018, section 4) measure them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SYMBOLS = 10
BLANK, GO = "0", "9"


def adding(steps: int, count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return x [N, T, 2] and y [N]: the sum of the two numbers of x that are marked.

    x holds numbers from 0 to 1 evenly, and beside them marks: 1 at one place in each half of the
    steps, else 0. Always answering 1 has a mean squared error of 1/6, about 0.167. Raises
    ValueError for fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"the adding problem needs two steps or more, got {steps}")
    draw = np.random.default_rng(seed)
    x = np.zeros((count, steps, 2), np.float32)
    x[:, :, 0] = draw.random((count, steps))
    half, rows = steps // 2, np.arange(count)
    places = (draw.integers(0, half, count), draw.integers(half, steps, count))
    for place in places:
        x[rows, place, 1] = 1
    return x, sum(x[rows, place, 0].astype(np.float64) for place in places)


def copy_memory(
    steps: int, count: int, seed: int, *, symbols: int = SYMBOLS
) -> tuple[list[list[str]], list[list[str]]]:
    """Return words and tags [N, T + 2 S] each: S symbols to be said again T steps later.

    A row is S symbols from 1 to 8, T - 1 blanks (0), and S + 1 times the sign to begin (9). Its
    tags are T + S blanks and then the symbols. Knowing when to begin and nothing of the symbols has
    a cross-entropy of S log 8 / (T + 2 S). Raises ValueError for no step.
    """
    if steps < 1:
        raise ValueError(f"copy memory needs one step or more, got {steps}")
    drawn = np.random.default_rng(seed).integers(1, 9, (count, symbols))
    words, tags = [], []
    for row in drawn.astype(str).tolist():
        words.append([*row, *[BLANK] * (steps - 1), *[GO] * (symbols + 1)])
        tags.append([*[BLANK] * (steps + symbols), *row])
    return words, tags
