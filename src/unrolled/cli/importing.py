"""`unrolled import FILE`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from unrolled.cli.common import say, write_json
from unrolled.errors import ConfigError, InteropError

if TYPE_CHECKING:
    from unrolled.interop.imported import Imported
    from unrolled.interop.keras import KerasModel
    from unrolled.runtime import Recurrent

TORCH, KERAS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".jit"), (".keras", ".h5", ".hdf5")


class Found(NamedTuple):
    """What a file holds, as text and in parts."""

    text: str
    layers: Mapping[str, Recurrent]
    arrays: Mapping[str, list[int]] = {}
    notes: tuple[str, ...] = ()
    parity: str = ""


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--prefix", help="Only what lies under this name (weights of PyTorch and .npz).")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights of a Keras .json.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the recurrent layers.")
@click.option("--check", is_flag=True, help="Compare with the framework that wrote it, if here.")
@click.option("--json", "as_json", is_flag=True, help="Print what is in the file as JSON.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(
    file: Path,
    prefix: str | None,
    weights: Path | None,
    out: Path | None,
    check: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what FILE of another framework holds, and keep its recurrent layers.

    Reads .pt, .pth and .safetensors of PyTorch, .keras and .h5 of Keras, .onnx, and .npz with
    PyTorch's names. With --out each recurrent layer becomes a folder for `Recurrent.load`. No code
    of the file runs.

    Example: unrolled import checkpoint.pt --prefix encoder --out layers/
    """
    found = _read(file, prefix, weights, check)
    if out is not None:
        _check_out(file, found, out)
    if as_json:
        write_json(_as_json(file, found))
    else:
        sys.stdout.write(found.text + "\n")
    if out is not None:
        _keep(found.layers, out, quiet)


def _read(file: Path, prefix: str | None, weights: Path | None, check: bool) -> Found:
    ending = file.suffix.lower()
    if weights is not None and ending not in (*KERAS, ".json"):
        raise ConfigError(f"--weights goes with an architecture of Keras, not with {file.name}")
    if prefix is not None and (ending in (*KERAS, ".json", ".onnx")):
        raise ConfigError(f"--prefix is for weights of PyTorch and .npz, not for {file.name}")
    if ending == ".onnx":
        return _onnx(file, check)
    if ending in (*KERAS, ".json"):
        from unrolled.interop import keras

        return _found(keras.load(file, weights, check=check))
    if ending == ".npz":
        from unrolled.interop.archives import read_npz
        from unrolled.interop.imported import from_names

        return _found(from_names(str(file), read_npz(file), prefix=prefix))
    if ending in TORCH:
        from unrolled.interop import pytorch

        return _found(pytorch.load(file, prefix, check=check))
    raise InteropError(
        f"{file}: the ending {ending!r} is not known; expected "
        f"{', '.join((*TORCH, *KERAS, '.json', '.onnx', '.npz'))}"
    )


def _found(found: Imported | KerasModel) -> Found:
    arrays = getattr(found, "arrays", {})
    shapes = {name: list(value.shape) for name, value in arrays.items()}
    return Found(found.describe(), found.layers, shapes, found.notes, found.parity)


def _onnx(file: Path, check: bool) -> Found:
    from unrolled.interop import onnx

    model = onnx.load(file)
    text, said = onnx.describe(file), ""
    if check:
        parity = model.check()
        if parity.compared:
            parity.insist()
        said = str(parity)
        text += f"\nparity: {said}"
    return Found(text, model.recurrent, parity=said)


def _as_json(file: Path, found: Found) -> dict[str, Any]:
    layers = {
        name: {
            "spec": layer.spec,
            "options": layer.options,
            "dtype": layer.dtype.name,
            "parameters": sum(value.size for value in layer.weights.values()),
        }
        for name, layer in found.layers.items()
    }
    return {
        "file": str(file),
        "layers": layers,
        "arrays": found.arrays,
        "notes": found.notes,
        "parity": found.parity,
    }


def _check_out(file: Path, found: Found, out: Path) -> None:
    from unrolled.artifact import claim

    if not found.layers:
        raise InteropError(f"{file}: holds no recurrent layer to write to {out}")
    claim(out)


def _keep(layers: Mapping[str, Recurrent], out: Path, quiet: bool) -> None:
    """Write each layer into a folder of its own; names from a file are made safe first."""
    used: set[str] = set()
    for name, layer in layers.items():
        plain = re.sub(r"[^\w.-]", "_", name.replace("/", ".")).strip(".")[:100] or "layer"
        while plain in used:
            plain += "_"
        used.add(plain)
        layer.save(out / plain)
        say(f"wrote {out / plain}", quiet=quiet)
