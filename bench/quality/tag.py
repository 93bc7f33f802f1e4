"""Rows of taggers."""

from __future__ import annotations

import json
from pathlib import Path

from bench.quality.row import Row


def rows() -> list[Row]:
    """Slots with intents, and parts of speech."""
    return [
        Row(
            "snips",
            "tag",
            "--intent intent --epochs 15 --batch-size 32 --ema 0.998 --constraints train",
            "",
            ("span_f1", "intent_accuracy", "sentence_accuracy"),
            "88.8 / 97.0 / 75.5 (slot F1, intent, sentence %, Slot-Gated); 92.23 / 97.43 (SF-ID)",
            _snips,
        ),
        Row(
            "ud_danish",
            "tag",
            "--format conll --epochs 20 --batch-size 16 --ema 0.998 --lowercase",
            "--format conll",
            ("accuracy",),
            "96.06 (accuracy %, word and character bi-LSTM, 20 epochs, no vectors, bilty)",
            _danish,
        ),
    ]


def _snips(data: Path, work: Path) -> dict[str, Path]:
    """Words, slots and intent, a file each, to JSON lines."""
    found = {}
    for part in ("train", "valid", "test"):
        folder = data / "tagging" / "snips" / part
        read = [(folder / name).read_text("utf-8").splitlines() for name in ("seq.in", "seq.out")]
        labels = (folder / "label").read_text("utf-8").splitlines()
        found[part] = work / f"{part}.jsonl"
        lines = [
            json.dumps({"tokens": words.split(), "tags": tags.split(), "intent": label.strip()})
            for words, tags, label in zip(*read, labels, strict=True)
        ]
        found[part].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return found


def _danish(data: Path, work: Path) -> dict[str, Path]:
    """Files of a word and a tag a line, whatever their ending says."""
    folder = data / "tagging" / "ud_danish"
    parts = {"train": "train", "valid": "dev", "test": "test"}
    return {part: folder / f"da-ud-{name}.conllu" for part, name in parts.items()}
