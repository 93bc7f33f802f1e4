"""What can go wrong with what a user gave, as exceptions whose text says what to do next.

The command turns `UnrolledError` into one line on stderr and an exit code; anything else is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnrolledError(Exception):
    """Base of every error that a user can cause and mend. The command exits with 1."""


class DataError(UnrolledError):
    """A file, row, column or value is not as expected. The command exits with 2."""


class ConfigError(UnrolledError):
    """An option or configuration key is unknown or out of range. The command exits with 2."""


class ModelError(UnrolledError):
    """A model folder is missing, incomplete, damaged or from a newer version. Exits with 2."""


class TrainingError(UnrolledError):
    """Training cannot go on: the loss is not finite, the disk is full. The command exits with 1."""


class InteropError(UnrolledError):
    """A model file from elsewhere is damaged, or holds what is not supported. Exits with 2."""


class EngineError(UnrolledError):
    """An explicitly chosen engine cannot compute what was asked."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the nearest of `choices`, or an empty string."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
