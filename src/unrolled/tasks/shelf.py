"""Training examples that are encoded a shard at a time, and the batches of an epoch over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled.config import TrainSpec
from unrolled.data.batch import Batch, buckets
from unrolled.data.shards import Kept, Sharded, SourceOf

Array = NDArray[Any]
E = TypeVar("E", bound=Sharded)
Lengths = tuple[Sequence[int], Sequence[int] | None]


class Encoded(Protocol):
    """A shard as arrays, of which a batch can be made."""

    def batch(self, index: Array) -> Batch:
        """Return the examples at `index` [N], padded."""
        ...


class Shelf(Kept[E, Encoded]):
    """Encoded shards, the last one kept: what an epoch reads is in memory once.

    `lengths` has those of each shard's inputs and, where they have lengths, of its targets.
    """

    def __init__(self, source: SourceOf[E], encode: Callable[[E], Encoded]) -> None:
        super().__init__(source, encode)
        self.lengths: list[Lengths] = []


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
