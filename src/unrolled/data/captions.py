"""What texts describe, and the texts: npz and JSON lines; vectors, sets of regions, attributes.

npz: `features` [N, F], or [N, S, F] with `lengths` [N] where rows are padded; texts as an array of
strings [N] or [N, K], empty strings left out. JSON lines: `features`, a list of numbers or of such
lists, or `attributes`, an object of names and values or a list of names; texts as a string or a
list of strings. Texts may lie in a file of their own instead. Errors name file, row and key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from unrolled.data.frames import load_arrays
from unrolled.data.records import read_jsonl
from unrolled.data.source import format_among, read_bytes, read_text, shown, split_lines
from unrolled.data.table import Table, no_column
from unrolled.errors import DataError
from unrolled.spec import CaptionInputs

Array = NDArray[Any]
Input = Any
FORMATS = {".npz": "npz", ".jsonl": "jsonl", ".ndjson": "jsonl"}
KEYS = ("features", "attributes")


@dataclass(frozen=True)
class Described:
    """Things read from `name`, and the texts that describe each where these are known.

    `inputs[i]` is an array [S, F] of numbers, S = 1 for a vector, or a tuple of attributes.
    `records` are the JSON lines as they were.
    """

    name: str
    kind: CaptionInputs
    inputs: Sequence[Input]
    captions: Sequence[Sequence[str]] = ()
    rows: Sequence[int] = ()
    records: Sequence[Mapping[str, Any]] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Iterable[int]) -> Described:
        """Return the things at `indices`, without the lines of the file."""
        chosen = list(indices)
        rows = self.rows or range(1, len(self) + 1)
        return Described(
            self.name,
            self.kind,
            [self.inputs[i] for i in chosen],
            [self.captions[i] for i in chosen] if self.captions else (),
            [rows[i] for i in chosen],
        )

    @property
    def form(self) -> str:
        """What is described: attributes, or numbers, and how many."""
        if self.kind == "attributes" or not len(self):
            return "attributes" if len(self) else ""
        noun = "vectors" if self.kind == "vector" else "regions"
        return f"{noun} of {self.inputs[0].shape[1]} numbers"

    def joined(self, others: Sequence[Described], name: str) -> Described:
        """Return these and others, of which `name` is all that says where they are from."""
        parts = (self, *others)
        texts = [given for part in parts for given in part.captions]
        return Described(name, self.kind, [x for part in parts for x in part.inputs], texts)

    def where(self, i: int) -> str:
        """Return where thing `i` is: `"train.jsonl, row 7"`."""
        return f"{self.name}, row {self.rows[i] if self.rows else i + 1}"

    def keys(self) -> list[str]:
        """Return a name for each thing: the same for equal ones, and for no others."""
        return [key_of(each) for each in self.inputs]

    def grouped(self) -> Described:
        """Return each distinct thing once, with the texts of all that equal it."""
        groups: dict[str, list[int]] = {}
        for i, key in enumerate(self.keys()):
            groups.setdefault(key, []).append(i)
        found = self.take(members[0] for members in groups.values())
        texts = [
            list(dict.fromkeys(text for i in members for text in self.captions[i]))
            for members in groups.values()
        ]
        return replace(found, captions=texts)


def key_of(given: Input) -> str:
    """Return a name for what is described: attributes in any order have the same."""
    if isinstance(given, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(given, dtype=np.float32).tobytes())
        return f"{list(given.shape)} {digest.hexdigest()}"
    return "\x1f".join(sorted(given))


def read_described(
    path: str | Path,
    *,
    features: str = "auto",
    caption: str | None = "caption",
    captions: str | Path | None = None,
    format: str | None = None,
    stdin: BinaryIO | None = None,
) -> Described:
    """Read what is described, and with `caption` its texts, from the file `captions` where given.

    `features` names the array or key (`auto`: features or attributes), `caption` that of the texts.
    Raises DataError for what a file can have wrong, ConfigError for a format that there is not.
    """
    kind, name = format_of(path, format), shown(path)
    wanted = caption if captions is None else None
    if kind == "npz":
        found = _from_npz(name, read_bytes(path, stdin), features, wanted)
    else:
        found = _from_jsonl(name, read_text(path, stdin), features, wanted)
    if captions is None or caption is None:
        return found
    texts = _read_texts(captions, caption)
    if len(texts) != len(found):
        raise DataError(f"{captions}: texts for {len(texts)} things, but {name} holds {len(found)}")
    return replace(found, captions=texts)


def format_of(path: str | Path, format: str | None) -> str:
    """Return `format`, or the one that the ending of `path` names; standard input is JSON lines."""
    return format_among(FORMATS, path, format, stdin="jsonl")


def numbers(given: Any, where: str) -> tuple[Array, CaptionInputs]:
    """Return numbers [S, F] and whether they are a vector or regions; DataError names `where`."""
    try:
        array = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise DataError(
            f"{where}: expected a list of numbers, or lists of numbers of one length each"
        ) from None
    if array.ndim not in (1, 2) or not array.size:
        raise DataError(f"{where}: expected numbers [F] or regions [S, F], got {list(array.shape)}")
    if not np.isfinite(array).all():
        place = [int(k) + 1 for k in np.argwhere(~np.isfinite(array))[0]]
        region = f"region {place[0]}, " if array.ndim == 2 else ""
        raise DataError(f"{where}: {region}number {place[-1]} is missing or not finite")
    if array.ndim == 1:
        return array[None], "vector"
    return array, "regions"


def attributes(given: Any, where: str) -> tuple[str, ...]:
    """Return attributes as `name=value`, or the names of a list, sorted; DataError names `where`.

    A list as a value gives one attribute an item; true, false and null are written as in JSON.
    """
    if isinstance(given, Mapping):
        found = [
            f"{name}={_value(each, f'{where}: {name!r}')}"
            for name, value in given.items()
            for each in (value if isinstance(value, (list, tuple)) else [value])
        ]
    elif isinstance(given, (list, tuple)) and all(isinstance(each, str) for each in given):
        found = [each.strip() for each in given]
    elif isinstance(given, (list, tuple)):
        k, other = next((k, each) for k, each in enumerate(given) if not isinstance(each, str))
        raise DataError(
            f"{where}: item {k + 1} is {other!r} ({type(other).__name__}) beside texts; expected "
            "names throughout, or numbers throughout"
        )
    else:
        kind = type(given).__name__
        raise DataError(
            f"{where}: expected an object of attributes or a list of names, found {kind}"
        )
    if not found:
        raise DataError(f"{where}: no attributes; expected one or more")
    if not all(found):
        raise DataError(f"{where}: attribute {found.index('') + 1} is empty")
    return tuple(sorted(found))


def _value(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value.strip()
    if value is None or isinstance(value, (bool, int, float)):
        return msgspec.json.encode(value).decode()
    raise DataError(f"{where}: expected a text or a number, found {type(value).__name__}")


def texts_of(value: Any, where: str) -> list[str]:
    """Return one text or a list of texts as a list; DataError names `where`."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(t, str) for t in found):
        raise DataError(f"{where}: expected a text or a list of texts, found {value!r:.60}")
    kept = [text for text in found if text.strip()]
    if not kept:
        raise DataError(f"{where}: the text is empty")
    return kept


def _from_jsonl(name: str, text: str, features: str, caption: str | None) -> Described:
    first = read_jsonl(name, split_lines(text.lstrip())[0], None)
    key = features if features != "auto" else next((k for k in KEYS if k in first.columns), "")
    if not key:
        there = ", ".join(first.columns)
        raise DataError(f"{name}: no key 'features' or 'attributes'; the keys are: {there}")
    wanted = [key, caption] if caption else list(dict.fromkeys([*first.columns, key]))
    table = read_jsonl(name, text, wanted)
    given = table.columns[key]
    inputs: list[Input] = []
    kinds: list[CaptionInputs] = []
    for i, value in enumerate(given):
        where = table.where(i, key)
        if _is_attributes(value):
            inputs.append(attributes(value, where))
            kinds.append("attributes")
        else:
            array, kind = numbers(value, where)
            inputs.append(array)
            kinds.append(kind)
    check_alike(inputs, kinds, lambda i: table.where(i, key))
    texts = _texts(table, caption) if caption else ()
    rows = zip(*table.columns.values(), strict=True)
    records = [dict(zip(table.columns, row, strict=True)) for row in rows]
    return Described(name, kinds[0], inputs, texts, table.rows, records)


def _is_attributes(value: Any) -> bool:
    named = isinstance(value, (list, tuple)) and any(isinstance(each, str) for each in value)
    return named or isinstance(value, Mapping)


def check_alike(
    inputs: Sequence[Input], kinds: Sequence[CaptionInputs], where: Callable[[int], str]
) -> None:
    """Raise DataError, naming `where`, where things are of several kinds or widths."""
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise DataError(f"{where(i)}: {kind}, but the first are {kinds[0]}")
        if kind != "attributes" and inputs[i].shape[1] != inputs[0].shape[1]:
            raise DataError(
                f"{where(i)}: {inputs[i].shape[1]} numbers, but the first have {inputs[0].shape[1]}"
            )


def _from_npz(name: str, content: bytes, features: str, caption: str | None) -> Described:
    arrays = load_arrays(name, content)
    key = "features" if features == "auto" else features
    x = _array(name, arrays, key)
    if x.dtype.kind not in "fiu" or x.ndim not in (2, 3) or not x.size:
        raise DataError(
            f"{name}: {key} must hold numbers [N, F] or regions [N, S, F]; it is "
            f"{list(x.shape)} of {x.dtype}"
        )
    if x.ndim == 2:
        inputs = list(x[:, None].astype(np.float32))
    else:
        ends = _ends(name, arrays, x)
        inputs = [row[:end] for row, end in zip(x.astype(np.float32), ends, strict=True)]
    for i, array in enumerate(inputs, start=1):
        numbers(array, f"{name}, row {i}, array {key!r}")
    kind: CaptionInputs = "vector" if x.ndim == 2 else "regions"
    if caption is None:
        return Described(name, kind, inputs)
    y = _array(name, arrays, caption)
    if y.dtype.kind != "U" or y.ndim not in (1, 2) or len(y) != len(x):
        raise DataError(
            f"{name}: {caption} must hold texts [{len(x)}] or [{len(x)}, K]; it is "
            f"{list(y.shape)} of {y.dtype}"
        )
    texts = [
        texts_of(np.atleast_1d(row).tolist(), f"{name}, row {i}, array {caption!r}")
        for i, row in enumerate(y, start=1)
    ]
    return Described(name, kind, inputs, texts)


def _array(name: str, arrays: Mapping[str, Array], key: str) -> Array:
    if key not in arrays:
        raise DataError(f"{name}: {no_column(key, arrays).replace('column', 'array')}")
    return arrays[key]


def _ends(name: str, arrays: Mapping[str, Array], x: Array) -> Array:
    if "lengths" not in arrays:
        return np.full(len(x), x.shape[1])
    ends = arrays["lengths"]
    if ends.shape != (len(x),) or ends.dtype.kind not in "iu":
        raise DataError(
            f"{name}: lengths must be whole numbers [{len(x)}], it is {list(ends.shape)} of "
            f"{ends.dtype}"
        )
    if ends.min() < 1 or ends.max() > x.shape[1]:
        row = int(np.flatnonzero((ends < 1) | (ends > x.shape[1]))[0])
        raise DataError(
            f"{name}, row {row + 1}: length {ends[row]}, expected 1 to {x.shape[1]} regions"
        )
    return ends


def _texts(table: Table, caption: str) -> list[list[str]]:
    given = table.columns[caption]
    return [texts_of(value, table.where(i, caption)) for i, value in enumerate(given)]


def _read_texts(path: str | Path, caption: str) -> list[list[str]]:
    """Read a line an item: JSON lines, else text with tabs between several."""
    name, text = shown(path), read_text(path)
    if Path(path).suffix.lower() in (".jsonl", ".ndjson"):
        table = read_jsonl(name, text, [caption])
        return _texts(table, caption)
    lines = split_lines(text)
    return [texts_of(line.split("\t"), f"{name}, row {i}") for i, line in enumerate(lines, 1)]


def batch(inputs: Sequence[Input]) -> tuple[Array, Array]:
    """Return things side by side, [N, S, F] or ids [N, S], zero past each one's length [N]."""
    lengths = np.array([len(each) for each in inputs], dtype=np.int64)
    first = np.asarray(inputs[0])
    padded = np.zeros((len(inputs), int(lengths.max()), *first.shape[1:]), dtype=first.dtype)
    for row, each in zip(padded, inputs, strict=True):
        row[: len(each)] = each
    return padded, lengths
