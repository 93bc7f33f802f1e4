"""The command with generators, from a file to answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import tiny
from test_torch_free import BLOCK

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 20
FLAGS = ["--hidden-size=8", "--embedding-size=8", "--epochs=1", "--batch-size=4", "--quiet"]

USE = """
import json
import sys
from unrolled.cli import run
for arguments in json.loads(sys.argv[1]):
    assert run(arguments) == 0, arguments
"""


def run(block: str, *commands: list[str]) -> str:
    found = tiny.python(block + USE, json.dumps([list(map(str, c)) for c in commands]))
    assert found.returncode == 0, found.stderr
    return found.stdout


def failed(command: list[str]) -> str:
    """Return what stderr says of a command that ends with the code of bad data."""
    call = "import sys; from unrolled.cli import run; sys.exit(run(sys.argv[1:]))"
    found = tiny.python(BLOCK + call, *map(str, command))
    assert found.returncode == 2, found.stderr
    return found.stderr


@pytest.mark.parametrize("tokens", ["char", "word", "bpe"])
def test_a_text_from_file_to_continuation(tokens: str, tmp_path: Path) -> None:
    data, prompt, model = tmp_path / "c.txt", tmp_path / "p.txt", tmp_path / "model"
    data.write_text(TEXT)
    prompt.write_text("the cat")
    run("", ["train", "generate", data, "--out", model, "--tokens", tokens, *FLAGS])
    drawn = run(BLOCK, ["predict", model, prompt, "--max-length", 12])
    assert drawn.endswith("\n")
    assert drawn == run(BLOCK, ["predict", model, prompt, "--max-length", 12])
    found = json.loads(run(BLOCK, ["evaluate", model, data, "--json"]))
    assert found["unknown"] == 0
    assert found["perplexity"] == pytest.approx(np.exp(found["nats"]))
    bits = found["count"] * found["nats"] / np.log(2)
    assert found["bits_per_character"] == pytest.approx(bits / len(TEXT))
    out = tmp_path / "report.html"
    shown = run(BLOCK, ["explain", model, "the cat", "--out", out], ["inspect", model])
    assert "bits a unit" in shown
    assert "What surprised" in out.read_text()


def test_items_from_file_to_recommendations(tmp_path: Path) -> None:
    data, model = tmp_path / "h.jsonl", tmp_path / "model"
    lines = [{"items": [f"i{(s + k) % 9}" for k in range(4)]} for s in range(30)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = ["train", "generate", data, "--out", model, *(f for f in FLAGS if f != "--quiet")]
    said = tiny.python(USE, json.dumps([list(map(str, told))])).stderr
    assert re.search(r"NDCG@10 [\d.]+ %  recall@20 [\d.]+ %  MRR@20 [\d.]+ %  nats", said)
    answers = run(BLOCK, ["predict", model, data, "--n-best", "3"]).splitlines()
    assert len(answers) == 30
    assert len(json.loads(answers[0])["recommended"]) == 3
    assert 0 <= json.loads(run(BLOCK, ["evaluate", model, data, "--json"]))["hr@10"] <= 1
    data.write_text('{"items": ["i1"]}\n{"items": ["new"]}\n')
    found = failed(["predict", model, data])
    assert f"{data}, row 2: the history holds no item that the model knows" in found


def test_frames_of_another_width_are_named(tmp_path: Path) -> None:
    model = tmp_path / "model"
    for name, width in ("three", 3), ("two", 2):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((4, 5, width), np.int8))
    run("", ["train", "generate", tmp_path / "three.npz", "--out", model, *FLAGS])
    for verb in "predict", "evaluate":
        found = failed([verb, model, tmp_path / "two.npz"])
        assert "two.npz, sequence 1: frames of 2 numbers, expected 3" in found


def test_frames_from_file_to_music(tmp_path: Path) -> None:
    data, model = tmp_path / "m.npz", tmp_path / "model"
    x = (np.random.default_rng(0).random((6, 9, 5)) < 0.3).astype(np.float32)
    np.savez(data, x=x)
    run("", ["train", "generate", data, "--out", model, *FLAGS])
    assert json.loads(run(BLOCK, ["evaluate", model, data, "--json"]))["steps"] == 54
    drawn = run(BLOCK, ["predict", model, data, "--max-length", "4"]).splitlines()
    assert len(json.loads(drawn[0])["keys"]) == 4


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    data, model = tmp_path / "c.txt", tmp_path / "model"
    data.write_text(TEXT)
    (tmp_path / "h.jsonl").write_text('{"items": ["a", "b"]}\n')
    run("", ["train", "generate", data, "--out", model, *FLAGS])
    code = "import sys; from unrolled.cli import main; main(sys.argv[1:])"
    found = tiny.python(code, "evaluate", model, tmp_path / "h.jsonl")
    assert found.returncode == 2
    assert "the model reads text, the file holds items" in found.stderr
