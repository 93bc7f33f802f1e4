"""Reading which place of an answer is to be explained."""

from __future__ import annotations

from collections.abc import Sequence

from unrolled.errors import ConfigError


def place(target: str | None, answered: Sequence[str], what: str) -> int | None:
    """Return the index of the `target`-th place, counted from 1; None where none is named.

    Raises ConfigError where `target` is no such number; `what` is answered in the message.
    """
    if target is None:
        return None
    if not target.isdecimal() or not 1 <= int(target) <= len(answered):
        raise ConfigError(f"target {target!r}: expected a place in {what}, 1 to {len(answered)}")
    return int(target) - 1
