"""Where training examples come from: all in memory, or files that are read one at a time.

Examples are those of a classifier, pairs of texts, tagged sequences and others: whatever has
`inputs` and a `form`, can `take` some of itself and can be `joined` with its like.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

import numpy as np

from unrolled.data.examples import Examples
from unrolled.data.split import split
from unrolled.errors import DataError

WILD = "*?["


class Named(Protocol):
    """What says where it is from."""

    @property
    def name(self) -> str:
        """Where it is from."""
        ...


class Sharded(Named, Protocol):
    """Examples that may come in shards: their inputs, a part of them, several of them in one."""

    @property
    def inputs(self) -> Sequence[Any]:
        """What is read."""
        ...

    @property
    def form(self) -> str:
        """What one of them is, in words, alike in all shards; empty where there are none."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def take(self, indices: Iterable[int]) -> Self:
        """Return those at `indices`."""
        ...

    def joined(self, others: Sequence[Self], name: str) -> Self:
        """Return these and others, under another name."""
        ...


class Framed(Sharded, Protocol):
    """Examples that may be frames."""

    @property
    def features(self) -> tuple[str, ...]:
        """The names of what a frame is of; none where there are words or texts."""
        ...

    @property
    def ids(self) -> Sequence[Any]:
        """What names each sequence of frames in its file, where there is any."""
        ...


N = TypeVar("N", bound=Named)
N_co = TypeVar("N_co", bound=Named, covariant=True)
T = TypeVar("T")
E = TypeVar("E", bound=Sharded)
F = TypeVar("F", bound=Framed)


class SourceOf(Protocol[N_co]):
    """Examples in shards: `load(k)` reads one, whole, and gives the same each time."""

    @property
    def name(self) -> str:
        """Where they are from."""
        ...

    def __len__(self) -> int:
        """How many shards there are."""
        ...

    def load(self, k: int) -> N_co:
        """Return the training examples of shard k."""
        ...


class Whole(Generic[N]):
    """Examples in memory, as a source of one shard."""

    def __init__(self, examples: N) -> None:
        self.examples = examples
        self.name = examples.name

    def __len__(self) -> int:
        return 1

    def load(self, k: int) -> N:
        """Return the examples."""
        return self.examples


class Kept(Generic[N, T]):
    """Shards as `encode` makes them, of which the last one is kept: it is in memory once."""

    def __init__(self, source: SourceOf[N], encode: Callable[[N], T]) -> None:
        self.source, self.encode = source, encode
        self.held: tuple[int, T] | None = None

    def shard(self, k: int) -> T:
        """Return shard k, read and encoded where it is not the one that is kept."""
        if self.held is None or self.held[0] != k:
            self.held = None
            self.held = (k, self.encode(self.source.load(k)))
        return self.held[1]


class Files(Generic[N]):
    """Data in files, of which one is in memory at a time; nothing of it is held out."""

    def __init__(self, name: str, paths: list[str], read: Callable[[str], N]) -> None:
        self.name, self.paths, self.read = name, paths, read

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, k: int) -> N:
        """Return what file k holds."""
        return self.read(self.paths[k])


class FileShards(Files[E]):
    """Examples in files, of which one is in memory at a time.

    A `fraction` of the examples is held out, equal inputs together: which, depends on each input
    and the seed alone. With a fraction of 0 none is.
    """

    def __init__(
        self, name: str, paths: list[str], read: Callable[[str], E], seed: int = 0
    ) -> None:
        super().__init__(name, paths, read)
        self.seed, self.fraction = seed, 0.0

    def load(self, k: int) -> E:
        """Return the examples of file k that are not held out."""
        return self._part(k, held=False)

    def held_out(self) -> E:
        """Return all the examples that are held out, in memory; DataError where there are none."""
        first, *others = (self._part(k, held=True) for k in range(len(self)))
        found = first.joined(others, f"{self.name} (held out)")
        if not len(found):
            raise DataError(
                f"{self.name}: a share of {self.fraction:g} held out none of its examples; give a "
                "larger validation fraction, or a validation file"
            )
        return found

    def _part(self, k: int, *, held: bool) -> E:
        examples = self.read(self.paths[k])
        if self.fraction == 0:
            return examples
        chosen = [i for i, x in enumerate(examples.inputs) if self._is_held(x) == held]
        return examples.take(chosen)

    def _is_held(self, sequence: Any) -> bool:
        digest = digest_of(sequence, 8, self.seed)
        return int.from_bytes(digest, "big") < self.fraction * 2.0**64


Shards: TypeAlias = FileShards[Examples]
Source: TypeAlias = SourceOf[Examples]


def content_of(sequence: Any) -> bytes:
    """Return what tells one input from another: its text, or its numbers."""
    if isinstance(sequence, np.ndarray):
        return repr(sequence.shape).encode() + np.ascontiguousarray(sequence).tobytes()
    return str(sequence).encode("utf-8", "surrogatepass")


def digest_of(sequence: Any, size: int = 16, seed: int = 0) -> bytes:
    """Return `size` bytes that stand for what tells one input from another."""
    salt = (seed % 2**64).to_bytes(8, "big")
    return hashlib.blake2b(content_of(sequence), digest_size=size, salt=salt).digest()


def as_source(examples: E | FileShards[E]) -> SourceOf[E]:
    """Return all examples as shards: those in memory are one."""
    return examples if isinstance(examples, FileShards) else Whole(examples)


def divided(
    examples: E | FileShards[E], validation: E | None, fraction: float, seed: int
) -> tuple[SourceOf[E], E]:
    """Return the training examples as shards, and those to validate on, in memory.

    Without `validation`, a fraction of the distinct inputs is held out.
    """
    if isinstance(examples, FileShards):
        examples = copy(examples)
        examples.fraction, examples.seed = 0.0 if validation is not None else fraction, seed
        return examples, examples.held_out() if validation is None else validation
    if validation is not None:
        return Whole(examples), validation
    keep, held = split([digest_of(x) for x in examples.inputs], fraction, seed)
    return Whole(examples.take(keep)), examples.take(held)


def each(source: SourceOf[E]) -> Iterator[E]:
    """Yield the shards one after the other; DataError where one has another form than the first."""
    name = form = ""
    for k in range(len(source)):
        examples = source.load(k)
        check_form(examples, form, name)
        if not form:
            name, form = examples.name, examples.form
        yield examples


def each_named(source: SourceOf[F], notify: Callable[[str], Any]) -> Iterator[F]:
    """Yield the shards as `each` does, then tell of sequences that have their names in two files.

    A file that was cut by rows ends within a sequence, of which each part is then one by itself.
    """
    files: dict[Any, str] = {}
    twice: dict[Any, str] = {}
    for examples in each(source):
        for name in examples.ids:
            if files.setdefault(name, examples.name) != examples.name:
                twice.setdefault(name, examples.name)
        yield examples
    if twice:
        name, other = next(iter(twice.items()))
        notify(
            f"{len(twice)} sequence name(s) are in several files, the first {name!r} in "
            f"{files[name]} and {other}; what each file holds is a sequence of its own"
        )


def check_form(examples: Sharded, form: str, name: str) -> None:
    """Raise DataError where examples have another form than those of `name`."""
    if form and examples.form and examples.form != form:
        raise DataError(f"{examples.name}: {examples.form}, but {name}: {form}")


def check_beside(examples: Framed, features: tuple[str, ...], form: str, name: str) -> None:
    """Raise DataError where examples to validate on have other features than those of `name`.

    In an npz archive features have numbers for names: of these there need only be as many.
    """
    given = examples.features
    numbered = tuple(map(str, range(len(given))))
    if len(given) != len(features) or (given != features and numbered not in (given, features)):
        raise DataError(f"{examples.name}: {examples.form}, but {name}: {form}")


def first_of(source: SourceOf[E]) -> E:
    """Return the first shard of which something is left to learn from, the first where none has."""
    first = source.load(0)
    k = 1
    while not len(first) and k < len(source):
        first, k = source.load(k), k + 1
    return first


def read_shards(data: str, read: Callable[[str], E]) -> E | FileShards[E]:
    """Return what a file holds, or the shards of a folder or a pattern."""
    paths = shard_paths(data)
    return read(data) if paths is None else FileShards(data, paths, read)


def read_whole(data: str, read: Callable[[str], E]) -> E:
    """Return what a file holds, or all files of a folder or a pattern together, in memory.

    Raises DataError where a file holds another form than the first.
    """
    found = read_shards(data, read)
    if not isinstance(found, FileShards):
        return found
    first, *others = each(found)
    return first.joined(others, data) if others else first


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
