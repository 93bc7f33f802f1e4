"""HDF5 files as plain arrays and texts, read by h5py in a process of its own.

The HDF5 library can crash or spin on damaged files, and no check from outside foresees how. The
process that runs it has bounds of memory and time; whatever happens there becomes an InteropError
here. `hdf5_child.py` is that process.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import InteropError
from unrolled.spec import Struct

MAGIC = b"\x89HDF\r\n\x1a\n"
CHILD = Path(__file__).with_name("hdf5_child.py")


class Hdf5(Struct, frozen=True, forbid_unknown_fields=False):
    """What an HDF5 file holds: arrays by place, and attributes that are text by place."""

    arrays: dict[str, Any]
    attributes: dict[str, dict[str, str | list[str]]]

    def text(self, place: str, name: str) -> str | None:
        """Return an attribute that is one text, or None where there is none."""
        value = self.attributes.get(place, {}).get(name)
        return value if isinstance(value, str) else None

    def texts(self, place: str, name: str) -> list[str] | None:
        """Return an attribute that is a list of texts; long ones are cut in `name0`, `name1`..."""
        own = self.attributes.get(place, {})
        value = own.get(name)
        if isinstance(value, list):
            return value
        parts: list[str] = []
        while isinstance(part := own.get(f"{name}{len(parts)}"), list) and part:
            parts += part
        return parts or None


def read_hdf5(content: bytes, path: str | Path) -> Hdf5:
    """Return everything in the bytes of an HDF5 file.

    Raises InteropError where h5py is not installed, the file is damaged, or reading it would take
    more memory (8 times its size and 512 MiB) or time than a file of its size may.
    """
    if not content.startswith(MAGIC):
        raise InteropError(f"{path}: not an HDF5 file")
    if importlib.util.find_spec("h5py") is None:
        raise InteropError(
            f"{path}: reading HDF5 needs the package h5py: pip install 'unrolled[keras]'"
        )
    answer, data = _ask(content, path)
    if "error" in answer:
        raise InteropError(f"{path}: {answer['error']}")
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for place, dtype, shape in answer["arrays"]:
        kind = np.dtype(dtype)
        count = math.prod(shape)
        arrays[place] = np.frombuffer(data, kind, count, start).reshape(shape)
        start += count * kind.itemsize
    return Hdf5(arrays, answer["attributes"])


def _ask(content: bytes, path: str | Path) -> tuple[dict[str, Any], bytes]:
    """Return the answer of the reading process and the bytes after it."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, str(CHILD)],
            input=content,
            capture_output=True,
            env=environment,
            timeout=60 + len(content) // 2_000_000,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InteropError(f"{path}: damaged: the HDF5 library does not come to an end") from None
    line, _, data = done.stdout.partition(b"\n")
    if done.returncode or not line:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise InteropError(
            f"{path}: damaged: the HDF5 library failed on it"
            + (f" (signal {-done.returncode})" if done.returncode < 0 else f" ({''.join(last)})")
        )
    return json.loads(line), data
