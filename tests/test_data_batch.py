"""Batches: padding, buckets that hold every record once, and a split that leaks no key."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.batch import buckets, pad, translation_batch
from unrolled.data.split import split
from unrolled.errors import ConfigError, DataError

SIZES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60)


@given(st.lists(st.lists(st.integers(1, 9), max_size=7), max_size=12))
def test_padding_keeps_every_row_and_fills_with_zero(rows: list[list[int]]) -> None:
    padded, lengths = pad(rows)
    assert padded.shape == (len(rows), max(map(len, rows), default=0))
    assert padded.dtype == lengths.dtype == np.int64
    for row, length, expected in zip(padded, lengths, rows, strict=True):
        assert row[:length].tolist() == expected
        assert not row[length:].any()


def test_translation_batch() -> None:
    batch = translation_batch([[7], [8, 9, 4], [5]], [[11, 12], [13], []], [1, 0, 2])
    assert batch.source.tolist() == [[8, 9, 4], [7, 0, 0], [5, 0, 0]]
    assert batch.source_lengths.tolist() == [3, 1, 1]
    assert batch.target_in.tolist() == [[2, 13, 0], [2, 11, 12], [2, 0, 0]]
    assert batch.target_out.tolist() == [[13, 3, 0], [11, 12, 3], [3, 0, 0]]
    assert batch.target_lengths.tolist() == [2, 3, 1]
    assert batch.index.tolist() == [1, 0, 2]
    assert batch.labels is None
    assert len(batch) == 3


def test_translation_batch_for_prediction() -> None:
    batch = translation_batch([[7], [8]], None, np.array([1]))
    assert batch.source.tolist() == [[8]]
    assert batch.target_in is batch.target_out is batch.target_lengths is None


# Buckets


@given(SIZES, st.integers(1, 9), st.integers(0, 90), st.none() | st.integers(0, 9))
def test_every_record_is_in_exactly_one_batch(
    sizes: list[tuple[int, int]], batch_size: int, batch_tokens: int, seed: int | None
) -> None:
    source, target = [s for s, _ in sizes], [t for _, t in sizes]
    batches = buckets(
        source,
        target_lengths=target,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        generator=None if seed is None else np.random.default_rng(seed),
    )
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(sizes)))
    assert all(batch.dtype == np.int64 for batch in batches)
    for batch in batches:
        assert len(batch) >= 1
        if batch_tokens:
            longest = max(source[i] for i in batch) + max(target[i] for i in batch)
            assert len(batch) == 1 or len(batch) * longest <= batch_tokens
        else:
            assert len(batch) <= batch_size


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 9), st.integers(0, 9))
def test_padding_is_bounded(lengths: list[int], batch_size: int, seed: int) -> None:
    batches = buckets(lengths, batch_size=batch_size, generator=np.random.default_rng(seed))
    padding = sum(max(lengths[i] for i in b) - lengths[i] for b in batches for i in b)
    assert padding <= batch_size * (max(lengths) - min(lengths))


def test_batches_by_tokens_are_filled() -> None:
    batches = buckets([10] * 100, target_lengths=[15] * 100, batch_tokens=250)
    assert [len(batch) for batch in batches] == [10] * 10


def test_shuffling_depends_on_the_generator_only() -> None:
    lengths = np.random.default_rng(0).integers(1, 9, 500)
    first, again, other = (
        buckets(lengths, batch_size=8, generator=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    contents = [sorted(sorted(batch.tolist()) for batch in batches) for batches in (first, other)]
    assert contents[0] != contents[1]


def test_without_a_generator_batches_are_in_order() -> None:
    batches = buckets([3, 1, 2, 1], target_lengths=[1, 9, 1, 2], batch_size=2)
    assert [batch.tolist() for batch in batches] == [[3, 1], [2, 0]]
    assert buckets([]) == []


def test_batch_sizes_out_of_range() -> None:
    with pytest.raises(ConfigError, match="batch_size is 0; expected 1 or more"):
        buckets([1], batch_size=0)
    with pytest.raises(ConfigError, match="batch_tokens is -1; expected 0 or more"):
        buckets([1], batch_tokens=-1)
    with pytest.raises(ValueError, match="1 source lengths and 2 target lengths"):
        buckets([1], target_lengths=[1, 2])


# Split


@given(
    st.lists(st.integers(0, 20), min_size=2).filter(lambda keys: len(set(keys)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 9),
)
def test_a_key_is_on_one_side_only(keys: list[int], fraction: float, seed: int) -> None:
    train, validation = split(keys, fraction, seed)
    assert len(train) >= 1
    assert len(validation) >= 1
    assert sorted([*train, *validation]) == list(range(len(keys)))
    assert not {keys[i] for i in train} & {keys[i] for i in validation}
    for one, other in zip(split(keys, fraction, seed), (train, validation), strict=True):
        assert np.array_equal(one, other)


def test_split_holds_out_the_fraction_asked_for() -> None:
    keys = [f"word{k}" for k in range(1000)]
    assert len(split(keys, 0.1, 0)[1]) == 100
    assert len(split([*keys, *keys], 0.1, 0)[1]) == 200
    assert not np.array_equal(split(keys, 0.1, 0)[1], split(keys, 0.1, 1)[1])


def test_a_key_that_is_nearly_everything_stays_in_training() -> None:
    train, validation = split(["a"] * 99 + ["b"], 0.1, 0)
    assert (len(train), validation.tolist()) == (99, [99])


def test_too_few_to_split() -> None:
    with pytest.raises(DataError, match="3 records with 1 different inputs; at least 2 different"):
        split(["a", "a", "a"], 0.1, 0)
    with pytest.raises(DataError, match="0 records"):
        split([], 0.1, 0)
    for fraction in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="validation fraction is"):
            split(["a", "b"], fraction, 0)


def test_data_needs_no_heavy_import() -> None:
    code = (
        "import sys, unrolled.data.read, unrolled.data.vocab, unrolled.data.batch\n"
        "print([m for m in ('torch', 'polars', 'narwhals', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
