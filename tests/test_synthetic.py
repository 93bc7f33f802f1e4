"""The made-up tasks are those of their papers: sizes, places, the score of knowing nothing."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.data.synthetic import adding, copy_memory


def test_the_sum_is_that_of_the_marked_numbers_one_in_each_half():
    x, y = adding(50, 400, seed=0)
    assert x.shape == (400, 50, 2)
    assert np.isin(x[:, :, 1], (0, 1)).all()
    assert (x[:, :25, 1].sum(axis=1) == 1).all()
    assert (x[:, 25:, 1].sum(axis=1) == 1).all()
    assert y == pytest.approx((x[:, :, 0] * x[:, :, 1]).sum(axis=1), rel=1e-6)
    assert ((y - 1) ** 2).mean() == pytest.approx(1 / 6, abs=0.03)
    assert np.array_equal(adding(50, 400, seed=0)[0], x)
    assert not np.array_equal(adding(50, 400, seed=1)[0], x)


def test_the_symbols_come_back_at_the_end():
    words, tags = copy_memory(30, 20, seed=0)
    for row, said in zip(words, tags, strict=True):
        assert len(row) == len(said) == 50
        assert set(row[:10]) <= set("12345678")
        assert row[10:39] == ["0"] * 29
        assert row[39:] == ["9"] * 11
        assert said == ["0"] * 40 + row[:10]
    assert copy_memory(30, 20, seed=0) == (words, tags)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="needs two steps or more, got 1"):
        adding(1, 1, 0)
    with pytest.raises(ValueError, match="needs one step or more, got 0"):
        copy_memory(0, 1, 0)
