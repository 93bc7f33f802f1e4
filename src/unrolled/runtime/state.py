"""The state of a session as a value: compared with its model, written to bytes and read back."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.runtime.layer import Array
from unrolled.spec import Struct

FORMAT = 1
# Magic, format, bytes of a value, N, S, fingerprint; little-endian, as the values that follow are.
# At the end the CRC-32 of everything before it.
_MAGIC = b"unrlstat"
_HEADER = struct.Struct("<8sHHQQ16s")
_CHECKSUM = struct.Struct("<I")
# What acts in training only leaves the meaning of a state as it is.
_TRAINING_ONLY = ("dropout", "recurrent_dropout", "init")


@dataclass(frozen=True, eq=False)
class SessionState:
    """The state of a session: values [N, S], and the fingerprint of the layer they belong to."""

    fingerprint: str
    values: Array

    def to_bytes(self) -> bytes:
        """Return the state as bytes that `from_bytes` reads on any machine."""
        rows, width = self.values.shape
        size = self.values.itemsize
        head = _HEADER.pack(_MAGIC, FORMAT, size, rows, width, bytes.fromhex(self.fingerprint))
        body = head + self.values.astype(f"<f{size}").tobytes()
        return body + _CHECKSUM.pack(zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is anything else, cut or damaged.

        Whether it belongs to a model is checked where a session takes it.
        """
        if len(data) < _HEADER.size or not data.startswith(_MAGIC):
            raise DataError(
                f"these {len(data)} bytes are no saved state: expected at least {_HEADER.size} "
                f"that begin with {_MAGIC!r}"
            )
        _, version, size, rows, width, mark = _HEADER.unpack_from(data)
        if version != FORMAT:
            raise DataError(
                f"the saved state has format {version}, this version of unrolled reads {FORMAT}"
            )
        end = _HEADER.size + rows * width * size
        if size not in (4, 8) or len(data) != end + _CHECKSUM.size:
            raise DataError(
                f"the saved state is cut or damaged: {len(data)} bytes, "
                f"expected {end + _CHECKSUM.size} for {rows} rows of {width} values"
            )
        if _CHECKSUM.unpack_from(data, end)[0] != zlib.crc32(data[:end]):
            raise DataError("the saved state is damaged: its checksum does not fit")
        stored = np.frombuffer(data, f"<f{size}", rows * width, _HEADER.size)
        return cls(mark.hex(), stored.astype(f"=f{size}").reshape(rows, width))

    def check(self, fingerprint: str, like: NDArray[np.floating]) -> None:
        """Raise DataError unless the state is of the layer so marked, and shaped as `like`."""
        self.check_owner(fingerprint)
        if self.values.shape != like.shape or self.values.dtype != like.dtype:
            raise DataError(
                f"the state is {self.values.dtype} {list(self.values.shape)}, "
                f"the session's is {like.dtype} {list(like.shape)}"
            )

    def check_owner(self, fingerprint: str) -> None:
        """Raise DataError unless the state is of the layer so marked."""
        if self.fingerprint != fingerprint:
            raise DataError(
                f"the state is of another model: its fingerprint is {self.fingerprint}, "
                f"this layer's is {fingerprint}"
            )


def fingerprint(spec: Struct, weights: Mapping[str, Array], options: Struct | None = None) -> str:
    """Return 32 hexadecimal digits that tell networks apart: a hash of spec, options, weights."""
    fields = {
        name: getattr(spec, name) for name in spec.__struct_fields__ if name not in _TRAINING_ONLY
    }
    if options is not None:
        fields["options"] = options
    found = hashlib.blake2b(msgspec.json.encode(fields, order="sorted"), digest_size=16)
    for name in sorted(weights):
        value = weights[name]
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()
