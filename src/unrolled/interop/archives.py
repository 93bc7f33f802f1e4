"""Zip archives and arrays of numpy read with every size checked first.

Nothing is ever extracted to disk. A name that would leave a folder, a member that would unpack to
far more than the archive holds, and an array whose header promises more than its bytes are refused
before anything is allocated.
"""

from __future__ import annotations

import ast
import io
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import InteropError

# Deflate reaches 1032:1 on zeros; weights do not. What unpacks to little is let through.
MAX_EXPANSION, MAX_MEMBERS, SMALL = 50, 100_000, 1 << 26
MAX_HEADER = 10_000
# Of a text of numpy's, 4 bytes a character; beyond it, Python cannot make a str of them.
MAX_CODE_POINT = 0x10FFFF
# Numbers and texts, as numpy writes their dtypes.
DTYPE = re.compile(r"\|b1|\|[iu]1|[<>](?:[iuf][248]|c8|c16)|\|S[1-9]\d{0,5}|[<>]U[1-9]\d{0,5}")


def read_file(path: str | Path) -> bytes:
    """Return the content of a file, or raise InteropError naming it and the reason."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InteropError(f"{path}: cannot be read ({error.strerror})") from None


def open_archive(path: str | Path, content: bytes | None = None) -> zipfile.ZipFile:
    """Return the zip archive at `path`, or in `content` that was read from there, once checked.

    Raises InteropError for a damaged archive, a name with `..`, a rooted name, a name twice, and
    members that together unpack to more than 50 times the archive (64 MiB are always let through).
    """
    try:
        size = Path(path).stat().st_size if content is None else len(content)
        archive = zipfile.ZipFile(path if content is None else io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, EOFError) as error:
        raise InteropError(f"{path}: damaged or cut short, not a zip archive ({error})") from None
    except OSError as error:
        raise InteropError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        _check_members(archive, size, path)
    except InteropError:
        archive.close()
        raise
    return archive


def _check_members(archive: zipfile.ZipFile, size: int, path: str | Path) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise InteropError(f"{path}: holds {len(members)} files, at most {MAX_MEMBERS} are read")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if ".." in name.replace("\\", "/").split("/") or name.startswith(("/", "\\")):
            raise InteropError(f"{path}: the name {name!r} in the archive leaves its folder")
        if name in seen:
            raise InteropError(f"{path}: the name {name!r} is in the archive twice")
        seen.add(name)
        # zipfile asks for as much memory as the member says that it takes in the file.
        if member.compress_size > size:
            raise InteropError(
                f"{path}: damaged: {name} would take {member.compress_size} bytes of {size}"
            )
    total = sum(member.file_size for member in members)
    if total > max(SMALL, MAX_EXPANSION * size):
        raise InteropError(
            f"{path}: {size} bytes would unpack to {total}; this looks like a zip bomb"
        )


def read_member(archive: zipfile.ZipFile, name: str, path: str | Path) -> bytes:
    """Return one member of a checked archive, or raise InteropError where it is damaged."""
    try:
        return archive.read(name)
    except KeyError:
        raise InteropError(f"{path}: no {name} in the archive") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        OverflowError,
        RuntimeError,  # encrypted members, and NotImplementedError for unknown compressions
    ) as error:
        raise InteropError(f"{path}: {name} is damaged or cut short ({error})") from None


def read_npy(content: bytes, name: str) -> NDArray[Any]:
    """Return the array in the bytes of a .npy file; objects are refused, never unpickled."""
    wide = content[6:7] != b"\x01"
    start = 12 if wide else 10
    size = int.from_bytes(content[8:start], "little")
    if not content.startswith(b"\x93NUMPY") or content[6:7] not in (b"\1", b"\2", b"\3"):
        raise InteropError(f"{name}: not an array of numpy")
    shape, fortran, dtype = _npy_header(content[start : start + min(size, MAX_HEADER)], name)
    data = content[start + size :]
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(data):
        raise InteropError(
            f"{name}: shape {list(shape)} of {dtype} needs {wanted} bytes, the file has {len(data)}"
        )
    if dtype.kind == "U":
        codes = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if codes.max(initial=0) > MAX_CODE_POINT:
            raise InteropError(f"{name}: damaged: a text holds what is no character")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _npy_header(header: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and dtype, which numpy writes as a Python literal."""
    try:
        found = ast.literal_eval(header.decode("latin-1").strip())
        shape, descr = found["shape"], found["descr"]
        fits = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise InteropError(f"{name}: not an array of numpy ({type(error).__name__})") from None
    if not fits or len(shape) > 32:
        raise InteropError(f"{name}: the shape {str(shape)[:80]} is that of no array")
    if not isinstance(descr, str) or not DTYPE.fullmatch(descr):
        raise InteropError(
            f"{name}: holds {str(descr)[:40]!r}, expected numbers; objects are never unpickled"
        )
    return shape, found.get("fortran_order") is True, np.dtype(descr)


def read_npz(path: str | Path, content: bytes | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file by name; `content` is what was read from `path` already."""
    with open_archive(path, content) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {
            name.removesuffix(".npy"): read_npy(read_member(archive, name, path), f"{path}: {name}")
            for name in names
        }
