"""Sequences of frames, I numbers a step with a tag each: NumPy's npz, and long Parquet tables.

npz: `x` [N, T, I], with `lengths` [N] where rows are padded, or all sequences one after the other,
`x` [sum T, I] with `lengths`; tags alike, [N, T] or [sum T]. Parquet: a row a step, with a column
that says which sequence it is of and one that orders it there.
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
    """Sequences [T, I] with their tags and intents where known; `rows` of a table, and its ids."""

    features: tuple[str, ...]
    inputs: list[Array] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)
    intents: list[str] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)


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
        return _from_npz(name, content, label, intent, features)
    table = read_parquet(name, content, None)
    return _from_table(table, label, intent, sequence, time, features)


def _from_npz(
    name: str, content: bytes, label: str | None, intent: str, features: Sequence[str] | None
) -> Frames:
    arrays = _arrays(name, content)
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
        if not np.isfinite(frames).all():
            t = int(np.argwhere(~np.isfinite(frames).all(axis=1))[0, 0])
            raise DataError(
                f"{name}, sequence {i}, frame {t + 1}: a value is missing or not finite"
            )
    if label is None:
        return found
    y = _array(name, arrays, label)
    if y.shape[: x.ndim - 1] != x.shape[:-1] or y.ndim != x.ndim - 1:
        raise DataError(
            f"{name}: {label} is {list(y.shape)}, expected a tag for every frame: "
            f"{list(x.shape[:-1])}"
        )
    found.tags = [list(map(str, tags.tolist())) for tags in _cut_up(y, ends, x.ndim == 3)]
    if intent:
        given = _array(name, arrays, intent)
        if given.shape != (len(ends),):
            raise DataError(f"{name}: {intent} is {list(given.shape)}, expected [{len(ends)}]")
        found.intents = list(map(str, given.tolist()))
    return found


def _arrays(name: str, content: bytes) -> dict[str, Array]:
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


def _from_table(
    table: Table,
    label: str | None,
    intent: str,
    sequence: str,
    time: str,
    features: Sequence[str] | None,
) -> Frames:
    ids, times = table.column(sequence), table.column(time)
    others = {sequence, time, label, intent}
    found = Frames(tuple(features or (c for c in table.columns if c not in others)))
    if not found.features:
        raise DataError(f"{table.path}: no columns are left to be features")
    values = np.stack([_numbers(table, column) for column in found.features], axis=1)
    tags = None if label is None else labels(table, label)
    intents = labels(table, intent) if intent else None
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(ids):
        if is_missing(key) or is_missing(times[i]):
            raise DataError(f"{table.where(i, sequence if is_missing(key) else time)}: missing")
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
    return found


def _numbers(table: Table, column: str) -> Array:
    values = table.column(column)
    for i, value in enumerate(values):
        if is_missing(value) or not isinstance(value, (bool, int, float)):
            kind = "missing" if is_missing(value) else f"{value!r}, expected a number"
            raise DataError(f"{table.where(i, column)}: {kind}")
        if not np.isfinite(value):
            raise DataError(f"{table.where(i, column)}: {value} is not finite")
    return np.array(values, dtype=np.float32)


def _one(table: Table, intent: str, key: Any, found: set[str]) -> str:
    if len(found) > 1:
        raise DataError(
            f"{table.path}: sequence {key!r} has more than one {intent!r}: "
            f"{', '.join(sorted(found))}"
        )
    return found.pop()
