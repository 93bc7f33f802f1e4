"""Settings of every test; being here also lets tests share the helper modules of this folder."""

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

import tiny
from commands import Command
from training_runs import SETTINGS
from unrolled import cli
from unrolled.tasks.base import Run

# The tests' tensors are tiny: threads would only wait for each other.
torch.set_num_threads(1)

# What a test checks is never how long it took: machines are shared.
hypothesis.settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# `make fuzz`: as many examples as patience allows, new ones each time.
hypothesis.settings.register_profile(
    "fuzz",
    parent=hypothesis.settings.get_profile("unhurried"),
    max_examples=5000,
    derandomize=False,
)
hypothesis.settings.load_profile("unhurried")


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


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an uninterrupted run of each setting, trained once."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("whole") / "model"
            SETTINGS[name](Run(folders[name]))
        return folders[name]

    return folder
