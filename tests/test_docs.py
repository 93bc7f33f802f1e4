"""The documentation speaks of what there is: its links, its Python, its commands and options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from unrolled.cli import VERBS, cli

ROOT = Path(__file__).parent.parent
NAMES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = sorted([*(ROOT / name for name in NAMES), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def blocks(text: str, *languages: str) -> list[str]:
    """Return the fenced blocks of a page that are in one of `languages`."""
    return [body for language, body in FENCE.findall(text) if language in languages]


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each `unrolled ...` command in code: in lines, in pipes, in backticks."""
    inline = re.findall(r"`(unrolled [^`]*)`", FENCE.sub("", text))
    shell = "\n".join(blocks(text, "sh", "console", "")).replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in shell.splitlines()]
    for line in [*inline, *lines]:
        for part in re.split(r"[|>;]|&&", line):
            words = part.split("#")[0].strip()
            if words.startswith("unrolled ") and not words.startswith("unrolled:"):
                yield shlex.split(words)[1:]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that `words` name and what follows; raises UsageError for no such verb."""
    command: click.Command = cli
    context = click.Context(cli)
    while (
        isinstance(command, click.Group) and words and re.fullmatch(r"[a-z]+(-[a-z]+)*", words[0])
    ):
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no command {words[0]!r}")
        command, words = found, words[1:]
    return command, words


def options(command: click.Command) -> set[str]:
    names = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return {name for name in names if name.startswith("-")} | {"--help", "-h"}


def every_option() -> set[str]:
    verbs = [resolve([verb])[0] for verb in VERBS]
    groups = [verb for verb in verbs if isinstance(verb, click.Group)]
    assert len(groups) > 1
    commands = [cli, *verbs, *(each for group in groups for each in group.commands.values())]
    return set().union(*(options(command) for command in commands))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_and_image_exists(page: Path) -> None:
    targets = LINK.findall(FENCE.sub("", page.read_text()))
    relative = [t for t in targets if not re.match(r"[a-z]+:|#", t)]
    missing = [t for t in relative if not (page.parent / t.split("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_blocks_compile(page: Path) -> None:
    text = page.read_text()
    heredocs = re.findall(r"^python3 - <<'END'\n(.*?)^END$", text, re.MULTILINE | re.DOTALL)
    for source in [*blocks(text, "python"), *heredocs]:
        compile(source, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_has_its_verb_and_its_options(page: Path) -> None:
    for words in command_lines(page.read_text()):
        command, rest = resolve([word for word in words if word not in ("VERB", "TASK")])
        named = {word.split("=")[0] for word in rest if word.startswith("--")}
        allowed = every_option() if "VERB" in words else options(command)
        assert named <= allowed, f"unrolled {' '.join(words)}"


def test_every_option_that_readme_names_exists() -> None:
    words = set(re.findall(r"`(--[a-z][a-z-]*)", FENCE.sub("", (ROOT / "README.md").read_text())))
    assert len(words) > 10
    assert words <= every_option()


def test_readme_shows_every_verb() -> None:
    shown = {words[0] for words in command_lines((ROOT / "README.md").read_text()) if words}
    assert set(VERBS) <= shown


def test_the_pages_speak_only_of_files_that_exist() -> None:
    """Paths in backticks that begin in a room of the repository."""
    for name in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        rooms = "ops|nn|runtime|data|train|tasks|explain|cli|demo|bench"
        found = re.findall(rf"`((?:src|native|tests|docs|{rooms})/[\w./]*\w\.\w+)`", text)
        assert len(found) > 10
        for path in found:
            assert (ROOT / path).exists() or (ROOT / "src/unrolled" / path).exists(), path


def test_the_makefile_has_every_target_that_is_named() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        named = re.findall(r"`make ([a-z0-9]+)`", text)
        for block in blocks(text, "sh"):
            named += re.findall(r"^make ([a-z0-9]+)", block, re.MULTILINE)
        assert set(named) <= targets, page.name
