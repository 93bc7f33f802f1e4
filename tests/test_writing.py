"""Writing a model folder: a kill at any moment leaves a whole model, two runs never share one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny
import unrolled
from unrolled import artifact
from unrolled.errors import ModelError
from unrolled.tasks.base import Run
from unrolled.tasks.classify import train

DYING = """
import os, sys
from unrolled import artifact
folder, other, moment = sys.argv[1:]
left, rename = [int(moment)], os.replace
def replace(source, target):
    if left[0] == 0:
        os._exit(9)
    left[0] -= 1
    rename(source, target)
os.replace = replace
found = artifact.load(other)
artifact.save(
    artifact.Path(folder), config=found.config, weights=found.weights,
    vocabularies=found.vocabularies, metrics=found.metrics, card="new",
)
"""
FILES = 5


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of one shape and other weights."""
    root = tmp_path_factory.mktemp("two")
    for name, seed in (("old", 0), ("new", 1)):
        run = Run(root / name)
        train(tiny.examples(), tiny.classify_options(), tiny.training(seed=seed), run=run)
    return root / "old", root / "new"


@pytest.mark.parametrize("moment", range(FILES + 2))
def test_a_kill_at_any_rename_leaves_the_old_model_or_the_new(
    two: tuple[Path, Path], tmp_path: Path, moment: int
) -> None:
    old, new = two
    folder = Path(shutil.copytree(old, tmp_path / "model"))
    command = [sys.executable, "-c", DYING, str(folder), str(new), str(moment)]
    done = subprocess.run(command, env=tiny.environment(), check=False)
    assert done.returncode == (0 if moment == FILES + 1 else 9)
    expected = artifact.load(old if moment == 0 else new)
    found = artifact.load(folder)
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], value)
    assert ((folder / "README.md").read_text() == "new") == (moment > 0)
    assert not (folder / artifact.RENAMES).exists()
    unrolled.load(folder)


@pytest.mark.parametrize("name", ["../stolen.json", "/tmp/stolen.json", 3])
def test_a_list_of_renames_stays_within_its_folder(
    two: tuple[Path, Path], tmp_path: Path, name: object
) -> None:
    folder = Path(shutil.copytree(two[0], tmp_path / "model"))
    (folder / artifact.RENAMES).write_text(json.dumps({"config.json": name}))
    with pytest.raises(ModelError, match="names a file outside the folder"):
        artifact.load(folder)
    assert (folder / "config.json").exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with artifact.only_writer(folder), pytest.raises(ModelError, match="another run is writing"):
        train(tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(folder))
    assert not folder.exists()
    train(tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(folder))
    unrolled.load(folder)
