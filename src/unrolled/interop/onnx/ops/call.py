"""What an operator is told beside its inputs, and the checks that bound what it may make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.interop.onnx.proto import Node

Array = NDArray[Any]

# Steps that one einsum or pooling may take: beyond it, a small file could keep a machine busy.
MAX_PRODUCTS = 1 << 36


@dataclass(frozen=True, eq=False)
class Call:
    """A node at work: its attributes, the version of the operators, and the most bytes of a result.

    `prepared` is what was made of its constant inputs when the model was loaded.
    """

    node: Node
    opset: int
    limit: int
    prepared: Any = None

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or `default` where the node leaves it out."""
        return self.node.attributes.get(name, default)

    def need(self, name: str) -> Any:
        """Return an attribute that the node must have."""
        if name not in self.node.attributes:
            raise ValueError(f"the attribute {name!r} is missing")
        return self.node.attributes[name]

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """Return a text attribute that must be one of `allowed`."""
        value: str = self.get(name, default)
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")
        return value

    def check(self, shape: Sequence[int], dtype: Any) -> None:
        """Raise ValueError where an array of this shape may not be made."""
        size = math.prod(int(dim) for dim in shape) * np.dtype(dtype).itemsize
        if any(dim < 0 for dim in shape) or size > self.limit:
            raise ValueError(
                f"a result of shape {[int(dim) for dim in shape]} is not allowed: {size} bytes, "
                f"at most {self.limit}"
            )

    def check_broadcast(self, *arrays: Array) -> None:
        """Raise ValueError where arrays spread over each other would make too large a result."""
        if sum(array.size > 1 for array in arrays) > 1:
            first = arrays[0].shape
            if any(array.shape != first for array in arrays):
                self.check(np.broadcast_shapes(*(a.shape for a in arrays)), arrays[0].dtype)


def integers(value: Any) -> list[int]:
    """Return a tensor or list of whole numbers as a list; raises TypeError for other elements."""
    array = np.asarray(value)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"expected whole numbers, got {array.dtype}")
    found: list[int] = array.reshape(-1).tolist()
    return found


def scalar(value: Any) -> Any:
    """Return the one element of a tensor; raises ValueError where it has another number of them."""
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"expected one value, got shape {list(array.shape)}")
    return array.reshape(())[()]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front; raises ValueError where it is out of range."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for {rank} dimensions")
    return axis % rank
