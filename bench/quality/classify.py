"""Rows of classifiers."""

from __future__ import annotations

from pathlib import Path

from bench.quality.row import Prepare, Row


def rows() -> list[Row]:
    """Questions and sentiment."""
    return [
        Row(
            "trec",
            "classify",
            "--tokens word --lowercase --epochs 12 --hidden-size 128 --embedding-size 128 "
            "--dropout 0.5 --batch-size 32 --validation-fraction 0.1",
            "",
            ("accuracy",),
            "91.3 (accuracy %, LSTM with word2vec, Liu 2015)",
            _labelled("TREC.train.all", None, "TREC.test.all"),
        ),
        Row(
            "sst2",
            "classify",
            "--tokens word --lowercase --epochs 8 --hidden-size 128 --embedding-size 128 "
            "--dropout 0.5 --batch-size 32",
            "",
            ("accuracy",),
            "85.8 (accuracy %, LSTM with word2vec, Liu 2015); about 80-82 without (guess)",
            _labelled("stsa.binary.train", "stsa.binary.dev", "stsa.binary.test"),
        ),
    ]


def _labelled(train: str, valid: str | None, test: str) -> Prepare:
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
