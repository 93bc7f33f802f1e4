"""Keras's files: what they hold of a model's architecture, and where its weights lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from unrolled.errors import InteropError
from unrolled.interop.archives import open_archive, read_file, read_member
from unrolled.interop.keras.hdf5 import MAGIC, Hdf5, read_hdf5
from unrolled.interop.keras.kinds import Array, Config, Slot, Weights

OLD_FOLDER = "_layer_checkpoint_dependencies"


class Source(NamedTuple):
    """A model's architecture where the file has it, its weights where it has them, its Keras."""

    model: Mapping[str, Any] | None
    weights: Hdf5 | None
    version: int


def read(path: Path) -> Source:
    """Return what a `.keras`, `.h5` or `.json` file holds.

    Raises InteropError naming the file for anything else, and for damage.
    """
    content = read_file(path)
    if content.startswith(MAGIC):
        return _from_hdf5(content, path)
    if content.startswith(b"PK"):
        return _from_archive(path)
    if content.lstrip()[:1] == b"{":
        model = decode(content, path)
        return Source(model, None, _version(model.get("keras_version"), model))
    raise InteropError(f"{path}: neither a .keras file, an HDF5 file nor a .json of a model")


def _from_hdf5(content: bytes, path: Path) -> Source:
    weights = read_hdf5(content, path)
    text = weights.text("", "model_config")
    model = decode(text.encode(), path) if text is not None else None
    stated = weights.text("", "keras_version") or weights.text("model_weights", "keras_version")
    return Source(model, weights, _version(stated, model))


def _from_archive(path: Path) -> Source:
    with open_archive(path) as archive:
        if "config.json" not in archive.namelist():
            raise InteropError(f"{path}: a zip archive without a config.json, so not a .keras file")
        model = decode(read_member(archive, "config.json", path), path)
        metadata: Mapping[str, Any] = {}
        if "metadata.json" in archive.namelist():
            metadata = decode(read_member(archive, "metadata.json", path), path)
        inner = f"{path}: model.weights.h5"
        weights = read_hdf5(read_member(archive, "model.weights.h5", path), inner)
    return Source(model, weights, _version(metadata.get("keras_version"), model))


def decode(content: bytes, path: Path) -> Mapping[str, Any]:
    """Return the JSON object in `content`, or raise InteropError."""
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InteropError(f"{path}: its configuration is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise InteropError(f"{path}: its configuration is no JSON object")
    return value


def _version(stated: Any, model: Mapping[str, Any] | None) -> int:
    """Return 2 or 3; where the file does not say, Keras 3 is known by the modules that it names."""
    if isinstance(stated, str) and stated[:1].isdigit():
        return 3 if int(stated[0]) >= 3 else 2
    return 3 if model is None or "module" in model else 2


class Store:
    """The weights of a model's layers, in either of the two layouts that Keras writes."""

    def __init__(self, file: Hdf5, where: str) -> None:
        self.where = where
        root = "model_weights" if file.texts("model_weights", "layer_names") is not None else ""
        self.names = file.texts(root, "layer_names")
        self.legacy = self.names is not None
        self._prefix = f"{root}/" if root else ""
        self._file = file
        self.arrays: dict[str, Array] = {
            place.replace("\\", "/").replace(OLD_FOLDER, "layers"): _numbers(value)
            for place, value in file.arrays.items()
        }

    def label(self, folder: str) -> str:
        """Return the name of the layer that a Keras 3 file keeps in a folder, else the folder."""
        plain = folder.removeprefix("layers/")
        return plain if "/" in plain else self._file.text(f"{folder}/vars", "name") or plain

    def layer(self, name: str) -> dict[str, Array]:
        """Return a layer's weights in the order of a Keras 2 file, by their names there."""
        found = {}
        for weight in self._file.texts(self._prefix + name, "weight_names") or []:
            place = f"{self._prefix}{name}/{weight}"
            if place not in self.arrays:
                raise InteropError(f"{self.where}: no weight {weight!r} of layer {name!r}")
            found[weight] = self.arrays[place]
        return found

    def fetch(self, config: Config, place: str, slots: list[Slot]) -> Weights:
        """Return a layer's weights in the order of its slots."""
        if not self.legacy:
            wanted = [f"{place}/{slot.place}" for slot in slots]
            for name in wanted:
                if name not in self.arrays:
                    raise config.error(f"no weight {name} in the file")
            return [self.arrays[name] for name in wanted]
        given = list(self.layer(config.name).values())
        if len(given) != len(slots):
            raise config.error(f"has {len(given)} weights in the file, asks for {len(slots)}")
        frozen = config.get("trainable") is False
        order = sorted(range(len(slots)), key=lambda k: frozen or not slots[k].trainable)
        found = dict(zip(order, given, strict=True))
        return [found[k] for k in range(len(slots))]

    def own(self, config: Config, place: str) -> dict[str, Array]:
        """Return everything that lies under a layer of the user's own, by name."""
        if self.legacy:
            found = self.layer(config.name)
            return {name.rpartition("/")[2].partition(":")[0]: v for name, v in found.items()}
        start = f"{place}/"
        return {
            name.removeprefix(start).removeprefix("vars/"): value
            for name, value in self.arrays.items()
            if name.startswith(start)
        }


def _numbers(value: Array) -> Array:
    """Return real numbers as float32 or float64; bfloat16 is kept as two bytes without a name."""
    if value.dtype.str == "|V2":
        return (value.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return value.astype(np.float64 if value.dtype == np.float64 else np.float32)
