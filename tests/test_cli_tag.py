"""The command with a tagger: each format in and out, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tagging
import unrolled
from commands import Command
from unrolled import cli

TRAIN = ("train", "tag")
LEARN = (*tagging.FLAGS, "--epochs=12", "--lr=0.03", "--quiet")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that were trained by the command itself, and their data."""
    root = tmp_path_factory.mktemp("models")
    conll = tagging.write_conll(root / "orders.conll", intent=True)
    conllu = tagging.write_conllu(root / "orders.conllu")
    jsonl = tagging.write_jsonl(root / "orders.jsonl")
    for name, data, flags in (
        ("slots", conll, ("--intent", "intent")),
        ("xpos", conllu, ("--column", "xpos")),
        ("json", jsonl, ("--intent", "intent")),
    ):
        given = [*TRAIN, data, "--valid", data, "--out", root / name, *LEARN, *flags]
        assert cli.run(list(map(str, given))) == 0
    return root


def test_help_names_every_key(run: Command) -> None:
    said = run("train", "tag", "--help")
    for name in ("column", "intent", "head", "scheme", "constraints", "vectors", "word-dropout"):
        assert f"--{name} " in said.out


def test_training_tells_spans_intents_and_sentences(run: Command, root: Path) -> None:
    said = run(
        *TRAIN, root / "orders.conll", "--out", "model", "--intent", "intent", *tagging.FLAGS,
        "--json",
    )  # fmt: skip
    assert said.code == 0
    assert "span F1" in said.err
    metrics = json.loads(said.out)
    assert {"accuracy", "span_f1", "intent_accuracy", "sentence_accuracy"} <= metrics.keys()


def test_every_format_holds_the_same_sentences(run: Command, root: Path) -> None:
    models = [unrolled.load(root / name) for name in ("slots", "json")]
    assert models[0].tags == models[1].tags
    assert models[0].config.data_hash == models[1].config.data_hash
    assert models[0].predict("fly to oslo") == models[1].predict("fly to oslo")


def test_evaluate_reads_the_column_it_was_trained_on(run: Command, root: Path) -> None:
    said = run("evaluate", root / "slots", root / "orders.conll")
    lines = said.lines()
    assert lines[0].startswith("accuracy")
    assert [line.split()[0] for line in lines[1:4]] == ["span_f1", "span_precision", "span_recall"]
    assert any(line.startswith("intent_accuracy") and "100.00 %" in line for line in lines)
    assert lines[-3].split() == ["span", "f1", "precision", "recall", "count"]
    assert [line.split()[0] for line in lines[-2:]] == ["FOOD", "LOC"]
    metrics = json.loads(run("evaluate", root / "xpos", root / "orders.conllu", "--json").out)
    assert metrics["accuracy"] > 0.9
    assert metrics["count"] == 40
    said = run("evaluate", root / "xpos", root / "orders.conllu", "--target", "upos", "--json")
    found = json.loads(said.out)
    assert found["unknown_tags"] == metrics["steps"]
    assert "log_loss" not in found


def test_lines_of_words_give_lines_of_tags(run: Command, root: Path) -> None:
    said = run("predict", root / "slots", "-", stdin="fly to oslo\nget rice in rio\n")
    assert said.lines() == ["go\tO O B-LOC", "eat\tO B-FOOD O B-LOC"]
    said = run("predict", root / "xpos", "-", stdin="fly to oslo\n")
    assert said.lines() == ["O O B-LOC"]
    said = run("predict", root / "xpos", "-", "--n-best", "3", stdin="fly to oslo\n")
    answers = said.out.rstrip("\n").split("\t")
    assert answers[0] == "O O B-LOC"
    assert len(set(answers)) == 3


def test_json_holds_confidences_and_answers(run: Command, root: Path) -> None:
    said = run("predict", root / "slots", "-", "--json", "--n-best", "2", stdin="fly to oslo\n")
    (record,) = map(json.loads, said.lines())
    assert record["tokens"] == ["fly", "to", "oslo"]
    assert record["prediction"] == ["O", "O", "B-LOC"]
    assert all(0.2 < share <= 1 for share in record["confidence"])
    assert record["intent_prediction"] == "go"
    assert record["intent_probability"] > 0.5
    assert [len(answer["tags"]) for answer in record["answers"]] == [3, 3]
    assert record["log_prob"] == record["answers"][0]["log_prob"]


def test_json_lines_come_back_with_their_keys(run: Command, root: Path) -> None:
    said = run("predict", root / "json", root / "orders.jsonl")
    records = list(map(json.loads, said.lines()))
    assert len(records) == 40
    assert list(records[0])[:4] == ["tokens", "tags", "intent", "n"]
    assert len(records[0]["prediction"]) == len(records[0]["tokens"])
    assert records[0]["intent_prediction"] == records[0]["intent"]


def test_columns_come_back_with_tag_and_confidence(run: Command, root: Path) -> None:
    lines = run("predict", root / "slots", root / "orders.conll").lines()
    given = (root / "orders.conll").read_text().splitlines()
    assert len(lines) == len(given)
    assert lines[0] == "# intent = eat"
    for line, before in zip(lines, given, strict=True):
        if not before or before.startswith("#"):
            assert line == before
            continue
        word, true, tag, confidence = line.split(" ")
        assert f"{word} {true}" == before
        assert tag in unrolled.load(root / "slots").tags
        assert 0 < float(confidence) <= 1
    bare = run("predict", root / "slots", "-", "--format", "conll", stdin="fly\nto\noslo\n").lines()
    assert bare[0] == "# intent = go"
    assert [line.split()[1] for line in bare[1:]] == ["O", "O", "B-LOC"]
    (best, *_) = run(
        "predict", root / "xpos", "-", "--format", "conll", "--n-best", "2", stdin="fly\n\nto\n"
    ).lines()
    assert len(best.split()) == 4


def test_conllu_comes_back_with_its_column_filled_in(run: Command, root: Path) -> None:
    lines = run("predict", root / "xpos", root / "orders.conllu").lines()
    given = (root / "orders.conllu").read_text().splitlines()
    assert len(lines) == len(given)
    assert lines[0] == "# text = of the words"
    assert lines[2] == given[2]
    fields = lines[1].split("\t")
    assert fields[:4] == given[1].split("\t")[:4]
    assert fields[4] == "O"
    assert fields[9].startswith("Confidence=0.")
    again = run("evaluate", root / "xpos", "-", "--format", "conllu", stdin="\n".join(lines) + "\n")
    assert again.lines()[0].split() == ["accuracy", "100.00", "%"]


def test_inspect_draws_it(run: Command, root: Path) -> None:
    said = run("inspect", root / "slots").out
    assert "tag: " in said
    assert "5 tags in BIO, answers held to it" in said
    assert "and one of 2 labels for the whole" in said
    assert "spelling: " in said
    assert "scored together by a CRF" in said
    assert "crf.transitions" in said
    assert json.loads(run("inspect", root / "slots", "--json").out)["config"]["task"] == "tag"


def test_explain_shows_the_probability_of_each_tag(run: Command, root: Path) -> None:
    said = run("explain", root / "slots", "fly to oslo", "get rice in rio", "--out", "r.html")
    assert said.lines() == ["O O B-LOC", "O B-FOOD O B-LOC"]
    page = Path("r.html").read_text()
    for part in ("B-LOC", "oslo", "The model is least sure of", "Probability of each tag", "go"):
        assert part in page
    (example,) = json.loads(run("explain", root / "xpos", "fly to oslo", "--json", "--quiet").out)
    assert example["tags"] == ["O", "O", "B-LOC"]
    assert len(example["marginals"]) == 3


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (
            ("predict", "xpos", "-", "--beam", "2"),
            "a\n",
            "--beam does not apply to task 'tag'; unrolled predict takes for it: --format, "
            "--source, --n-best, --json, --quiet",
        ),
        (
            ("predict", "xpos", "orders.conllu", "--n-best", "2"),
            "",
            "--n-best: a CoNLL-U file holds one tag a word; give --json",
        ),
        (("predict", "xpos", "-"), "a\n\nb\n", "stdin, row 2: no words; expected at least one"),
        (
            ("predict", "xpos", "-", "--format", "npz"),
            "",
            "-: the model reads words (conllu, conll, jsonl), the file is npz",
        ),
        (
            ("evaluate", "xpos", "orders.conll"),
            "",
            "column 'xpos': a CoNLL file's columns have no names; expected "
            "a number from 1, or from -1 backwards",
        ),
        (("explain", "xpos", " "), "", "text 1 is empty; expected at least one word"),
        (
            ("explain", "xpos", "a", "--methods", "states", "--png", "a.png"),
            "",
            "--png draws alignments and attributions; --methods names none",
        ),
    ],
)
def test_what_can_be_asked_wrongly(
    run: Command, root: Path, arguments: tuple[str, ...], stdin: str, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(root)
    assert run.error(*arguments, stdin=stdin) == message


def test_a_wrong_label_in_the_data_names_its_row(run: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.conll").write_text("a X\nb\n")
    said = run.error(*TRAIN, "bad.conll", "--out", "model", *tagging.FLAGS)
    assert said == "bad.conll, row 2: 1 columns, expected 2 as in row 1"
