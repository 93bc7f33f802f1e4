"""Captions from data to model: reading, training, answering, and what is said of bad input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import captioning
import unrolled
from unrolled.config import TrainSpec
from unrolled.data.captions import Described, attributes, read_described
from unrolled.errors import ConfigError, DataError, ModelError, UnrolledError
from unrolled.explain.captioning import captioned_examples, captioning_report, occlusion
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.tasks import Captioner
from unrolled.tasks.base import Run
from unrolled.tasks.caption import train
from unrolled.tasks.evaluate import evaluate_captioner, read_described_by


def described(inputs, texts, kind) -> Described:
    arrays = [each[None] if kind == "vector" else each for each in inputs]
    return Described("things", kind, arrays, [[text] for text in texts])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CaptionerModel]:
    """One model of each kind of input, trained and read back from its folder."""
    root = tmp_path_factory.mktemp("models")
    values, texts = captioning.vectors()
    sets, named = captioning.regions()
    data = captioning.write_jsonl(root / "a.jsonl", captioning.attributes())
    things = {
        "vector": (described(values, texts, "vector"), {}),
        "regions": (described(sets, named, "regions"), {"positions": True}),
        "attributes": (read_described(data), {}),
    }
    for kind, (given, choices) in things.items():
        train(
            given,
            captioning.options(**choices),
            captioning.training(epochs=25),
            validation=given,
            run=Run(root / kind),
        )
    return {kind: unrolled.load(root / kind) for kind in things}


def test_each_kind_learns_what_it_can_say(models):
    values, texts = captioning.vectors()
    assert models["vector"].predict(values) == texts
    sets, named = captioning.regions()
    said = models["regions"].predict(sets)
    assert np.mean([a == b for a, b in zip(said, named, strict=True)]) > 0.9
    records = captioning.attributes()
    said = models["attributes"].predict([record["attributes"] for record in records])
    assert np.mean([a in r["caption"] for a, r in zip(said, records, strict=True)]) > 0.9


def test_the_order_and_spelling_of_attributes_do_not_matter(models):
    model = models["attributes"]
    one = model.caption({"colour": "red", "shape": "box", "big": True})
    two = model.caption([["shape=box", "big=true", "colour=red"]])
    assert one[0][0].log_prob == two[0][0].log_prob
    assert one[0][0].alignment.shape == (len(one[0][0].units), 3)
    assert one[0][0].parts == ("big=true", "colour=red", "shape=box")
    assert model.predict([{"colour": "mauve", "shape": "box"}])


def test_answers_come_with_scores_and_alignments(models):
    model = models["regions"]
    sets, _ = captioning.regions()
    found = model.caption(sets[:5], beam=4, n_best=3)
    for given, answers in zip(sets, found, strict=False):
        assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
        for answer in answers:
            assert answer.alignment.shape == (len(answer.units), len(given))
        texts = [a.text for a in answers if a.text]
        told = model.log_prob([given] * len(texts), texts)
        expected = [a.log_prob for a in answers if a.text]
        np.testing.assert_allclose(told, expected, rtol=1e-4, atol=1e-4)
    assert models["vector"].caption(captioning.vectors()[0][:1])[0][0].alignment is None
    assert model.predict(sets[0]) == model.predict([sets[0]])


def test_a_caption_is_written_unit_by_unit(models):
    things = {
        "vector": captioning.vectors()[0][3],
        "regions": captioning.regions()[0][3],
        "attributes": captioning.attributes()[3]["attributes"],
    }
    for kind, thing in things.items():
        session = models[kind].stream(thing)
        said = [written.text for written in session]
        assert "".join(said) == session.text == models[kind].predict([thing])[0] != ""
    with pytest.raises(DataError, match="a stream writes about one thing, got 2"):
        models["vector"].stream(np.ones((2, 6)))


def test_numbers_are_standardised_and_constant_ones_left_out(models):
    values, _ = captioning.vectors()
    network = models["vector"].network
    np.testing.assert_allclose(network.mean, values.mean(axis=0), atol=1e-5)
    assert network.scale[5] == 0
    moved = values.copy()
    moved[:, 5] = -100
    assert models["vector"].predict(moved) == models["vector"].predict(values)


def test_one_step_and_limits(models):
    values, _ = captioning.vectors()
    assert models["vector"].config.data.captioning.longest == 3
    assert all(len(text.split()) <= 1 for text in models["vector"].predict(values, max_length=1))


def test_equal_things_share_their_texts_in_evaluation(models):
    model = models["attributes"]
    records = captioning.attributes()
    things = [attributes(record["attributes"], "x") for record in records]
    halves = [[record["caption"][k]] for k in (0, 1) for record in records]
    apart = Described("x", "attributes", [*things, *things], halves)
    together = Described("x", "attributes", things, [r["caption"] for r in records])
    assert evaluate_captioner(model, apart) == evaluate_captioner(model, together)
    metrics = evaluate_captioner(model, together)
    assert (metrics["count"], metrics["texts"]) == (12, 24)
    told = model.log_prob([t for t in things for _ in range(2)],
                          [t for r in records for t in r["caption"]])  # fmt: skip
    steps = sum(len(text.split()) + 1 for r in records for text in r["caption"])
    assert metrics["log_loss"] == pytest.approx(-told.sum() / steps)


def test_what_an_answer_hangs_on(models):
    values, texts = captioning.vectors()
    row = next(i for i, text in enumerate(texts) if text == "a green ball")
    losses = occlusion(models["vector"], values[row][None], texts[row])
    assert losses.argmax() in (2, 3, 4)
    assert losses[5] == 0
    assert losses.max() > 0.01


def test_a_page_of_each_kind(models):
    values, texts = captioning.vectors()
    sets, named = captioning.regions()
    page = captioning_report(
        "Regions", captioned_examples(models["regions"], described(sets[:3], named, "regions"))
    )
    assert "Alignment, weights from 0 to 1" in page
    page = captioning_report(
        "Vectors", captioned_examples(models["vector"], described(values[:3], texts, "vector"))
    )
    assert "What the answer hangs on" in page
    assert "Zeiler" in page


def test_npz_and_jsonl_hold_the_same_things(tmp_path: Path):
    values, texts = captioning.vectors(6)
    one = read_described(captioning.write_npz(tmp_path / "v.npz", features=values, caption=texts))
    records = [{"features": row.tolist(), "caption": text}
               for row, text in zip(values, texts, strict=True)]  # fmt: skip
    two = read_described(captioning.write_jsonl(tmp_path / "v.jsonl", records))
    assert one.kind == two.kind == "vector"
    assert one.keys() == two.keys()
    assert one.captions == two.captions
    plain = tmp_path / "texts.txt"
    plain.write_text("".join(f"{text}\tanother\n" for text in texts))
    bare = captioning.write_npz(tmp_path / "bare.npz", features=values)
    three = read_described(bare, captions=plain)
    assert three.captions == [[text, "another"] for text in texts]
    several = captioning.write_npz(
        tmp_path / "k.npz",
        features=np.ones((2, 3, 4)), lengths=[3, 1], caption=[["a", "b"], ["c", ""]],
    )  # fmt: skip
    four = read_described(several)
    assert four.kind == "regions"
    assert [each.shape for each in four.inputs] == [(3, 4), (1, 4)]
    assert four.captions == [["a", "b"], ["c"]]


BAD_LINES = [
    ('{"features": [1, NaN], "caption": "x"}', "row 1: not JSON"),
    ('{"features": [1, null], "caption": "x"}', "row 1, column 'features': number 2 is missing"),
    ('{"features": [], "caption": "x"}', "row 1, column 'features': expected numbers"),
    ('{"features": [[1, 2], [3]], "caption": "x"}', "row 1, column 'features': expected a list"),
    ('{"features": "abc", "caption": "x"}', "row 1, column 'features': expected a list of numbers"),
    ('{"features": [1], "caption": "x"}\n{"features": [1, 2], "caption": "x"}',
     "row 2, column 'features': 2 numbers, but the first have 1"),
    ('{"features": [1], "caption": "x"}\n{"features": [[1]], "caption": "x"}',
     "row 2, column 'features': regions, but the first are vector"),
    ('{"attributes": {}, "caption": "x"}', "row 1, column 'attributes': no attributes"),
    ('{"attributes": {"a": {"b": 1}}, "caption": "x"}', "'a': expected a text or a number"),
    ('{"attributes": ["a", " "], "caption": "x"}', "attribute 2 is empty"),
    ('{"attributes": ["a", 3], "caption": "x"}', "item 2 is 3 (int) beside texts"),
    ('{"features": [1], "caption": " "}', "row 1, column 'caption': the text is empty"),
    ('{"features": [1], "caption": 3}', "row 1, column 'caption': expected a text or a list"),
    ('{"features": [1]}', "row 1: no key 'caption'"),
    ('{"pixels": [1], "caption": "x"}', "no key 'features' or 'attributes'"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "message"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, lines: str, message: str):
    path = tmp_path / "bad.jsonl"
    path.write_text(lines + "\n")
    with pytest.raises(DataError, match=re.escape(message)):
        read_described(path)


X = np.ones((3, 4))
BAD_ARRAYS = [
    ({"caption": ["a"] * 3}, "no array 'features'"),
    ({"features": X}, "no array 'caption'"),
    ({"features": X[0], "caption": ["a"]}, "features must hold numbers [N, F] or regions"),
    ({"features": np.where(np.eye(3, 4) == 1, np.nan, 1), "caption": ["a"] * 3},
     "row 1, array 'features': region 1, number 1 is missing or not finite"),
    ({"features": X, "caption": ["a"] * 2}, "caption must hold texts [3] or [3, K]"),
    ({"features": X, "caption": [1, 2, 3]}, "caption must hold texts"),
    ({"features": X, "caption": ["a", "", "b"]}, "row 2, array 'caption': the text is empty"),
    ({"features": X[None], "lengths": [4], "caption": ["a"]}, "row 1: length 4, expected 1 to 3"),
    ({"features": X[None], "lengths": [1, 2], "caption": ["a"]}, "lengths must be whole numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS)
def test_a_bad_array_is_named(tmp_path: Path, arrays, message: str):
    path = captioning.write_npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=re.escape(message)):
        read_described(path)


def test_names_among_numbers_are_named(tmp_path: Path):
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"features": [1, "a"], "caption": "b"}\n')
    with pytest.raises(DataError, match=r"item 1 is 1 \(int\) beside texts; expected names thr"):
        read_described(path)


def test_damaged_files_and_other_counts_are_named(tmp_path: Path):
    whole = captioning.write_npz(tmp_path / "a.npz", features=X, caption=["a"] * 3).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.npz: not an npz archive"):
        read_described(tmp_path / "cut.npz")
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match=r"texts for 2 things, but .*a\.npz holds 3"):
        read_described(tmp_path / "a.npz", captions=tmp_path / "texts.txt")
    (tmp_path / "a.csv").write_text("x\n")
    with pytest.raises(DataError, match=r"cannot tell the format from the ending '\.csv'"):
        read_described(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="unknown format 'npy'"):
        read_described(tmp_path / "a.npz", format="npy")


def test_a_model_names_what_it_cannot_read(models, tmp_path: Path):
    vector, ordered = models["vector"], models["regions"]
    for given, message in (
        (np.ones((2, 5)), "item 1: 5 numbers, but the model reads 6"),
        (np.full((1, 6), np.nan), "item 1: number 1 is missing or not finite"),
        ([np.ones((2, 6))], "item 1: the model reads vector, this is regions"),
    ):
        with pytest.raises(DataError, match=message):
            vector.predict(given)
    with pytest.raises(DataError, match="item 1: 4 regions, but the model has places for 3"):
        ordered.predict([np.ones((4, 3))])
    with pytest.raises(DataError, match="item 2: no attributes"):
        models["attributes"].predict([{"a": 1}, {}])
    path = captioning.write_npz(tmp_path / "wide.npz", features=np.ones((2, 7)))
    with pytest.raises(DataError, match=r"wide\.npz, row 1: 7 numbers, but the model reads 6"):
        read_described_by(vector, str(path), captioned=False)
    with pytest.raises(DataError, match="the model reads regions, the file holds vector"):
        read_described_by(ordered, str(path), captioned=False)
    with pytest.raises(DataError, match="1 texts for 2 things"):
        vector.log_prob(np.ones((2, 6)), ["a"])


def test_training_names_what_it_cannot_use():
    values, texts = captioning.vectors(8)
    given = described(values, texts, "vector")
    small = captioning.training(epochs=1)
    with pytest.raises(DataError, match=r"1 distinct item\(s\); at least 2"):
        train(given.take([0, 0]), captioning.options(), small)
    with pytest.raises(DataError, match="vectors of 3 numbers, but things: vectors of 6"):
        train(given, captioning.options(), small,
              validation=described(values[:, :3], texts, "vector"))  # fmt: skip
    with pytest.raises(ConfigError, match="a caption is written in one direction"):
        train(given, captioning.options(bidirectional=True), small)


def test_a_damaged_folder_is_named(tmp_path: Path):
    values, texts = captioning.vectors(20)
    fitted = train(described(values, texts, "vector"), captioning.options(),
                   captioning.training(epochs=1), run=Run(tmp_path / "m"))  # fmt: skip
    assert isinstance(fitted.config.training, TrainSpec)
    config = tmp_path / "m" / "config.json"
    config.write_text(config.read_text().replace('"feature_size": 6', '"feature_size": 7'))
    with pytest.raises(ModelError, match=r"weight 'project\.weight' has shape"):
        unrolled.load(tmp_path / "m")


def test_the_estimator_fits_scores_and_saves(tmp_path: Path):
    values, texts = captioning.vectors()
    found = Captioner(tokens="word", hidden_size=16, embedding_size=8, dropout=0.0, epochs=15,
                      batch_size=16, lr=0.03)  # fmt: skip
    with pytest.raises(UnrolledError, match="not fitted yet"):
        found.predict(values)
    found.fit(values[:100], texts[:100])
    assert found.score(values[100:], texts[100:]) > 0.9
    said = found.predict(values[:3], beam=2)
    found.save(tmp_path / "model")
    assert unrolled.load(tmp_path / "model").predict(values[:3], beam=2) == said
    with pytest.raises(DataError, match="the training data: 3 things but 2 texts"):
        found.fit(values[:3], texts[:2])
    with pytest.raises(DataError, match="row 2: number 1 is missing or not finite"):
        found.fit([values[0], values[1] * np.nan], texts[:2])
    with pytest.raises(DataError, match="no rows"):
        found.fit([], [])
