"""PyTorch's files without torch: torch writes them, and torch's own reader and layers judge."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from test_torch_free import BLOCK
from tolerances import close
from unrolled import artifact, cli
from unrolled.errors import InteropError
from unrolled.interop import pytorch
from unrolled.nn.build import build
from unrolled.runtime import CellOptions, Recurrent
from unrolled.shapes import parameter_shapes
from unrolled.spec import RecurrentSpec
from unrolled.tasks.base import Run
from unrolled.tasks.classify import train

X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)


class Net(torch.nn.Module):
    """Two recurrent layers and arrays of several dtypes and strides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.encoder = torch.nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)
        self.cell = torch.nn.GRUCell(3, 2)
        self.fc = torch.nn.Linear(2, 2).half()
        self.register_buffer("turned", torch.randn(3, 4, dtype=torch.bfloat16).t())
        self.register_buffer("long", torch.arange(6).reshape(2, 3)[:, 1:])
        self.register_buffer("flag", torch.tensor([True, False]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)[0]


def agrees(found: pytorch.Imported, net: Net, start: str = "") -> bool:
    with torch.no_grad():
        y, _ = net.encoder(torch.from_numpy(X))
        h = net.cell(torch.from_numpy(X[:, 0]))
    assert close(found.layer(f"{start}encoder")(X)[0], y, "forward")
    assert close(found.layer(f"{start}cell").step(X[:, 0])[0], h, "forward")
    for name in ("turned", "fc.weight", "long", "flag"):
        mine, theirs = found.arrays[start + name], net.state_dict()[name]
        assert mine.dtype == (np.float32 if name == "turned" else theirs.numpy().dtype)
        np.testing.assert_array_equal(mine, theirs.float() if name == "turned" else theirs)
    return True


def checkpoint(net: Net) -> dict[str, object]:
    """What a training script keeps, optimizer state and a wrapped model included."""
    optimizer = torch.optim.Adam(net.encoder.parameters())
    net(torch.from_numpy(X)).sum().backward()
    optimizer.step()
    wrapped = torch.nn.DataParallel(net).state_dict()
    return {
        "epoch": 3,
        "state_dict": wrapped,
        "optimizer": optimizer.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "args": {"lr": 0.1, "sizes": [1, 2, (3, None)]},
    }


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_state_dicts_alone_and_in_checkpoints(tmp_path: Path, old: bool, protocol: int) -> None:
    net, path = Net(), tmp_path / "model.pt"
    options = {"_use_new_zipfile_serialization": not old, "pickle_protocol": protocol}
    for thing in (net.state_dict(), dict(net.state_dict()), {"model": net.state_dict()}):
        torch.save(thing, path, **options)
        assert agrees(pytorch.load(path), net)
    torch.save(checkpoint(net), path, **options)
    found = pytorch.load(path)
    assert agrees(found, net)
    assert found.notes == ("left out: epoch, optimizer, optimizer_states, args",)


@pytest.mark.parametrize("wrappers", ["module.", "_orig_mod.", "_orig_mod.module.", "module." * 2])
def test_wrappers_before_every_name_are_taken_off(wrappers: str, tmp_path: Path) -> None:
    net = Net()
    named = {wrappers + name: value.contiguous() for name, value in net.state_dict().items()}
    torch.save(named, tmp_path / "model.pt")
    save_file(named, tmp_path / "model.safetensors")
    for name in ("model.pt", "model.safetensors"):
        found = pytorch.load(tmp_path / name, check=True)
        assert agrees(found, net)
        assert "largest difference" in found.parity


def test_a_recurrent_layer_goes_back_to_torch(tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "encoder.safetensors"
    torch.save(net.state_dict(), tmp_path / "model.pt")
    ours = pytorch.load(tmp_path / "model.pt").layer("encoder")
    names = pytorch.export(ours, path)
    other = Net().encoder
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(load_file(path))
    assert set(names) == set(other.state_dict())
    x = torch.from_numpy(X)
    assert close(other(x)[0].detach(), net.encoder(x)[0].detach(), "forward")
    with pytest.raises(InteropError, match=r"model\.pt: a state_dict is written as \.safetensors"):
        pytorch.export(ours, tmp_path / "model.pt")


def test_a_model_folder_goes_back_to_torch(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    train(tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(tmp_path / "model"))
    assert cli.run(["export", str(tmp_path / "model"), "--to", "pytorch", "--out", str(path)]) == 0
    found = artifact.load(tmp_path / "model")
    build(found.config.network).load_state_dict(load_file(path))
    assert load_file(path).keys() == found.weights.keys()


def test_a_cell_that_torch_has_not_is_refused(tmp_path: Path) -> None:
    spec = RecurrentSpec(cell="rnn", input_size=2, hidden_sizes=(3,))
    weights = {name: np.ones(shape) for name, shape in parameter_shapes(spec).items()}
    layer = Recurrent(spec, weights, CellOptions(clip=1.0))
    with pytest.raises(InteropError, match="options or peepholes has no counterpart in torch"):
        pytorch.export(layer, tmp_path / "x.safetensors")


def test_several_models_in_one_file_are_listed_and_chosen_by_prefix(tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "two.pth"
    torch.save({"model": net.state_dict(), "ema": net.state_dict()}, path)
    found = pytorch.load(path)
    assert list(found.layers) == ["model.encoder", "model.cell", "ema.encoder", "ema.cell"]
    assert agrees(found, net, "ema.")
    with pytest.raises(InteropError, match=r"name one of its recurrent layers; there are: model"):
        found.layer()
    chosen = pytorch.load(path, "ema.encoder.")
    assert (list(chosen.layers), dict(chosen.arrays)) == (["ema.encoder"], {})
    assert chosen.layer() is chosen.layer("ema.encoder")
    with pytest.raises(InteropError, match=r"prefix 'emma.encoder'.*Did you mean 'ema.encoder'"):
        pytorch.load(path, "emma.encoder")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_gives_parameters_and_runs_no_code(tmp_path: Path) -> None:
    net = Net()
    torch.jit.script(net).save(tmp_path / "scripted.pt")
    torch.jit.trace(net, torch.from_numpy(X)).save(tmp_path / "traced.pt")
    assert agrees(pytorch.load(tmp_path / "scripted.pt"), net)
    found = pytorch.load(tmp_path / "traced.pt")
    assert agrees(found, net)
    assert "its code is not run" in found.describe()


def test_safetensors_with_bfloat16(tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    assert agrees(pytorch.load(path), net)


def test_shared_and_strided_storages(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    parts = {"a": whole, "b": whole[1:3, ::2], "c": whole.t(), "e": whole[0].expand(3, 6)}
    torch.save({**parts, "none": torch.zeros(0, 3), "one": torch.tensor(2.5)}, tmp_path / "x.pt")
    found = pytorch.load(tmp_path / "x.pt").arrays
    for name, value in parts.items():
        np.testing.assert_array_equal(found[name], value)
    assert found["none"].shape == (0, 3)
    assert found["one"] == 2.5


def test_what_names_and_shapes_do_not_tell_is_given_or_noted(tmp_path: Path) -> None:
    module = torch.nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    torch.save(module.state_dict(), tmp_path / "rnn.pt")
    assert "do not tell tanh from relu" in pytorch.load(tmp_path / "rnn.pt").notes[0]
    found = pytorch.load(tmp_path / "rnn.pt", nonlinearity="relu", check=True)
    assert "outputs and states of torch.nn reproduced" in found.parity
    module.weight_ih_l0.data[0, 0] = float("nan")
    torch.save(module.state_dict(), tmp_path / "rnn.pt")
    assert "rnn.weight_ih_l0 holds NaN or infinity" in pytorch.load(tmp_path / "rnn.pt").notes


def test_check_compares_arrays_and_layers_with_torch(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "model.pt"
    torch.save(Net().state_dict(), path)
    said = pytorch.load(path, check=True).parity
    assert said.startswith("25 arrays equal to what torch reads; outputs and states")
    from unrolled.interop.pytorch import parity

    monkeypatch.setitem(parity.TOLERANCE, "float32", -1.0)
    with pytest.raises(InteropError, match=r"encoder: differs from torch.nn by .*, allowed"):
        pytorch.load(path, check=True)


def test_nothing_imports_torch_until_a_check_is_asked_for(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "model.pt")
    code = BLOCK + (
        "from unrolled.interop import pytorch\n"
        "print(len(pytorch.load(sys.argv[1]).layers), 'torch' in sys.modules)\n"
        "print(pytorch.load(sys.argv[1], check=True).parity)"
    )
    found = tiny.python(code, tmp_path / "model.pt")
    assert found.stdout == "2 False\nnot checked: torch is not installed\n"


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch pwned",)


def archive(path: Path, pickled: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", pickled)
        for name, content in members.items():
            file.writestr(f"m/data/{name}", content)
    return path


def save(thing: object, path: Path, old: bool = False) -> Path:
    torch.save(thing, path, _use_new_zipfile_serialization=not old)
    return path


@pytest.mark.parametrize("old", [False, True])
def test_objects_are_never_unpickled(tmp_path: Path, old: bool, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save({"a": torch.zeros(2), "b": Evil()}, tmp_path / "evil.pt", old)
    with pytest.raises(InteropError, match=rf"holds an object of {os.system.__module__}.system"):
        pytorch.load(path)
    with pytest.raises(
        InteropError, match=r"an object of .*Net; objects are never unpickled.*save"
    ):
        pytorch.load(save(Net(), tmp_path / "whole.pt", old))
    assert not (tmp_path / "pwned").exists()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def numbers(values: list[int]) -> bytes:
    """The pickle of a tuple of integers."""
    return b"(" + b"".join(b"L%dL\n" % value for value in values) + b"t"


def tensors(count: int, offset: int, size: list[int], stride: list[int], times: int = 1) -> bytes:
    """The pickle of a dict of tensors over one storage of `count` floats."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += b"L%dL\ntQ" % count
    view = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"L%dL\n" % offset
    view += numbers(size) + numbers(stride) + b"\x89}tR"
    return b"\x80\x02}" + b"".join(text(f"x{k}") + view + b"s" for k in range(times)) + b"."


DEEP = b"\x80\x02" + b"]" * 70_000 + b"a" * 69_999 + b"."
# Each level holds the one below ten times: ten to the hundredth values in some hundred bytes.
LAUGHS = (
    b"\x80\x02]" + b"".join(b"q%c](" % k + b"h%c" % k * 10 + b"e" for k in range(1, 100)) + b"."
)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (tensors(4, 0, [2, 3], [3, 1]), "reaches element 5 of a storage of 4"),
        (tensors(4, 0, [-1], [1]), r"a tensor of size \(-1,\)"),
        (tensors(4, -1, [1], [1]), "offset -1"),
        (tensors(4, 0, [2], [-1]), r"strides \(-1,\)"),
        (tensors(-4, 0, [1], [1]), "negative size"),
        (tensors(4, 0, [1 << 60], [0]), "damaged"),
        (tensors(4, 0, [1 << 40], [0]), "would hold 1099511627776 elements"),
        (tensors(4, 0, [1 << 20], [0], times=40), "would hold"),
        (tensors(4, 0, [2, 2], [2]), "do not belong together"),
        (tensors(5, 0, [5], [1]), "its storage 0 has 16 bytes of 20"),
        (tensors(1 << 40, 0, [1 << 39], [1]), "has 16 bytes of"),
    ],
)
def test_tensors_that_reach_beyond_their_storage(tmp_path: Path, tensor: bytes, said: str) -> None:
    good = archive(tmp_path / "good.pt", tensors(4, 1, [3], [1]), **{"0": b"\0\0\x80?" * 4})
    np.testing.assert_array_equal(pytorch.load(good).arrays["x0"], [1, 1, 1])
    with pytest.raises(InteropError, match=said):
        pytorch.load(archive(tmp_path / "x.pt", tensor, **{"0": bytes(16)}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02}q\x00", "exhausted before seeing STOP"),
        (b"\x80\x02.", "takes a value that is not there"),
        (b"\x80\x02ccollections\nOrderedDict\n)R(K\x01", "exhausted before seeing STOP"),
        (b"\x80\x02h\x05.", "recalls a value"),
        (b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00atR.", "holds an object of os.system"),
        (b"\x80\x02cbuiltins\neval\n.", "holds an object of builtins.eval"),
        (b"\x80\x02ctorch\nload\n.", "holds an object of torch.load"),
        (b"\x80\x02}.", "holds no tensors"),
        (b"\x80\x02}(]K\x01u.", "a key that is a list"),
        (b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".", "holds no tensors"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f" + b".", "damaged"),
        (b"\x80\x02X\xff\xff\xff\x7fa.", "damaged"),
        (b"\x80\x02(K\x01K\x02i__main__\nNet\n.", "the opcode INST is not read"),
        (b"\x80\x02K\x01Q.", "a persistent id that names no storage"),
        (DEEP, "nested without end"),
        (LAUGHS, "too many values"),
    ],
)
def test_damaged_and_hostile_pickles(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InteropError, match=said):
        pytorch.load(archive(tmp_path / "x.pt", content))


def test_archives_of_big_endian_machines(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pt", tensors(4, 1, [3], [1]), **{"0": b"\x3f\x80\0\0" * 4})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("m/byteorder", "big")
    np.testing.assert_array_equal(pytorch.load(path).arrays["x0"], [1, 1, 1])
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", tensors(4, 1, [3], [1]))
        file.writestr("m/byteorder", "middle")
    with pytest.raises(InteropError, match="must be 'little' or 'big', got b'middle'"):
        pytorch.load(path)


@pytest.mark.parametrize("name", ["../x", "m/../../x", "/etc/x", "\\x"])
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr(name, b"")
    with pytest.raises(InteropError, match="leaves its folder"):
        pytorch.load(tmp_path / "x.pt")


def test_zip_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/data.pkl", bytes(80_000_000))
    with pytest.raises(InteropError, match="would unpack to 80000000; this looks like a zip bomb"):
        pytorch.load(tmp_path / "x.pt")


@pytest.mark.parametrize("old", [False, True])
def test_every_file_that_is_cut_short_is_an_error(tmp_path: Path, old: bool) -> None:
    whole = save({"lstm": torch.nn.LSTM(2, 2).state_dict()}, tmp_path / "x.pt", old).read_bytes()
    for size in range(0, len(whole), 97):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        with pytest.raises(InteropError, match=r"cut\.pt"):
            pytorch.load(tmp_path / "cut.pt")


def test_layers_whose_arrays_do_not_fit_are_named(tmp_path: Path) -> None:
    good = torch.nn.LSTM(3, 4).state_dict()
    for name, value, said in (
        ("weight_hh_l0", torch.zeros(16, 5), "'weight_ih_l0' has 16 rows for 5 units"),
        ("weight_hh_l0", torch.zeros(16), "must have two dimensions"),
        ("weight_hh_l0", torch.zeros(0, 0), "the recurrent layer|enc: "),
        ("bias_ih_l0", torch.zeros(3), r"parameter 'bias_ih_l0' must have shape \[16\]"),
        ("bias_ih_l0", torch.zeros(16, dtype=torch.int8), "holds int8, expected real numbers"),
    ):
        torch.save({"enc": {**good, name: value}}, tmp_path / "x.pt")
        with pytest.raises(InteropError, match=said):
            pytorch.load(tmp_path / "x.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content, said in ((b"hello", "neither a .safetensors"), (b"", "neither"), (b"PK", "zip")):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(InteropError, match=said):
            pytorch.load(tmp_path / "x.pt")
    with pytest.raises(InteropError, match="cannot be read"):
        pytorch.load(tmp_path)
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("a.txt", b"")
    with pytest.raises(InteropError, match=r"a zip archive without a data\.pkl"):
        pytorch.load(tmp_path / "x.pt")
