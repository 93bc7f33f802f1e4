"""Taking named weights out of a mapping, with an error that names the key where one is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelError

if TYPE_CHECKING:
    from unrolled.runtime.recurrent import Recurrent

Array = NDArray[Any]
Weights = Mapping[str, Array]


class Linear:
    """y = x W^T + b with W [O, I] and b [O], over the last axis of x."""

    def __init__(self, weights: Weights, prefix: str, inputs: int, outputs: int) -> None:
        self.weight = take(weights, f"{prefix}.weight", (outputs, inputs))
        self.bias = take(weights, f"{prefix}.bias", (outputs,))

    def __call__(self, x: Array) -> Array:
        """Map x [..., I] to [..., O]."""
        result: Array = x @ self.weight.T
        result += self.bias
        return result


def take(weights: Weights, name: str, shape: tuple[int, ...]) -> Array:
    """Return `weights[name]`, or raise ModelError saying what is missing or misshapen."""
    if name not in weights:
        raise ModelError(f"weight {name!r} is missing; expected shape {list(shape)}.")
    weight = weights[name]
    if weight.shape != shape:
        raise ModelError(f"weight {name!r} has shape {list(weight.shape)}, expected {list(shape)}.")
    return weight


def under(weights: Weights, prefix: str) -> dict[str, Array]:
    """Return the weights whose names begin with `prefix.`, without it."""
    start = prefix + "."
    return {
        name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)
    }


def kept(weights: Weights, **layers: Recurrent) -> dict[str, Array]:
    """Return all weights of a network, those of its layers being the layers' own arrays.

    Two underscores in a layer's name stand for a point. So nothing is held twice.
    """
    found = dict(weights)
    for name, layer in layers.items():
        prefix = name.replace("__", ".")
        found |= {f"{prefix}.{key}": value for key, value in layer.weights.items()}
    return found


@contextmanager
def part_of_model(prefix: str) -> Iterator[None]:
    """Turn a part's ValueError about its weights into a ModelError that names the part."""
    try:
        yield
    except ValueError as error:
        raise ModelError(f"weights of {prefix!r}: {error}") from None


def log_softmax(x: Array) -> Array:
    """Return log softmax(x) over the last axis, written over x."""
    x -= x.max(axis=-1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return x
