"""A Keras model that runs without Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unrolled.errors import InteropError
from unrolled.interop.imported import describe_layer
from unrolled.interop.keras import network
from unrolled.interop.keras.graph import Ref
from unrolled.interop.keras.kinds import Array, Config, Value
from unrolled.interop.keras.network import Network
from unrolled.runtime import Recurrent


@dataclass(frozen=True, eq=False)
class KerasModel:
    """A model read from a Keras file: `run` on arrays by name, `predict` as Keras has it.

    `notes` says what was left out or found odd, `parity` how the model was compared with Keras.
    """

    source: str
    network: Network
    notes: tuple[str, ...] = ()
    parity: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs: those of the input layers."""
        return tuple(ref.layer for ref in self.network.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs: that of the layer, with `:1` and so on for its further outputs."""
        return tuple(map(_output_name, self.network.graph.outputs))

    @property
    def layers(self) -> Mapping[str, Recurrent]:
        """The recurrent layers by name, those of models within the model with a slash.

        Each takes [N, T, I] forwards and without a mask; `go_backwards` is the graph's business.
        """
        return self.network.recurrents

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Return every output by name for arrays by the names of the inputs, the batch first.

        Raises InteropError for a name that is missing or unknown, and a shape that does not fit.
        """
        if set(inputs) != set(self.inputs):
            raise InteropError(
                f"{self.source}: the inputs are {', '.join(self.inputs)}; "
                f"got {', '.join(inputs) or 'nothing'}"
            )
        layers = {layer.name: layer for layer in self.network.graph.layers}
        values = [_input(name, layers.get(name), inputs[name]) for name in self.inputs]
        found = network.run(self.network, values)
        return dict(zip(self.outputs, (value.array for value in found), strict=True))

    def predict(self, x: Any) -> Any:
        """Return the output for an array, or a list of outputs where there are several.

        A model of several inputs takes a list of arrays, in the order of `inputs`, or a dict.
        Raises InteropError where they do not fit.
        """
        if not isinstance(x, Mapping):
            parts = list(x) if len(self.inputs) > 1 and isinstance(x, (list, tuple)) else [x]
            if len(parts) != len(self.inputs):
                raise InteropError(
                    f"takes a list of {len(self.inputs)} arrays for {', '.join(self.inputs)}"
                )
            x = dict(zip(self.inputs, parts, strict=True))
        found = list(self.run(x).values())
        return found[0] if len(found) == 1 else found

    def describe(self) -> str:
        """Return inputs, layers, outputs and notes as lines of text."""
        lines = [f"{self.source}: a model of {len(self.network.graph.layers)} layers"]
        lines += [f"  input {name}" for name in self.inputs]
        for layer in self.network.graph.layers:
            if layer.kind != "InputLayer":
                own = self.layers.get(layer.name)
                lines.append(
                    f"  {layer.name} ({layer.kind})"
                    + (f": {describe_layer(own)}" if own is not None else "")
                )
        lines += [f"  output {name}" for name in self.outputs]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"parity: {self.parity}"] if self.parity else []
        return "\n".join(lines)


def _output_name(ref: Ref) -> str:
    node = f"@{ref.node}" if ref.node else ""
    return f"{ref.layer}{node}" + (f":{ref.tensor}" if ref.tensor else "")


def _input(name: str, layer: Config | None, given: ArrayLike) -> Value:
    """Return an input as its layer declares it, after checking its shape."""
    x = np.asarray(given)
    shape = None if layer is None else shape_of(layer)
    if shape is not None:
        fits = x.ndim == len(shape) and all(
            b is None or a == b for a, b in zip(x.shape[1:], shape[1:], strict=False)
        )
        if not fits:
            wanted = ["any" if size is None else size for size in shape]
            raise InteropError(
                f"the input {name!r} must have shape {wanted}, got {list(x.shape)}".replace(
                    "'any'", "any"
                )
            )
    dtype = layer.get("dtype") if layer is not None else None
    if x.dtype.kind in "fiub" and isinstance(dtype, str) and dtype.startswith(("float", "bfloat")):
        x = x.astype(np.float64 if dtype == "float64" else np.float32)
    elif x.dtype.kind == "f" and x.dtype != np.float64:
        x = x.astype(np.float32)
    elif x.dtype.kind not in "fiub":
        raise InteropError(f"the input {name!r} must hold numbers, got {x.dtype}")
    return Value(x)


def shape_of(layer: Config) -> list[int | None] | None:
    """Return the shape that a layer declares for its input, the batch first, where it does."""
    shape = layer.get("batch_shape", layer.get("batch_input_shape"))
    if isinstance(shape, list) and all(size is None or isinstance(size, int) for size in shape):
        return shape
    return None
