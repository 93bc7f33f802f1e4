"""The command that answers: lines, tables, units, n best, and every error's sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars
import pytest

from commands import Command


def test_lines_in_lines_out(run: Command, models: Path) -> None:
    said = run("predict", models / "labels", "-", stdin="good film\nbad film\n")
    assert (said.code, said.out, said.err) == (0, "up\ndown\n", "")
    said = run("predict", models / "words", "-", stdin="ab\ncd\nef")
    assert (said.code, len(said.lines()), said.err) == (0, 3, "")


def test_a_table_comes_back_with_its_columns_and_the_answer(run: Command, models: Path) -> None:
    Path("new.csv").write_text('id,text\n1,"good, film"\n2,bad film\n')
    rows = list(csv.reader(run("predict", models / "labels", "new.csv").lines()))
    assert rows[0] == ["id", "text", "prediction", "probability"]
    assert [row[:3] for row in rows[1:]] == [["1", "good, film", "up"], ["2", "bad film", "down"]]
    assert all(0.5 <= float(row[3]) <= 1 for row in rows[1:])


def test_the_same_answers_from_every_format(run: Command, models: Path) -> None:
    texts = ["good film", "bad film", "a good film"]
    Path("n.txt").write_text("\n".join(texts))
    Path("n.csv").write_text("text\n" + "\n".join(texts))
    Path("n.jsonl").write_text("\n".join(json.dumps({"text": t, "id": 1}) for t in texts))
    polars.DataFrame({"text": texts, "id": [1, 2, 3]}).write_parquet("n.parquet")
    answers = run("predict", models / "labels", "n.txt").lines()
    table = csv.DictReader(run("predict", models / "labels", "n.csv").lines())
    assert [row["prediction"] for row in table] == answers
    records = map(json.loads, run("predict", models / "labels", "n.jsonl").lines())
    assert [(r["id"], r["text"], r["prediction"]) for r in records] == [
        (1, text, answer) for text, answer in zip(texts, answers, strict=True)
    ]
    table = csv.DictReader(run("predict", models / "labels", "n.parquet").lines())
    assert [(row["id"], row["prediction"]) for row in table] == list(
        zip("123", answers, strict=True)
    )


def test_answers_never_take_the_place_of_a_column(run: Command, models: Path) -> None:
    Path("a.csv").write_text("text,prediction\ngood film,mine\n")
    Path("a.jsonl").write_text('{"text": "good film", "prediction": "mine"}\n')
    for name in ("a.csv", "a.jsonl"):
        assert run.error("predict", models / "labels", name) == (
            f"{name}: has a column 'prediction' already; "
            "give --column NAME, another name for the answers"
        )
    said = run("predict", models / "labels", "a.csv", "--column", "ours")
    (row,) = csv.DictReader(said.lines())
    assert (row["prediction"], row["ours"], float(row["ours_probability"]) > 0.5) == (
        ("mine", "up", True)
    )
    record = json.loads(run("predict", models / "labels", "a.jsonl", "--column", "ours").out)
    assert (record["prediction"], record["ours"]) == ("mine", "up")


def test_json_gives_the_probability_of_every_class(run: Command, models: Path) -> None:
    (line,) = run("predict", models / "labels", "-", "--json", stdin="good film\n").lines()
    record = json.loads(line)
    assert record["input"] == "good film"
    assert record["prediction"] == "up"
    assert sum(record["probabilities"].values()) == pytest.approx(1)
    assert record["probability"] == pytest.approx(record["probabilities"]["up"], abs=1e-6)


def test_units_come_as_they_are_decoded(run: Command, models: Path) -> None:
    given = "ab\ncd\nef"
    whole = run("predict", models / "words", "-", stdin=given)
    said = run("predict", models / "words", "-", "--stream", stdin=given)
    assert (said.code, said.out, said.err) == (0, whole.out, "")
    said = run("predict", models / "words", "-", "--stream", stdin="ab\n" * 2 + "abababab\n")
    assert "line 3 was longer than 6 units and was cut there" in said.err
    for model, flags, stdin, message in (
        ("words", (), "ab\n\n", "stdin: line 2 is empty"),
        ("words", ("--beam", "2"), "ab\n", "--stream reads lines from - and goes with no --beam"),
        ("labels", (), "good\n", "--stream does not apply to task 'classify'"),
    ):
        said = run("predict", models / model, "-", "--stream", *flags, stdin=stdin)
        assert said.code == 2
        assert message in said.err


def test_the_n_best_answers_with_scores(run: Command, models: Path) -> None:
    flags = ("--beam", "4", "--n-best", "3")
    (line,) = run("predict", models / "words", "-", *flags, "--json", stdin="ab\n").lines()
    answers = json.loads(line)["answers"]
    assert len(answers) == 3
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert all(answer["log_prob"] < 0 for answer in answers)
    texts = [answer["text"] for answer in answers]
    assert run("predict", models / "words", "-", *flags, stdin="ab\n").out == (
        "\t".join(texts) + "\n"
    )
    Path("n.csv").write_text("source\nab\n")
    (row,) = csv.DictReader(run("predict", models / "words", "n.csv", *flags).lines())
    assert [row["prediction"], row["prediction_2"], row["prediction_3"]] == texts


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("words", ("--n-best", "2"), "--n-best 2 needs --beam 2 or more"),
        ("labels", ("--beam", "2"), "--beam does not apply to task 'classify'; unrolled predict"),
    ],
)
def test_a_beam_that_cannot_be(
    run: Command, models: Path, model: str, flags: tuple, message: str
) -> None:
    assert message in run.error("predict", models / model, "-", *flags, stdin="ab\n")


def test_long_texts_are_cut_and_said_in_prediction(run: Command, models: Path) -> None:
    texts = "good film\n" + "good " * 500 + "\n"
    said = run("predict", models / "labels", "-", stdin=texts)
    assert said.out == "up\nup\n"
    assert said.err == (
        "1 of 2 texts were longer than 6 units and were cut there; the first is stdin, row 2, "
        "column 'text'\n"
    )
    assert run("predict", models / "labels", "-", "--quiet", stdin=texts).err == ""
    Path("other.csv").write_text("id,review\n1,good film\n2," + "good " * 500 + "\n")
    said = run("predict", models / "labels", "other.csv", "--source", "review")
    assert said.err.endswith("the first is other.csv, row 3, column 'review'\n")


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "stdin: the file is empty"),
        (b"\n", "stdin: the file is empty: it holds nothing but white space"),
        (b"good\n\nbad\n", "stdin, row 2, column 'text': the text is empty"),
        (b"good\n\xe9t\xe9\n", "stdin: byte 0xe9 at offset 5 (row 2) is not UTF-8"),
    ],
)
def test_bad_lines(run: Command, models: Path, stdin: bytes, message: str) -> None:
    assert run.error("predict", models / "labels", "-", stdin=stdin).startswith(message)


def test_a_missing_column_in_prediction_names_those_there(run: Command, models: Path) -> None:
    Path("new.csv").write_text("id,review\n1,good\n")
    assert run.error("predict", models / "labels", "new.csv") == (
        "new.csv: no column 'text'; the columns are: id, review."
    )
    assert run("predict", models / "labels", "new.csv", "--source", "review").code == 0


def test_a_text_of_units_never_seen_is_answered(run: Command, models: Path) -> None:
    assert run("predict", models / "labels", "-", stdin="zzz 한글 🙂\n").out in ("up\n", "down\n")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_folder_that_is_no_model(run: Command, verb: str) -> None:
    Path("empty").mkdir()
    assert run.error(verb, "empty", "x.csv") == (
        "empty: no config.json in this folder (it holds: nothing)"
    )
    assert run.error(verb, "none", "x.csv") == "none: no such model folder"
