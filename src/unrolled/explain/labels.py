"""Tokens as labels and as text of a page: what cannot be seen is made visible, all is escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

VISIBLE = {" ": "␣", "\n": "↵", "\r": "↵", "\t": "⇥", "\u00a0": "⍽"}
LONGEST = 18
# Names of columns no longer than this stand upright, longer ones lean.
MOST_UPRIGHT = 2
BPE_SPACE = "▁"


def shown(token: str) -> str:
    """Return a token so that it can be seen alone.

    Spaces become signs, a combining mark gets a dotted circle to sit on, a character without a
    picture (joiners, direction marks, control codes) its code point, the empty token a word.
    """
    if not token:
        return "(empty)"
    pieces = [VISIBLE.get(c) or _visible(c, alone=len(token) == 1) for c in token]
    circle = "\u25cc" if unicodedata.combining(token[0]) else ""
    return circle + "".join(pieces)


def _visible(character: str, *, alone: bool) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Zl", "Zp") or (category == "Cf" and alone):
        return f"U+{ord(character):04X}"
    return character


def short(token: str) -> str:
    """Return `shown(token)` cut to `LONGEST` characters, the cut marked."""
    label = shown(token)
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"


def fitted(name: str, widest: float) -> str:
    """Return a name cut to a width in ems in its middle, since names often differ at their end."""
    label, kept = name, len(name)
    while width(label) > widest and kept > 1:
        kept -= 1
        label = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
    return label


def width(label: str) -> float:
    """Return the width of a label in ems, roughly: marks 0, Latin 0.6, Hangul and Han 1.05."""
    return sum(_character_width(c) for c in label)


def _character_width(character: str) -> float:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.75 if character.isupper() else 0.6


def join(tokens: Sequence[str]) -> list[str]:
    """Return the tokens as pieces of running text: `"".join(join(tokens))` reads as a text.

    Tokens that mark their spaces (U+2581) say where these are, single characters follow one
    another, and words get a space between them.
    """
    if any(token.startswith(BPE_SPACE) for token in tokens):
        pieces = [token.replace(BPE_SPACE, " ") for token in tokens]
        return [pieces[0].removeprefix(" "), *pieces[1:]]
    if all(len(token) <= 1 for token in tokens):
        return list(tokens)
    return [f" {token}" if k else token for k, token in enumerate(tokens)]


def counted(count: int, unit: str) -> str:
    """Return a count with its unit: `"1 step"`, `"2 steps"`."""
    return f"{count} {unit}{'' if count == 1 else 's'}"


def text(content: str) -> str:
    """Return plain text as HTML; a code that HTML cannot hold is written out (U+0000)."""
    safe = "".join(c if c in "\n\t" or not _forbidden(c) else f"U+{ord(c):04X}" for c in content)
    return escape(safe)


def _forbidden(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
