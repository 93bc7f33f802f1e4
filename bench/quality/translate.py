"""Rows of translators."""

from __future__ import annotations

from pathlib import Path

from bench.quality.row import Prepare, Row

G2P = "--epochs 40 --hidden-size 256 --embedding-size 128 --dropout 0.4 --batch-size 32 --lr 2e-3"


def rows() -> list[Row]:
    """Spelling to sound, a row a language."""
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
    ]


def _spellings(language: str) -> Prepare:
    def prepare(data: Path, work: Path) -> dict[str, Path]:
        folder = data / "g2p"
        parts = {"train": "train", "valid": "dev", "test": "test"}
        return {part: folder / f"{language}_{name}.tsv" for part, name in parts.items()}

    return prepare
