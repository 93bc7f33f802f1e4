"""Rows of made-up tasks: how long a network remembers, as Bai et al. (2018) measure it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.quality.row import Prepare, Row
from unrolled.data.synthetic import adding, copy_memory

# Bai et al. train on 50,000 sequences of adding and 10,000 of copying, and test on 1,000.
ADDING = (
    "--max-length 0 --pooling last --no-bidirectional --dropout 0 --batch-size 32 --clip-norm 1"
)
COPY = "--no-characters --word-dropout 0 --no-bidirectional --dropout 0 --head softmax --max-length"


def rows() -> list[Row]:
    """Adding over 600 steps with 70,000 parameters, copying over 1,000 with 16,000."""
    adding_rows = [
        Row(
            f"adding-{cell}",
            "regress",
            f"--cell {cell} --hidden-size {hidden} {ADDING} --lr 2e-3 --epochs {epochs}",
            "",
            ("rmse", "mae"),
            f"{published} (mean squared error, T=600, 70K parameters, Bai 2018)",
            _adding(600, count),
            1.0,
        )
        for cell, hidden, count, epochs, published in (
            ("gru", 150, 50_000, 2, "5.3e-5"),
            ("lstm", 130, 20_000, 3, "0.164"),
        )
    ]
    copy_rows = [
        Row(
            f"copy-{cell}",
            "tag",
            f"--cell {cell} --hidden-size {hidden} --embedding-size 10 {COPY} 1100 "
            "--batch-size 32 --epochs 3",
            "",
            ("log_loss",),
            f"{published} (cross-entropy, T=1000, 16K parameters, Bai 2018)",
            _copy(1000, 10_000),
            1.0,
        )
        for cell, hidden, published in (("gru", 66, "0.0197"), ("lstm", 56, "0.0204"))
    ]
    return [*adding_rows, *copy_rows]


def _adding(steps: int, count: int) -> Prepare:
    def prepare(data: Path, work: Path) -> dict[str, Path]:
        found = {}
        for seed, (part, size) in enumerate({"train": count, "valid": 500, "test": 1000}.items()):
            x, y = adding(steps, size, seed)
            found[part] = work / f"{part}.npz"
            np.savez(found[part], x=x, target=y)
        return found

    return prepare


def _copy(steps: int, count: int) -> Prepare:
    def prepare(data: Path, work: Path) -> dict[str, Path]:
        found = {}
        for seed, (part, size) in enumerate({"train": count, "valid": 100, "test": 200}.items()):
            pairs = zip(*copy_memory(steps, size, seed), strict=True)
            found[part] = work / f"{part}.jsonl"
            lines = (json.dumps({"tokens": words, "tags": tags}) for words, tags in pairs)
            found[part].write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return found

    return prepare
