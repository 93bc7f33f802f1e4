"""An imported model beside Keras itself: the one module of `interop` that imports Keras."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.errors import InteropError
from unrolled.interop.keras.graph import Ref, refs_in
from unrolled.interop.keras.kinds import Array
from unrolled.interop.keras.model import KerasModel, shape_of

TOLERANCE, ROWS, STEPS, IDS = 1e-4, 3, 7, 2


def compare(path: Path, model: KerasModel, *, own_code: bool, weights: bool) -> str:
    """Return a sentence on how our outputs compare with Keras's on random input.

    Says why where they are not compared. Raises InteropError where they differ.
    """
    if own_code:
        return "not checked: functions of your own stand for layers that Keras cannot load"
    if weights:
        return "not checked: architecture and weights are in two files"
    try:
        keras: Any = importlib.import_module("keras")
    except ImportError as error:
        return f"not checked: keras cannot be imported ({error})"
    try:
        theirs = keras.models.load_model(path, compile=False, safe_mode=True)
        inputs = [_random(model, ref) for ref in model.network.graph.inputs]
        found = theirs.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    except Exception as error:  # Keras and its backends raise many kinds, here only reported
        return f"not checked: Keras does not run the file ({type(error).__name__}: {error})"
    expected = found if isinstance(found, (list, tuple)) else [found]
    ours = model.run(dict(zip(model.inputs, inputs, strict=True)))
    worst = 0.0
    for (name, a), b in zip(ours.items(), expected, strict=True):
        allowed = TOLERANCE * max(1.0, float(np.abs(b).max(initial=0.0)))
        off = float(np.abs(a - np.asarray(b)).max(initial=0.0))
        if not off <= allowed:
            raise InteropError(
                f"{path}: the output {name!r} differs from Keras's by {off:.3g}, "
                f"allowed {allowed:.3g}"
            )
        worst = max(worst, off)
    return f"outputs of keras {keras.__version__} reproduced, largest difference {worst:.1e}"


def _random(model: KerasModel, ref: Ref) -> Array:
    """Return random input of the shape that a model declares, ids where an embedding reads it."""
    layers = {layer.name: layer for layer in model.network.graph.layers}
    layer = layers.get(ref.layer) or model.network.graph.layers[0]
    declared: list[Any] = shape_of(layer) or [None, None]
    shape = (ROWS, *[STEPS if size is None else size for size in declared[1:]])
    random = np.random.default_rng(0)
    rows = IDS
    embedded = False
    for call in model.network.graph.calls:
        reader = layers[call.layer]
        if reader.kind == "Embedding" and ref in refs_in(call.arguments):
            embedded, rows = True, reader.integer("input_dim")
    if embedded or str(layer.get("dtype", "float32")).startswith(("int", "bool")):
        return random.integers(0, rows, shape).astype(np.int32)
    return random.standard_normal(shape).astype(np.float32)
