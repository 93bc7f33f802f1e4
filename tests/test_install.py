"""An environment with the package and its four dependencies, nothing else: models load and answer.

The environment borrows the installed dependencies. With UNROLLED_WHEEL=file.whl it is made by pip
from that wheel instead, as a user would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

import captioning
import tiny
import unrolled
from test_torch_free import models
from unrolled import _native, cli

__all__ = ["models"]

DEPENDENCIES = ("numpy", "msgspec", "safetensors", "click")
USE = """
import sys
import unrolled
from unrolled.cli import run

folder, data, out = sys.argv[1:]
texts = [line.split(",")[0] for line in open(data)][1:]
print(len(unrolled.load(folder).predict(texts)))
for arguments in (
    ["predict", folder, data],
    ["explain", folder, texts[0], "--out", out, "--quiet"],
    ["inspect", folder],
):
    assert run(arguments) == 0, arguments
"""
WHEEL = os.environ.get("UNROLLED_WHEEL")
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site-packages of a fresh environment."""
    root = tmp_path_factory.mktemp("environment")
    venv.create(root, with_pip=bool(WHEEL))
    (site,) = root.glob("lib/python*/site-packages")
    if WHEEL:
        pip = [str(root / "bin" / "python"), "-m", "pip", "install", "--quiet", WHEEL]
        subprocess.run(pip, check=True)
        return site
    for name in DEPENDENCIES:
        folders = {path.parts[0] for path in metadata.files(name) or () if path.parts[0] != ".."}
        for folder in folders - {"bin", "__pycache__"}:
            (site / folder).symlink_to(metadata.distribution(name).locate_file(folder))
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(Path(unrolled.__file__).parent, site / "unrolled", ignore=ignored)
    shutil.copy(_native.__file__, site / "unrolled")
    return site


def python(packages: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `code` in the environment, cut off from everything around it."""
    interpreter = packages.parents[2] / "bin" / Path(sys.executable).name
    command = [str(interpreter), "-I", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def size(folder: Path) -> int:
    """Return the bytes of all files below, byte code aside."""
    files = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return sum(path.stat().st_size for path in files if path.is_file())


def test_dependencies_are_these_four() -> None:
    needed = [line for line in metadata.requires("unrolled") or () if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in needed) == sorted(DEPENDENCIES)


def test_the_environment_has_no_framework(packages: Path) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'polars') if u.find_spec(n)])"
    assert python(packages, code).stdout == "[]\n"


def test_every_module_of_inference_imports(packages: Path) -> None:
    code = "import unrolled.runtime, unrolled.artifact, unrolled.explain.report, unrolled.cli"
    found = python(packages, code)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("task", ["classify", "translate"])
def test_models_answer(task: str, packages: Path, models, tmp_path: Path) -> None:
    found = python(packages, USE, *models[task], tmp_path / "report.html")
    assert found.stderr == ""
    assert found.stdout.startswith("10\n")


OTHERS = {
    "regress": ("score.csv", "score.csv", ["--tokens=word", *tiny.FLAGS]),
    "tag": ("tags.jsonl", "words.txt", ["--epochs=1", "--hidden-size=8", "--embedding-size=8"]),
    "caption": ("things.jsonl", "things.jsonl", [*captioning.FLAGS, "--epochs=1"]),
    "generate": ("text.txt", "prompt.txt", ["--epochs=1", "--hidden-size=8", "--bptt=10"]),
    "forecast": (
        "series.csv",
        "series.csv",
        ["--horizon=2", "--window=8", "--epochs=1", "--hidden-size=8"],
    ),
}
ANSWER = """
import sys
from unrolled.cli import run
sys.exit(run(["predict", *sys.argv[1:], "--quiet"]))
"""


def write_data(folder: Path) -> None:
    """Write a little of what each of the other tasks learns from."""
    texts, _ = tiny.reviews()
    scores = (f"{text},{len(text)}\n" for text in texts)
    (folder / "score.csv").write_text("text,target\n" + "".join(scores))
    tags = ({"tokens": text.split(), "tags": ["A", "B", "C"]} for text in texts)
    (folder / "tags.jsonl").write_text("".join(json.dumps(each) + "\n" for each in tags))
    (folder / "words.txt").write_text("good film 3\n")
    captioning.write_jsonl(folder / "things.jsonl", captioning.attributes())
    (folder / "text.txt").write_text("what comes next is written here. " * 60)
    (folder / "prompt.txt").write_text("what")
    days = (f"a,2024-01-{day:02},{day % 7}\n" for day in range(1, 31))
    (folder / "series.csv").write_text("unique_id,ds,y\n" + "".join(days))


@pytest.mark.parametrize("task", OTHERS)
def test_models_of_the_other_tasks_answer_on_the_command_line(
    task: str, packages: Path, tmp_path: Path
) -> None:
    write_data(tmp_path)
    data, asked, flags = OTHERS[task]
    out = ["--out", str(tmp_path / "model"), "--quiet"]
    assert cli.run(["train", task, str(tmp_path / data), *flags, *out]) == 0
    found = python(packages, ANSWER, tmp_path / "model", tmp_path / asked)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.strip()


def test_all_but_numpy_is_small(packages: Path) -> None:
    assert sum(size(packages / name) for name in ("unrolled", *DEPENDENCIES[1:])) < 10 * MEGABYTE


@pytest.mark.skipif(not WHEEL, reason="UNROLLED_WHEEL names no wheel; make package builds one")
def test_the_wheel_is_small_and_whole(packages: Path) -> None:
    assert Path(str(WHEEL)).stat().st_size < 3 * MEGABYTE
    source = Path(tiny.__file__).parents[1] / "src"
    wanted = {p.relative_to(source) for p in source.glob("unrolled/**/*.py")}
    assert wanted == {p.relative_to(packages) for p in packages.glob("unrolled/**/*.py")}
