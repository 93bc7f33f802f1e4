"""The Korean pages of the lab: they tell what each experiment is, and freeze no result of it."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import get_args

import pytest

from unrolled.lab.catalogue import EXPERIMENTS
from unrolled.lab.experiment import Answer

DOCS = Path(__file__).parent.parent / "docs"
ENGLISH, KOREAN = DOCS / "lab", DOCS / "ko" / "lab"

FENCE = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(
    r"^```\{include\} (?P<path>\S+)\n:start-after: (?P<start>.+)\n:end-before: (?P<end>.+)\n```$",
    re.MULTILINE,
)
IMAGE = re.compile(r"^!\[.+\]\((?P<path>\S+)\)$", re.MULTILINE)
SOURCE = re.compile(r"[A-Z]\w+(?: et al\.| and [A-Z]\w+)? (?:19|20)\d\d")
NUMBER = re.compile(r"\d+(?:[.,_]\d+)*")
ROLE = re.compile(r"\{lab-(verdict|effort)\}`([\w-]+)`")


def read(folder: Path, name: str) -> str:
    return (folder / f"{name}.md").read_text("utf-8")


def words(text: str) -> str:
    return " ".join(text.split())


def numbers(text: str) -> set[str]:
    return {number.replace(",", "").replace("_", "") for number in NUMBER.findall(text)}


def test_every_experiment_has_a_page_and_no_other() -> None:
    assert {page.stem for page in KOREAN.glob("*.md")} == {"index", *EXPERIMENTS}


def test_the_index_names_every_experiment_in_order() -> None:
    index = read(KOREAN, "index")
    assert re.findall(r"\]\(([\w-]+)\.md\)", index) == list(EXPERIMENTS)
    assert re.findall(r"^([\w-]+)$", index.split("{toctree}")[1], re.MULTILINE) == list(EXPERIMENTS)
    both = [(role, name) for name in EXPERIMENTS for role in ("verdict", "effort")]
    assert ROLE.findall(index) == both


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_page_tells_of_its_experiment(name: str) -> None:
    experiment, page = EXPERIMENTS[name], read(KOREAN, name)
    assert FENCE.findall(page) == FENCE.findall(read(ENGLISH, name))
    assert set(SOURCE.findall(words(page))) == set(SOURCE.findall(words(experiment.text)))
    for column in (*experiment.columns, *experiment.numbers):
        assert f"`{column.replace('_', ' ')}`" in page
    for plot in experiment.plots:
        assert f"`{plot.x_title}`" in words(page)
        assert f"`{plot.y_title}`" in words(page)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_was_found_comes_from_the_english_page(name: str) -> None:
    page, english = read(KOREAN, name), read(ENGLISH, name)
    assert ROLE.findall(page) == [("verdict", name), ("effort", name)]
    included = [match.groupdict() for match in INCLUDE.finditer(page)]
    assert [one["start"] for one in included] == ["<!-- numbers -->", "<!-- reasons -->"]
    for one in included:
        assert (KOREAN / one["path"]).resolve() == (ENGLISH / f"{name}.md").resolve()
        assert (english.count(one["start"]), english.count(one["end"])) == (1, 1)
        assert english.index(one["start"]) < english.index(one["end"])
    pictures = [(KOREAN / path).resolve() for path in IMAGE.findall(page)]
    assert pictures == [(ENGLISH / path).resolve() for path in IMAGE.findall(english)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_page_holds_the_numbers_of_its_experiment_and_no_result(name: str) -> None:
    """A number is written by hand only where the experiment's own module has it too."""
    experiment, page = EXPERIMENTS[name], read(KOREAN, name)
    module = inspect.getsource(inspect.getmodule(experiment.run))
    assert numbers(page) - numbers(module) == set()
    assert numbers(experiment.text) - numbers(page) == set()


def test_every_answer_has_its_korean() -> None:
    pytest.importorskip("sphinx", reason="sphinx is not installed")
    conf = runpy.run_path(str(DOCS / "conf.py"))
    assert set(conf["KOREAN"]) == {*get_args(Answer), "quick", "full"}
    for name in EXPERIMENTS:
        english = read(ENGLISH, name)
        (answer,) = conf["LabVerdict"].line.findall(english)
        assert answer in get_args(Answer)
        ((_, kind, _),) = conf["LabEffort"].line.findall(english)
        assert kind in ("quick", "full")
