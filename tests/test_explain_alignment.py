"""What an alignment says in numbers and sentences, and how tokens are shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import SOURCE, TARGET, WEIGHTS
from unrolled.explain import alignment, labels


def test_summary_in_numbers() -> None:
    found = alignment.summary(WEIGHTS, SOURCE, TARGET)
    assert found.peaks == (0, 1, 2)
    assert found.peak_weights == (0.93, 0.4, 0.9)
    assert found.monotonicity == 1.0
    assert found.coverage == 1.0
    entropies = [-sum(p * np.log2(p) for p in row if p) for row in WEIGHTS]
    assert found.entropy == pytest.approx(np.mean(entropies))


def test_summary_in_sentences() -> None:
    found = alignment.summary(WEIGHTS, SOURCE, TARGET, source_unit="letter", target_unit="phoneme")
    assert found.sentences == (
        "K looked mostly at 'c' (letter 1): 0.93.",
        "AE looked at several, the most at 'a': 0.40, 't': 0.35, 'c' (letter 4): 0.25.",
        "T looked mostly at 't': 0.90.",
    )
    assert found.overview == (
        "From one phoneme to the next the strongest weight does not move back in 100 % of the"
        " steps; 100 % of the letters were looked at; a phoneme looks at 1.7 letters on average"
        " (entropy 0.80 bits)."
    )


def test_summary_of_a_sharp_alignment_that_goes_back() -> None:
    weights = np.eye(4)[[2, 0, 1]]
    found = alignment.summary(weights, list("abcd"), list("xyz"))
    assert (found.monotonicity, found.coverage, found.entropy) == (0.5, 0.75, 0.0)
    assert found.overlooked == (3,)
    assert found.overview.endswith("Hardly looked at: 'd'.")


def test_summary_of_attention_that_looks_everywhere() -> None:
    found = alignment.summary(np.full((1, 20), 0.05), ["x"] * 20, ["y"])
    assert found.entropy == pytest.approx(np.log2(20))
    assert found.monotonicity == 1.0
    assert found.sentences == ("y looked at several, the most at 'x' (token 1): 0.05.",)


def test_summary_of_an_empty_answer() -> None:
    found = alignment.summary(np.zeros((0, 4)), SOURCE, [], target_unit="phoneme")
    assert (found.sentences, found.overview) == ((), "No phoneme was written.")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS.T, r"shape \[4, 3\]; expected \[3, 4\]: 3 target by 4 source tokens"),
        (WEIGHTS - np.eye(3, 4), r"the weight of row 0, column 0 is -0.07; expected 0 to 1"),
        (WEIGHTS * np.nan, "row 0, column 0 is nan; expected 0 to 1"),
        (WEIGHTS / 2, r"the weights of row 0 sum to 0.5; expected 1"),
    ],
)
def test_what_is_no_alignment(weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alignment.summary(weights, SOURCE, TARGET)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_summary_stays_in_its_bounds(t: int, s: int, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(s, 0.3), t).astype(np.float32)
    found = alignment.summary(weights, ["x"] * s, ["y"] * t)
    assert 0 <= found.entropy <= np.log2(s) + 1e-5
    assert 0 <= found.monotonicity <= 1
    assert found.coverage == 1 - len(found.overlooked) / s
    assert len(found.sentences) == t


# Labels


@pytest.mark.parametrize(
    ("token", "label"),
    [
        ("a", "a"),
        ("각", "각"),
        (" ", "␣"),
        ("\n", "↵"),
        ("", "(empty)"),
        ("\u0301", "◌\u0301"),
        ("\u200d", "U+200D"),
        ("\u202e", "U+202E"),
        ("\x00", "U+0000"),
        ("\ud800", "U+D800"),
        ("👩‍👧", "👩‍👧"),
        ("شكرا", "شكرا"),
    ],
)
def test_every_token_can_be_seen(token: str, label: str) -> None:
    assert labels.shown(token) == label


def test_labels_are_cut_and_measured() -> None:
    assert labels.short("Donaudampfschifffahrt") == "Donaudampfschifff…"
    assert labels.width("각") > labels.width("a") > labels.width("\u0301") == 0


def test_tokens_become_running_text() -> None:
    assert "".join(labels.join(["the", "cat"])) == "the cat"
    assert "".join(labels.join(["▁the", "▁c", "at"])) == "the cat"
    assert "".join(labels.join(list("한국 어"))) == "한국 어"
    assert labels.join([]) == []
