"""The documentation that Python carries: topics of `help`, docstrings of the standard library.

About 1.8 million characters of English prose and examples, the same on every machine with the same
version of Python. Much is said there in several places, such as in a class and in its child; a
paragraph is left out where most of it was there before, so that none is learned and asked for.
Runs of more than 8 spaces are cut.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from unrolled.errors import ConfigError

PARTS = ("test", "valid")
APART = "\n\n\n"
RUN = 6
GAP = 8
# Not of the library itself: what is installed beside it, its tests, and copies of other projects.
LEFT_OUT = frozenset(
    ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip",
     "turtledemo", "pydoc_data", "__pycache__")
)  # fmt: skip


def load_documents() -> list[str]:
    """Return topics and modules, each one document in printable ASCII, no paragraph twice.

    Topics come first, the longest before the others, so that they stay whole where one holds
    another. Raises ConfigError where this Python came without its documentation.
    """
    seen: set[tuple[str, ...]] = set()
    topics = sorted(_topics().values(), key=len, reverse=True)
    documents = [_once(text, seen) for text in (*topics, *_modules())]
    kept = [document for document in documents if document]
    if not topics or len(kept) <= len(topics):
        raise ConfigError(
            "this Python came without pydoc_data or without the sources of its standard library; "
            "the demo reads their documentation"
        )
    return kept


def split(
    documents: list[str], share: float, seed: int, limit: int | None = None
) -> dict[str, str]:
    """Return the texts `train`, `valid` and `test`; a document is in one of them only.

    Documents come in an order drawn by `seed`. Test and validation take the first ones until each
    has `share` of the characters. `limit` keeps about that many words. Raises ConfigError where too
    little is left for three texts.
    """
    order = np.random.default_rng(seed).permutation(len(documents))
    chosen: list[str] = []
    words = 0
    for k in order:
        if limit is not None and words >= limit and len(chosen) > len(PARTS):
            break
        chosen.append(documents[k])
        words += len(documents[k].split())
    if len(chosen) <= len(PARTS):
        raise ConfigError(f"{len(chosen)} documents are too few to learn from and to test on")
    wanted = share * sum(map(len, chosen))
    rest = iter(chosen)
    found: dict[str, str] = {}
    for name in PARTS:
        taken: list[str] = []
        while sum(map(len, taken)) < wanted:
            taken.append(next(rest))
        found[name] = APART.join(taken) + "\n"
    return {"train": APART.join(rest) + "\n", **found}


def _topics() -> Mapping[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return {}
    found: dict[str, str] = topics
    return found


def _modules() -> Iterator[str]:
    """Yield the docstrings of each module of the standard library, which is read and not run."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if LEFT_OUT.isdisjoint(path.relative_to(root).parts):
            yield "\n\n".join(_docstrings(path.read_bytes()))


def _docstrings(source: bytes) -> Iterator[str]:
    with warnings.catch_warnings():
        # Old escapes in a library's strings are its own affair.
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _once(text: str, seen: set[tuple[str, ...]]) -> str:
    """Return the paragraphs of a text of whose runs of words most are not in `seen`; add theirs."""
    kept = []
    for paragraph in re.split(r"\n\s*\n", text):
        words = paragraph.split()
        if not words or not "".join(words).isascii() or not "".join(words).isprintable():
            continue
        runs = {tuple(words[k : k + RUN]) for k in range(max(1, len(words) - RUN + 1))}
        new = runs - seen
        seen |= new
        if 2 * len(new) >= len(runs):
            # A model that writes what is likely does not find its way out of longer runs of spaces.
            shorter = re.sub(f" {{{GAP},}}", " " * GAP, paragraph.expandtabs())
            lines = (line.rstrip() for line in shorter.split("\n"))
            kept.append("\n".join(lines).strip("\n"))
    return "\n\n".join(kept)
