"""The model folder: read back as it was written, refused with a reason, never half written."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import tiny
import unrolled
from unrolled import artifact
from unrolled.errors import ModelError, TrainingError, UnrolledError
from unrolled.tasks.base import Run
from unrolled.tasks.classify import train
from unrolled.tasks.translate import train as train_translator


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(folder))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A model folder of this test's own."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


def failure(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        unrolled.load(folder)
    return str(caught.value)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace_weights(folder: Path, weights: dict[str, np.ndarray]) -> None:
    """Put other weights into the folder, and take the fingerprint out of the config."""
    (folder / "model.safetensors").write_bytes(save_tensors(weights))
    edit_config(folder, fingerprint="")


# What is written is what is read


def test_a_folder_holds_the_files_that_the_documentation_names(trained: Path) -> None:
    found = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}
    assert found == {
        "config.json",
        "model.safetensors",
        "vocab.json",
        "metrics.json",
        "README.md",
        "training/last.safetensors",
        "training/log.jsonl",
    }


def test_round_trip(trained: Path, tmp_path: Path) -> None:
    first = artifact.load(trained)
    artifact.save(
        tmp_path / "copy",
        config=first.config,
        weights=first.weights,
        vocabularies=first.vocabularies,
        metrics=first.metrics,
        card="the card",
    )
    second = artifact.load(tmp_path / "copy")
    assert second.config == first.config
    assert second.vocabularies == first.vocabularies
    assert second.metrics == first.metrics
    assert second.weights.keys() == first.weights.keys()
    for name, weight in first.weights.items():
        assert second.weights[name].dtype == weight.dtype
        np.testing.assert_array_equal(second.weights[name], weight)
    assert (tmp_path / "copy" / "README.md").read_text() == "the card"


def test_the_folder_tells_versions_data_seed_and_how_it_was_made(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["format_version"] == 1
    assert set(config["versions"]) == {"unrolled", "python", "numpy", "torch"}
    assert len(config["data_hash"]) == len(config["fingerprint"]) == 64
    assert config["training"]["seed"] == 0
    assert config["training"]["lr"] == 0.01
    assert config["network"]["task"] == "classify"
    card = (trained / "README.md").read_text()
    assert config["data_hash"] in card
    assert "accuracy" in card


def test_no_pickle_is_in_the_folder(trained: Path) -> None:
    for path in trained.rglob("*"):
        if path.is_file():
            assert not path.read_bytes().startswith(b"\x80"), path


def test_the_same_data_and_seed_give_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    train(tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(tmp_path / "again"))
    for name in ("model.safetensors", "config.json", "vocab.json"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes()


# What is refused, and what is said


def test_no_folder(tmp_path: Path) -> None:
    assert failure(tmp_path / "none") == f"{tmp_path}/none: no such model folder"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "is a file, not a model folder" in failure(tmp_path / "file")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json"])
def test_a_missing_file_is_named_with_what_is_there(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = failure(folder)
    assert f"{folder}: no {name} in this folder (it holds: " in message
    assert "README.md" in message


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert failure(folder).startswith(f"{path}: damaged or cut short (")


def test_one_flipped_bit_in_the_weights_is_seen(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert failure(folder) == (
        f"{path}: does not match the fingerprint in config.json; copy both again"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(folder: Path, value: float) -> None:
    weights = dict(load_tensors((folder / "model.safetensors").read_bytes()))
    weights["output.bias"] = weights["output.bias"].copy()
    weights["output.bias"][0] = value
    replace_weights(folder, weights)
    assert "output.bias holds NaN or infinite weights" in failure(folder)


def test_a_missing_and_a_misshapen_weight(folder: Path) -> None:
    weights = dict(load_tensors((folder / "model.safetensors").read_bytes()))
    bias = weights.pop("output.bias")
    replace_weights(folder, weights)
    assert "'output.bias' is missing; expected shape [2]" in failure(folder)
    replace_weights(folder, {**weights, "output.bias": np.concatenate([bias, bias])})
    assert "'output.bias' has shape [4], expected [2]" in failure(folder)


def test_a_newer_format(folder: Path) -> None:
    edit_config(folder, format_version=99)
    assert failure(folder) == (
        f"{folder}/config.json: format_version 99 is newer than this unrolled reads (1); "
        "upgrade unrolled"
    )


def test_a_newer_format_is_told_before_its_unknown_keys(folder: Path) -> None:
    edit_config(folder, format_version=2, attention_heads=4)
    assert "format_version 2 is newer" in failure(folder)


def test_config_without_a_version_and_with_an_unknown_key(folder: Path) -> None:
    edit_config(folder, extra=1)
    assert "config.json" in failure(folder)
    assert "`extra`" in failure(folder)
    (folder / "config.json").write_text("{}")
    assert "no format_version; expected 1" in failure(folder)


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', "is not valid JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"\xff": 1}', "is not valid JSON"),
    ],
)
def test_damaged_json(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    assert f"{folder / name}: {message}" in failure(folder)


def test_damaged_vocabulary(folder: Path) -> None:
    path = folder / "vocab.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"source": content["source"]}))
    assert "a classifier needs a vocabulary and class labels" in failure(folder)
    content["source"]["units"].pop()
    path.write_text(json.dumps(content))
    assert "source vocabulary has" in failure(folder)
    path.write_text("[")
    assert f"{path}: is not a JSON object of vocabularies" in failure(folder)


def test_any_damage_at_all_is_an_error_of_ours_or_no_harm(folder: Path) -> None:
    """Bytes flipped, cut out and cut off at random: never another exception."""
    source, said = random.Random(0), []
    for name in ("config.json", "vocab.json", "metrics.json", "model.safetensors"):
        whole = (folder / name).read_bytes()
        for _ in range(60):
            at = source.randrange(len(whole))
            flipped = bytes([whole[at] ^ 1 << source.randrange(8)])
            damaged = source.choice(
                [whole[:at], whole[:at] + flipped + whole[at + 1 :], whole[:at] + whole[at + 3 :]]
            )
            (folder / name).write_bytes(damaged)
            try:
                model = unrolled.load(folder)
            except UnrolledError as error:
                said.append(str(error))
            else:
                assert len(model.predict(["good film"])) == 1
        (folder / name).write_bytes(whole)
    assert len(said) > 100
    assert all(str(folder) in message or "weight" in message for message in said)


# Where may be written


def test_claim_takes_a_new_and_an_empty_folder(tmp_path: Path) -> None:
    artifact.claim(tmp_path / "new")
    artifact.claim(tmp_path)


def test_claim_refuses_another_model_without_overwrite_or_resume(folder: Path) -> None:
    with pytest.raises(ModelError, match="holds another model; give --overwrite to replace it"):
        artifact.claim(folder)
    artifact.claim(folder, overwrite=True)
    artifact.claim(folder, resume=True)


@pytest.mark.parametrize("flags", [{}, {"overwrite": True}, {"resume": True}])
def test_claim_never_takes_a_folder_of_other_things(tmp_path: Path, flags: dict) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ModelError, match="is not empty and holds no model"):
        artifact.claim(tmp_path, **flags)


def test_claim_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file; --out names a folder"):
        artifact.claim(tmp_path / "file", overwrite=True)


def test_overwriting_leaves_no_trace_of_the_other_model(folder: Path) -> None:
    run = Run(folder, overwrite=True)
    train_translator(tiny.pairs(), tiny.translate_options(), tiny.training(), run=run)
    assert unrolled.load(folder).config.task == "translate"
    assert "accuracy" not in (folder / "training" / "log.jsonl").read_text()
    assert "accuracy" not in json.loads((folder / "metrics.json").read_text())


# All or nothing

FULL_DISK = """
import resource, sys
from pathlib import Path
import unrolled
from unrolled import artifact
from unrolled.errors import TrainingError

folder = Path(sys.argv[1])
found = artifact.load(folder)
weights = {name: weight + 1 for name, weight in found.weights.items()}
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    artifact.save(folder, config=found.config, weights=weights, vocabularies=found.vocabularies,
                  metrics={}, card="new")
except TrainingError as error:
    print(error)
"""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
@pytest.mark.parametrize("room", [0, 500, 3000])
def test_a_full_disk_leaves_every_file_as_it_was(folder: Path, room: int) -> None:
    """The limit on the size of a file stands in for a disk with `room` bytes left."""
    before = snapshot(folder)
    found = tiny.python(FULL_DISK, folder, room)
    assert found.stderr == ""
    assert found.stdout.startswith(f"{folder}: could not save (")
    assert "what was saved before is untouched" in found.stdout
    assert snapshot(folder) == before
    unrolled.load(folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_while_answers_are_written(folder: Path) -> None:
    texts = folder.parent / "texts.txt"
    texts.write_text("good film\n")
    command = [sys.executable, "-m", "unrolled", "predict", str(folder), str(texts)]
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=tiny.environment()
        )
    assert found.returncode == 1
    assert found.stderr == "unrolled: error: No space left on device\n"


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match="could not save"):
        artifact.write_files(tmp_path / "file" / "model", {"a": b"1"})


def test_no_file_is_replaced_when_a_later_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").write_bytes(b"in the way")
    with pytest.raises(TrainingError, match="could not save"):
        artifact.write_files(tmp_path, {"a": b"new", "b/c": b"new"})
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == b"old"
