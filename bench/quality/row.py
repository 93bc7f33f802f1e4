"""What a row of the quality table is: a data set, the command that learns it, the published figure.

A row's files come from `--data`, a folder of public data sets that is not part of the project.
Every row is one `unrolled train` and one `unrolled evaluate`, with nothing behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Prepare = Callable[[Path, Path], dict[str, Path]]
Measure = Callable[[dict[str, Path], Path], dict[str, float]]


@dataclass(frozen=True)
class Row:
    """`prepare(data, work)` writes train, valid and vectors (both optional) and test files.

    `metrics` are keys of what `evaluate --json` prints; `scale` is 100 where they are shares shown
    in %, 1 where they are shown as they are. The name of a baseline, which `evaluate` prints as
    metrics of its own, shows the same metrics of it. `measure(files, model)` adds
    metrics of a protocol that is not the project's own.
    """

    name: str
    task: str
    options: str
    evaluate: str
    metrics: tuple[str, ...]
    published: str
    prepare: Prepare
    scale: float = 100.0
    measure: Measure | None = None
