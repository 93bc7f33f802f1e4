"""Torch's files: zip archives, TorchScript archives, the format before them, and safetensors."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from unrolled.errors import InteropError
from unrolled.interop.archives import open_archive, read_file, read_member
from unrolled.interop.pytorch import pickles, tensors
from unrolled.interop.pytorch.names import flatten, unwrapped, walk
from unrolled.interop.pytorch.pickles import MAX_BYTES, Rules
from unrolled.interop.pytorch.tensors import DTYPES, Storage

LEGACY = 0x1950A86A20F9469CFC6C
SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


class Contents(NamedTuple):
    """Every array of a file by name, what kind of file it is, and what was left out of it."""

    arrays: dict[str, NDArray[Any]]
    kind: str
    notes: tuple[str, ...] = ()


def read(path: Path) -> Contents:
    """Return the arrays of a `.safetensors`, `.pt` or `.pth` file, told apart by their content.

    Raises InteropError naming the file for anything else and for damage.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InteropError(f"{path}: cannot be read ({error.strerror})") from None
    if head.startswith(b"PK"):
        return _archive(path)
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _safetensors(path)
    if head.startswith(b"\x80"):
        return _legacy(path)
    raise InteropError(f"{path}: neither a .safetensors file nor a .pt file of torch")


def _safetensors(path: Path) -> Contents:
    try:
        found = deserialize(read_file(path))  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, OverflowError) as error:
        raise InteropError(f"{path}: damaged or cut short ({error})") from None
    named: dict[str, NDArray[Any]] = {}
    for name, entry in found:
        if entry["dtype"] not in SAFETENSORS:
            raise InteropError(f"{path}: {name}: a tensor of {entry['dtype']} is not read")
        dtype = SAFETENSORS[entry["dtype"]]
        flat = np.frombuffer(entry["data"], DTYPES[dtype])
        if dtype == "bfloat16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        named[name] = flat.reshape(entry["shape"])
    return Contents(unwrapped(named), "safetensors")


def _archive(path: Path) -> Contents:
    with open_archive(path) as archive:
        names = archive.namelist()
        pickled = [n for n in names if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(pickled) != 1:
            raise InteropError(
                f"{path}: a zip archive without a data.pkl, so not a file of torch.save or "
                "torch.jit.save"
            )
        root = pickled[0].partition("/")[0]
        script = any(name.startswith(f"{root}/code/") for name in names)
        order = _byte_order(archive, f"{root}/byteorder", path)
        rules = tensors.rules(script=script)
        reader = _members(archive, path)
        tree = _pickle(archive, pickled[0], path, rules)
        found, notes = flatten(tree, str(path))
        named = tensors.arrays(found, reader(f"{root}/data/"), str(path), big_endian=order)
        if script and f"{root}/constants.pkl" in names:
            values = _pickle(archive, f"{root}/constants.pkl", path, rules)
            constants = walk({"constants": values}, str(path))
            read_constant = reader(f"{root}/constants/")
            named |= tensors.arrays(constants, read_constant, str(path), big_endian=order)
    if script:
        notes = (*notes, "a TorchScript archive: its parameters are read, its code is not run")
    return Contents(named, "TorchScript" if script else "checkpoint", notes)


def _byte_order(archive: zipfile.ZipFile, name: str, path: Path) -> bool:
    """Return True where the archive says that its numbers are big-endian."""
    if name not in archive.namelist():
        return False
    order = read_member(archive, name, path)
    if order not in (b"little", b"big"):
        raise InteropError(f"{path}: {name} must be 'little' or 'big', got {order[:20]!r}")
    return order == b"big"


def _pickle(archive: zipfile.ZipFile, name: str, path: Path, rules: Rules) -> Any:
    size = archive.getinfo(name).file_size
    if size > MAX_BYTES:
        raise InteropError(f"{path}: {name} has {size} bytes, at most {MAX_BYTES} are read")
    return pickles.read(io.BytesIO(read_member(archive, name, path)), str(path), rules)


def _members(
    archive: zipfile.ZipFile, path: Path
) -> Callable[[str], Callable[[Storage], NDArray[np.uint8]]]:
    """Return what makes a reader of storages under a folder of the archive.

    Members that are stored as they are become views of the mapped file, so that reading a
    checkpoint costs the pages that are used.
    """
    mapped: NDArray[np.uint8] = np.memmap(path, np.uint8, "r").view(np.ndarray)

    def under(folder: str) -> Callable[[Storage], NDArray[np.uint8]]:
        def read_storage(storage: Storage) -> NDArray[np.uint8]:
            name = folder + storage.key
            if name not in archive.NameToInfo:
                raise InteropError(f"{path}: no {name} in the archive")
            info = archive.getinfo(name)
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                return np.frombuffer(read_member(archive, name, path), np.uint8)
            head = mapped[info.header_offset : info.header_offset + 30].tobytes()
            if len(head) < 30 or not head.startswith(b"PK\x03\x04"):
                raise InteropError(f"{path}: {name} is damaged or cut short")
            start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
            return mapped[start : start + info.file_size]

        return read_storage

    return under


def _legacy(path: Path) -> Contents:
    """Read the format of torch before 1.6: pickles one after another, then the storages."""
    content = read_file(path)
    stream = io.BytesIO(content)
    where = str(path)
    storages: dict[str, Storage] = {}
    plain = tensors.rules()

    def remember(identity: Any) -> Storage:
        storage: Storage = plain.persistent(identity)
        return storages.setdefault(storage.key, storage)

    rules = plain._replace(persistent=remember)
    if pickles.read(stream, where, rules) != LEGACY:
        raise InteropError(
            f"{path}: a pickle, but not a file of torch.save; objects are never unpickled"
        )
    version, system = pickles.read(stream, where, rules), pickles.read(stream, where, rules)
    if version != 1001 or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InteropError(f"{path}: torch's old format with version {version!r} is not read")
    tree = pickles.read(stream, where, rules)
    keys = pickles.read(stream, where, rules)
    places = _legacy_storages(content, stream.tell(), keys, storages, path)
    found, notes = flatten(tree, where)

    def read_storage(storage: Storage) -> NDArray[np.uint8]:
        if storage.key not in places:
            raise InteropError(f"{path}: no storage {storage.key} in the file")
        return places[storage.key]

    return Contents(tensors.arrays(found, read_storage, where), "checkpoint of old torch", notes)


def _legacy_storages(
    content: bytes, start: int, keys: Any, storages: dict[str, Storage], path: Path
) -> dict[str, NDArray[np.uint8]]:
    """Return the bytes of each storage, which stand one after another, each behind its count."""
    places: dict[str, NDArray[np.uint8]] = {}
    for key in map(str, keys if isinstance(keys, list) else []):
        if key not in storages:
            raise InteropError(f"{path}: damaged: no tensor names the storage {key[:40]}")
        size = storages[key].count * np.dtype(DTYPES[storages[key].dtype]).itemsize
        count = int.from_bytes(content[start : start + 8], "little", signed=True)
        if count != storages[key].count or start + 8 + size > len(content):
            raise InteropError(f"{path}: damaged or cut short in storage {key[:40]}")
        places[key] = np.frombuffer(content, np.uint8, size, start + 8)
        start += 8 + size
    return places
