"""Metrics against plain definitions and against scikit-learn and sacrebleu."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.config import VocabularySpec
from unrolled.tasks.evaluate import units
from unrolled.train.metrics import bleu, class_metrics, group_references, sequence_error_rates


def distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance by its recurrence."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


sequences = st.lists(st.sampled_from("abc"), max_size=8)


@given(st.lists(st.tuples(sequences, sequences), min_size=1, max_size=5))
def test_rates_are_distances_over_lengths(pairs: list[tuple[list[str], list[str]]]) -> None:
    predictions, references = [p for p, _ in pairs], [r for _, r in pairs]
    found = sequence_error_rates(predictions, [[r] for r in references])
    errors = sum(distance(p, r) for p, r in pairs)
    assert found["per"] == errors / max(sum(map(len, references)), 1)
    assert found["wer"] == sum(p != r for p, r in pairs) / len(pairs)


@given(sequences, st.lists(sequences, min_size=1, max_size=4))
def test_the_nearest_of_several_references_counts(
    prediction: list[str], options: list[list[str]]
) -> None:
    found = sequence_error_rates([prediction], [options])
    nearest = min(distance(prediction, option) for option in options)
    lengths = [len(o) for o in options if distance(prediction, o) == nearest]
    assert found["per"] == nearest / max(min(lengths), 1)
    assert found["wer"] == (prediction not in options)


def test_tokens_count_not_characters() -> None:
    found = sequence_error_rates([["AH", "B"]], [[["AA", "B", "K"]]])
    assert found == {"per": 2 / 3, "wer": 1.0}


def test_equal_sources_share_their_references() -> None:
    assert group_references(["a", "b", "a"], ["x", "y", "z"]) == (["a", "b"], [["x", "z"], ["y"]])


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        ("word", "  K AE  T ", ["K", "AE", "T"]),
        ("bpe", "two words", ["two", "words"]),
        ("char", "한글", ["한", "글"]),
    ],
)
def test_what_an_error_is_counted_in(tokens: str, text: str, expected: list[str]) -> None:
    assert units(text, VocabularySpec(tokens=tokens)) == expected


def test_jamo_and_syllables_are_the_same_text() -> None:
    spec = VocabularySpec(tokens="char")
    assert units("\u1112\u1161\u11ab", spec) == units("\ud55c", spec) == ["한"]


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([0.5] * 4, 200)
    return probabilities, generator.integers(0, 4, 200)


def test_class_metrics_are_scikit_learns(answers: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    probabilities, labels = answers
    said = probabilities.argmax(1)
    found = class_metrics(probabilities, labels, "abcd")
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, said))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, said, average="macro"))
    clipped = np.maximum(probabilities, 1e-12)
    expected = metrics.log_loss(labels, clipped / clipped.sum(1, keepdims=True))
    assert found["log_loss"] == pytest.approx(expected)
    assert found["confusion"] == metrics.confusion_matrix(labels, said).tolist()
    assert (found["classes"], found["count"]) == (["a", "b", "c", "d"], 200)


def test_macro_f1_is_over_classes_that_occur_or_are_said() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    probabilities = np.eye(4)[[0, 0, 1, 2]]
    labels = np.array([0, 0, 1, 1])
    found = class_metrics(probabilities, labels, "abcd")
    expected = metrics.f1_score(labels, [0, 0, 1, 2], average="macro")
    assert found["macro_f1"] == pytest.approx(expected)


def test_a_probability_of_nothing_costs_a_finite_loss() -> None:
    found = class_metrics(np.array([[1.0, 0.0]]), np.array([1]), "ab")
    assert found["log_loss"] == pytest.approx(-np.log(1e-12))


def test_bleu_is_sacrebleus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    said = ["the cat sat on the mat .", "a dog runs in the park today", "hello there world"]
    true = ["the cat sat on a mat .", "the dog runs in the park", "hello big wide world"]
    found = bleu(said, [[text] for text in true])
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [true]).score)
    assert 0 < found["bleu"] < 100
    assert "tok:13a" in found["bleu_signature"]
    assert f"version:{sacrebleu.__version__}" in found["bleu_signature"]


def test_bleu_of_texts_that_were_split_before_says_nothing_else(caplog, capfd) -> None:
    texts = ["a cat sat on the mat ."] * 120
    assert bleu(texts, [[text] for text in texts])["bleu"] == pytest.approx(100)
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_there_is_no_bleu_of_texts_without_four_words() -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    assert bleu(["a red box", "a ball"], [["a red box"], ["a ball", "the ball"]]) == {}
    assert bleu(["a red box"], [["a red box", "a box that is red"]])["bleu"] == 0
    assert bleu(["a very red box"], [["a very red box"]])["bleu"] == pytest.approx(100)


def test_bleu_with_several_references_some_rows_having_fewer() -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    said = ["the cat sat on the mat", "a dog runs in the park"]
    first = ["a cat sat on the mat", "the dog runs in a park"]
    second = ["the cat sat on the mat", None]
    found = bleu(said, [[first[0], second[0]], [first[1]]])
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [first, second]).score)
    assert found["bleu"] > bleu(said, [[text] for text in first])["bleu"]
