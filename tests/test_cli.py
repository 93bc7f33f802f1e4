"""The command: what goes to stdout, what to stderr, which exit code, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
import unrolled
from commands import TRAIN, Command, child
from unrolled import cli

# Help and usage


def test_help_lists_every_verb(run: Command) -> None:
    said = run("--help")
    assert said.code == 0
    assert said.err == ""
    assert all(f"\n  {verb} " in said.out for verb in cli.VERBS)


@pytest.mark.parametrize("verb", [v for v in cli.VERBS if v != "bench"])
def test_every_verb_explains_itself(run: Command, verb: str) -> None:
    said = run(verb, "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: unrolled {verb}")


@pytest.mark.parametrize("task", ["classify", "translate"])
def test_help_of_a_task_names_every_key_with_its_default(run: Command, task: str) -> None:
    said = run("train", task, "--help")
    for name in ("lr", "hidden-size", "max-length", "epochs", "seed", "engine", "clip-norm"):
        assert f"--{name} " in said.out
    assert "[default: 0.002]" in said.out


def test_version(run: Command) -> None:
    assert run("--version").out == f"unrolled, version {unrolled.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "no command 'trian'. Did you mean 'train'?"),
        (("train", "classify", "x.csv"), "Missing option '--out'"),
        (("predict", "model"), "Missing argument 'DATA'"),
        (("train", "classify", "x.csv", "--out", "m", "--epoch", "3"), "--epoch"),
        (("train", "classify", "x.csv", "--out", "m", "--cell", "grue"), "'grue' is not one of"),
        (("train", "classify", "x.csv", "--out", "m", "--epochs", "many"), "not a valid integer"),
        (("predict", "model", "-", "--beam", "0"), "0 is not in the range x>=1"),
    ],
)
def test_usage_errors_exit_with_2_on_stderr(run: Command, arguments: tuple, message: str) -> None:
    said = run(*arguments)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert "Usage: unrolled" in said.err
    assert "Traceback" not in said.err


# Evaluate, explain, inspect


def test_evaluate_a_classifier(run: Command, models: Path) -> None:
    said = run("evaluate", models / "labels", models / "reviews.csv")
    assert (said.code, said.err) == (0, "")
    assert said.lines()[0].split() == ["accuracy", "100.00", "%"]
    assert "confusion (rows: true, columns: predicted)" in said.out
    found = json.loads(run("evaluate", models / "labels", models / "reviews.csv", "--json").out)
    assert found["accuracy"] == 1.0
    assert found["confusion"] == [[20, 0], [0, 20]]


def test_evaluate_a_translator(run: Command, models: Path) -> None:
    data = models / "pairs.tsv"
    found = json.loads(run("evaluate", models / "words", data, "--beam", "2", "--json").out)
    assert {"per", "wer", "bleu", "bleu_signature", "count", "beam"} <= found.keys()
    assert "wer" in run("evaluate", models / "words", data).out


def test_a_label_never_seen_in_training_is_told_with_its_row(run: Command, models: Path) -> None:
    Path("test.csv").write_text("text,label\ngood film,up\nodd film,upp\n")
    assert run.error("evaluate", models / "labels", "test.csv") == (
        "test.csv, row 3, column 'label': label 'upp' was not seen in training; "
        "the labels are: down, up. Did you mean 'up'?"
    )


def test_evaluate_counts_the_texts_that_were_cut(run: Command, models: Path) -> None:
    Path("test.csv").write_text(f"text,label\ngood film,up\n{'bad ' * 50},down\n")
    assert (
        json.loads(run("evaluate", models / "labels", "test.csv", "--json").out)["truncated"] == 1
    )


@pytest.mark.parametrize(("model", "text"), [("labels", "good film"), ("words", "ab")])
def test_explain_writes_a_page_and_prints_the_answer(
    run: Command, models: Path, model: str, text: str
) -> None:
    said = run("explain", models / model, text, "--out", "report.html")
    assert (said.code, len(said.lines())) == (0, 1)
    assert said.err == "the report is in report.html\n"
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    said = run("explain", models / model, text, "--json", "--quiet")
    assert said.err == ""
    (example,) = json.loads(said.out)
    assert "weights" in example


def test_explain_where_nothing_can_be_written(run: Command, models: Path) -> None:
    Path("file").write_text("x")
    said = run("explain", models / "labels", "good film", "--out", "file/report.html")
    assert said.code == 1
    assert "could not save" in said.err


def test_explain_says_when_a_text_was_cut(models: Path, tmp_path: Path) -> None:
    with child("explain", models / "labels", "good " * 20, "--out", tmp_path / "r.html") as said:
        _, err = said.communicate()
    assert said.returncode == 0
    assert err.startswith("unrolled: warning: 1 of the texts are longer than 6 units and were cut")


def test_inspect_draws_and_counts(run: Command, models: Path) -> None:
    said = run("inspect", models / "words")
    assert (said.code, said.err) == (0, "")
    for part in ("source_embedding", "encoder", "attention", "decoder", "output"):
        assert part in said.out
    found = json.loads(run("inspect", models / "words", "--json").out)
    model = unrolled.load(models / "words")
    assert found["config"]["network"]["task"] == "translate"
    assert found["parameters"]["output.bias"] == [len(model.target_vocabulary)]
    count = sum(a * b for a, b in ([*s, 1][:2] for s in found["parameters"].values()))
    assert found["parameter_count"] == count


def test_inspect_tells_the_engine(run: Command) -> None:
    assert run("inspect", "--engine").lines()[0].startswith("instruction set  ")
    assert set(json.loads(run("inspect", "--engine", "--json").out)) == {
        "isa",
        "available",
        "threads",
    }
    assert run.error("inspect") == "name a model folder, or give --engine"


# What goes wrong where no one thought of it


@pytest.fixture
def broken(run: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command whose `inspect` has a bug."""
    from unrolled import artifact

    def load(folder: str) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(artifact, "load", load)
    return run


def test_a_bug_is_one_line_without_debug(broken: Command) -> None:
    said = broken("inspect", "model")
    assert said.code == 1
    assert said.err == (
        "unrolled: this is a bug: ZeroDivisionError: a bug (run again with --debug to see where)\n"
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_the_traceback_wherever_it_stands(broken: Command, place: int) -> None:
    arguments = ["inspect", "model"]
    arguments.insert(place, "--debug")
    said = broken(*arguments)
    assert said.code == 1
    assert said.err.startswith("Traceback (most recent call last)")
    assert said.err.endswith("ZeroDivisionError: a bug\n")


def test_debug_shows_the_traceback_of_a_users_error_too(run: Command) -> None:
    said = run("inspect", "none", "--debug")
    assert said.code == 2
    assert "Traceback" in said.err
    assert said.err.endswith("unrolled: error: none: no such model folder\n")


def test_a_loss_that_is_not_finite_exits_with_1(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    message = run.error(*TRAIN, "--quiet", "--lr=1e38", "--warmup=0", code=1)
    assert message.startswith("epoch 1, step ")
    assert message.endswith("try a lower lr, or a lower clip_norm")


def test_interrupted_before_training_exits_with_130(
    run: Command, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unrolled.runtime import model

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model.ClassifierModel, "classify", interrupted)
    said = run("predict", models / "labels", "-", stdin="good\n")
    assert (said.code, said.out, said.err) == (130, "", "\nstopped\n")


def test_a_reader_that_goes_away_is_no_bug(models: Path, tmp_path: Path) -> None:
    Path(tmp_path / "many.txt").write_text("good film\n" * 100_000)
    with child("predict", models / "labels", tmp_path / "many.txt") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
