"""Long tables of series, a row a stamp of a series, to arrays on a regular grid.

A row is (`id`, `time`, `target`, covariates). Rows may come in any order. Stamps that are left out
between two others become rows without a value: nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.data.frequency import Frequency, check_regular, infer, parse_frequency, positions
from unrolled.data.records import read_frame
from unrolled.data.stamps import Style, read_numbers, read_stamps
from unrolled.data.table import Table, is_missing
from unrolled.errors import DataError

Array = NDArray[Any]
DEFAULT_ID = "unique_id"
# A grid of more steps than this for each row is a stamp that was mistyped.
MOST_STEPS = 100
ALWAYS_STEPS = 10_000


class Columns(NamedTuple):
    """Names of columns; `id` is empty where the table is one series, `target` where it has none."""

    id: str
    time: str
    target: str
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One series on its grid: T steps from `origin` on, NaN where a value is missing.

    `y` [T], `past` [T, P] and `future` [T, F] are float64; `static` are values as they were read;
    `where` is the place of its first row.
    """

    id: Any
    origin: Any
    y: Array
    past: Array
    future: Array
    static: tuple[Any, ...]
    where: str

    def __len__(self) -> int:
        return len(self.y)

    @property
    def place(self) -> str:
        """Where it begins, with its name: `"sales.csv, row 2 in series 'a'"`."""
        return f"{self.where}{_of(self.id)}"

    def head(self, steps: int) -> Series:
        """Return the first `steps` steps."""
        return Series(
            self.id, self.origin, self.y[:steps], self.past[:steps], self.future[:steps],
            self.static, self.where,
        )  # fmt: skip


class Repairs(NamedTuple):
    """What was put right in reading: rows out of order, and stamps that were left out.

    `unsorted` and `gapped` count series, `missing` counts stamps; the places are the first ones.
    """

    unsorted: int = 0
    unsorted_at: str = ""
    missing: int = 0
    gapped: int = 0
    missing_at: str = ""

    def joined(self, other: Repairs) -> Repairs:
        """Return what was put right in both."""
        return Repairs(
            self.unsorted + other.unsorted,
            self.unsorted_at or other.unsorted_at,
            self.missing + other.missing,
            self.gapped + other.gapped,
            self.missing_at or other.missing_at,
        )

    def notices(self, name: str, freq: Frequency) -> tuple[str, ...]:
        """Return what a user should know of it, in a sentence each."""
        found = []
        if self.unsorted:
            found.append(
                f"{name}: the rows of {self.unsorted} series were not in order of time and were "
                f"sorted; the first is {self.unsorted_at}"
            )
        if self.gapped:
            found.append(
                f"{name}: {self.missing} stamps at a step of {freq} are left out in {self.gapped} "
                f"series and count as missing values; the first follow {self.missing_at}"
            )
        return tuple(found)


@dataclass(frozen=True)
class Panel:
    """All series of a table in order of appearance; `repairs` tell what was put right in it."""

    name: str
    columns: Columns
    freq: Frequency
    style: Style
    series: tuple[Series, ...]
    repairs: Repairs = field(default_factory=Repairs)

    def __len__(self) -> int:
        return len(self.series)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of it, in a sentence each."""
        return self.repairs.notices(self.name, self.freq)


def check_alike(first: Panel, other: Panel) -> None:
    """Raise DataError where two files cannot be read as one data set.

    They have the same frequency, their times an offset from UTC in both or in none, and both a
    column that names the series.
    """
    if other.freq != first.freq:
        raise DataError(
            f"{other.name}: a step is {other.freq}, but in {first.name} it is {first.freq}; "
            "expected one frequency in all files (freq names it)"
        )
    check_offsets(first, other)
    for each in (first, other):
        if not each.columns.id:
            beside = other if each is first else first
            raise DataError(
                f"{each.name}: no column {DEFAULT_ID!r} names its series; beside {beside.name} it "
                "needs one, and a series lies whole in one file"
            )


def check_offsets(first: Panel, other: Panel) -> None:
    """Raise DataError where the times of one have an offset from UTC, and the other's have none."""
    if first.style.aware != other.style.aware:
        with_it, without = (first, other) if first.style.aware else (other, first)
        raise DataError(
            f"{other.name}: its times cannot be set beside those of {first.name}: they have an "
            f"offset from UTC in {with_it.name} and none in {without.name}"
        )


def check_apart(files: dict[str, str], panel: Panel) -> None:
    """Raise DataError where a series is in one of the `files` too, which are by name of series.

    Numbers and texts that read the same are one name. Adds the panel's own.
    """
    for each in panel.series:
        if (other := files.get(_written(each.id))) is not None:
            raise DataError(
                f"{each.where}: series {each.id!r} is in {other} too; expected all its rows in one "
                "file"
            )
    files |= dict.fromkeys((_written(each.id) for each in panel.series), panel.name)


def _written(key: Any) -> str:
    return str(int(key) if isinstance(key, float) and key.is_integer() else key)


def joined(panels: Iterable[Panel], name: str) -> Panel:
    """Return the series of several files as one panel, a lone one as it is.

    Raises DataError where the files are not alike, or a series is in two.
    """
    first, *others = panels
    files: dict[str, str] = {}
    repairs = Repairs()
    for panel in (first, *others):
        if panel is not first:
            check_alike(first, panel)
        check_apart(files, panel)
        repairs = repairs.joined(panel.repairs)
    series = tuple(each for panel in (first, *others) for each in panel.series)
    return replace(first, name=name, series=series, repairs=repairs) if others else first


def to_table(data: Any, *, name: str = "data frame") -> Table:
    """Return a data frame of any library, or a mapping of columns, as a table."""
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping):
        columns = {str(key): list(values) for key, values in data.items()}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise DataError(f"{name}: columns must have one length, and at least one row")
        return Table(name, columns, list(range(1, lengths.pop() + 1)))
    return read_frame(data, name=name)


def read_panel(table: Table, columns: Columns, freq: str | Frequency = "auto") -> Panel:
    """Read the series of a table.

    Without a column named `unique_id` a table is one series, where `id` has this default. Raises
    DataError, naming file, row and column, for a stamp that is there twice in a series, one that is
    off the grid, a number or stamp that cannot be read, and where `freq` is auto and no series has
    two rows.
    """
    if columns.id == DEFAULT_ID and columns.id not in table.columns:
        columns = columns._replace(id="")
    stamps, style = read_stamps(table, columns.time)
    groups = _groups(table, columns.id)
    orders = [np.array(rows)[np.argsort(stamps[rows], kind="stable")] for rows in groups.values()]
    for key, rows in zip(groups, orders, strict=True):
        _check_unique(table, columns, key, stamps, rows)
    found = parse_frequency(freq) if isinstance(freq, str) and freq != "auto" else freq
    if isinstance(found, str):
        inferred = infer([stamps[rows] for rows in orders])
        if inferred is None:
            raise DataError(
                f"{table.path}: no series has two rows, so its frequency cannot be told; give freq"
            )
        found = inferred
    check_regular(found, stamps[0])
    values = _Values(table, columns)
    series, gaps = [], []
    for key, rows in zip(groups, orders, strict=True):
        places = _places(table, columns, found, stamps, rows)
        missing = int(places[-1]) + 1 - len(places)
        if missing:
            gaps.append((missing, table.where(int(rows[np.argmax(np.diff(places) > 1)]))))
        series.append(values.series(key, stamps[rows[0]], rows, places))
    repairs = _repairs(table, orders, gaps)
    return Panel(table.path, columns, found, style, tuple(series), repairs)


class _Values:
    """The columns of numbers of a table, read once."""

    def __init__(self, table: Table, columns: Columns) -> None:
        self.table, self.columns = table, columns
        self.y = read_numbers(table, columns.target) if columns.target else None
        self.past = [read_numbers(table, name) for name in columns.past]
        self.future = [read_numbers(table, name) for name in columns.future]

    def series(self, key: Any, origin: Any, rows: Array, places: Array) -> Series:
        steps = int(places[-1]) + 1

        def spread(values: Sequence[Array]) -> Array:
            grid = np.full((steps, len(values)), np.nan)
            for k, column in enumerate(values):
                grid[places, k] = column[rows]
            return grid

        y = np.full(steps, np.nan)
        if self.y is not None:
            y[places] = self.y[rows]
        static = tuple(self._static(name, key, rows) for name in self.columns.static)
        where = self.table.where(int(rows.min()))
        return Series(key, origin, y, spread(self.past), spread(self.future), static, where)

    def _static(self, name: str, key: Any, rows: Array) -> Any:
        values = self.table.column(name)
        first = values[int(rows[0])]
        for i in rows:
            if is_missing(values[int(i)]) or values[int(i)] == "":
                raise DataError(f"{self.table.where(int(i), name)}: the static value is missing")
            if values[int(i)] != first:
                raise DataError(
                    f"{self.table.where(int(i), name)}: {values[int(i)]!r}, but series {key!r} has "
                    f"{first!r} before; a static covariate is the same in all rows of a series"
                )
        return first


def _groups(table: Table, column: str) -> dict[Any, list[int]]:
    if not column:
        return {"": list(range(len(table)))}
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(table.column(column)):
        if is_missing(key) or key == "":
            raise DataError(f"{table.where(i, column)}: the name of the series is missing")
        groups.setdefault(key, []).append(i)
    return groups


def _of(key: Any) -> str:
    return f" in series {key!r}" if key != "" else ""


def _check_unique(table: Table, columns: Columns, key: Any, stamps: Array, rows: Array) -> None:
    same = np.flatnonzero(stamps[rows[1:]] == stamps[rows[:-1]])
    if len(same):
        first, second = sorted((int(rows[same[0]]), int(rows[same[0] + 1])))
        value = table.column(columns.time)[second]
        hint = "" if columns.id else "; where the table holds several series, name their column: id"
        raise DataError(
            f"{table.where(second, columns.time)}: {value} a second time{_of(key)}, first in row "
            f"{table.rows[first]}{hint}"
        )


def _places(table: Table, columns: Columns, freq: Frequency, stamps: Array, rows: Array) -> Array:
    places, on = positions(freq, stamps[rows[0]], stamps[rows])
    if not on.all():
        i = int(rows[np.flatnonzero(~on)[0]])
        value, first = (table.column(columns.time)[k] for k in (i, int(rows[0])))
        raise DataError(
            f"{table.where(i, columns.time)}: {value} is no whole number of steps of {freq} after "
            f"{first}, the first of its series; expected a regular frequency (another one is "
            "given by freq)"
        )
    if places[-1] >= max(ALWAYS_STEPS, MOST_STEPS * len(rows)):
        k = int(np.argmax(np.diff(places)))
        i, before = int(rows[k + 1]), int(rows[k])
        value, last = (table.column(columns.time)[k] for k in (i, before))
        raise DataError(
            f"{table.where(i, columns.time)}: {value} is {places[k + 1] - places[k]} steps of "
            f"{freq} after {last}; expected a stamp that was meant, or another freq"
        )
    return places


def _repairs(table: Table, orders: Sequence[Array], gaps: Sequence[tuple[int, str]]) -> Repairs:
    unsorted = [rows for rows in orders if (np.diff(rows) < 0).any()]
    place = ""
    if unsorted:
        ranks = np.argsort(unsorted[0])
        place = table.where(int(np.sort(unsorted[0])[np.argmax(np.diff(ranks) < 0) + 1]))
    missing = sum(count for count, _ in gaps)
    return Repairs(len(unsorted), place, missing, len(gaps), gaps[0][1] if gaps else "")
