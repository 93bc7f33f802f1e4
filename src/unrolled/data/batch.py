"""Batches of padded ids, and buckets of alike lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.vocab import BOS, EOS, PAD
from unrolled.errors import ConfigError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One step's input and what should come out, int64 throughout.

    `source` [N, S] and `source_lengths` [N]; `index` [N] says which records these are. Translation:
    `target_in` [N, T] begins with `<s>`, `target_out` [N, T] ends with `</s>`, both are
    `target_lengths` [N] long. Classification: `labels` [N]. What a task lacks is None. Captions of
    numbers have these, [N, S, F], as `source`. Generation has as `source` what is told and the
    step before it, [N, S + 1] or frames [N, S + 1, I].
    """

    source: npt.NDArray[Any]
    source_lengths: Ids
    index: Ids
    target_in: Ids | None = None
    target_out: Ids | None = None
    target_lengths: Ids | None = None
    labels: Ids | None = None

    def __len__(self) -> int:
        return len(self.index)


def pad(rows: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
    """Return ids [N, T] filled up with `<pad>` to the longest row, and the lengths [N]."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    longest = int(lengths.max(initial=0))
    padded = np.full((len(rows), longest), PAD, dtype=np.int64)
    values = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
    padded[np.arange(longest) < lengths[:, None]] = values
    return padded, lengths


def translation_batch(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]] | None,
    index: npt.NDArray[np.integer] | Sequence[int],
) -> Batch:
    """Return the records `index` [N] of all `sources` and `targets` as one batch.

    Ids come without `<s>` and `</s>`; these are put around the target here. `targets=None` leaves
    the target out, for prediction.
    """
    chosen = np.asarray(index, dtype=np.int64)
    source, source_lengths = pad([sources[i] for i in chosen])
    if targets is None:
        return Batch(source, source_lengths, chosen)
    inner, lengths = pad([targets[i] for i in chosen])
    edge = np.full((len(chosen), 1), PAD, dtype=np.int64)
    target_in = np.concatenate([edge + (BOS - PAD), inner], axis=1)
    target_out = np.concatenate([inner, edge], axis=1)
    target_out[np.arange(len(chosen)), lengths] = EOS
    return Batch(source, source_lengths, chosen, target_in, target_out, lengths + 1)


def buckets(
    lengths: npt.NDArray[np.integer] | Sequence[int],
    *,
    target_lengths: npt.NDArray[np.integer] | Sequence[int] | None = None,
    batch_size: int = 64,
    batch_tokens: int = 0,
    generator: np.random.Generator | None = None,
) -> list[Ids]:
    """Split all records into batches of alike lengths; each record is in exactly one.

    Records are sorted by source length, then by target length, and cut into batches of
    `batch_size`. The padding of all sources together is then at most `batch_size` times the
    difference between the longest and the shortest. With `batch_tokens` above 0 a batch instead
    takes rows while rows x (longest source + longest target) <= `batch_tokens`, and always one.

    `generator` shuffles records of equal lengths and the order of the batches, and nothing else
    does; without it both are in order of length, then of position.
    """
    if batch_tokens < 0:
        raise ConfigError(f"batch_tokens is {batch_tokens}; expected 0 or more")
    if not batch_tokens and batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; expected 1 or more")
    source = np.asarray(lengths, dtype=np.int64)
    target = np.zeros_like(source) if target_lengths is None else np.asarray(target_lengths)
    if len(target) != len(source):
        raise ValueError(f"{len(source)} source lengths and {len(target)} target lengths")
    tie = np.arange(len(source)) if generator is None else generator.permutation(len(source))
    order = np.lexsort((tie, target, source)).astype(np.int64)
    if batch_tokens:
        cuts = _token_cuts(source[order].tolist(), target[order].tolist(), batch_tokens)
    else:
        cuts = list(range(batch_size, len(order), batch_size))
    batches = np.split(order, cuts) if len(order) else []
    if generator is None:
        return batches
    return [batches[k] for k in generator.permutation(len(batches))]


def rows_within(steps: int, *, batch_size: int, batch_tokens: int = 0) -> int:
    """Return how many rows of `steps` steps each a batch takes: one at the least.

    `batch_size`, or with `batch_tokens` above 0 as many as hold no more steps than that.
    """
    return max(1, batch_tokens // steps) if batch_tokens else batch_size


def _token_cuts(source: list[int], target: list[int], batch_tokens: int) -> list[int]:
    cuts: list[int] = []
    begin = longest_source = longest_target = 0
    for k, (s, t) in enumerate(zip(source, target, strict=True)):
        longest_source, longest_target = max(longest_source, s), max(longest_target, t)
        if k > begin and (k + 1 - begin) * (longest_source + longest_target) > batch_tokens:
            cuts.append(k)
            begin, longest_source, longest_target = k, s, t
    return cuts
