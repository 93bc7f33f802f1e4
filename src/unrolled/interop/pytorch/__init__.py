"""Weights from PyTorch files without torch, and ours as a state_dict."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from unrolled.interop.imported import Imported, from_names
from unrolled.interop.pytorch import checkpoint
from unrolled.interop.pytorch.exporting import export
from unrolled.spec import Merge, Nonlinearity, Reset

__all__ = ["Imported", "export", "load"]


def load(
    path: str | Path,
    prefix: str | None = None,
    *,
    nonlinearity: Nonlinearity = "tanh",
    merge: Merge = "concat",
    reset: Reset = "after",
    check: bool = False,
) -> Imported:
    """Return the recurrent layers of a file that torch wrote, and its other arrays by name.

    Reads `.safetensors`; what `torch.save` writes, today and before torch 1.6, state dicts alone or
    inside a checkpoint with optimizer state beside them; and the parameters of TorchScript
    archives. No object is unpickled and no code of the file runs. float16 becomes float32 in
    layers, bfloat16 everywhere.

    Layers are named by the place of their parameters, without wrappers (`state_dict`) and without
    `module.` before every name; `prefix` keeps those under it. Names and shapes tell everything
    but the nonlinearity of an RNN, and what only `unrolled.nn` has: merged directions, and reset
    before the product.

    With `check` torch reads the file too, and runs each layer on random input beside ours; this
    imports torch. Raises InteropError, naming the file, for damage, for anything that is not
    weights, and for a difference.
    """
    place = Path(path)
    contents = checkpoint.read(place)
    found = from_names(
        str(place),
        contents.arrays,
        prefix=prefix,
        nonlinearity=nonlinearity,
        merge=merge,
        reset=reset,
        notes=contents.notes,
    )
    if not check:
        return found
    from unrolled.interop.pytorch.parity import compare

    return dataclasses.replace(found, parity=compare(place, contents, found))
