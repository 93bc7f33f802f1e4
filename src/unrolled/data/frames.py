"""Sequences of frames, I numbers a step with a tag each: NumPy's npz, and long Parquet tables.

npz: `x` [N, T, I], with `lengths` [N] where rows are padded, or all sequences one after the other,
`x` [sum T, I] with `lengths`; tags alike, [N, T] or [sum T]. A table: a row a step, with a column
that says which sequence it is of and one that orders it there. A label of a whole sequence stands
in npz once a sequence, in a table on each of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.records import read_parquet
from unrolled.data.table import Table, is_missing, labels, no_column
from unrolled.errors import DataError, InteropError
from unrolled.interop.archives import read_npz

Array = NDArray[Any]


@dataclass
class Frames:
    """Sequences [T, I] with their tags and intents where known; `rows` of a table, and its ids.

    An intent is the label of a whole sequence; `targets` [K] are its numbers.
    """

    features: tuple[str, ...]
    inputs: list[Array] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)
    intents: list[Any] = field(default_factory=list)
    targets: list[Array] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)


def form_of(features: Sequence[str], otherwise: str = "texts") -> str:
    """Return what is read in words: frames of these features, `otherwise` where there are none."""
    return f"features {', '.join(features)}" if features else otherwise


def read_frames(
    name: str,
    content: bytes,
    kind: str,
    *,
    label: str | None,
    intent: str = "",
    sequence: str = "id",
    time: str = "time",
    features: Sequence[str] | None = None,
) -> Frames:
    """Read sequences of frames; without `label` no tags are read.

    `features` names the columns of a table that make a frame; None takes all that are left, which
    must hold numbers. Raises DataError, naming the array or the row and column, for what does not
    fit together and for a value that is missing or not finite.
    """
    if kind == "npz":
        return _from_npz(name, content, label, intent, "", features, False)
    table = read_parquet(name, content, None)
    return frames_of_table(
        table, label=label, intent=intent, sequence=sequence, time=time, features=features
    )


def frames_of_npz(
    name: str,
    content: bytes,
    *,
    label: str | None = None,
    intent: str = "",
    targets: str = "",
    features: Sequence[str] | None = None,
    mask_missing: bool = False,
) -> Frames:
    """Read sequences of frames from an npz archive; what is not named is not read.

    `intent` names an array [N] of labels, or [N, C] of 0 and 1 whose columns the array `classes`
    names (else their numbers), `targets` an array of numbers [N] or [N, K]. With `mask_missing` a
    NaN in a frame is no error. Raises DataError as `read_frames` does.
    """
    return _from_npz(name, content, label, intent, targets, features, mask_missing)


def _from_npz(
    name: str,
    content: bytes,
    label: str | None,
    intent: str,
    targets: str,
    features: Sequence[str] | None,
    mask_missing: bool,
) -> Frames:
    arrays = load_arrays(name, content)
    x = _array(name, arrays, "x")
    if x.dtype.kind not in "fiu" or x.ndim not in (2, 3) or not x.size:
        raise DataError(
            f"{name}: x must hold numbers [N, T, I], or [sum T, I] beside lengths [N]; it is "
            f"{list(x.shape)} of {x.dtype}"
        )
    ends = _ends(name, arrays, x)
    found = Frames(tuple(features or map(str, range(x.shape[-1]))))
    if x.shape[-1] != len(found.features):
        raise DataError(f"{name}: frames of {x.shape[-1]} numbers, expected {len(found.features)}")
    found.inputs = _cut_up(x.astype(np.float32), ends, x.ndim == 3)
    for i, frames in enumerate(found.inputs, start=1):
        wrong = np.isinf(frames) if mask_missing else ~np.isfinite(frames)
        if wrong.any():
            t = int(np.argwhere(wrong.any(axis=1))[0, 0])
            raise DataError(
                f"{name}, sequence {i}, frame {t + 1}: a value is missing or not finite"
            )
    if intent:
        found.intents = _labels_of(name, arrays, intent, len(ends))
    if targets:
        found.targets = list(_targets_of(name, arrays, targets, len(ends)))
    if label is None:
        return found
    y = _array(name, arrays, label)
    if y.shape[: x.ndim - 1] != x.shape[:-1] or y.ndim != x.ndim - 1:
        raise DataError(
            f"{name}: {label} is {list(y.shape)}, expected a tag for every frame: "
            f"{list(x.shape[:-1])}"
        )
    found.tags = [list(map(str, tags.tolist())) for tags in _cut_up(y, ends, x.ndim == 3)]
    return found


def _labels_of(name: str, arrays: dict[str, Array], key: str, count: int) -> list[Any]:
    """Return a label of each sequence, or the tuple of its labels where these are 0 and 1."""
    given = _array(name, arrays, key)
    if given.ndim == 2 and len(given) == count and np.isin(given, (0, 1)).all():
        classes = arrays.get("classes", np.arange(given.shape[1]))
        if classes.shape != given.shape[1:]:
            raise DataError(
                f"{name}: classes is {list(classes.shape)}, expected [{given.shape[1]}]"
            )
        names = list(map(str, classes.tolist()))
        return [tuple(names[k] for k in np.flatnonzero(row)) for row in given]
    if given.shape != (count,):
        raise DataError(f"{name}: {key} is {list(given.shape)}, expected [{count}]")
    return list(map(str, given.tolist()))


def _targets_of(name: str, arrays: dict[str, Array], key: str, count: int) -> Array:
    """Return the numbers of each sequence, [N, K]: of one array, or of one a name in `key`."""
    if key not in arrays and "," in key:
        parts = [_targets_of(name, arrays, each.strip(), count) for each in key.split(",")]
        return np.concatenate(parts, axis=1)
    given = _array(name, arrays, key)
    if given.dtype.kind not in "fiub" or given.ndim not in (1, 2) or len(given) != count:
        raise DataError(
            f"{name}: {key} is {list(given.shape)} of {given.dtype}, expected numbers [{count}] or "
            f"[{count}, K]"
        )
    values = given.reshape(count, -1).astype(np.float64)
    if not np.isfinite(values).all():
        i = int(np.argwhere(~np.isfinite(values).all(axis=1))[0, 0])
        raise DataError(f"{name}, sequence {i + 1}: {key} is missing or not finite")
    return values


def load_arrays(name: str, content: bytes) -> dict[str, Array]:
    """Return the arrays of an npz archive; DataError where it is none, or holds objects."""
    if content.startswith(b"\x93NUMPY"):
        raise DataError(f"{name}: one array; expected an npz archive with x")
    try:
        return read_npz(name, content)
    except InteropError as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise DataError(f"{name}: not an npz archive of plain arrays: {reason}") from None


def _array(name: str, arrays: dict[str, Array], key: str) -> Array:
    if key not in arrays:
        raise DataError(f"{name}: {no_column(key, arrays).replace('column', 'array')}")
    return arrays[key]


def _ends(name: str, arrays: dict[str, Array], x: Array) -> Array:
    """Return the length of each sequence, [N]."""
    if "lengths" not in arrays:
        if x.ndim == 2:
            raise DataError(f"{name}: x is [sum T, I], so the archive must hold lengths [N] too")
        return np.full(len(x), x.shape[1])
    ends = arrays["lengths"]
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or not len(ends):
        raise DataError(f"{name}: lengths must be whole numbers [N], it is {list(ends.shape)}")
    if ends.min() < 1:
        raise DataError(f"{name}: sequence {int(ends.argmin()) + 1} has length {ends.min()}")
    if x.ndim == 2 and ends.sum() != len(x):
        raise DataError(f"{name}: lengths add up to {ends.sum()}, but x has {len(x)} frames")
    if x.ndim == 3 and (len(ends) != len(x) or ends.max() > x.shape[1]):
        raise DataError(
            f"{name}: lengths are {len(ends)} of at most {ends.max()}, but x is {list(x.shape)}"
        )
    return ends


def _cut_up(values: Array, ends: Array, padded: bool) -> list[Array]:
    """Return each sequence's part of [N, T, ...] where `padded`, else of [sum T, ...]."""
    if padded:
        return [row[:end] for row, end in zip(values, ends, strict=True)]
    return np.split(values, np.cumsum(ends)[:-1])


def frames_of_table(
    table: Table,
    *,
    label: str | None = None,
    intent: str = "",
    targets: Sequence[str] = (),
    sequence: str = "",
    time: str = "",
    features: Sequence[str] | None = None,
    mask_missing: bool = False,
) -> Frames:
    """Read sequences of frames from a table with a row a step; what is not named is not read.

    Without `sequence` every row is a sequence of one step; without `time` the rows of a sequence
    are in order. `targets` are columns of numbers. With `mask_missing` an empty cell of a feature
    becomes NaN. Raises DataError as `read_frames` does.
    """
    count = len(table)
    ids = table.column(sequence) if sequence else list(range(1, count + 1))
    times = _ordered(table, time) if time else list(range(count))
    others = {sequence, time, label, intent, *targets}
    found = Frames(tuple(features or (c for c in table.columns if c not in others)))
    if not found.features:
        raise DataError(f"{table.path}: no columns are left to be features")
    values = np.stack(
        [numbers(table, column, mask_missing=mask_missing) for column in found.features], axis=1
    )
    tags = None if label is None else labels(table, label)
    intents = labels(table, intent) if intent else None
    numbered = {column: numbers(table, column, wide=True) for column in targets}
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(ids):
        if _is_blank(key) or _is_blank(times[i]):
            raise DataError(f"{table.where(i, sequence if _is_blank(key) else time)}: missing")
        groups.setdefault(key, []).append(i)
    for key, members in groups.items():
        order = sorted(members, key=times.__getitem__)
        for before, i in pairwise(order):
            if times[before] == times[i]:
                raise DataError(
                    f"{table.where(i, time)}: {times[i]!r} a second time in sequence {key!r}, "
                    f"first in row {table.rows[before]}"
                )
        found.ids.append(key)
        found.rows.append([table.rows[i] for i in order])
        found.inputs.append(values[order])
        if tags is not None:
            found.tags.append([tags[i] for i in order])
        if intents is not None:
            found.intents.append(_one(table, intent, key, {intents[i] for i in order}))
        if numbered:
            each = [_one(table, c, key, set(v[order].tolist())) for c, v in numbered.items()]
            found.targets.append(np.array(each))
    return found


def numbers(table: Table, column: str, *, mask_missing: bool = False, wide: bool = False) -> Array:
    """Return a column as float32 (float64 where `wide`); text is read as a number.

    An empty cell is NaN where `mask_missing`. Raises DataError, with row and column, for what is no
    number, missing or not finite.
    """
    values = list(table.column(column))
    for i, value in enumerate(values):
        if isinstance(value, str):
            value = values[i] = _parsed(value)
        if mask_missing and is_missing(value):
            values[i] = np.nan
            continue
        if is_missing(value) or not isinstance(value, (bool, int, float)):
            kind = "missing" if is_missing(value) else f"{value!r}, expected a number"
            raise DataError(f"{table.where(i, column)}: {kind}")
        if not np.isfinite(value):
            raise DataError(f"{table.where(i, column)}: {value} is not finite")
    return np.array(values, dtype=np.float64 if wide else np.float32)


def _is_blank(value: object) -> bool:
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def _parsed(cell: str) -> Any:
    """Return the number that a cell of text spells, None for an empty one, else the text."""
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        return cell


def _ordered(table: Table, column: str) -> list[Any]:
    """Return a column that orders rows: numbers where every cell is one, else as it is."""
    values = table.column(column)
    if not all(isinstance(value, str) for value in values):
        return values
    parsed = [_parsed(value) for value in values]
    return parsed if all(isinstance(value, float) for value in parsed) else values


def _one(table: Table, column: str, key: Any, found: set[Any]) -> Any:
    if len(found) > 1:
        raise DataError(
            f"{table.path}: sequence {key!r} has more than one {column!r}: "
            f"{', '.join(map(str, sorted(found)))}"
        )
    return found.pop()
