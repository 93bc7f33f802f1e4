"""What a row of the quality table is: a data set, the command that learns it, the published figure.

A row's files come from `--data`, a folder of public data sets that is not part of the project.
Every row is one `unrolled train` and one `unrolled evaluate`, with nothing behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Prepare = Callable[[Path, Path], dict[str, Path]]


@dataclass(frozen=True)
class Row:
    """`prepare(data, work)` writes train, valid (optional) and test files and returns them.

    `metrics` are keys of what `evaluate --json` prints; `scale` is 100 where they are shares shown
    in %, 1 where they are shown as they are. The name of a baseline, which `evaluate` prints as
    metrics of its own, shows the same metrics of it.
    """

    name: str
    task: str
    options: str
    evaluate: str
    metrics: tuple[str, ...]
    published: str
    prepare: Prepare
    scale: float = 100.0
