"""The course runs: every number on its pages is what the Python above it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

import pages

LEARN = Path(__file__).parent.parent / "docs" / "learn"
KOREAN = LEARN.parent / "ko" / "learn"


@pytest.mark.parametrize("page", sorted(LEARN.glob("*.md")), ids=lambda page: page.stem)
def test_every_block_prints_what_the_page_shows(page: Path) -> None:
    for number, (shown, printed) in enumerate(pages.run(page), start=1):
        assert pages.alike(shown, printed), f"block {number} printed:\n{printed}"


def test_a_wrong_number_would_be_seen() -> None:
    assert pages.alike("h = 0.4621\n", "h = 0.4622\n")
    assert not pages.alike("h = 0.4621\n", "h = 0.4625\n")
    assert not pages.alike("3 steps\n", "4 steps\n")
    assert not pages.alike("2e-07\n", "2e-06\n")
    assert not pages.alike("yes 1.0\n", "no 1.0\n")


def test_the_korean_pages_run_the_same_python() -> None:
    assert {page.name for page in KOREAN.glob("*.md")} == {page.name for page in LEARN.glob("*.md")}
    for page in LEARN.glob("*.md"):
        translated = (KOREAN / page.name).read_text("utf-8")
        assert blocks(translated) == blocks(page.read_text("utf-8")), page.name


def blocks(text: str) -> list[tuple[str, str]]:
    return [(cell["source"], cell["shown"]) for cell in pages.CELL.finditer(text)]


@pytest.mark.parametrize("folder", [LEARN, KOREAN], ids=["en", "ko"])
def test_every_page_is_in_the_index(folder: Path) -> None:
    index = (folder / "index.md").read_text("utf-8")
    named = {page.stem for page in folder.glob("*.md")} - {"index"}
    assert all(f"]({name}.md)" in index and f"\n{name}\n" in index for name in named)
