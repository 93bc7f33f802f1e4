"""Tiny data and tiny models, so that a whole training run takes a fraction of a second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from unrolled.config import TrainSpec
from unrolled.options import ClassifyOptions, TranslateOptions
from unrolled.tasks.classify import Examples
from unrolled.tasks.translate import Pairs

SIZES = {"hidden_size": 8, "embedding_size": 8}
TRAINING = {"epochs": 2, "batch_size": 8, "lr": 0.01}
SMALL = {**SIZES, **TRAINING}
FLAGS = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]


def reviews(count: int = 40) -> tuple[list[str], list[str]]:
    """Texts whose label hangs on one word."""
    texts = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(count)]
    return texts, ["up" if i % 2 else "down" for i in range(count)]


def words(count: int = 40) -> tuple[list[str], list[str]]:
    """Two-letter words, each spelled twice over with spaces between its letters."""
    sources = [chr(97 + i % 8) + chr(97 + i // 8 % 8) for i in range(count)]
    return sources, [" ".join(source * 2) for source in sources]


def examples(count: int = 40) -> Examples:
    return Examples(*reviews(count))


def pairs(count: int = 40) -> Pairs:
    return Pairs(*words(count))


def classify_options(**choices: object) -> ClassifyOptions:
    return ClassifyOptions(**{**SIZES, **choices})


def translate_options(**choices: object) -> TranslateOptions:
    return TranslateOptions(**{**SIZES, **choices})


def training(**choices: object) -> TrainSpec:
    return TrainSpec(**{**TRAINING, **choices})


def write_reviews(path: Path, count: int = 40) -> Path:
    """A CSV file with the columns `text` and `label`."""
    rows = "".join(f"{text},{label}\n" for text, label in zip(*reviews(count), strict=True))
    path.write_text("text,label\n" + rows, encoding="utf-8")
    return path


def write_words(path: Path, count: int = 40) -> Path:
    """A TSV file of pairs, without a header."""
    rows = (f"{source}\t{target}\n" for source, target in zip(*words(count), strict=True))
    path.write_text("".join(rows), encoding="utf-8")
    return path


def environment(**variables: str) -> dict[str, str]:
    """The environment of a child process: no settings of this package, and one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("UNROLLED_")}
    return {**kept, "OMP_NUM_THREADS": "1", **variables}


def python(
    code: str, *arguments: object, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(**(variables or {})), check=False
    )
