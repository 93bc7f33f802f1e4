"""HDF5 files that are damaged, too large, or lead elsewhere: errors, whatever the library does."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import pytest

import tiny
from unrolled.errors import InteropError
from unrolled.interop import keras
from unrolled.interop.keras import hdf5

GOLDEN = Path(__file__).parent / "golden" / "keras"


def image(**kind: Any) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("x", **kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89HDF\r\n\x1a\n", "damaged or cut short, not readable as HDF5"),
        (b"hello", "not an HDF5 file"),
        (image(shape=(1 << 40,), dtype="f4"), "would take 4398046511104 bytes"),
        (image(shape=(1 << 30,), dtype="f4", chunks=(1 << 20,), compression="gzip"), "would take"),
        (image(shape=(3,), dtype="f4", external=[("/etc/passwd", 0, 12)]), "in another file"),
        (image(data=["text"]), "expected numbers"),
    ],
)
def test_hdf5_that_is_damaged_or_too_large(content: bytes, said: str) -> None:
    with pytest.raises(InteropError, match=said):
        hdf5.read_hdf5(content, "x.h5")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["away"] = h5py.ExternalLink("/etc/other.h5", "/")
    with pytest.raises(InteropError, match="away is a link to elsewhere"):
        keras.load(tmp_path / "x.h5")


def test_a_crash_of_the_hdf5_library_is_an_error(tmp_path: Path, monkeypatch) -> None:
    child = tmp_path / "child.py"
    for body, said in (
        ("import os; os.abort()", r"the HDF5 library failed on it \(signal 6\)"),
        ("raise OSError('no')", r"failed on it \(OSError: no\)"),
    ):
        child.write_text(body)
        monkeypatch.setattr(hdf5, "CHILD", child)
        with pytest.raises(InteropError, match=said):
            keras.load(GOLDEN / "gru_masked.h5")


def test_what_is_missing_is_told() -> None:
    code = (
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'h5py' else find(name, *a)\n"
        "import sys\nfrom unrolled.cli import main\nmain(sys.argv[1:])"
    )
    found = tiny.python(code, "import", GOLDEN / "gru_masked.h5")
    assert found.returncode == 2
    assert found.stderr.endswith("needs the package h5py: pip install 'unrolled[keras]'\n")
