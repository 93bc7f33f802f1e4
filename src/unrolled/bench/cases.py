"""Which cases are measured, and how many useful operations each one has.

Shapes: N rows, T steps, H hidden (= I input), D directions, L layers, G gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, get_args

from unrolled.errors import ConfigError
from unrolled.spec import Cell, RecurrentSpec, Struct

Task = Literal["infer", "train", "ragged-infer", "ragged-train", "step"]
Grid = Literal["core", "full"]
TASKS: tuple[Task, ...] = get_args(Task)
CELLS: tuple[Cell, ...] = get_args(Cell)

# The mean length of a ragged batch, as a share of T.
FILL = 0.64
# A case of the full grid has at most this many operations a call, so that it ends in seconds.
MOST_OPERATIONS = 45e9


class Case(Struct, frozen=True, kw_only=True):
    """One measurement: a cell at a task, its sizes, and how many threads every side may use."""

    cell: Cell
    task: Task
    N: int
    T: int
    H: int
    threads: int = 2
    directions: int = 1
    layers: int = 1

    @property
    def name(self) -> str:
        """The case in one word, such as `lstm-train-N32-T100-H256-bi-L2-2t`."""
        both = "-bi" if self.directions == 2 else ""
        deep = f"-L{self.layers}" if self.layers > 1 else ""
        sizes = f"N{self.N}-T{self.T}-H{self.H}"
        return f"{self.cell}-{self.task}-{sizes}{both}{deep}-{self.threads}t"

    @property
    def spec(self) -> RecurrentSpec:
        """The stack of layers, with I = H."""
        return RecurrentSpec(
            cell=self.cell,
            input_size=self.H,
            hidden_sizes=(self.H,) * self.layers,
            bidirectional=self.directions == 2,
        )

    @property
    def trains(self) -> bool:
        """Whether the case has a backward pass."""
        return self.task in ("train", "ragged-train")

    @property
    def ragged(self) -> bool:
        """Whether rows end before T."""
        return self.task.startswith("ragged")

    @property
    def dense_steps(self) -> int:
        """The number of steps of a batch without raggedness that has as many tokens."""
        return max(1, round(FILL * self.T)) if self.ragged else self.T

    @property
    def tokens(self) -> int:
        """The real tokens of a batch: padding is not work."""
        return self.N * self.dense_steps

    @property
    def operations(self) -> int:
        """Useful floating point operations of a call.

        A token of a layer costs 2*G*H*(I + H) in each direction going forward, for the two matrix
        products; a backward pass costs twice as much again (gradients of inputs and of weights).
        """
        spec = self.spec
        inputs = sum(spec.layer_input_size(k) + self.H for k in range(self.layers))
        forward = 2 * spec.gates * self.H * inputs * self.directions * self.tokens
        return forward * (3 if self.trains else 1)


# N, T, H of the table that a reader sees first.
TABLE = ((1, 100, 64), (1, 100, 256), (32, 100, 64), (32, 100, 256), (64, 50, 512))

# T, and the H and N that tell something at it, of the wide grid.
WIDE: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...] = (
    (1, (64, 256, 1024), (1, 32)),
    (30, (16, 128, 1024), (1, 8, 32, 128)),
    (100, (16, 64, 128, 256, 512, 1024), (1, 8, 32, 128)),
    (1000, (64, 256), (1, 32)),
)


def core() -> tuple[Case, ...]:
    """Return the cases of the table, of one step, of ragged batches, and a few of each kind."""
    cases = [
        Case(cell=cell, task=task, N=N, T=T, H=H)
        for task in ("infer", "train")
        for N, T, H in TABLE
        for cell in CELLS
    ]
    cases += [
        Case(cell=cell, task=task, N=N, T=100, H=H, threads=1)
        for task in ("infer", "train")
        for N, H in ((1, 64), (32, 256))
        for cell in CELLS
    ]
    cases += [
        Case(cell="lstm", task=task, N=32, T=100, H=128, directions=D, layers=L)
        for task in ("infer", "train")
        for D, L in ((2, 1), (1, 2))
    ]
    cases += [
        Case(cell=cell, task="ragged-infer", N=32, T=100, H=128, directions=2)
        for cell in ("lstm", "gru")
    ]
    cases += [
        Case(cell=cell, task="ragged-train", N=32, T=100, H=128, directions=D)
        for D in (2, 1)
        for cell in CELLS
    ]
    cases += [
        Case(cell=cell, task="step", N=1, T=1, H=H, threads=1) for H in (64, 256) for cell in CELLS
    ]
    return tuple(cases)


def full() -> tuple[Case, ...]:
    """Return the core cases and a wide grid over them, thinned to what tells something new."""
    cases = list(core())
    cases += [
        Case(cell=cell, task=task, N=N, T=T, H=H)
        for task in ("infer", "train")
        for T, heights, batches in WIDE
        for H in heights
        for N in batches
        for cell in CELLS
    ]
    cases += [
        Case(cell=cell, task=task, N=N, T=100, H=H, threads=1)
        for task in ("infer", "train")
        for H in (64, 256, 1024)
        for N in (1, 32)
        for cell in CELLS
    ]
    cases += [
        Case(cell=cell, task=task, N=32, T=100, H=H, directions=D, layers=L)
        for task in TASKS[:-1]
        for H in (64, 256)
        for D, L in ((2, 1), (1, 2), (2, 2))
        for cell in CELLS
    ]
    cases += [
        Case(cell=cell, task=task, N=N, T=100, H=H)
        for task in ("ragged-infer", "ragged-train")
        for H in (64, 256)
        for N in (8, 128)
        for cell in CELLS
    ]
    cases += [
        Case(cell=cell, task="step", N=N, T=1, H=H, threads=threads)
        for threads, heights in ((1, (16, 64, 128, 256, 512, 1024)), (2, (512, 1024)))
        for H in heights
        for N in (1, 32)
        for cell in CELLS
    ]
    return tuple(case for case in dict.fromkeys(cases) if case.operations <= MOST_OPERATIONS)


GRIDS = {"core": core, "full": full}


def select(
    grid: Grid, *, cores: int, pattern: str | None = None, threads: Sequence[int] = ()
) -> tuple[Case, ...]:
    """Return the cases of a grid, with at most `cores` threads each.

    `pattern` keeps the names that contain it, with `*` for anything between; several are told
    apart by commas. `threads` runs every case at each of these numbers instead. Raises ConfigError
    where nothing is left.
    """
    cases: Iterable[Case] = GRIDS[grid]()
    if threads:
        cases = [_with_threads(case, k) for k in threads for case in cases]
    capped = dict.fromkeys(_with_threads(case, min(case.threads, cores)) for case in cases)
    patterns = [p.strip() for p in pattern.split(",") if p.strip()] if pattern else [""]
    chosen = tuple(
        case for case in capped if any(fnmatchcase(case.name, f"*{p}*") for p in patterns)
    )
    if not chosen:
        names = ", ".join(case.name for case in list(capped)[:3])
        raise ConfigError(f"no case matches {pattern!r}; names are like {names}")
    return chosen


def _with_threads(case: Case, threads: int) -> Case:
    return Case(
        **{field: getattr(case, field) for field in case.__struct_fields__} | {"threads": threads}
    )
