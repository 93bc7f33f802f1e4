"""Damaged files of every format: an InteropError or an answer, nothing else.

`make fuzz` runs these with many more examples.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import InteropError
from unrolled.interop import keras, pytorch
from unrolled.interop.archives import read_npz
from unrolled.interop.keras import files
from unrolled.interop.keras.hdf5 import Hdf5, read_hdf5

GOLDEN = Path(__file__).parent / "golden"
TORCH = sorted(p for p in (GOLDEN / "pytorch").iterdir() if p.suffix in (".pt", ".safetensors"))
KERAS = sorted((GOLDEN / "keras").glob("*.keras"))
HDF5 = sorted((GOLDEN / "keras").glob("*.h5"))

# Where, what is put there, and how many bytes it takes the place of.
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\x80\0\0\0"]),
        ),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=8,
)
CUT = st.one_of(st.just(1.0), st.floats(0, 1))


def damaged(content: bytes, changes: list[tuple[float, bytes, int]], cut: float) -> bytes:
    found = bytearray(content)
    for place, put, takes in changes:
        at = int(place * max(len(found) - 1, 0))
        found[at : at + takes] = put
    return bytes(found[: int(cut * len(found))])


def survives(read: Callable[[Path], Any], content: bytes, name: str) -> None:
    """Read the content as a file of that name; anything but an InteropError fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with contextlib.suppress(InteropError):
            read(path)


@given(st.sampled_from(TORCH), CHANGES, CUT)
def test_damaged_files_of_torch(seed: Path, changes, cut: float) -> None:
    survives(pytorch.load, damaged(seed.read_bytes(), changes, cut), seed.name)


@given(st.sampled_from([p for p in TORCH if p.read_bytes()[:2] == b"PK"]), st.data())
def test_damaged_members_of_torchs_archives(seed: Path, data: st.DataObject) -> None:
    """The archive itself is whole: what is read from it is not."""
    stream = io.BytesIO()
    with zipfile.ZipFile(seed) as archive, zipfile.ZipFile(stream, "w") as out:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".pkl") or data.draw(st.booleans()):
                content = damaged(content, data.draw(CHANGES), data.draw(CUT))
            out.writestr(name, content)
    survives(pytorch.load, stream.getvalue(), seed.name)


@given(CHANGES, CUT)
def test_damaged_arrays_of_numpy(changes, cut: float) -> None:
    seed = GOLDEN / "pytorch" / "state.npz"
    survives(read_npz, damaged(seed.read_bytes(), changes, cut), "x.npz")


@given(CHANGES)
def test_damaged_members_of_numpys_archives(changes) -> None:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(GOLDEN / "pytorch" / "state.npz") as archive,
        zipfile.ZipFile(stream, "w") as out,
    ):
        for name in archive.namelist():
            out.writestr(name, damaged(archive.read(name), changes, 1.0))
    survives(read_npz, stream.getvalue(), "x.npz")


@cache
def parts(seed: Path) -> tuple[dict[str, Any], Hdf5]:
    with zipfile.ZipFile(seed) as archive:
        config = json.loads(archive.read("config.json"))
        return config, read_hdf5(archive.read("model.weights.h5"), seed)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where each value in nested dicts and lists lies."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, each in inner:
        deep = isinstance(each, (dict, list))
        found += places(each, (*path, key)) if deep else [(*path, key)]
    return found


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 40), 1 << 40),
    st.floats(),
    st.sampled_from(["", "tanh", "LSTM", "Dense", "same", "x", [], {}, [[]], [1, -1], {"a": None}]),
)


@given(st.sampled_from(KERAS), st.data())
def test_configurations_of_keras_with_other_values(seed: Path, data: st.DataObject) -> None:
    config, weights = parts(seed)
    config = json.loads(json.dumps(config))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(config)))
        owner = config
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = data.draw(VALUES)
    changed = files.Source(config, weights, data.draw(st.sampled_from([2, 3])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "read", lambda path: changed)
        survives(keras.load, b"", seed.name)


# Each of these starts a process, so they are a tenth of the others.
@settings(max_examples=max(5, settings().max_examples // 10))
@given(st.sampled_from([*HDF5, *KERAS]), CHANGES, CUT)
def test_damaged_files_of_keras(seed: Path, changes, cut: float) -> None:
    survives(keras.load, damaged(seed.read_bytes(), changes, cut), seed.name)
