"""Frames of numbers: npz and Parquet, a tagger that learns "
"from them, and every error's sentence."""

from __future__ import annotations

import json

import numpy as np
import polars
import pytest

import tagging
import tiny
import unrolled
from commands import Command
from unrolled.data.sequences import read_sequences
from unrolled.errors import DataError
from unrolled.tasks import Tagger

LEARN = {**tiny.SMALL, "dropout": 0.0, "epochs": 15, "lr": 0.03}


def recordings(count=30, seed=0):
    """Two channels; a frame is `up` or `down` by the sign of the sum so far, on odd scales."""
    draw = np.random.default_rng(seed)
    inputs = [draw.normal(size=(draw.integers(3, 9), 2)) for _ in range(count)]
    tags = [["up" if total > 0 else "down" for total in x.sum(1).cumsum()] for x in inputs]
    return [1000 + 50 * x for x in inputs], tags


INPUTS, TAGS = recordings()


def padded():
    lengths = np.array([len(x) for x in INPUTS])
    x = np.zeros((len(INPUTS), lengths.max(), 2))
    y = np.full(x.shape[:2], "", dtype="U4")
    for i, n in enumerate(lengths):
        x[i, :n], y[i, :n] = INPUTS[i], TAGS[i]
    return {"x": x, "y": y, "lengths": lengths}


def joined():
    lengths = np.array([len(x) for x in INPUTS])
    return {"x": np.concatenate(INPUTS), "y": np.concatenate(TAGS), "lengths": lengths}


def table():
    rows = [
        {"id": f"r{i}", "time": t, "a": x[t, 0], "b": x[t, 1], "y": tags[t]}
        for i, (x, tags) in enumerate(zip(INPUTS, TAGS, strict=True))
        for t in range(len(x))
    ]
    order = np.random.default_rng(1).permutation(len(rows))
    return polars.DataFrame([rows[k] for k in order])


@pytest.fixture
def files(tmp_path):
    np.savez(tmp_path / "padded.npz", **padded())
    np.savez(tmp_path / "joined.npz", **joined())
    table().write_parquet(tmp_path / "long.parquet")
    return tmp_path


def test_npz_padded_and_joined_hold_the_same(files):
    for name in ("padded.npz", "joined.npz"):
        found = read_sequences(files / name)
        assert found.tags == TAGS
        assert found.features == ("0", "1")
        for ours, theirs in zip(found.inputs, INPUTS, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert found.where(2, 1).endswith("joined.npz, sequence 3, frame 2")
    assert read_sequences(files / "joined.npz", tagged=False).tags == []


def test_sequences_of_one_frame_each_and_without_lengths(tmp_path):
    x = np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([1, 2, 1, 2]), lengths=np.ones(4, int))
    found = read_sequences(tmp_path / "a.npz")
    assert [each.tolist() for each in found.inputs] == [[row] for row in x.tolist()]
    assert found.tags == [["1"], ["2"], ["1"], ["2"]]
    np.savez(tmp_path / "b.npz", x=x[None], goal=np.array(["go"]), z=np.array([[1, 2, 1, 2]]))
    found = read_sequences(tmp_path / "b.npz", column="z", intent="goal")
    assert (found.tags, found.intents) == ([["1", "2", "1", "2"]], ["go"])


def test_a_long_table_in_any_order(files):
    found = read_sequences(files / "long.parquet")
    assert found.features == ("a", "b")
    by_id = dict(zip(found.ids, zip(found.inputs, found.tags, strict=True), strict=True))
    assert len(by_id) == len(INPUTS)
    for i, (x, tags) in enumerate(zip(INPUTS, TAGS, strict=True)):
        ours, said = by_id[f"r{i}"]
        np.testing.assert_allclose(ours, x, rtol=1e-6)
        assert said == tags
    assert found.where(0, 0).endswith(f"long.parquet, row {found.step_rows[0][0]}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((2, 3))}, "x is [sum T, I], so the archive must hold lengths [N] too"),
        (
            {"x": np.zeros(3)},
            "x must hold numbers [N, T, I], or [sum T, I] beside lengths [N]; it is [3] of float64",
        ),
        (
            {"x": np.array([["a"]])},
            "x must hold numbers [N, T, I], or [sum T, I] beside lengths [N]; it is [1, 1] of <U1",
        ),
        ({"lengths": np.array([3])}, "lengths are 1 of at most 3, but x is [2, 3, 2]"),
        ({"lengths": np.array([3, 4])}, "lengths are 2 of at most 4, but x is [2, 3, 2]"),
        ({"lengths": np.array([3, 0])}, "sequence 2 has length 0"),
        ({"lengths": np.array([3.0, 1.0])}, "lengths must be whole numbers [N], it is [2]"),
        (
            {"x": np.zeros((4, 2)), "lengths": np.array([3, 2])},
            "lengths add up to 5, but x has 4 frames",
        ),
        ({"y": np.zeros((2, 2), int)}, "y is [2, 2], expected a tag for every frame: [2, 3]"),
        ({"y": None}, "no array 'y'; the arrays are: x."),
        ({"x": None}, "no array 'x'; the arrays are: y."),
        (
            {"x": np.where(np.arange(12).reshape(2, 3, 2) == 9, np.nan, 0.0)},
            "{path}, sequence 2, frame 2: a value is missing or not finite",
        ),
    ],
)
def test_what_an_archive_can_have_wrong(tmp_path, change, message):
    arrays = {"x": np.zeros((2, 3, 2)), "y": np.ones((2, 3), int), **change}
    path = tmp_path / "a.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(DataError) as caught:
        read_sequences(path)
    expected = message.format(path=path)
    assert str(caught.value) == (expected if "{path}" in message else f"{path}: {expected}")


def test_what_is_no_archive_and_what_hides_objects(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"not at all")
    with pytest.raises(DataError, match=r"a\.npz: not an npz archive of plain arrays: "):
        read_sequences(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"b\.npy: one array; expected an npz archive"):
        read_sequences(tmp_path / "b.npy", format="npz")
    np.savez(tmp_path / "c.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"c\.npz: not an npz archive of plain arrays: "):
        read_sequences(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": [1.0, None, 3.0]}, ", row 2, column 'a': missing"),
        ({"a": [1.0, float("inf"), 3.0]}, ", row 2, column 'a': inf is not finite"),
        ({"a": ["x", "y", "z"]}, ", row 1, column 'a': 'x', expected a number"),
        (
            {"time": [1, 1, 2]},
            ", row 2, column 'time': 1 a second time in sequence 'p', first in row 1",
        ),
        ({"id": ["p", None, "q"]}, ", row 2, column 'id': missing"),
        ({"y": ["u", "", "v"]}, ", row 2, column 'y': the label is empty"),
        ({"a": None}, ": no columns are left to be features"),
        ({"time": None}, ": no column 'time'; the columns are: id, a, y."),
    ],
)
def test_what_a_table_can_have_wrong(tmp_path, change, message):
    columns = {
        "id": ["p", "p", "q"], "time": [1, 2, 1], "a": [0.0, 1.0, 2.0], "y": ["u", "v", "u"],
        **change,
    }  # fmt: skip
    path = tmp_path / "a.parquet"
    frame = polars.DataFrame({key: value for key, value in columns.items() if value is not None})
    frame.write_parquet(path)
    with pytest.raises(DataError) as caught:
        read_sequences(path)
    assert str(caught.value) == f"{path}{message}"


def test_a_sequence_with_two_intents_is_refused(tmp_path):
    frame = {"id": [1, 1], "time": [1, 2], "a": [0.0, 1.0], "y": ["u", "v"], "goal": ["x", "y"]}
    polars.DataFrame(frame).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"sequence 1 has more than one 'goal': x, y"):
        read_sequences(tmp_path / "a.parquet", intent="goal")


# Learning


def test_the_estimator_learns_frames_on_any_scale():
    estimator = Tagger(**LEARN).fit(INPUTS, TAGS)
    assert estimator.score(INPUTS, TAGS) > 0.9
    spec = estimator.model_.network.spec
    assert (spec.frame_size, spec.embedding_size, spec.characters) == (2, 0, None)
    every = np.concatenate(INPUTS)
    np.testing.assert_allclose(estimator.artifact_.weights["frames.mean"], every.mean(0), rtol=5e-2)
    assert [len(p) for p in estimator.predict_proba(INPUTS[:3])] == [len(x) for x in INPUTS[:3]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [np.zeros((3, 4))],
            r"sequence 1: expected frames \[T, 2\] with T at least 1, got \[3, 4\]",
        ),
        ([np.zeros((0, 2))], r"sequence 1: expected frames \[T, 2\]"),
        ([np.full((3, 2), np.nan)], "sequence 1: holds a value that is missing or not finite"),
        (["a b"], "sequence 1: expected frames of 2 numbers"),
    ],
)
def test_frames_that_do_not_fit_the_model(given, message):
    model = Tagger(**{**LEARN, "epochs": 1}).fit(INPUTS, TAGS).model_
    with pytest.raises(DataError, match=message):
        model.predict(given)


def test_the_command_from_file_to_answers(run: Command, files, tmp_path):
    flags = [*tagging.FLAGS, "--dropout=0", "--epochs=15", "--lr=0.03", "--quiet"]
    assert run("train", "tag", files / "long.parquet", "--out", "m", *flags).code == 0
    metrics = json.loads(run("evaluate", "m", files / "joined.npz", "--json").out)
    assert metrics["accuracy"] > 0.8
    records = list(map(json.loads, run("predict", "m", files / "long.parquet").lines()))
    assert {record["id"] for record in records} == {f"r{i}" for i in range(len(INPUTS))}
    assert set(records[0]) == {"id", "prediction", "confidence", "log_prob"}
    assert "2 numbers a frame" in run("inspect", "m").out
    assert unrolled.load("m").reads_frames
    assert run.error("explain", "m", "a") == (
        "explain takes texts; this model reads frames of numbers: give --data"
    )
    explained = run("explain", "m", "--data", files / "joined.npz", "--rows", "2", "--json")
    (example,) = json.loads(explained.out)
    assert len(example["explanation"]["steps"]) == len(example["tags"])
    assert run.error("predict", "m", "-", stdin="a b") == (
        "-: the model reads frames (npz, parquet), the file is txt"
    )
    (tmp_path / "wide.parquet").write_bytes(b"")
    table().drop("b").write_parquet(tmp_path / "wide.parquet")
    assert run.error("predict", "m", "wide.parquet") == (
        "wide.parquet: no column 'b'; the columns are: id, time, a, y."
    )


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_the_estimator_reads_frames_from_a_data_frame(kind):
    given = table() if kind == "polars" else table().to_pandas()
    order = table()["id"].unique(maintain_order=True).to_list()
    inputs = [INPUTS[int(name[1:])] for name in order]
    tags = [TAGS[int(name[1:])] for name in order]
    choices = {**LEARN, "epochs": 2}
    tagger = Tagger(**choices).fit(given)
    expected = Tagger(**choices).fit([x.astype(np.float32) for x in inputs], tags)
    assert tagger.predict_proba(given)[3] == pytest.approx(expected.predict_proba(inputs)[3])
    assert tagger.score(given) == expected.score(inputs, tags)
    untagged = table().drop("y")
    assert tagger.predict(untagged) == expected.predict(inputs)
    with pytest.raises(DataError, match="no column 'a'; the columns are: id, time, b"):
        tagger.predict(untagged.drop("a"))


def test_tags_beside_a_data_frame_of_frames_keep_its_columns():
    given = table()
    order = given["id"].unique(maintain_order=True).to_list()
    tags = [TAGS[int(name[1:])] for name in order]
    tagger = Tagger(**{**LEARN, "epochs": 2})
    expected = tagger.fit(given).predict_proba(given)[3]
    bare = given.drop("y")
    for frame in (bare, given):
        tagger.fit(frame, tags, validation=(bare.select("b", "a", "time", "id"), tags))
        assert tagger.model_.tagging.features == ("a", "b")
    assert tagger.fit(bare, tags).predict_proba(bare)[3] == pytest.approx(expected)
    assert tagger.score(bare, tags) == tagger.score(given)
    renamed = bare.rename({"a": "left", "b": "right"})
    assert tagger.fit(renamed, tags).model_.tagging.features == ("left", "right")
    assert tagger.predict_proba(renamed)[3] == pytest.approx(expected)
    tags[1] = tags[1][:-1]
    with pytest.raises(DataError, match=r"the training data, row \d+: \d tags for \d words"):
        tagger.fit(bare, tags)


def test_intents_beside_a_data_frame_of_frames():
    given = table()
    order = given["id"].unique(maintain_order=True).to_list()
    tags = [TAGS[int(name[1:])] for name in order]
    goals = [each[-1] for each in tags]
    goal = polars.col("id").replace_strict(order, goals).alias("goal")
    choices = {**LEARN, "epochs": 1, "intent": "goal"}
    whole = given.with_columns(goal)
    expected = Tagger(**choices).fit(whole).predict_intent(given)
    for frame, y, intents in (
        (whole.drop("y"), tags, None), (given, tags, goals), (given, None, goals),
    ):  # fmt: skip
        assert Tagger(**choices).fit(frame, y, intents=intents).predict_intent(given) == expected


def test_only_the_usual_column_of_times_may_be_left_out():
    given = table().sort("id", "time").drop("time")
    tagger = Tagger(**{**LEARN, "epochs": 1}).fit(given)
    assert tagger.model_.tagging.features == ("a", "b")
    with pytest.raises(DataError, match="no column 'when'; the columns are: id, a, b, y"):
        Tagger(time="when").fit(given)
