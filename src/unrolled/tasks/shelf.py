"""Training examples that are encoded a shard at a time, and the batches of an epoch over them.

What every task does between its examples and the loop: encode each shard once, for the lengths,
tell what was cut, and draw up an epoch's batches, of which each is made when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled.config import TrainSpec
from unrolled.data.batch import Batch, buckets
from unrolled.data.shards import Kept, Sharded, SourceOf
from unrolled.errors import ConfigError, DataError
from unrolled.tasks.base import Run

Array = NDArray[Any]
E = TypeVar("E", bound=Sharded)
Lengths = tuple[Sequence[int], Sequence[int] | None]


class Encoded(Protocol):
    """A shard as arrays, of which a batch can be made."""

    @property
    def lengths(self) -> Lengths:
        """How long each of its inputs is and, where they have lengths, its targets."""
        ...

    def batch(self, index: Array) -> Batch:
        """Return the examples at `index` [N], padded."""
        ...


@dataclass
class Tally:
    """Of `count` sequences so far, how many were cut, and where the first of these is."""

    count: int = 0
    cut: int = 0
    first: str = ""


class Cutter:
    """Cuts sequences after `limit` units (0: none), and counts them by what they are."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tallies: dict[str, Tally] = {}

    def __call__(
        self, rows: Sequence[Any], what: str, where: Callable[[int], str]
    ) -> Sequence[Any]:
        """Return `rows`, those that are longer cut; `where(i)` says where row i is."""
        tally = self.tallies.setdefault(what, Tally())
        long = [i for i, row in enumerate(rows) if 0 < self.limit < len(row)]
        if long and not tally.cut:
            tally.first = where(long[0])
        tally.cut, tally.count = tally.cut + len(long), tally.count + len(rows)
        return [row[: self.limit] for row in rows] if long else rows

    def tell(self, run: Run) -> None:
        """Notify of how many of all sequences were cut, and which first."""
        for what, tally in self.tallies.items():
            if tally.cut:
                run.notify(
                    f"{tally.cut} of {tally.count} {what} for training are longer than "
                    f"{self.limit} units (max_length) and were cut there; the first is "
                    f"{tally.first}"
                )


class Shelf(Kept[E, Encoded]):
    """Encoded shards, the last one kept: what an epoch reads is in memory once.

    `lengths` has those of each shard's inputs and, where they have lengths, of its targets.
    """

    def __init__(
        self, source: SourceOf[E], encode: Callable[[E, Cutter], Encoded], limit: int
    ) -> None:
        self.cutter = Cutter(limit)
        super().__init__(source, lambda examples: encode(examples, self.cutter))
        self.lengths: list[Lengths] = []


def shelve(
    source: SourceOf[E], encode: Callable[[E, Cutter], Encoded], limit: int, run: Run, what: str
) -> Shelf[E]:
    """Encode every shard once, for its lengths; tell how many sequences are longer than `limit`.

    `encode` cuts them by the cutter that it is given. Raises DataError where no shard has `what`
    there is to train on.
    """
    shelf = Shelf(source, encode, limit)
    shelf.lengths = [shelf.shard(k).lengths for k in range(len(source))]
    shelf.cutter.tell(run)
    if not any(len(lengths) for lengths, _ in shelf.lengths):
        raise DataError(f"{source.name}: no {what} to train on")
    return shelf


def check_shards(tokens: str, source: SourceOf[Any]) -> None:
    """Raise ConfigError where BPE is asked for several shards: it reads all texts at once."""
    if tokens == "bpe" and len(source) > 1:
        raise ConfigError("tokens 'bpe' reads all texts at once; give 'word' or 'char' for shards")


def limited(examples: E, training: TrainSpec) -> E:
    """Return at most `validation_limit` of the examples, drawn by the seed: the same each time."""
    limit = training.validation_limit
    if not 0 < limit < len(examples):
        return examples
    return examples.take(np.random.default_rng(training.seed).permutation(len(examples))[:limit])


class Epoch(Sequence[Batch]):
    """The batches of an epoch, each made when it is asked for."""

    def __init__(self, shelf: Shelf[Any], order: list[tuple[int, Array]]) -> None:
        self.shelf, self.order = shelf, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, k: Any) -> Any:
        shard, index = self.order[k]
        return self.shelf.shard(shard).batch(index)


def epoch_of(shelf: Shelf[Any], training: TrainSpec, epoch: int) -> Epoch:
    """Return an epoch's batches: shards in a random order, the batches of one together."""
    from unrolled.train.loop import epoch_generator

    generator = epoch_generator(training.seed, epoch)
    found: list[tuple[int, Array]] = []
    many = len(shelf.lengths) > 1
    for k in generator.permutation(len(shelf.lengths)).tolist() if many else [0]:
        # A generator a shard, so that one's order does not hang on the sizes of others.
        own = np.random.default_rng([training.seed, epoch, k]) if many else generator
        lengths, target_lengths = shelf.lengths[k]
        order = buckets(
            lengths,
            target_lengths=target_lengths,
            batch_size=training.batch_size,
            batch_tokens=training.batch_tokens,
            generator=own,
        )
        found += [(k, index) for index in order]
    return Epoch(shelf, found)
