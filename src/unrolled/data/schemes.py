"""How tags spell spans: BIO and BIOES, and which tag may follow which.

A tag is `O`, or a prefix, a hyphen and the type of the span: `B-PER` begins one, `I-PER` goes on,
`E-PER` ends it, `S-PER` is one alone. BIO (also IOB2) knows B and I, BIOES (also IOBES) all four.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.spec import Scheme

PREFIXES: dict[Scheme, str] = {"none": "", "bio": "BI", "bioes": "BIES"}
Mask = NDArray[np.bool_]


class Legal(NamedTuple):
    """What a scheme allows: `transitions` [K, K] from the row's tag to the column's, ends [K]."""

    transitions: Mask
    start: Mask
    end: Mask


def parts(tag: str) -> tuple[str, str]:
    """Return the prefix and the type of a tag, split at the first hyphen; `O` has no type."""
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def detect(tags: Sequence[str]) -> Scheme:
    """Return the scheme that a set of tags is in.

    All are `O` or have a prefix of the scheme, and a B (in BIOES an E or S too) is among them.
    """
    prefixes = {parts(tag)[0] for tag in tags if tag != "O"}
    if "B" not in prefixes:
        return "none"
    if prefixes <= set("BI"):
        return "bio"
    return "bioes" if prefixes <= set("BIES") else "none"


def legal(tags: Sequence[str], scheme: Scheme) -> Legal:
    """Return which transitions, first and last tags the scheme allows.

    Inside a span only its type may go on: `I-X` and `E-X` follow `B-X` or `I-X` only, and in BIOES
    nothing else follows these. A rule that no tag of the set could keep (an `I-X` whose `B-X` does
    not occur) is not applied, so that a legal sequence of every length exists.
    """
    known = set(tags)
    size = len(tags)
    if scheme == "none":
        return Legal(np.ones((size, size), bool), np.ones(size, bool), np.ones(size, bool))
    named = [parts(tag) for tag in tags]
    inside = [_goes_on(tag, known, scheme) for tag in tags]
    open_after = [_stays_open(tag, known, scheme) for tag in tags]
    transitions = np.array(
        [
            [
                (prefix in ("B", "I") and kind == named[j][1]) if inside[j] else not after
                for j in range(size)
            ]
            for (prefix, kind), after in zip(named, open_after, strict=True)
        ],
        dtype=bool,
    )
    start, end = ~np.array(inside, dtype=bool), ~np.array(open_after, dtype=bool)
    if not (start & end).any():
        end[:] = True
    return Legal(transitions, start, end)


def first_illegal(tags: Sequence[int], allowed: Legal) -> int | None:
    """Return the position of the first tag that may not stand where it does, or None."""
    if not allowed.start[tags[0]]:
        return 0
    for t in range(1, len(tags)):
        if not allowed.transitions[tags[t - 1], tags[t]]:
            return t
    return None if allowed.end[tags[-1]] else len(tags) - 1


def _goes_on(tag: str, known: set[str], scheme: Scheme) -> bool:
    """Whether a tag may only go on with a span that was begun."""
    prefix, kind = parts(tag)
    return prefix in ("I", "E")[: 2 if scheme == "bioes" else 1] and _named("B", kind) in known


def _stays_open(tag: str, known: set[str], scheme: Scheme) -> bool:
    """Whether a tag must be followed by another of its span."""
    prefix, kind = parts(tag)
    if scheme != "bioes" or prefix not in ("B", "I"):
        return False
    return {_named("B", kind), _named("E", kind)} <= known


def _named(prefix: str, kind: str) -> str:
    return f"{prefix}-{kind}" if kind else prefix
