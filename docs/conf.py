"""How Sphinx builds these pages. `make docs` runs it with warnings as errors, and offline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.util.docutils import SphinxRole

import unrolled
from unrolled.cli import cli

project = "unrolled"
author = "The unrolled authors"
copyright = f"2026, {author}"
version = release = unrolled.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "unrolled"
html_static_path = ["_static"]
html_css_files = ["words.css"]
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
nitpicky = False

_CODE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


class CommandHelp(Directive):
    """`{command-help} train translate`: what `--help` prints for that verb, as it is now."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Return the help text as a block of code."""
        command: click.Command = cli
        path = ["unrolled", *self.arguments[0].split()]
        settings = {**cli.context_settings, "max_content_width": 90}
        context = click.Context(command, info_name=path[0], **settings)
        for name in path[1:]:
            assert isinstance(command, click.Group)
            found = command.get_command(context, name)
            if found is None:
                raise self.error(f"no such command: {' '.join(path)}")
            command = found
            context = click.Context(command, parent=context, info_name=name, **settings)
        context.terminal_width = 90
        text = command.get_help(context)
        return [nodes.literal_block(text, text, language="text")]


KOREAN = {
    "holds": "성립",
    "does not hold": "성립하지 않음",
    "depends": "조건에 따라",
    "quick": "짧은 설정",
    "full": "전체 설정",
}


class LabVerdict(SphinxRole):
    """`{lab-verdict}` NAME: the verdict that the lab's page of that name gives, in Korean."""

    line = re.compile(r"^\*\*Verdict: (?P<answer>[a-z ]+)\.\*\*", re.MULTILINE)

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the words."""
        page = Path(self.env.srcdir) / "lab" / f"{self.text}.md"
        self.env.note_dependency(str(page))
        found = self.line.search(page.read_text("utf-8"))
        if found is None:
            raise ValueError(f"{page}: no line {self.line.pattern}")
        return [nodes.Text(self.say(**found.groupdict()))], []

    def say(self, answer: str) -> str:
        """Return the verdict in Korean."""
        return KOREAN[answer]


class LabEffort(LabVerdict):
    """`{lab-effort}` NAME: how the numbers of the lab's page came about, in Korean."""

    line = re.compile(
        r"^(?P<seeds>\d+) seeds, (?P<kind>\w+) settings, (?P<minutes>[\d.]+) minutes of",
        re.MULTILINE,
    )

    def say(self, seeds: str, kind: str, minutes: str) -> str:
        """Return the seeds, settings and time in Korean."""
        return f"시드 {seeds}개, {KOREAN[kind]}, 프로세서 시간 {minutes}분"


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings name code in single backticks; show that as code, and an equation's * as a *."""
    text = _CODE.sub(lambda match: f"``{match[1]}``", "\n".join(lines))
    pieces = re.split(r"(``[^`]*``)", text)
    pieces[::2] = [re.sub(r"[*|]", r"\\\g<0>", piece) for piece in pieces[::2]]
    pieces[::2] = [re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", piece) for piece in pieces[::2]]
    lines[:] = "".join(pieces).splitlines()


def setup(app: Any) -> None:
    """Add what these pages use."""
    app.add_directive("command-help", CommandHelp)
    app.add_role("lab-verdict", LabVerdict())
    app.add_role("lab-effort", LabEffort())
    app.connect("autodoc-process-docstring", _docstring)
