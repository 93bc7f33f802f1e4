"""Models and weights from Keras files without Keras: `.keras`, `.h5`, weights alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unrolled.errors import InteropError
from unrolled.interop.imported import Imported, odd_values
from unrolled.interop.keras import files, network, weights
from unrolled.interop.keras.files import Store
from unrolled.interop.keras.graph import parse
from unrolled.interop.keras.kinds import Context
from unrolled.interop.keras.model import KerasModel
from unrolled.interop.keras.network import CustomLayer

__all__ = ["CustomLayer", "KerasModel", "load"]

_weights = weights


def load(
    path: str | Path,
    weights: str | Path | None = None,
    custom: Mapping[str, Callable[..., Any]] | None = None,
    *,
    check: bool = False,
) -> KerasModel | Imported:
    """Return the model of a Keras file, or the recurrent layers of a file of weights alone.

    Reads `.keras`, `.h5` of Keras 2 and 3 with an architecture, and the `.json` of an architecture
    with its `weights` in another file. Files without one (`.weights.h5`) give `Imported`, their
    layers under the defaults of Keras for what weights do not tell.

    `custom` computes what Keras would run as Python code: `{name: function}`, by the name of a
    layer or of its class. `function(x, layer)` gets the input, or a list of them, and a
    `CustomLayer` with the layer's name, configuration, weights by name and mask; it returns an
    array or a list of them, which carry no mask.

    Masks work as in Keras: a masked step, wherever it lies, leaves the state as it is. With `check`
    Keras runs the model too, on random input, where it is installed. HDF5 needs h5py:
    `pip install 'unrolled[keras]'`. Raises InteropError naming the layer and its class for what
    is not supported, before anything runs, and naming the file for damage.
    """
    place = Path(path)
    try:
        found = _load(place, None if weights is None else Path(weights), custom or {})
    except RecursionError:
        raise InteropError(f"{place}: its configuration is nested too deep") from None
    if not check:
        return found
    if isinstance(found, Imported):
        said = "not checked: a file of weights alone cannot be run by Keras"
        return dataclasses.replace(found, parity=said)
    from unrolled.interop.keras.parity import compare

    said = compare(place, found, own_code=bool(custom), weights=weights is not None)
    return dataclasses.replace(found, parity=said)


def _load(
    path: Path, weights: Path | None, custom: Mapping[str, Callable[..., Any]]
) -> KerasModel | Imported:
    source = files.read(path)
    held = source.weights if weights is None else files.read(weights).weights
    if held is None:
        where = path if weights is None else weights
        raise InteropError(f"{where}: holds no weights; give the file that does as weights=")
    store = Store(held, str(path if weights is None else weights))
    context = Context(str(path), source.version, custom)
    if source.model is None:
        return _weights.load(str(path), store, context)
    graph = parse(source.model, str(path))
    for name in custom:
        if not any(name in (layer.name, layer.kind) for layer in graph.layers):
            raise InteropError(f"{path}: custom names {name!r}, which is no layer or class in it")
    built = network.build(graph, context, store.fetch, store.own)
    notes = [
        f"{layer.name}: stateful; every run begins with a zero state"
        for layer in graph.layers
        if layer.get("stateful") is True
    ]
    notes += odd_values({"": store.arrays})
    return KerasModel(str(path), built, tuple(notes))
