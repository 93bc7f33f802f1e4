"""Damage for files: bits, bytes, cuts, splices, lengths blown up, words of the format."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

# Words that the formats know; where they stand in a file's own place they often open a new branch.
TOKENS: dict[str, tuple[bytes, ...]] = {
    "onnx": (b"Loop", b"If", b"Reshape", b"LSTM", b"Expand", b"external", b"\x08\xff\xff\xff\x7f"),
    "torch": (b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n", b"cos\nsystem\n", b"(l.",
              b"\x8c\x05state", b"h\x00", b"t\x85R", b"PK\x05\x06", b"PK\x01\x02"),
    "json": (b"{}", b"[]", b"null", b"-1", b"1e999", b'""', b'"data_offsets"', b"[[[[[[[[",
             b"99999999999999999999", b"true", b'"\\ud800"', b"NaN"),
    "numpy": (b"'descr': '|O'", b"'<f8'", b"'fortran_order': True", b"(-1,)", b"(0, 99999999999)",
              b"PK\x05\x06", b"\x93NUMPY\x02\x00"),
    "text": (b"\t", b"\n\n", b"\r", b'"', b",,", b"# ", b"\xef\xbb\xbf", b"\xff", b"\0", b"-",
             b"nan", b"1-2\t", b"1.1\t", b"{", b"\xe2\x80\xa8", b"1e999"),
}  # fmt: skip
ODD = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40,
       (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
MAX_SIZE = 1 << 17


def damage(content: bytes, others: list[bytes], kind: str, dice: random.Random) -> bytes:
    """Return the content with one to four things wrong; inside of a zip archive, half the time."""
    if content[:2] == b"PK" and dice.random() < 0.6:
        found = _in_archive(content, others, kind, dice)
        if found is not None:
            return found
    for _ in range(dice.choice((1, 1, 2, 4))):
        content = dice.choice(CHANGES)(content, others, TOKENS[kind], dice)[:MAX_SIZE]
    return content


def _in_archive(
    content: bytes, others: list[bytes], kind: str, dice: random.Random
) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, EOFError):
        return None
    if not members:
        return None
    chosen = dice.choice(sorted(members))
    if dice.random() < 0.1:
        members.pop(chosen)
    elif dice.random() < 0.1:
        members[dice.choice(("../" + chosen, "/" + chosen, chosen + "x"))] = members[chosen]
    else:
        members[chosen] = damage(members[chosen], list(members.values()), kind, dice)
    packed = zipfile.ZIP_DEFLATED if dice.random() < 0.3 else zipfile.ZIP_STORED
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packed) as archive:
        for name, each in members.items():
            archive.writestr(name, each)
    return out.getvalue()


def _at(content: bytes, dice: random.Random) -> int:
    # Headers stand at the front, and the directory of an archive at the end.
    size = len(content)
    place = dice.randrange(3)
    if place == 0:
        return dice.randrange(min(size, 128) + 1)
    return dice.randint(max(0, size - 128), size) if place == 1 else dice.randint(0, size)


def _put(content: bytes, at: int, what: bytes, takes: int) -> bytes:
    return content[:at] + what + content[at + takes :]


def _flip(content, others, tokens, dice):
    if not content:
        return content
    at = min(_at(content, dice), len(content) - 1)
    return _put(content, at, bytes([content[at] ^ 1 << dice.randrange(8)]), 1)


def _byte(content, others, tokens, dice):
    return _put(content, _at(content, dice), bytes([dice.randrange(256)]), 1)


def _cut(content, others, tokens, dice):
    return content[: _at(content, dice)]


def _drop(content, others, tokens, dice):
    return _put(content, _at(content, dice), b"", dice.choice((1, 2, 4, 8, 40)))


def _repeat(content, others, tokens, dice):
    at, size = _at(content, dice), dice.choice((1, 4, 16, 100))
    return _put(content, at, content[at : at + size] * dice.choice((2, 3, 200)), size)


def _splice(content, others, tokens, dice):
    other = dice.choice(others)
    at = _at(other, dice)
    return _put(content, _at(content, dice), other[at : at + dice.choice((4, 32, 400))], 0)


def _length(content, others, tokens, dice):
    """A length of 1, 2, 4 or 8 bytes, in either order, or as protobuf writes it."""
    value, code = dice.choice(ODD), dice.choice("BHIQv")
    order, at = dice.choice("<>"), _at(content, dice)
    if code == "v":
        groups = [value >> shift & 0x7F | 0x80 for shift in range(0, 63, 7)]
        return _put(content, at, bytes([*groups, value >> 63 & 1]), 1)
    size = struct.calcsize(code)
    return _put(content, at, struct.pack(order + code, value & (1 << 8 * size) - 1), size)


def _token(content, others, tokens, dice):
    token = dice.choice(tokens)
    return _put(content, _at(content, dice), token, dice.choice((0, len(token))))


CHANGES = (_flip, _flip, _byte, _cut, _drop, _repeat, _splice, _length, _length, _token)
