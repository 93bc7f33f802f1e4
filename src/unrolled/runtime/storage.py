"""A recurrent layer in a folder: `recurrent.json` and its weights, `model.safetensors`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from unrolled.artifact import WEIGHTS, claim, pretty, write_files
from unrolled.config import FORMAT_VERSION
from unrolled.errors import ModelError
from unrolled.runtime.operator import CellOptions
from unrolled.spec import RecurrentSpec, Struct

if TYPE_CHECKING:
    from unrolled.runtime.recurrent import Recurrent

SPEC = "recurrent.json"


class Stored(Struct, frozen=True, kw_only=True):
    """What `recurrent.json` holds; `fingerprint` ties it to its weights."""

    format_version: int
    spec: RecurrentSpec
    options: CellOptions
    fingerprint: str


def save(layer: Recurrent, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a layer into a folder, both files or none.

    Raises ModelError where the folder holds something already and `overwrite` is not given.
    """
    place = Path(folder)
    if not (overwrite and (place / SPEC).is_file()):
        claim(place)
    stored = Stored(
        format_version=FORMAT_VERSION,
        spec=layer.spec,
        options=layer.options,
        fingerprint=layer.fingerprint,
    )
    weights = save_tensors(dict(layer.weights), metadata={"format": "unrolled"})
    write_files(place, {WEIGHTS: weights, SPEC: pretty(stored)})


def read(folder: str | Path) -> tuple[Stored, dict[str, NDArray[np.floating]]]:
    """Return what `save` wrote, or raise ModelError naming the file that is missing or damaged."""
    place = Path(folder)
    try:
        content, tensors = (place / SPEC).read_bytes(), (place / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be read ({error.strerror})") from None
    try:
        stored = msgspec.json.decode(content, type=Stored)
    except (msgspec.DecodeError, ValueError) as error:
        raise ModelError(f"{place / SPEC}: {error}") from None
    if stored.format_version > FORMAT_VERSION:
        raise ModelError(
            f"{place / SPEC}: format_version {stored.format_version} is newer than this unrolled "
            f"reads ({FORMAT_VERSION}); upgrade unrolled"
        )
    try:
        return stored, load_tensors(tensors)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{place / WEIGHTS}: damaged or cut short ({error})") from None
