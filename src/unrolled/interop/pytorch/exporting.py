"""Models and recurrent layers as a PyTorch state_dict in a safetensors file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save as save_tensors

from unrolled import artifact
from unrolled.artifact import write_files
from unrolled.errors import InteropError
from unrolled.runtime.operator import STANDARD
from unrolled.runtime.recurrent import Recurrent


def export(model: str | Path | Recurrent, path: str | Path) -> tuple[str, ...]:
    """Write the weights of a model folder or a `Recurrent` as a state_dict; return its names.

    Names, layouts and gate order are torch's: `safetensors.torch.load_file(path)` gives what
    `load_state_dict` of `unrolled.nn.build(spec)`, or of torch.nn's layer, takes. All numbers are
    float32 or float64, those of a folder of low precision as it holds them. Raises InteropError
    for a name that does not end with `.safetensors`, and for a layer with options or peepholes,
    which torch has none of.
    """
    place = Path(path)
    if place.suffix != ".safetensors":
        raise InteropError(
            f"{place}: a state_dict is written as .safetensors, which torch reads by "
            "safetensors.torch.load_file; no pickle is written"
        )
    if isinstance(model, Recurrent):
        weights = dict(model.weights)
        if model.options != STANDARD or any("peephole" in name for name in weights):
            raise InteropError(
                f"{place}: a cell with options or peepholes has no counterpart in torch"
            )
    else:
        weights = dict(artifact.load(model).weights)
    ordered = {name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}
    content = save_tensors(ordered, metadata={"format": "pt"})
    write_files(place.parent, {place.name: content})
    return tuple(ordered)
