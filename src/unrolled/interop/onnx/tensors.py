"""ONNX tensors as arrays, made only after their sizes are checked against the bytes there are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import InteropError
from unrolled.interop.onnx.wire import Message

Array = NDArray[Any]

# TensorProto.DataType: what each number is in numpy. Little-endian, as the file is.
DTYPES: dict[int, np.dtype[Any]] = {
    number: np.dtype(name)
    for number, name in {
        1: "<f4",
        2: "u1",
        3: "i1",
        4: "<u2",
        5: "<i2",
        6: "<i4",
        7: "<i8",
        9: "?",
        10: "<f2",
        11: "<f8",
        12: "<u4",
        13: "<u8",
    }.items()
}
# The field that holds the elements of each type where they do not lie in `raw_data`.
TYPED_FIELDS = {1: "float_data", 7: "int64_data", 11: "double_data", 12: "uint64_data"}
TYPED_FIELDS |= {13: "uint64_data"}
MAX_RANK = 32
EXTERNAL = 1


class Store:
    """Makes the arrays of one file, from the file itself or from files in its folder.

    `max_bytes` bounds all of them together. Raises InteropError naming the tensor.
    """

    def __init__(self, source: str, folder: Path | None, max_bytes: int) -> None:
        self.source = source
        self.folder = folder
        self.max_bytes = self.bytes_left = max_bytes

    def array(self, message: Message, where: str) -> Array:
        """Return the array of a TensorProto, read-only."""
        place = f"{self.source}: {where}"
        number = message.get("data_type", 0)
        if number not in DTYPES:
            raise InteropError(f"{place}: elements of type {number} are not supported")
        if "segment" in message:
            raise InteropError(f"{place}: tensors in segments are not supported")
        dtype, shape = DTYPES[number], _shape(message, place)
        size = math.prod(shape)
        self.bytes_left -= size * dtype.itemsize
        if self.bytes_left < 0:
            raise InteropError(
                f"{place}: its shape {list(shape)} makes the tensors of this file larger than "
                f"{self.max_bytes} bytes together; give a larger max_bytes if they are meant to be"
            )
        if message.get("data_location", 0) == EXTERNAL:
            flat = self._external(message, dtype, size, place)
        elif "raw_data" in message:
            flat = _from_bytes(message["raw_data"], dtype, size, place)
        else:
            flat = _typed(message, number, size, place)
        try:
            array = np.require(flat.reshape(shape), requirements="A")
        except ValueError:
            raise InteropError(f"{place}: the shape {list(shape)} is too large") from None
        array.flags.writeable = False
        return array

    def _external(self, message: Message, dtype: np.dtype[Any], size: int, place: str) -> Array:
        entries = {e.get("key", ""): e.get("value", "") for e in message.get("external_data", [])}
        location = entries.get("location", "")
        if self.folder is None:
            raise InteropError(
                f"{place}: lies in the file {location!r}; load the model by its path"
            )
        path = _inside(self.folder, location, place)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
        except ValueError:
            raise InteropError(
                f"{place}: offset and length of {location!r} must be numbers"
            ) from None
        wanted = size * dtype.itemsize
        if offset < 0 or length not in (-1, wanted):
            raise InteropError(
                f"{place}: takes {length} bytes at {offset} of {location!r}, expected {wanted}"
            )
        try:
            if path.stat().st_size < offset + wanted:
                raise InteropError(
                    f"{place}: {location!r} has {path.stat().st_size} bytes, "
                    f"expected {wanted} at {offset}"
                )
            with path.open("rb") as stream:
                stream.seek(offset)
                content = stream.read(wanted)
        except OSError as error:
            raise InteropError(f"{place}: {path}: cannot be read ({error.strerror})") from None
        return _from_bytes(content, dtype, size, place)


def _inside(folder: Path, location: str, place: str) -> Path:
    """Return the regular file `location` of the model's folder; nothing outside is ever opened."""
    home = folder.resolve()
    path = (home / location).resolve() if location and "\0" not in location else home
    if not path.is_relative_to(home) or path == home or Path(location).is_absolute():
        raise InteropError(f"{place}: {location!r} lies outside the folder of the model")
    if not path.is_file():
        raise InteropError(f"{place}: {location!r} is not a file in the folder of the model")
    return path


def _shape(message: Message, place: str) -> tuple[int, ...]:
    shape: list[int] = []
    for part in message.get("dims", []):
        shape += part.tolist() if isinstance(part, np.ndarray) else [part]
    if len(shape) > MAX_RANK:
        raise InteropError(
            f"{place}: has {len(shape)} dimensions, at most {MAX_RANK} are supported"
        )
    if any(dim < 0 for dim in shape):
        raise InteropError(f"{place}: has a negative dimension: {shape}")
    return tuple(shape)


def _from_bytes(raw: memoryview | bytes, dtype: np.dtype[Any], size: int, place: str) -> Array:
    if len(raw) != size * dtype.itemsize:
        raise InteropError(
            f"{place}: has {len(raw)} bytes of data, expected {size * dtype.itemsize} "
            f"for {size} elements of {dtype}"
        )
    array = np.frombuffer(raw, np.uint8 if dtype == np.bool_ else dtype)
    return array != 0 if dtype == np.bool_ else array


def _typed(message: Message, number: int, size: int, place: str) -> Array:
    name, dtype = TYPED_FIELDS.get(number, "int32_data"), DTYPES[number]
    parts = [np.atleast_1d(part) for part in message.get(name, [])]
    found = sum(len(part) for part in parts)
    if found != size:
        raise InteropError(f"{place}: has {found} elements in {name}, expected {size}")
    if not parts:
        return np.empty(0, dtype)
    flat = np.concatenate(parts)
    if dtype == np.float16:
        return flat.astype(np.uint16).view(np.float16)
    return flat.astype(dtype)
