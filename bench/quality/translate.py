"""Rows of translators."""

from __future__ import annotations

import json
from pathlib import Path

from bench.quality.row import Prepare, Row

MULTI30K = (
    "--source-tokens word --target-tokens word --min-count 2 --hidden-size 256 "
    "--embedding-size 256 --dropout 0.4 --lr 3e-3 --batch-size 64 --epochs 10 "
    "--label-smoothing 0.1 --ema 0.998 --validation-limit 200"
)
G2P = "--epochs 40 --hidden-size 256 --embedding-size 128 --dropout 0.4 --batch-size 32 --lr 2e-3"


def rows() -> list[Row]:
    """Spelling to sound, a row a language; German to English."""
    published = {
        "fre": "6.22 / 1.32",
        "hin": "6.67 / 1.47",
        "hun": "5.33 / 1.18",
        "ice": "10.00 / 2.36",
        "ady": "28.00 / 6.53",
        "kor": "46.89 / 16.78",
    }
    return [
        Row(
            f"g2p-{language}",
            "translate",
            f"--source-tokens char --target-tokens word {G2P}",
            "--beam 5",
            ("wer", "per"),
            f"{figure} (WER / PER %, LSTM with attention, best of 36, SIGMORPHON 2020)",
            _spellings(language),
        )
        for language, figure in published.items()
    ] + [
        Row(
            "multi30k",
            "translate",
            MULTI30K,
            "--beam 5",
            ("bleu",),
            "28.30 (BLEU, test 2016, GRU with Bahdanau attention, 10 epochs, bentrevett)",
            _captions,
            scale=1.0,
        )
    ]


def _spellings(language: str) -> Prepare:
    def prepare(data: Path, work: Path) -> dict[str, Path]:
        folder = data / "g2p"
        parts = {"train": "train", "valid": "dev", "test": "test"}
        return {part: folder / f"{language}_{name}.tsv" for part, name in parts.items()}

    return prepare


def _captions(data: Path, work: Path) -> dict[str, Path]:
    """Lower-cased, tokenised German and English, a file each, to JSON lines."""
    folder = data / "translation" / "multi30k"
    found = {}
    for part, name in (("train", "train"), ("valid", "val"), ("test", "test_2016_flickr")):
        german, english = (
            (folder / f"{name}.lc.norm.tok.{language}").read_text("utf-8").split("\n")
            for language in ("de", "en")
        )
        pairs = [
            {"source": source.strip(), "target": target.strip()}
            for source, target in zip(german, english, strict=True)
            if source.strip() and target.strip()
        ]
        found[part] = work / f"{part}.jsonl"
        lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        found[part].write_text(lines, encoding="utf-8")
    return found
