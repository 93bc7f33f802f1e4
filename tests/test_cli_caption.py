"""The command with a captioner: training from each format, answering, explaining, its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import captioning
from commands import Command
from unrolled import cli


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that were trained by the command itself, and their data."""
    root = tmp_path_factory.mktemp("models")
    values, texts = captioning.vectors()
    npz = captioning.write_npz(root / "v.npz", features=values, caption=texts)
    jsonl = captioning.write_jsonl(root / "a.jsonl", captioning.attributes())
    for name, data in (("vector", npz), ("attributes", jsonl)):
        given = ["train", "caption", data, "--valid", data, "--out", root / name, *captioning.FLAGS]
        assert cli.run(list(map(str, given))) == 0
    return root


def test_help_names_every_key(run: Command) -> None:
    said = run("train", "caption", "--help")
    for name in ("features", "caption", "condition", "attention", "positions", "captions"):
        assert f"--{name} " in said.out


def test_texts_may_lie_in_files_of_their_own(run: Command, tmp_path: Path) -> None:
    values, texts = captioning.vectors(40)
    captioning.write_npz(tmp_path / "bare.npz", features=values)
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    said = run(
        "train", "caption", tmp_path / "bare.npz", "--captions", tmp_path / "texts.txt",
        "--valid", tmp_path / "bare.npz", "--valid-captions", tmp_path / "texts.txt",
        "--out", tmp_path / "model", *captioning.FLAGS, "--epochs=1", "--json",
    )  # fmt: skip
    assert said.code == 0
    assert {"per", "wer", "log_loss"} <= json.loads(said.out).keys()
    said = run("train", "caption", tmp_path / "bare.npz", "--out", tmp_path / "m2",
               "--valid-captions", tmp_path / "texts.txt")  # fmt: skip
    assert said.code == 2
    assert "--valid-captions needs --valid" in said.err


def test_npz_gives_lines_and_json_lines_their_keys(run: Command, root: Path) -> None:
    _, texts = captioning.vectors()
    assert run("predict", root / "vector", root / "v.npz").lines() == texts
    said = run("predict", root / "vector", root / "v.npz", "--beam", "3", "--n-best", "2")
    assert all(len(line.split("\t")) == 2 for line in said.lines())
    records = [
        json.loads(line) for line in run("predict", root / "attributes", root / "a.jsonl").lines()
    ]
    assert list(records[0]) == ["attributes", "caption", "prediction", "answers"]
    assert records[0]["answers"][0]["log_prob"] < 0
    line = json.dumps({"attributes": {"colour": "red", "shape": "box", "big": False}})
    said = run("predict", root / "attributes", "-", "--json", stdin=line + "\n")
    assert "red" in json.loads(said.out)["prediction"]


def test_evaluate_counts_things_and_texts(run: Command, root: Path) -> None:
    metrics = json.loads(run("evaluate", root / "attributes", root / "a.jsonl", "--json").out)
    assert (metrics["count"], metrics["texts"]) == (12, 24)
    assert {"per", "wer", "bleu", "log_loss"} <= metrics.keys()
    lines = run("evaluate", root / "vector", root / "v.npz", "--beam", "2").lines()
    assert lines[0].split()[0] == "per"


def test_explain_shows_why(run: Command, root: Path, tmp_path: Path) -> None:
    said = run("explain", root / "attributes", root / "a.jsonl", "--out", tmp_path / "a.html")
    assert said.code == 0
    assert len(said.lines()) == 12
    assert "Alignment, weights from 0 to 1" in (tmp_path / "a.html").read_text()
    said = run("explain", root / "vector", root / "v.npz", "--out", tmp_path / "v.html", "--json")
    assert len(json.loads(said.out)[0]["losses"]) == 6
    assert "What the answer hangs on" in (tmp_path / "v.html").read_text()


def test_explain_looks_into_what_writes(run: Command, root: Path, tmp_path: Path) -> None:
    model, page = root / "attributes", tmp_path / "a.html"
    chosen = ("--rows", "1", "--methods", "states,memory", "--out", page, "--json")
    said = run("explain", model, root / "a.jsonl", *chosen)
    found = json.loads(said.out)[0]["explanation"]
    assert found["wrote"][0] == "<s>"
    assert len(found["wrote"]) == len(found["memory"]["norms"]) > 2
    assert "What is looked into is the part that writes" in page.read_text()
    said = run("explain", model, "--data", root / "a.jsonl", "--unit", "L0:3")
    assert len(said.lines()) == 5
    assert all("row" in line and "[" in line for line in said.lines())


def test_inspect_says_what_it_reads(run: Command, root: Path) -> None:
    out = run("inspect", root / "vector").out
    assert out.startswith("caption: a vector of 6 numbers; ")
    assert "v = m" in out
    out = run("inspect", root / "attributes").out
    assert "read by additive attention" in out
    assert "v = sum of m[s]" in out


def test_export_lowers_and_refuses(run: Command, root: Path, tmp_path: Path) -> None:
    said = run("export", root / "attributes", "--precision", "int8", "--check", root / "a.jsonl",
               "--out", tmp_path / "low", "--quiet")  # fmt: skip
    assert said.code == 0
    said = run("export", root / "vector", "--onnx", tmp_path / "x.onnx")
    assert said.code != 0


def test_errors_name_the_file_and_row(run: Command, root: Path, tmp_path: Path) -> None:
    wide = captioning.write_npz(tmp_path / "wide.npz", features=np.ones((2, 3)))
    said = run("predict", root / "vector", wide)
    assert said.code == 2
    assert said.err.strip() == (f"unrolled: error: {wide}, row 1: 3 numbers, but the model reads 6")
    said = run("predict", root / "vector", root / "v.npz", "--n-best", "2")
    assert "--n-best 2 needs --beam 2 or more" in said.err
    said = run("predict", root / "vector", root / "a.jsonl")
    assert "the model reads vector, the file holds attributes" in said.err


def test_one_region_has_one_column(run: Command, tmp_path: Path) -> None:
    """A set of a single region is not a vector: what is looked at is the region."""
    values, texts = captioning.regions(40)
    records = [
        {"features": v.tolist(), "caption": text} for v, text in zip(values, texts, strict=True)
    ]
    data = captioning.write_jsonl(tmp_path / "r.jsonl", records)
    single = next(i for i, v in enumerate(values) if len(v) == 1)
    one = captioning.write_jsonl(tmp_path / "one.jsonl", records[single : single + 1])
    assert run("train", "caption", data, "--out", "m", *captioning.FLAGS).code == 0
    (example,) = json.loads(run("explain", "m", one, "--json", "--quiet").out)
    assert example["source_tokens"] == ["1"]
