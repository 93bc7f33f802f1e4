"""Span F1 against conlleval's own counts and seqeval's, and how tags spell spans."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.data.schemes import detect, first_illegal, legal
from unrolled.train.spans import Span, span_metrics, spans


def words(lines):
    return [line.split() for line in lines]


# Drawn at random, ill-formed on purpose. What the script conlleval.pl of 2004-01-26 counts in them:
# 27 phrases, 27 found, 21 correct; seqeval 1.2.2: F1 0.7777777777777778.
BIO_TRUE = words(
    [
        "O B-A B-A O B-A O B-A",
        "I-A I-A I-A I-A",
        "I-A I-B O I-A I-A B-A O",
        "I-B O O I-B B-B B-A O I-B I-A",
        "B-A I-B B-A B-A I-B",
        "I-B B-A B-B I-B B-B B-B I-A B-A",
    ]
)
BIO_SAID = words(
    [
        "O B-A B-A O B-A O B-A",
        "O I-A I-A I-A",
        "I-B O O I-A I-A B-A I-A",
        "I-B O O I-B B-B B-A O I-B B-A",
        "B-A I-B B-A B-A I-B",
        "B-B B-A B-B I-A B-A B-B I-A B-A",
    ]
)
# The script does not know BIOES; seqeval 1.2.2: precision, recall and F1 as below.
BIOES_TRUE = words(
    [
        "S-A S-A E-A I-A O B-A I-B",
        "E-A S-A S-B I-A E-A S-B B-B",
        "O B-A E-B O",
        "E-B I-B S-A S-B I-A S-B B-A",
        "O",
        "I-B E-B B-A I-B I-A B-A",
    ]
)
BIOES_SAID = words(
    [
        "S-A S-A E-A I-A O B-A B-A",
        "S-A S-A S-B B-B E-A S-B B-B",
        "I-B B-A E-B B-A",
        "B-B I-B S-A S-B E-B S-B B-A",
        "I-B",
        "I-B O B-A I-B I-A B-A",
    ]
)


def test_counts_are_conllevals_and_seqevals():
    found = [sum(len(spans(tags)) for tags in side) for side in (BIO_TRUE, BIO_SAID)]
    right = sum(len(set(spans(a)) & set(spans(b))) for a, b in zip(BIO_TRUE, BIO_SAID, strict=True))
    assert [*found, right] == [27, 27, 21]
    assert span_metrics(BIO_SAID, BIO_TRUE)["span_f1"] == pytest.approx(0.7777777777777778)
    metrics = span_metrics(BIOES_SAID, BIOES_TRUE)
    assert metrics["span_precision"] == pytest.approx(0.6896551724137931)
    assert metrics["span_recall"] == pytest.approx(0.7692307692307693)
    assert metrics["span_f1"] == pytest.approx(0.7272727272727274)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        ("B-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("O I-PER I-PER", [("PER", 1, 2)]),
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),
        ("I-PER I-LOC O I-LOC", [("PER", 0, 0), ("LOC", 1, 1), ("LOC", 3, 3)]),
        ("I-LOC B-LOC I-LOC", [("LOC", 0, 0), ("LOC", 1, 2)]),
        ("B-a-b I-a-b", [("a-b", 0, 1)]),
        ("B I O B", [("", 0, 1), ("", 3, 3)]),
        ("B-A I-A E-A S-A O", [("A", 0, 2), ("A", 3, 3)]),
        ("E-A E-A", [("A", 0, 0), ("A", 1, 1)]),
        ("S-A I-A", [("A", 0, 0), ("A", 1, 1)]),
        ("", []),
    ],
)
def test_spans_of_tags(tags, expected):
    assert spans(tags.split()) == [Span(*each) for each in expected]


def test_a_sentence_ends_its_spans():
    metrics = span_metrics([["B-A"], ["I-A"]], [["B-A"], ["I-A"]])
    assert metrics["span_types"]["A"]["count"] == 2


def test_rates_of_each_type_and_of_none():
    metrics = span_metrics(words(["B-A O B-B"]), words(["B-A B-C B-A"]))
    assert metrics["span_precision"] == pytest.approx(1 / 2)
    assert metrics["span_recall"] == pytest.approx(1 / 3)
    assert metrics["span_f1"] == pytest.approx(2 / 5)
    assert metrics["span_types"]["A"] == {
        "f1": pytest.approx(2 / 3), "precision": 1.0, "recall": 0.5, "count": 2,
    }  # fmt: skip
    assert metrics["span_types"]["B"] == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "count": 0}
    assert metrics["span_types"]["C"]["recall"] == 0.0
    assert span_metrics([["O"]], [["O"]])["span_f1"] == 0.0


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O B-A I-A", "bio"),
        ("B-A", "bio"),
        ("O B I", "bio"),
        ("O B-A I-A E-A S-A", "bioes"),
        ("O B-A S-A", "bioes"),
        ("O I-A", "none"),
        ("NOUN VERB", "none"),
        ("O B-A X", "none"),
    ],
)
def test_the_scheme_is_told_by_the_tags(tags, scheme):
    assert detect(tags.split()) == scheme


def allowed(tags, scheme):
    """The pairs that may follow each other, with ^ and $ for the ends."""
    found = legal(tags, scheme)
    pairs = {
        (a, b) for i, a in enumerate(tags) for j, b in enumerate(tags) if found.transitions[i, j]
    }
    pairs |= {("^", tag) for k, tag in enumerate(tags) if found.start[k]}
    return pairs | {(tag, "$") for k, tag in enumerate(tags) if found.end[k]}


def test_bio_lets_only_its_own_type_go_on():
    tags = ["O", "B-A", "I-A", "B-B", "I-B"]
    forbidden = {
        ("O", "I-A"), ("B-B", "I-A"), ("I-B", "I-A"), ("^", "I-A"),
        ("O", "I-B"), ("B-A", "I-B"), ("I-A", "I-B"), ("^", "I-B"),
    }  # fmt: skip
    assert allowed(tags, "none") - allowed(tags, "bio") == forbidden


def test_bioes_closes_what_it_opens():
    tags = ["O", "B-A", "I-A", "E-A", "S-A"]
    assert allowed(tags, "bioes") == {
        ("^", "O"), ("^", "B-A"), ("^", "S-A"), ("O", "$"), ("E-A", "$"), ("S-A", "$"),
        ("O", "O"), ("O", "B-A"), ("O", "S-A"), ("E-A", "O"), ("E-A", "B-A"), ("E-A", "S-A"),
        ("S-A", "O"), ("S-A", "B-A"), ("S-A", "S-A"),
        ("B-A", "I-A"), ("B-A", "E-A"), ("I-A", "I-A"), ("I-A", "E-A"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O I-A B-B", "bio"),
        ("B-A E-A", "bioes"),
        ("B-A I-A O", "bioes"),
        ("I-A E-A O B-B", "bioes"),
        ("B-A E-A I-B E-B", "bioes"),
    ],
)
def test_a_legal_sequence_of_every_length_exists(tags, scheme):
    found = legal(tags.split(), scheme)
    reach = found.start.copy()
    for _ in range(6):
        assert (reach & found.end).any()
        reach = (reach[:, None] & found.transitions).any(axis=0)


@pytest.mark.parametrize(
    ("tags", "place"),
    [("O B-A I-A", None), ("I-A O", 0), ("O O I-A", 2), ("B-A I-A B-B I-A", 3)],
)
def test_the_first_illegal_tag_is_found(tags, place):
    names = ["O", "B-A", "I-A", "B-B"]
    assert first_illegal([names.index(tag) for tag in tags.split()], legal(names, "bio")) == place


def test_a_span_left_open_is_illegal_at_its_end():
    names = ["O", "B-A", "E-A"]
    assert first_illegal([0, 1], legal(names, "bioes")) == 1
    assert np.array(legal(names, "bioes").end).tolist() == [True, False, True]
