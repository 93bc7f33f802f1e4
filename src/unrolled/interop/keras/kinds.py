"""What a Keras layer is to us: where its weights lie, and a function from values to values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import InteropError

Array = NDArray[Any]
# Sizes beyond these are damage: weights bear out the first, nothing bears out the second.
MAX_SIZE, MAX_STEPS = 1 << 28, 1 << 16


class Value(NamedTuple):
    """An array and the mask [N, T] that Keras carries beside it, False where a step is skipped."""

    array: Array
    mask: Array | None = None


class Slot(NamedTuple):
    """One weight of a layer: its place below the layer in a Keras 3 file, and its list there.

    Keras 2 files hold a layer's trainable weights first and the others after them.
    """

    place: str
    trainable: bool = True


class Context(NamedTuple):
    """What holds for a whole model: the file, the Keras that wrote it (2 or 3), the user's code."""

    where: str
    version: int
    custom: Mapping[str, Callable[..., Any]]


class Config:
    """The configuration of one layer; whatever is not as expected is an error that names it."""

    def __init__(self, kind: str, values: Mapping[str, Any], where: str, name: str = "") -> None:
        found = values.get("name", name)
        self.kind, self.values = kind, values
        self.name = found if isinstance(found, str) else name
        self.where = f"{where}: layer {self.name!r} ({kind})"

    def error(self, text: str) -> InteropError:
        """Return an error that names the file, the layer and its class."""
        return InteropError(f"{self.where}: {text}")

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting of any type."""
        return self.values.get(key, default)

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a setting that is true or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(f"{key} must be true or false, got {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a setting that is a finite number."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise self.error(f"{key} must be a number, got {value!r}")
        return float(value)

    def integer(
        self, key: str, default: int | None = None, least: int = 1, most: int = MAX_SIZE
    ) -> int:
        """Return a setting that is an integer of `least` to `most`; one in a list of one is it."""
        value = self.values.get(key, default)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(f"{key} must be an integer of {least} to {most}, got {value!r}")
        return value

    def integers(self, key: str, default: list[int] | None = None) -> list[int]:
        """Return a setting that is an integer or a list of them."""
        value = self.values.get(key, default)
        parts = list(value) if isinstance(value, (list, tuple)) else [value]
        for part in parts:
            if isinstance(part, bool) or not isinstance(part, int) or abs(part) >= MAX_SIZE:
                raise self.error(f"{key} must hold integers, got {value!r}")
        return parts

    def choice(self, key: str, default: Any, *allowed: Any) -> Any:
        """Return a setting that is one of `allowed`."""
        value = self.values.get(key, default)
        if not any(value == each and type(value) is type(each) for each in allowed):
            raise self.error(f"{key} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
        return value


Weights: TypeAlias = list[Array]
Run: TypeAlias = Callable[[list[Value], Mapping[str, Any]], list[Value]]


class Kind(NamedTuple):
    """A class of layers: the weights that its configuration asks for, and how to build it."""

    slots: Callable[[Config], list[Slot]]
    build: Callable[[Config, Weights, Context], Run]


def no_weights(_: Config) -> list[Slot]:
    """Return the slots of a layer without weights."""
    return []


def own(count: int) -> list[Slot]:
    """Return that many trainable weights of the layer itself."""
    return [Slot(f"vars/{k}") for k in range(count)]


def plain(
    make: Callable[[Config, Weights, Context], Callable[[Array], Array]],
    slots: Callable[[Config], list[Slot]] = no_weights,
    *,
    keeps_mask: bool = True,
) -> Kind:
    """Return the kind of a layer from one array to one array, which keeps the mask or drops it."""

    def build(config: Config, weights: Weights, context: Context) -> Run:
        function = make(config, weights, context)

        def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
            value = only(config, inputs)
            return [Value(function(value.array), value.mask if keeps_mask else None)]

        return run

    return Kind(slots, build)


def only(config: Config, inputs: list[Value]) -> Value:
    """Return the one input of a layer that takes one."""
    if len(inputs) != 1:
        raise config.error(f"takes one input, got {len(inputs)}")
    return inputs[0]


def check_shape(config: Config, name: str, array: Array, *shape: int | None) -> None:
    """Raise InteropError where a weight has another shape; None stands for any size."""
    fits = array.ndim == len(shape) and all(
        b is None or a == b for a, b in zip(array.shape, shape, strict=False)
    )
    if not fits:
        wanted = [size if size is not None else "any" for size in shape]
        raise config.error(
            f"{name} has shape {list(array.shape)}, expected {wanted}".replace("'", "")
        )
