"""`unrolled import`: what a file holds, as text and JSON, its layers kept, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import Command
from tolerances import close
from unrolled import Recurrent
from unrolled.errors import ModelError
from unrolled.interop import onnx
from unrolled.runtime import Activation, CellOptions
from unrolled.runtime.recurrent import RecurrentSpec

GOLDEN = Path(__file__).parent / "golden"
CHECKPOINT = GOLDEN / "pytorch" / "checkpoint.pt"
X = np.random.default_rng(1).standard_normal((2, 5, 2)).astype(np.float32)


def test_a_checkpoint_is_shown_checked_and_kept(run: Command, tmp_path: Path) -> None:
    said = run("import", CHECKPOINT, "--check", "--out", "layers")
    assert said.code == 0
    assert said.lines()[:4] == [
        f"{CHECKPOINT}: 2 recurrent layers",
        "  lstm: LSTM 2 -> 2, float32, 48 parameters",
        "  cell: GRU 2 -> 1, float32, 15 parameters",
        "note: left out: epoch, optimizer",
    ]
    assert said.lines()[4].startswith("parity: 8 arrays equal to what torch reads; outputs and")
    assert said.err == "wrote layers/lstm\nwrote layers/cell\n"
    state = torch.load(CHECKPOINT, weights_only=True)["model"]
    module = torch.nn.LSTM(2, 2, batch_first=True)
    module.load_state_dict(
        {name.removeprefix("lstm."): v for name, v in state.items() if name.startswith("lstm.")}
    )
    with torch.no_grad():
        y, _ = module(torch.from_numpy(X))
    assert close(Recurrent.load(tmp_path / "layers" / "lstm")(X)[0], y, "forward")
    again = run.error("import", CHECKPOINT, "--out", "layers")
    assert again == "layers: is not empty and holds no model; choose another --out"


@pytest.mark.parametrize(
    ("file", "layers"),
    [
        ("pytorch/state.pt", ["cell", "lstm"]),
        ("pytorch/state.npz", ["cell", "lstm"]),
        ("pytorch/state.safetensors", ["cell", "lstm"]),
        ("pytorch/script.pt", ["cell", "lstm"]),
        ("keras/graph.keras", ["bidirectional", "first", "second"]),
        ("keras/lstm_hard.weights.h5", ["layer"]),
    ],
)
def test_every_kind_of_file_as_json(run: Command, file: str, layers: list[str]) -> None:
    found = json.loads(run("import", GOLDEN / file, "--json").out)
    assert {name.split("_")[0] for name in found["layers"]} == set(layers)
    assert found["file"] == str(GOLDEN / file)
    assert set(found) == {"file", "layers", "arrays", "notes", "parity"}


def test_onnx_files_too(run: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    spec = RecurrentSpec(cell="gru", input_size=2, hidden_sizes=(3,), bias=False)
    weights = {"weight_ih_l0": np.ones((9, 2)) / 4, "weight_hh_l0": np.ones((9, 3)) / 5}
    layer = Recurrent(spec, {name: np.float32(value) for name, value in weights.items()})
    onnx.export(layer, tmp_path / "layer.onnx")
    said = run("import", "layer.onnx", "--check", "--out", "kept", "--quiet")
    assert said.code == 0
    assert "GRU forward, I=2 H=3" in said.out
    assert "parity: layer.onnx: the largest difference from ONNX Runtime is" in said.out
    (folder,) = (tmp_path / "kept").iterdir()
    assert close(Recurrent.load(folder)(X)[0], layer(X)[0], "forward")


def test_errors_name_the_file_and_what_was_expected(run: Command, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    torch.save({"w": torch.zeros(2)}, tmp_path / "plain.pt")
    for arguments, said in (
        (["none.pt"], "none.pt: cannot be read (No such file or directory)"),
        (["x.txt"], "x.txt: the ending '.txt' is not known; expected .pt, .pth"),
        (["plain.pt", "--out", "o"], "plain.pt: holds no recurrent layer to write to o"),
        (["plain.pt", "--prefix", "v"], "plain.pt: nothing under the prefix 'v'"),
        (["x.keras", "--prefix", "v"], "--prefix is for weights of PyTorch and .npz, not for x"),
        (["plain.pt", "--weights", "v"], "--weights goes with an architecture of Keras, not with"),
    ):
        assert run.error("import", *arguments).startswith(said)


def test_names_from_a_file_stay_in_the_folder(run: Command, tmp_path: Path) -> None:
    state = torch.nn.GRU(2, 1).state_dict()
    names = ("../../up", "/etc/x", "a/b", "a.b")
    torch.save({f"{name}.{k}": v for name in names for k, v in state.items()}, tmp_path / "x.pt")
    assert run("import", "x.pt", "--out", "kept/here").code == 0
    assert sorted(path.name for path in tmp_path.rglob("recurrent.json")) == ["recurrent.json"] * 4
    kept = sorted(path.name for path in (tmp_path / "kept" / "here").iterdir())
    assert kept == ["a.b", "a.b_", "etc.x", "up"]


# Recurrent.save and Recurrent.load


def layer() -> Recurrent:
    spec = RecurrentSpec(
        cell="lstm", input_size=2, hidden_sizes=(3, 4), bidirectional=True, merge="sum", bias=False
    )
    from unrolled.shapes import parameter_shapes

    rng = np.random.default_rng(2)
    weights = {name: rng.standard_normal(shape) for name, shape in parameter_shapes(spec).items()}
    act = (Activation("HardSigmoid"), Activation("Softsign"), Activation("Tanh"))
    return Recurrent(spec, weights, CellOptions(activations=(act, act), clip=2.0))


def test_a_layer_is_saved_with_its_options_and_loaded_the_same(tmp_path: Path) -> None:
    layer().save(tmp_path / "a")
    again = Recurrent.load(tmp_path / "a")
    assert (again.spec, again.options, again.dtype) == (layer().spec, layer().options, np.float64)
    assert again.fingerprint == layer().fingerprint
    np.testing.assert_array_equal(again(X)[0], layer()(X)[0])
    with pytest.raises(ModelError, match="is not empty"):
        layer().save(tmp_path / "a")
    layer().save(tmp_path / "a", overwrite=True)


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    place = tmp_path / "a"
    for file, change, said in (
        ("recurrent.json", None, "recurrent.json: cannot be read"),
        ("recurrent.json", b"{}", "recurrent.json: Object missing required field"),
        ("model.safetensors", b"x", "model.safetensors: damaged or cut short"),
        ("recurrent.json", ('"sum"', '"mean"'), "do not match the fingerprint"),
        (
            "recurrent.json",
            ('"input_size": 2', '"input_size": 3'),
            "'weight_ih_l0' must have shape",
        ),
        ("recurrent.json", ('"format_version": 1', '"format_version": 9'), "is newer than"),
    ):
        layer().save(place, overwrite=True) if place.exists() else layer().save(place)
        whole = (place / file).read_bytes()
        if change is None:
            (place / file).unlink()
        elif isinstance(change, bytes):
            (place / file).write_bytes(change)
        else:
            assert change[0].encode() in whole
            (place / file).write_bytes(whole.replace(*(each.encode() for each in change)))
        with pytest.raises(ModelError, match=said):
            Recurrent.load(place)
        (place / file).write_bytes(whole)
