"""Pages whose Python runs: each block's printed lines stand in the block of text below it.

`python tests/pages.py PAGE...` runs the pages and writes what was printed into them.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

CELL = re.compile(
    r"^```python\n(?P<source>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")


def run(page: Path) -> list[tuple[str, str]]:
    """Run the blocks of a page in one namespace; return what each shows and what it printed."""
    names: dict[str, Any] = {"__name__": page.stem}
    found = []
    for number, cell in enumerate(CELL.finditer(page.read_text("utf-8")), start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(cell["source"], f"{page.name}, block {number}", "exec"), names)
        found.append((cell["shown"] or "", printed.getvalue()))
    return found


def alike(shown: str, printed: str) -> bool:
    """Tell whether two texts are equal but for two units in the last digit of their decimals."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(abs(float(a) - float(b)) <= 2.01 * _unit(a) for a, b in pairs)


def _unit(number: str) -> float:
    """Return the worth of the last digit of a number with decimals; 0 for a whole one."""
    mantissa, _, exponent = number.partition("e")
    if "." not in mantissa and not exponent:
        return 0.0
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def write(page: Path) -> None:
    """Put what the blocks print into the page."""
    printed = iter(text for _, text in run(page))

    def cell(match: re.Match[str]) -> str:
        source, text = match["source"], next(printed)
        shown = f"\n```text\n{text}```\n" if text else ""
        return f"```python\n{source}```\n{shown}"

    page.write_text(CELL.sub(cell, page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
