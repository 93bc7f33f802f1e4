"""Rows of generators: a language model, next items, polyphonic music."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.quality.row import Prepare, Row

MUSIC = (
    "--batch-size 4 --epochs 60 --lr 0.003 --dropout 0.3 --weight-dropout 0.3 --patience 8 "
    "--hidden-size {hidden} --cell {cell}"
)
WARPEACE = (
    "--tokens char --hidden-size 256 --embedding-size 64 --bptt 100 --dropout 0 "
    "--validation-limit 100000 "
)
PUBLISHED = {
    "JSB_Chorales": "8.45 lstm, 8.43 gru, 8.91 rnn (Bai 2018); 8.67, 8.54, 9.10 (Chung 2014)",
    "MuseData": "6.23 lstm, 5.99 gru, 6.23 rnn (Chung 2014)",
}


def rows() -> list[Row]:
    """Characters of War and Peace, artists of LastFM, and two collections of music."""
    music = [
        Row(
            f"{name.partition('_')[0].lower()}_{cell}",
            "generate",
            MUSIC.format(hidden=hidden, cell=cell),
            "",
            ("nats", "nats_after_first", "nats_by_sequence"),
            f"{published} (nats a frame)",
            _music(name),
            scale=1.0,
        )
        for name, published in PUBLISHED.items()
        for cell, hidden in (("lstm", 150), ("gru", 200), ("rnn", 300))
    ]
    return [
        *(
            Row(
                name,
                "generate",
                WARPEACE + passes,
                "",
                ("nats",),
                "1.077 (nats a character, Karpathy 2015, best); 1.189 (one layer of 256)",
                _warpeace(stretches),
                scale=1.0,
            )
            for name, stretches, passes in (
                ("warpeace", 100, "--batch-size 100 --epochs 50 --lr 0.004"),
                ("warpeace-end", 1, "--batch-size 32 --epochs 14 --lr 0.003"),
            )
        ),
        Row(
            "lastfm",
            "generate",
            "--no-ends --hidden-size 64 --embedding-size 64 --cell gru --tied --dropout 0.5 "
            "--input-dropout 0.5 --batch-size 64 --epochs 60 --lr 0.003 --patience 10",
            "",
            ("hr@10", "ndcg@10", "negatives_hr@10", "negatives_ndcg@10"),
            ".0367 / .0187, with 99 negatives .2817 / .1550 (GRU4Rec in S3-Rec)",
            _lastfm,
            scale=1.0,
        ),
        *music,
    ]


def _warpeace(stretches: int) -> Prepare:
    """Of each of so many equal stretches: 80 % to learn, 10 % to choose by, 10 % to measure.

    100 is how char-rnn cuts, the code of the author whose figures stand beside.
    """

    def prepare(data: Path, work: Path) -> dict[str, Path]:
        text = (data / "lm" / "warpeace" / "warpeace_input.txt").read_text("utf-8-sig")
        edges = [k * len(text) // stretches for k in range(stretches + 1)]
        pieces = [text[a:b] for a, b in pairwise(edges)]
        shares = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}
        found = {}
        for part, (start, end) in shares.items():
            found[part] = work / f"{part}.txt"
            kept = (each[int(start * len(each)) : int(end * len(each))] for each in pieces)
            found[part].write_text("".join(kept), encoding="utf-8")
        return found

    return prepare


def _lastfm(data: Path, work: Path) -> dict[str, Path]:
    """A user's last item is for the test, the one before for validation."""
    read = {}
    for name in ("LastFM", "LastFM_sample"):
        lines = (data / "nextitem" / f"{name}.txt").read_text("utf-8").splitlines()
        read[name] = {user: items for user, *items in (line.split() for line in lines)}
    found = {}
    for part, end in {"train": -2, "valid": -1, "test": None}.items():
        found[part] = work / f"{part}.jsonl"
        with found[part].open("w", encoding="utf-8") as stream:
            for user, items in read["LastFM"].items():
                record = {"items": items[:end]}
                if part == "test":
                    record["negatives"] = read["LastFM_sample"][user]
                stream.write(json.dumps(record) + "\n")
    return found


def _music(name: str) -> Prepare:
    """MATLAB's cells of frames, 88 keys each, to npz."""

    def prepare(data: Path, work: Path) -> dict[str, Path]:
        from scipy.io import loadmat

        loaded = loadmat(data / "music" / f"{name}.mat")
        found = {}
        for part, key in {"train": "traindata", "valid": "validdata", "test": "testdata"}.items():
            frames = [np.asarray(each, np.float32) for each in loaded[key][0]]
            found[part] = work / f"{part}.npz"
            lengths = np.array([len(each) for each in frames])
            np.savez(found[part], x=np.concatenate(frames), lengths=lengths)
        return found

    return prepare
