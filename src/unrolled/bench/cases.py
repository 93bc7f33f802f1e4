"""Which cases are measured, and how many useful operations each one has.

Shapes: N rows, T steps, H hidden (= I input), D directions, L layers, G gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, get_args

from unrolled.errors import ConfigError
from unrolled.spec import Cell, Precision, RecurrentSpec, Struct

Task = Literal[
    "infer", "train", "ragged-infer", "ragged-train", "step", "session", "decode", "words"
]
Grid = Literal["core", "full", "sessions", "decode"]
TASKS: tuple[Task, ...] = get_args(Task)
SEQUENCES: tuple[Task, ...] = ("infer", "train", "ragged-infer", "ragged-train")
CELLS: tuple[Cell, ...] = get_args(Cell)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# The mean length of a ragged batch, as a share of T.
FILL = 0.64
# A case of the full grid has at most this many operations a call, so that it ends in seconds.
MOST_OPERATIONS = 45e9


class Case(Struct, frozen=True, kw_only=True):
    """One measurement: a cell at a task, its sizes, and how many threads every side may use.

    `precision` is ours; the peers compute in float32. Of a translator that decodes, H is the width
    of its layers, T the most units of an answer, N the words, and `beam` 1 is greedy search.
    """

    cell: Cell
    task: Task
    N: int
    T: int
    H: int
    threads: int = 2
    directions: int = 1
    layers: int = 1
    precision: Precision = "float32"
    beam: int = 1

    @property
    def name(self) -> str:
        """The case in one word, such as `lstm-train-N32-T100-H256-bi-L2-2t`."""
        both = "-bi" if self.directions == 2 else ""
        deep = f"-L{self.layers}" if self.layers > 1 else ""
        low = f"-{self.precision}" if self.precision != "float32" else ""
        wide = f"-beam{self.beam}" if self.beam > 1 else ""
        sizes = f"N{self.N}-T{self.T}-H{self.H}"
        return f"{self.cell}-{self.task}-{sizes}{both}{deep}{low}{wide}-{self.threads}t"

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
    def steps(self) -> bool:
        """Whether a call is one time step, that goes on from the state of the call before."""
        return self.task in ("step", "session")

    @property
    def decodes(self) -> bool:
        """Whether a call is a translator's whole answers: of N rows of ids, or of N words."""
        return self.task in ("decode", "words")

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
        """Useful floating point operations of a call; 0 of a decode, where none are counted.

        A token of a layer costs 2*G*H*(I + H) in each direction going forward, for the two matrix
        products; a backward pass costs twice as much again (gradients of inputs and of weights).
        """
        if self.decodes:
            return 0
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
        for task in SEQUENCES
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


# Sessions: widths, and how many advance together; decoding: rows, words of a list, the beam.
WIDTHS, MANY = (16, 64, 128, 256, 512), 1000
DECODED_ROWS, WORDS, BEAM = (1, 64), 512, 5


def sessions() -> tuple[Case, ...]:
    """Return one step of one session and of many, of LSTM and GRU in every precision."""
    return tuple(
        Case(cell=cell, task="session", N=N, T=1, H=H, threads=1, precision=precision)
        for N in (1, MANY)
        for cell in ("lstm", "gru")
        for H in WIDTHS
        for precision in PRECISIONS
    )


def decode() -> tuple[Case, ...]:
    """Return greedy and beam search of one row, of a batch, and of a list of words as text."""
    sizes: list[tuple[Task, int]] = [*(("decode", N) for N in DECODED_ROWS), ("words", WORDS)]
    return tuple(
        Case(cell="gru", task=task, N=N, T=8, H=256, threads=1, beam=beam)
        for task, N in sizes
        for beam in (1, BEAM)
    )


GRIDS: dict[Grid, Callable[[], tuple[Case, ...]]] = {
    "core": core,
    "full": full,
    "sessions": sessions,
    "decode": decode,
}


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
