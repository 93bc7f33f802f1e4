"""Reads one HDF5 file from stdin and writes what it holds to stdout; run as a process of its own.

The HDF5 library is written for files that it wrote itself: a few damaged bytes can end the process
or make it spin. So it works here, under limits of memory and time, and its end is only an answer.
Imports nothing but numpy and h5py.

The answer is a line of JSON and the bytes of the arrays one after another. The JSON is
{"error": text}, or {"attributes": {place: {name: text or list of texts}},
"arrays": [[place, dtype, shape]]}.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

MAX_OBJECTS, MAX_DEPTH = 100_000, 64


class RefusedError(Exception):
    """The file holds what is not read."""


def limit(size: int) -> None:
    """Bound memory, processor time and core dumps of this process for a file of `size` bytes."""
    with open("/proc/self/statm") as status:
        now = int(status.read().split()[0]) * resource.getpagesize()
    memory = now + (1 << 29) + 8 * size
    seconds = 5 + size // 20_000_000
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def text(value: Any) -> str | list[str] | None:
    """Return an attribute that is text or a list of texts; None for anything else."""
    if isinstance(value, (bytes, np.bytes_)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO" and value.ndim == 1:
        return [str(text(each)) for each in value]
    return None


def attributes(thing: Any, place: str) -> dict[str, str | list[str]]:
    """Return the attributes of a group or dataset that are text."""
    found: dict[str, str | list[str]] = {}
    for name in thing.attrs:
        identity = thing.attrs.get_id(name)
        size = identity.get_space().get_simple_extent_npoints() * identity.get_type().get_size()
        if size > 1 << 26:
            raise RefusedError(f"the attribute {name!r} of {place} takes {size} bytes")
        value = text(thing.attrs[name])
        if value is not None:
            found[name] = value
    return found


def check(dataset: Any, place: str, budget: int) -> None:
    """Refuse a dataset that is not numbers in this very file, or is too large for it."""
    kind = dataset.dtype.kind
    if kind not in "fiub" and dataset.dtype.str != "|V2":
        raise RefusedError(f"{place} holds {dataset.dtype}, expected numbers")
    if dataset.external or dataset.is_virtual:
        raise RefusedError(f"{place} keeps its numbers in another file, which is not opened")
    if dataset.nbytes > budget:
        raise RefusedError(
            f"{place} of shape {list(dataset.shape)} would take {dataset.nbytes} bytes, "
            f"{budget} are left for a file of this size"
        )


def read(file: Any, size: int) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    """Return the answer and the arrays of a file of `size` bytes."""
    budget = max(1 << 26, 50 * size)
    described: dict[str, Any] = {}
    arrays: list[Any] = []
    values: list[np.ndarray[Any, Any]] = []
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    seen = 0
    while waiting:
        place, thing, depth = waiting.pop()
        seen += 1
        if seen > MAX_OBJECTS or depth > MAX_DEPTH:
            raise RefusedError("holds too many groups or groups within groups without end")
        own = attributes(thing, place or "the root")
        if own:
            described[place] = own
        if isinstance(thing, h5py.Dataset):
            check(thing, place, budget)
            value = np.asarray(thing[()])
            budget -= value.nbytes
            arrays.append([place, value.dtype.str, list(value.shape)])
            values.append(np.ascontiguousarray(value))
            continue
        for name in reversed(list(thing)):
            if not isinstance(thing.get(name, getlink=True), h5py.HardLink):
                raise RefusedError(f"{place}/{name} is a link to elsewhere, which is not followed")
            waiting.append((f"{place}/{name}".lstrip("/"), thing[name], depth + 1))
    return {"attributes": described, "arrays": arrays}, values


def main() -> None:
    """Answer for the file on stdin."""
    content = sys.stdin.buffer.read()
    limit(len(content))
    values: list[np.ndarray[Any, Any]] = []
    try:
        with h5py.File(h5py.h5f.open_file_image(content), "r") as file:
            answer, values = read(file, len(content))
    except RefusedError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "damaged: reading it would take more memory than a file of its size may"}
    except Exception as error:  # the library raises many kinds for damaged files
        answer = {"error": f"damaged or cut short, not readable as HDF5 ({error})"}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    for value in values:
        sys.stdout.buffer.write(value.tobytes())


if __name__ == "__main__":
    main()
