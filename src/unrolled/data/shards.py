"""Where training examples come from: all in memory, or files that are read one at a time."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unrolled.data.examples import Examples
from unrolled.errors import DataError

WILD = "*?["


class Source(Protocol):
    """Examples in shards: `load(k)` reads one, whole, and gives the same each time."""

    name: str

    def __len__(self) -> int:
        """How many shards there are."""
        ...

    def load(self, k: int) -> Examples:
        """Return the training examples of shard k."""
        ...


class Whole:
    """Examples in memory, as a source of one shard."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.name = examples.name

    def __len__(self) -> int:
        return 1

    def load(self, k: int) -> Examples:
        """Return the examples."""
        return self.examples


class Shards:
    """Examples in files, of which one is in memory at a time.

    A `fraction` of the examples is held out, equal inputs together: which, depends on each input
    and the seed alone. With a fraction of 0 none is.
    """

    def __init__(
        self, name: str, paths: list[str], read: Callable[[str], Examples], seed: int = 0
    ) -> None:
        self.name, self.paths, self.read, self.seed = name, paths, read, seed
        self.fraction = 0.0

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, k: int) -> Examples:
        """Return the examples of file k that are not held out."""
        return self._part(k, held=False)

    def held_out(self) -> Examples:
        """Return all the examples that are held out, in memory; DataError where there are none."""
        parts = [self._part(k, held=True) for k in range(len(self))]
        found = Examples(
            [x for part in parts for x in part.inputs],
            [y for part in parts for y in part.targets],
            f"{self.name} (held out)",
            features=parts[0].features,
        )
        if not len(found):
            raise DataError(
                f"{self.name}: a share of {self.fraction:g} held out none of its examples; give a "
                "larger validation fraction, or a validation file"
            )
        return found

    def _part(self, k: int, *, held: bool) -> Examples:
        examples = self.read(self.paths[k])
        if self.fraction == 0:
            return examples
        chosen = [i for i, x in enumerate(examples.inputs) if self._is_held(x) == held]
        return examples.take(chosen)

    def _is_held(self, sequence: Any) -> bool:
        digest = hashlib.blake2b(content_of(sequence), digest_size=8, salt=_salt(self.seed))
        return int.from_bytes(digest.digest(), "big") < self.fraction * 2.0**64


def _salt(seed: int) -> bytes:
    return (seed % 2**64).to_bytes(8, "big")


def content_of(sequence: Any) -> bytes:
    """Return what tells one input from another: its text, or its numbers."""
    if isinstance(sequence, np.ndarray):
        return repr(sequence.shape).encode() + np.ascontiguousarray(sequence).tobytes()
    return str(sequence).encode("utf-8", "surrogatepass")


def shard_paths(data: str) -> list[str] | None:
    """Return the files of a folder or of a pattern such as `parts/*.csv`, sorted; None for a file.

    Raises DataError where a folder or a pattern has no files.
    """
    place = Path(data)
    if place.is_dir():
        found = [str(path) for path in sorted(place.iterdir()) if _is_plain(path)]
    elif any(sign in data for sign in WILD) and not place.exists():
        found = [path for path in sorted(glob.glob(data)) if _is_plain(Path(path))]
    else:
        return None
    if not found:
        raise DataError(f"{data}: no files to read there")
    return found


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")
