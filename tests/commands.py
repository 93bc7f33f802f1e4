"""The command run in this process or in a child, for the tests of every verb."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass

import pytest

import tiny
from unrolled import cli

TRAIN = ("train", "classify", "reviews.csv", "--out", "model", *tiny.FLAGS)


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


def child(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "unrolled", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=tiny.environment(), **options
    )
