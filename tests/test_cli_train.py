"""The command that trains: its folder, its signals, and data that cannot be trained on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import polars
import pytest

import tiny
import unrolled
from commands import TRAIN, Command


def test_training_writes_a_model_and_speaks_on_stderr_only(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    said = run(*TRAIN)
    assert (said.code, said.out) == (0, "")
    first, second, last = said.err.splitlines()
    assert first.startswith("epoch 1/2  loss ")
    assert second.startswith("epoch 2/2  loss ")
    assert "accuracy" in first
    assert "the model is in model" in last
    assert unrolled.load("model").classes == ("down", "up")


def test_quiet_says_nothing_and_json_prints_the_metrics(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    said = run(*TRAIN, "--quiet", "--json")
    assert (said.code, said.err) == (0, "")
    assert {"accuracy", "macro_f1", "log_loss", "train_seconds"} <= json.loads(said.out).keys()


def test_columns_of_other_names(run: Command, tmp_path: Path) -> None:
    path = tiny.write_reviews(tmp_path / "reviews.csv")
    path.write_text(path.read_text().replace("text,label", "review,stars"))
    said = run(*TRAIN, "--text", "review", "--label", "stars", "--quiet")
    assert said.code == 0
    path.write_text("review\ngood film\n")
    assert run("predict", "model", "reviews.csv").lines()[0] == "review,prediction,probability"


def test_every_format_gives_the_same_model(run: Command, tmp_path: Path) -> None:
    path = tiny.write_reviews(tmp_path / "reviews.csv")
    texts, labels = tiny.reviews()
    rows = [{"text": t, "label": label} for t, label in zip(texts, labels, strict=True)]
    (tmp_path / "reviews.tsv").write_text(path.read_text().replace(",", "\t"))
    (tmp_path / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    polars.DataFrame(rows).write_parquet(tmp_path / "reviews.parquet")
    found = set()
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        flags = ("--out", ending, *tiny.FLAGS, "--epochs=1", "--quiet")
        assert run("train", "classify", f"reviews.{ending}", *flags).code == 0
        found.add(Path(ending, "model.safetensors").read_bytes())
    said = run(
        "train", "classify", "-", "--format", "csv", "--out", "stdin", *tiny.FLAGS, "--epochs=1",
        stdin=path.read_bytes(),
    )  # fmt: skip
    assert said.code == 0
    found.add(Path("stdin", "model.safetensors").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_whole_numbers_are_labels(run: Command, tmp_path: Path, ending: str) -> None:
    rows = [{"text": t, "label": i % 2 + 9} for i, t in enumerate(tiny.reviews()[0])]
    if ending == "jsonl":
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        polars.DataFrame(rows).write_parquet(tmp_path / "r.parquet")
    path = f"r.{ending}"
    assert run("train", "classify", path, "--out", "m", *tiny.FLAGS, "--quiet").code == 0
    assert unrolled.load("m").classes == ("9", "10")
    assert run("evaluate", "m", path).code == 0


def test_two_parallel_files(run: Command, tmp_path: Path) -> None:
    sources, targets = tiny.words()
    (tmp_path / "a.txt").write_text("\n".join(sources) + "\n")
    (tmp_path / "b.txt").write_text("\n".join(targets) + "\n")
    said = run("train", "translate", "a.txt", "--target-file", "b.txt", "--out", "m", *tiny.FLAGS)
    assert said.code == 0
    (tmp_path / "b.txt").write_text("\n".join(targets[:-1]) + "\n")
    message = run.error(
        "train", "translate", "a.txt", "--target-file", "b.txt", "--out", "n", *tiny.FLAGS
    )
    assert message.startswith("a.txt has 40 lines and b.txt has 39;")


def test_a_validation_file_is_what_is_measured(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    tiny.write_reviews(tmp_path / "valid.csv", 7)
    said = run(*TRAIN, "--valid", "valid.csv", "--json", "--quiet")
    accuracy = json.loads(said.out)["accuracy"]
    assert accuracy * 7 == pytest.approx(round(accuracy * 7))
    evaluated = json.loads(run("evaluate", "model", "valid.csv", "--json").out)
    assert evaluated["accuracy"] == accuracy


# Out folders


def test_an_out_folder_with_a_model_needs_overwrite(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    assert run(*TRAIN).code == 0
    before = Path("model/model.safetensors").read_bytes()
    assert run.error(*TRAIN, "--seed=1") == (
        "model: holds another model; give --overwrite to replace it, --resume to go on training "
        "it, or another --out"
    )
    assert Path("model/model.safetensors").read_bytes() == before
    assert run(*TRAIN, "--seed=1", "--overwrite").code == 0
    assert Path("model/model.safetensors").read_bytes() != before


def test_an_out_folder_of_other_things_is_never_taken(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    Path("model").mkdir()
    Path("model/thesis.tex").write_text("years of work")
    message = "model: is not empty and holds no model; choose another --out"
    assert run.error(*TRAIN) == message
    assert run.error(*TRAIN, "--overwrite") == message
    assert os.listdir("model") == ["thesis.tex"]


def test_resume(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    assert run.error(*TRAIN, "--resume") == (
        "model/training/last.safetensors: no checkpoint to resume from"
    )
    assert not Path("model").exists()
    assert run(*TRAIN).code == 0
    before = Path("model/model.safetensors").read_bytes()
    said = run(*TRAIN, "--resume")
    assert said.code == 0
    assert said.err.startswith("best epoch ")
    assert Path("model/model.safetensors").read_bytes() == before
    assert "belongs to a run with other options or data" in run.error(
        *TRAIN, "--resume", "--hidden-size=9"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_checkpoints_and_resume_ends_where_a_whole_run_ends(
    run: Command, tmp_path: Path, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unrolled.train import watch

    tiny.write_reviews(tmp_path / "reviews.csv")
    assert run(*TRAIN, "--quiet").code == 0
    with monkeypatch.context() as patch:
        ends = watch.Lines.step

        def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
            ends(self, epoch, done, of, loss, share)
            if (epoch, done) == (2, 2):
                os.kill(os.getpid(), number)

        patch.setattr(watch.Lines, "step", step)
        said = run(*TRAIN[:4], "other", *TRAIN[5:])
    assert said.code == code
    name = signal.Signals(number).name
    assert said.err.splitlines()[-1] == (
        f"unrolled: stopped by {name}; go on with --resume "
        "(checkpoint in other/training/last.safetensors)"
    )
    assert run(*TRAIN[:4], "other", *TRAIN[5:], "--resume").code == 0
    for file in ("model.safetensors", "config.json"):
        assert Path("other", file).read_bytes() == Path("model", file).read_bytes()


# Data that cannot be trained on


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "reviews.csv: the file is empty"),
        (b"\n \n", "reviews.csv: the file is empty: it holds nothing but white space"),
        (b"text,label\n", "reviews.csv: the file has a header (text, label) and no rows"),
        (b"review,label\na,b\n", "reviews.csv: no column 'text'; the columns are: review, label."),
        (b"text,label\na,x\nb\n", "reviews.csv, row 3: "),
        (b"text,label\na,x\n\xff,y\n", "reviews.csv: byte 0xff at offset 15 (row 3) is not UTF-8"),
        (b"text,label\na,x\n ,y\n", "reviews.csv, row 3, column 'text': the text is empty"),
        (b"text,label\na,x\nb,\n", "reviews.csv, row 3, column 'label': the label is empty"),
        (b"text,label\na,1\nb,nan\n", "row 3, column 'label': the label is NaN"),
        (b"text,label\na,x\nb,x\n", "needs at least two different labels, found only 'x'"),
        (b"text,label\na,x\n", "needs at least two different labels, found only 'x'"),
        (b"text,label\na,x\na,y\n", "at least 2 different ones are needed to hold some out"),
    ],
)
def test_a_bad_file_is_told_with_its_place(
    run: Command, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "reviews.csv").write_bytes(content)
    assert message in run.error(*TRAIN)
    assert not Path("model").exists()


def test_a_missing_file_suggests_its_neighbour(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "review.csv")
    assert run.error(*TRAIN) == "reviews.csv: no such file. Did you mean 'review.csv'?"


def test_nan_in_a_parquet_column_is_told(run: Command) -> None:
    polars.DataFrame({"text": ["a", "b"], "label": [1.0, float("nan")]}).write_parquet("r.parquet")
    assert "row 2, column 'label': the label is NaN; expected a class" in run.error(
        "train", "classify", "r.parquet", "--out", "m"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\n", "pairs.tsv: 1 pair(s); at least 2 are needed to train"),
        ("a\tb\na\tc\n", "2 records with 1 different inputs"),
        ("a\tb\nc\n", "pairs.tsv, row 2: "),
        ("a\tb\nc\t\n", "pairs.tsv, row 2, column 'target': the text is empty"),
    ],
)
def test_bad_pairs(run: Command, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "pairs.tsv").write_text(content)
    assert message in run.error("train", "translate", "pairs.tsv", "--out", "m")


def test_two_rows_are_enough(run: Command, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\ngood,up\nbad,down\n")
    assert run(*TRAIN).code == 0
    (tmp_path / "pairs.tsv").write_text("a\tb\nc\td\n")
    assert run("train", "translate", "pairs.tsv", "--out", "m", *tiny.FLAGS).code == 0


def test_a_validation_label_never_seen_is_told_before_training(
    run: Command, tmp_path: Path
) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    (tmp_path / "valid.csv").write_text("text,label\ngood,up\nfine,sideways\n")
    assert run.error(*TRAIN, "--valid", "valid.csv") == (
        "valid.csv, row 3: label 'sideways' was not seen in training; the labels are: down, up."
    )
    assert not Path("model").exists()


def test_long_sequences_are_cut_and_it_is_said_where(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    said = run(*TRAIN, "--max-length=2")
    assert said.code == 0
    first = said.err.splitlines()[0]
    assert first.startswith("36 of 36 texts for training are longer than 2 units (max_length) and")
    assert "were cut there; the first is reviews.csv, row " in first
