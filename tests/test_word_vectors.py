"""Word vectors that the embeddings of classifiers, regressors and taggers begin from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tagging
import tiny
from commands import Command
from unrolled.data.examples import Examples
from unrolled.data.sequences import Sequences
from unrolled.errors import ConfigError, DataError
from unrolled.options import RegressOptions
from unrolled.tasks import classify, regress, tag
from unrolled.tasks.base import Run

QUIET = Run(notify=lambda _: None)
STILL = {"epochs": 1, "lr": 1e-9}
VECTORS = {"good": [1, 0, 0], "bad": [0, 1, 0], "film": [0, 0, 1], "splendid": [2, 0, 0]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    given = "".join(f"{w} {' '.join(map(str, v))}\n" for w, v in VECTORS.items())
    (tmp_path / "v.txt").write_text(given, encoding="utf-8")
    return tmp_path / "v.txt"


def classified(path: Path, run: Run = QUIET, **choices):
    options = tiny.classify_options(tokens="word", vectors=str(path), **choices)
    return classify.train(tiny.examples(), options, tiny.training(**STILL), run=run)


def regressed(path: Path, run: Run = QUIET, **choices):
    texts, labels = tiny.reviews()
    examples = Examples(texts, [np.array([float(label == "up")]) for label in labels])
    options = RegressOptions(**tiny.SIZES, tokens="word", vectors=str(path), **choices)
    return regress.train(examples, options, tiny.training(**STILL), run=run)


def tagged(path: Path, run: Run = QUIET):
    options = tagging.options(vectors=str(path))
    return tag.train(tagging.sentences(), options, tiny.training(**STILL), run=run)


@pytest.mark.parametrize("train", [classified, regressed])
def test_embeddings_begin_from_vectors_and_words_of_the_file_are_known(train, path: Path) -> None:
    said: list[str] = []
    found = train(path, Run(notify=said.append))
    words, weight = found.vocabularies["source"], found.weights["embedding.weight"]
    of_data = len(words) - 4 - 1
    assert said[0] == (
        f"{path}: 4 vectors of width 3; 3 of {of_data} words of the data have one "
        f"({300 / of_data:.1f} %), 1 further words are kept"
    )
    assert found.config.network.embedding_size == weight.shape[1] == 3
    for word, vector in VECTORS.items():
        np.testing.assert_allclose(weight[words.encode(word)[0]], vector, atol=1e-5)


def test_the_further_words_are_limited_by_the_vocabulary(path: Path) -> None:
    room = len(classified(path).vocabularies["source"]) - 1
    words = classified(path, max_size=room).vocabularies["source"]
    assert len(words) == room
    assert "splendid" not in words.units


def test_vectors_are_of_words(path: Path) -> None:
    with pytest.raises(ConfigError, match="vectors are of words, the texts' units are 'char'"):
        classify.train(
            tiny.examples(),
            tiny.classify_options(tokens="char", vectors=str(path)),
            tiny.training(**STILL),
        )
    inputs = [np.full((2, 1), k, np.float32) for k in range(4)]
    frames = Examples(inputs, list("abab"), features=("x",))
    with pytest.raises(ConfigError, match=r"vectors: .* holds numbers; vectors are of words"):
        classify.train(frames, tiny.classify_options(vectors=str(path)), tiny.training(**STILL))


def test_vectors_of_no_word_of_the_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("zzz 1 2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"v\.txt: holds none of the \d+ words of the data"):
        classified(tmp_path / "v.txt")


def test_other_vectors_are_another_run(path: Path) -> None:
    first = classified(path).config
    path.write_text("good 1 0 1\nbad 0 1 0\nfilm 0 0 1\n", encoding="utf-8")
    assert classified(path).config.data_hash != first.data_hash


def test_by_command(run: Command, tmp_path: Path, path: Path) -> None:
    data = tiny.write_reviews(tmp_path / "reviews.csv")
    flags = [*tiny.FLAGS, "--tokens", "word", "--vectors", path]
    said = run("train", "classify", data, "--out", tmp_path / "m", *flags)
    assert said.code == 0, said.err
    assert "4 vectors of width 3" in said.err
    assert run("predict", tmp_path / "m", data).code == 0
    said = run("train", "classify", data, "--out", tmp_path / "n", "--vectors", "absent.txt")
    assert said.code != 0
    assert "absent.txt" in said.err


# Tags


def test_a_taggers_embedding_begins_from_vectors(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("get 1 0 0 0\nsushi 0 1 0 0\nNew 5 5 5 5\nfly 0 0 1 0\n")
    said = []
    found = tagged(path, Run(notify=said.append))
    words = found.vocabularies["source"]
    count = len(words) - 4 - 2
    assert said == [
        f"{path}: 4 vectors of width 4; 2 of {count} words of the data have one "
        f"({200 / count:.1f} %), 2 further words are kept"
    ]
    weight = found.weights["embedding.weight"]
    assert weight.shape == (len(words), 4)
    for word, vector in (("get", [1, 0, 0, 0]), ("sushi", [0, 1, 0, 0]), ("fly", [0, 0, 1, 0])):
        np.testing.assert_allclose(weight[words.encode_words([word])[0]], vector, atol=1e-5)


def test_a_tagger_of_frames_refuses_vectors(path: Path) -> None:
    inputs = [np.full((2, 1), k, np.float32) for k in range(4)]
    frames = Sequences("frames", inputs, [["a", "b"]] * 4, features=("x",))
    with pytest.raises(ConfigError, match="vectors: frames holds numbers; vectors are of words"):
        tag.train(frames, tagging.options(vectors=str(path)), tiny.training(**STILL))


def test_a_tagger_refuses_vectors_of_no_word_of_the_data(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("zzz 1 2\n")
    with pytest.raises(DataError, match=r"v\.txt: holds none of the \d+ words of the data"):
        tagged(path)
