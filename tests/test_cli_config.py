"""Options from flags, `--set`, variables and files, and what is told of a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from commands import TRAIN, Command
from unrolled.cli import common
from unrolled.config import TrainSpec
from unrolled.errors import ConfigError
from unrolled.options import ClassifyOptions


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
