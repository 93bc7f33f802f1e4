"""Small things with texts about them, and options that learn them in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.config import TrainSpec
from unrolled.options import CaptionOptions
from unrolled.spec import AttentionSpec, CaptionerSpec, RecurrentSpec

COLOURS, SHAPES = ("red", "blue", "green"), ("box", "ball")
FLAGS = (
    "--tokens=word", "--hidden-size=16", "--embedding-size=8", "--dropout=0", "--epochs=15",
    "--batch-size=16", "--lr=0.03", "--quiet",
)  # fmt: skip


def options(**choices: Any) -> CaptionOptions:
    """Options of a small captioner."""
    given = {"tokens": "word", "hidden_size": 16, "embedding_size": 8, "dropout": 0.0, **choices}
    return CaptionOptions(**given)


def training(**choices: Any) -> TrainSpec:
    """A run of a second."""
    return TrainSpec(**{"epochs": 15, "batch_size": 16, "lr": 0.03, **choices})


def vectors(count: int = 120) -> tuple[np.ndarray, list[str]]:
    """Vectors [count, 6] that say a colour and a shape, the last number the same for all."""
    generator = np.random.default_rng(0)
    colour, shape = generator.integers(3, size=count), generator.integers(2, size=count)
    values = generator.normal(0, 0.1, (count, 6))
    values[np.arange(count), colour] += 1
    values[np.arange(count), 3 + shape] += 1
    values[:, 5] = 7.0
    texts = [f"a {COLOURS[c]} {SHAPES[s]}" for c, s in zip(colour, shape, strict=True)]
    return values.astype(np.float32), texts


def regions(count: int = 160) -> tuple[list[np.ndarray], list[str]]:
    """One to three regions [S, 3], each a colour; the text names them in order."""
    generator = np.random.default_rng(1)
    drawn = [generator.integers(3, size=generator.integers(1, 4)) for _ in range(count)]
    values = [np.eye(3, dtype=np.float32)[found] for found in drawn]
    return values, [" ".join(COLOURS[c] for c in found) for found in drawn]


def attributes() -> list[dict[str, Any]]:
    """Records of attributes with two texts each."""
    return [
        {
            "attributes": {"colour": colour, "shape": shape, "big": big},
            "caption": [
                f"{colour} {shape}{' big' * big}",
                f"the {shape} is {colour}{' big' * big}",
            ],
        }
        for colour in COLOURS
        for shape in SHAPES
        for big in (True, False)
    ]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write records as JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_npz(path: Path, **arrays: Any) -> Path:
    """Write arrays as an npz archive."""
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    return path


def spec(
    inputs="regions", condition="attend", kind="additive", cell="gru", layers=1, **choices
) -> CaptionerSpec:
    """A captioner spec whose widths fit: features 4, memory 6, embedding 3, readout 7."""
    attention = None
    if condition == "attend":
        size = 5 if kind in ("additive", "concat") else 0
        attention = AttentionSpec(kind=kind, query_size=6, key_size=6, size=size)
    reads = 3
    if condition == "every" or (attention is not None and kind == "additive"):
        reads += 6
    elif choices.get("input_feeding"):
        reads += 7
    return CaptionerSpec(
        inputs=inputs,
        feature_size=9 if inputs == "attributes" else 4,
        memory_size=6,
        target_vocab_size=8,
        target_embedding_size=3,
        decoder=RecurrentSpec(cell=cell, input_size=reads, hidden_sizes=(6,) * layers),
        readout_size=7,
        condition=condition,
        attention=attention,
        **choices,
    )


def specs() -> dict[str, CaptionerSpec]:
    """Every input, way of reading it, scorer and cell."""
    found = {}
    for inputs in ("vector", "regions", "attributes"):
        for condition in ("first", "every", "attend"):
            found[f"{inputs}-{condition}"] = spec(inputs, condition)
    for kind in ("dot", "general", "concat"):
        found[f"{kind}-lstm"] = spec(kind=kind, cell="lstm")
        found[f"{kind}-feeding"] = spec(kind=kind, input_feeding=True)
    found["additive-lstm-2"] = spec(cell="lstm", layers=2)
    found["every-rnn-2"] = spec("vector", "every", cell="rnn", layers=2)
    found["positions"] = spec(positions=5)
    return found


def batch(inputs: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three rows: what is described with lengths, and target ids from `<s>` with theirs."""
    generator = np.random.default_rng(0)
    lengths = np.array([1, 1, 1] if inputs == "vector" else [5, 1, 3])
    steps = int(lengths.max())
    if inputs == "attributes":
        source = generator.integers(4, 9, (3, steps))
    else:
        source = generator.normal(size=(3, steps, 4)).astype(np.float32)
    target = generator.integers(4, 8, (3, 6))
    target[:, 0] = 2
    return source, lengths, target, np.array([6, 2, 4])
