"""The command on folders and patterns of files: taggers, captioners and generators."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import captioning
import tagging
import tiny
from commands import Command
from unrolled.config import TrainSpec
from unrolled.data.streams import file_lines, files_lines
from unrolled.errors import DataError
from unrolled.options import GenerateOptions
from unrolled.tasks import generate

CUTS = (0, 17, 22, 40)


def write_texts(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.txt").write_text("the cat sat.\nthe dog")
    (folder / "b.txt").write_text("sat on a log.\n" * 20)
    return folder


def test_files_of_text_are_read_as_one(tmp_path):
    folder = write_texts(tmp_path / "parts")
    lines = files_lines(sorted(folder.iterdir()))
    assert "".join(lines()) == "the cat sat.\nthe dog\n" + "sat on a log.\n" * 20
    assert "".join(lines()) == "".join(lines())
    whole = tmp_path / "whole.txt"
    whole.write_text("".join(lines()))
    options = GenerateOptions(hidden_size=6, embedding_size=4, bptt=5, tokens="word")
    spec = TrainSpec(epochs=1, batch_size=2)
    found = [generate.train_text(given, options, spec) for given in (lines, file_lines(whole))]
    assert found[0].weights.keys() == found[1].weights.keys()
    for name, weight in found[0].weights.items():
        np.testing.assert_array_equal(weight, found[1].weights[name])
    assert found[0].config == found[1].config
    (folder / "c.txt").write_text("")
    with pytest.raises(DataError, match=r"c\.txt: the file is empty"):
        generate.train_text(files_lines(sorted(folder.iterdir())), options, spec)


def write_tagged(folder: Path) -> Path:
    """The orders in three files, and in one."""
    folder.mkdir()
    whole = tagging.write_conll(folder.parent / "whole.conll").read_text().split("\n\n")
    for k, (begin, end) in enumerate(pairwise(CUTS)):
        (folder / f"part-{k}.conll").write_text("\n\n".join(whole[begin:end]).rstrip("\n") + "\n")
    return folder


def write_things(folder: Path) -> Path:
    folder.mkdir()
    records = captioning.attributes()
    captioning.write_jsonl(folder.parent / "whole.jsonl", records)
    for k in range(3):
        captioning.write_jsonl(folder / f"part-{k}.jsonl", records[4 * k : 4 * k + 4])
    return folder


def write_items(folder: Path) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(0)
    drawn = [draw.integers(9, size=draw.integers(1, 8)).tolist() for _ in range(40)]
    lines = [json.dumps({"items": items}) + "\n" for items in drawn]
    (folder.parent / "whole.jsonl").write_text("".join(lines))
    for k, (begin, end) in enumerate(pairwise(CUTS)):
        (folder / f"part-{k}.jsonl").write_text("".join(lines[begin:end]))
    return folder


COMMANDS = {
    "tag": (write_tagged, [*tagging.FLAGS, "--quiet"], "whole.conll", "*.conll"),
    "caption": (write_things, [*captioning.FLAGS, "--epochs=2"], "whole.jsonl", "*.jsonl"),
    "generate": (write_items, [*tiny.FLAGS, "--quiet"], "whole.jsonl", "*.jsonl"),
}


@pytest.mark.parametrize("task", COMMANDS)
def test_the_command_takes_a_folder_or_a_pattern(task, tmp_path, run: Command):
    write, flags, name, pattern = COMMANDS[task]
    folder, whole = write(tmp_path / "parts"), tmp_path / name
    for data, out in ((folder, "a"), (folder / pattern, "b")):
        done = run("train", task, data, "--valid", folder, "--out", tmp_path / out, *flags)
        assert done.code == 0, done.err
    first, second = (tmp_path / out / "model.safetensors" for out in "ab")
    assert first.read_bytes() == second.read_bytes()
    model = tmp_path / "a"
    told = json.loads(run("evaluate", model, whole, "--json").out)
    for data in (folder, folder / pattern):
        assert json.loads(run("evaluate", model, data, "--json").out) == told
        answered = run("predict", model, data)
        assert answered.code == 0, answered.err
        assert answered.out == run("predict", model, whole).out
    done = run("train", task, tmp_path / "none" / "*", "--out", tmp_path / "m")
    assert (done.code, "no files to read there" in done.err) == (2, True)
    (tmp_path / "empty").mkdir()
    done = run("train", task, tmp_path / "empty", "--out", tmp_path / "m")
    assert (done.code, "empty: no files to read there" in done.err) == (2, True)


def test_the_command_names_the_file_that_is_wrong(tmp_path, run: Command):
    folder = write_tagged(tmp_path / "parts")
    given = ["train", "tag", folder, "--out", tmp_path / "m", *tagging.FLAGS, "--quiet"]
    (folder / "part-9.conll").write_text("# key = value\n\n")
    done = run(*given)
    assert (done.code, "part-9.conll: " in done.err) == (2, True), done.err
    (folder / "part-9.conll").unlink()
    np.savez(folder / "part-9.npz", x=np.ones((2, 3, 1)), y=np.ones((2, 3)))
    done = run(*given)
    assert done.code == 2
    assert f"part-9.npz: features 0, but {folder / 'part-0.conll'}: words" in done.err
    (folder / "part-9.npz").unlink()
    assert run(*given).code == 0
    tagging.write_jsonl(folder / "part-9.jsonl")
    done = run("predict", tmp_path / "m", folder)
    assert done.code == 2
    assert f"part-9.jsonl: jsonl, but {folder / 'part-0.conll'}: conll; give --json" in done.err
    done = run("predict", tmp_path / "m", folder, "--json")
    assert (done.code, len(done.lines())) == (0, 80)


def test_texts_beside_shards_are_refused(tmp_path, run: Command):
    folder = write_things(tmp_path / "parts")
    texts = folder / "part-0.jsonl"
    given = ["train", "caption", "--out", tmp_path / "m", *captioning.FLAGS]
    done = run(*given, folder, "--captions", texts)
    assert (done.code, "--captions is for one file; " in done.err) == (2, True)
    assert "parts is a folder or a pattern" in done.err
    done = run(*given, texts, "--valid", folder, "--valid-captions", texts)
    assert (done.code, "--valid-captions is for one file; " in done.err) == (2, True)


def test_a_folder_of_text_is_learned_and_measured_as_one(tmp_path, run: Command):
    folder, model = write_texts(tmp_path / "parts"), tmp_path / "model"
    given = ["train", "generate", folder, "--out", model, *tiny.FLAGS, "--quiet"]
    assert run(*given).code == 0
    whole = tmp_path / "whole.txt"
    whole.write_text("".join(files_lines(sorted(folder.iterdir()))()))
    found, told = (json.loads(run("evaluate", model, d, "--json").out) for d in (folder, whole))
    assert found == told
    done = run("predict", model, folder)
    assert (done.code, "predict goes on with the text of one file; " in done.err) == (2, True)
    (folder / "c.jsonl").write_text('{"items": ["a", "b"]}\n')
    done = run(*given, "--overwrite")
    assert (done.code, f"c.jsonl: items, but {folder / 'a.txt'}: text" in done.err) == (2, True)
    (folder / "c.jsonl").rename(tmp_path / "c.jsonl")
    done = run(*given, "--overwrite", "--valid", tmp_path / "c.jsonl")
    assert (done.code, f"c.jsonl: items, but {folder / 'a.txt'}: text" in done.err) == (2, True)
