"""The command: what goes to stdout, what to stderr, which exit code, and every error's sentence."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars
import pytest

import tiny
import unrolled
from unrolled import cli
from unrolled.cli import common
from unrolled.config import TrainSpec
from unrolled.errors import ConfigError
from unrolled.options import ClassifyOptions


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        return self.out.splitlines()


class Command:
    """Runs the command in this process, in a folder of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capture = patch, capture

    def __call__(self, *arguments: object, stdin: str | bytes = "") -> Said:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        self.capture.readouterr()
        code = cli.run(list(map(str, arguments)))
        return Said(code, *self.capture.readouterr())

    def error(self, *arguments: object, stdin: str | bytes = "", code: int = 2) -> str:
        """The one line of an error, without its beginning."""
        said = self(*arguments, stdin=stdin)
        assert (said.code, said.out) == (code, ""), said
        last = said.err.splitlines()[-1]
        assert last.startswith("unrolled: error: "), said.err
        assert "Traceback" not in said.err
        return last.removeprefix("unrolled: error: ")


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("UNROLLED_")]:
        monkeypatch.delenv(variable)
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models, trained by the command itself, and their data."""
    root = tmp_path_factory.mktemp("models")
    data = tiny.write_reviews(root / "reviews.csv")
    flags = [*tiny.FLAGS, "--epochs=4", "--lr=0.02", "--max-length=6", "--quiet"]
    assert cli.run(["train", "classify", str(data), "--out", str(root / "labels"), *flags]) == 0
    pairs = tiny.write_words(root / "pairs.tsv")
    assert cli.run(["train", "translate", str(pairs), "--out", str(root / "words"), *flags]) == 0
    return root


TRAIN = ("train", "classify", "reviews.csv", "--out", "model", *tiny.FLAGS)


def child(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "unrolled", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=tiny.environment(), **options
    )


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


# Train


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


# Configuration


def resolved(folder: str = "model") -> dict:
    return json.loads(Path(folder, "config.json").read_text())


def settled(run: Command, tmp_path: Path, *flags: str) -> dict:
    tiny.write_reviews(tmp_path / "reviews.csv")
    said = run("train", "classify", "reviews.csv", "--out", "model", "--quiet", *flags)
    assert said.code == 0, said.err
    return resolved()


def test_flags_beat_set_beats_environment_beats_file_beats_defaults(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text(
        "[training]\nepochs = 1\nseed = 1\nlr = 0.1\nmomentum = 0.1\nwarmup = 0.1\n"
        "[model]\nhidden-size = 4\nembedding_size = 5\n"
    )
    for name, value in {"SEED": "2", "LR": "0.2", "MOMENTUM": "0.2", "PATIENCE": "2"}.items():
        monkeypatch.setenv(f"UNROLLED_{name}", value)
    flags = ("--config", "c.toml", "--set", "train.lr=0.3", "--set", "momentum=0.3")
    found = settled(run, tmp_path, *flags, "--momentum=0.4")
    training = found["training"]
    assert training["momentum"] == 0.4
    assert training["lr"] == 0.3
    assert (training["seed"], training["patience"]) == (2, 2)
    assert (training["warmup"], training["epochs"]) == (0.1, 1)
    assert training["clip_norm"] == 1.0
    assert found["network"]["embedding_size"] == 5
    assert found["network"]["recurrent"]["hidden_sizes"] == [4]


def test_a_json_file_and_every_kind_of_value(run: Command, tmp_path: Path) -> None:
    content = {"epochs": 1, "bidirectional": False, "cell": "lstm", "hidden_size": 4}
    (tmp_path / "c.json").write_text(json.dumps(content))
    found = settled(run, tmp_path, "--config", "c.json", "--set", "residual=no")
    assert found["network"]["recurrent"]["cell"] == "lstm"
    assert found["network"]["recurrent"]["bidirectional"] is False


@pytest.mark.parametrize(
    ("flags", "variables", "file", "message"),
    [
        ([], {}, "hiden_size = 3", "c.toml: unknown key 'hiden_size'. Did you mean 'hidden_size'?"),
        ([], {}, "[a]\nxyz = 3", "c.toml: unknown key 'xyz'."),
        ([], {}, 'epochs = "3"', "c.toml: epochs = '3': Expected int, got str"),
        ([], {}, "epochs = 0", "c.toml: epochs = 0: Expected int >= 1"),
        ([], {}, "epochs = ", "c.toml: not valid toml ("),
        (["--set", "epochz=3"], {}, "", "--set: unknown key 'epochz'. Did you mean 'epochs'?"),
        (["--set", "epochs"], {}, "", "--set epochs: expected KEY=VALUE"),
        (["--set", "lr=fast"], {}, "", "--set lr = 'fast': Expected float, got str"),
        (["--set", "residual=maybe"], {}, "", "--set residual = 'maybe': Expected bool"),
        (["--set", "cell=grue"], {}, "", "--set cell = 'grue': "),
        (["--epochs", "0"], {}, "", "the flags: epochs = 0: Expected int >= 1"),
        (["--dropout", "1"], {}, "", "the flags: dropout = 1.0: Expected float < 1.0"),
        (
            [],
            {"UNROLLED_EPOCH": "3"},
            "",
            "environment: unknown variable UNROLLED_EPOCH. Did you mean 'UNROLLED_EPOCHS'?",
        ),
        (
            [],
            {"UNROLLED_EPOCHS": "0"},
            "",
            "environment: UNROLLED_EPOCHS = '0': Expected int >= 1",
        ),
    ],
)
def test_a_wrong_key_or_value_is_told_with_where_it_stood(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags, variables, file, message
) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    (tmp_path / "c.toml").write_text(file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    arguments = ("train", "classify", "reviews.csv", "--out", "m", "--config", "c.toml", *flags)
    assert run.error(*arguments).startswith(message)
    assert not Path("m").exists()


def test_a_variable_of_another_task_is_left_alone(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLLED_DECODER_LAYERS", "2")
    settled(run, tmp_path, *tiny.FLAGS, "--epochs=1")


def test_a_missing_configuration_file(run: Command, tmp_path: Path) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv")
    message = "c.toml: cannot be read (No such file or directory)"
    assert run.error(*TRAIN, "--config", "c.toml") == message


def test_gather_gives_only_what_was_given(run: Command) -> None:
    found = common.gather(
        ClassifyOptions,
        TrainSpec,
        flags={"lr": None, "seed": 3},
        sets=("a.b.cell=rnn",),
        config=None,
    )
    assert found == {"seed": 3, "cell": "rnn"}
    with pytest.raises(ConfigError):
        common.gather(ClassifyOptions, flags={}, sets=("lr=1",), config=None)


# Predict


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
