"""The rows of the quality table: a data set, the command that learns it, the published figure.

A row's files come from `--data`, a folder of public data sets that is not part of the project.
Every row is one `unrolled train` and one `unrolled evaluate`, with nothing behind them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

G2P = "--epochs 40 --hidden-size 256 --embedding-size 128 --dropout 0.4 --batch-size 32 --lr 2e-3"


@dataclass(frozen=True)
class Row:
    """`prepare(data, work)` writes train, valid (optional) and test files and returns them."""

    name: str
    task: str
    options: str
    evaluate: str
    metrics: tuple[str, ...]
    published: str
    prepare: Callable[[Path, Path], dict[str, Path]]


def rows() -> list[Row]:
    """Return all rows."""
    published = {
        "fre": "6.22 / 1.32",
        "hin": "6.67 / 1.47",
        "hun": "5.33 / 1.18",
        "ice": "10.00 / 2.36",
        "ady": "28.00 / 6.53",
        "kor": "46.89 / 16.78",
    }
    table = [
        Row(
            f"g2p-{language}",
            "translate",
            f"--source-tokens char --target-tokens word {G2P}",
            "--beam 5",
            ("wer", "per"),
            f"{figure} (WER / PER %, LSTM with attention, best of 36, SIGMORPHON 2020)",
            _g2p(language),
        )
        for language, figure in published.items()
    ]
    table.append(
        Row(
            "trec",
            "classify",
            "--tokens word --lowercase --epochs 12 --hidden-size 128 --embedding-size 128 "
            "--dropout 0.5 --batch-size 32 --validation-fraction 0.1",
            "",
            ("accuracy",),
            "91.3 (accuracy %, LSTM with word2vec, Liu 2015)",
            _labelled("TREC.train.all", None, "TREC.test.all"),
        )
    )
    table.append(
        Row(
            "sst2",
            "classify",
            "--tokens word --lowercase --epochs 8 --hidden-size 128 --embedding-size 128 "
            "--dropout 0.5 --batch-size 32",
            "",
            ("accuracy",),
            "85.8 (accuracy %, LSTM with word2vec, Liu 2015); about 80-82 without (guess)",
            _labelled("stsa.binary.train", "stsa.binary.dev", "stsa.binary.test"),
        )
    )
    table.append(
        Row(
            "snips",
            "tag",
            "--intent intent --epochs 15 --batch-size 32 --ema 0.998 --constraints train",
            "",
            ("span_f1", "intent_accuracy", "sentence_accuracy"),
            "88.8 / 97.0 / 75.5 (slot F1, intent, sentence %, Slot-Gated); 92.23 / 97.43 (SF-ID)",
            _snips,
        )
    )
    table.append(
        Row(
            "ud_danish",
            "tag",
            "--format conll --epochs 20 --batch-size 16 --ema 0.998 --lowercase",
            "--format conll",
            ("accuracy",),
            "96.06 (accuracy %, word and character bi-LSTM, 20 epochs, no vectors, bilty)",
            _danish,
        )
    )
    return table


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


def _g2p(language: str) -> Callable[[Path, Path], dict[str, Path]]:
    def prepare(data: Path, work: Path) -> dict[str, Path]:
        folder = data / "g2p"
        parts = {"train": "train", "valid": "dev", "test": "test"}
        return {part: folder / f"{language}_{name}.tsv" for part, name in parts.items()}

    return prepare


def _labelled(train: str, valid: str | None, test: str) -> Callable[[Path, Path], dict[str, Path]]:
    """`LABEL text` lines to TSV with a header; some of the files are Latin-1."""

    def prepare(data: Path, work: Path) -> dict[str, Path]:
        found = {}
        for part, name in {"train": train, "valid": valid, "test": test}.items():
            if name is None:
                continue
            content = (data / "textclass" / name).read_bytes()
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                text = content.decode("latin-1")
            lines = [line.partition(" ") for line in text.split("\n") if line.strip()]
            found[part] = work / f"{part}.tsv"
            body = "".join(f"{label}\t{words.strip()}\n" for label, _, words in lines)
            found[part].write_text("label\ttext\n" + body, encoding="utf-8")
        return found

    return prepare
