"""Keras 3's operations on tensors, which stand between the layers of its functional models.

Each takes its settings and arrays. A mask that is handed over in the graph is made of these too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from unrolled.interop.keras import activations
from unrolled.interop.keras.kinds import Array, Config

Operation: TypeAlias = Callable[..., Array]


def _axis(config: Config) -> Any:
    value = config.get("axis")
    if value is None:
        return None
    axes = config.integers("axis")
    return axes[0] if not isinstance(value, list) else tuple(axes)


def _reduction(function: Callable[..., Any]) -> Operation:
    def run(config: Config, x: Array) -> Array:
        return np.asarray(function(x, axis=_axis(config), keepdims=config.flag("keepdims")))

    return run


def _elementwise(function: Callable[..., Any]) -> Operation:
    """Return an operation on one or two arrays; a plain number takes the array's dtype."""

    def run(config: Config, *parts: Any) -> Array:
        if not parts or len(parts) > 2:
            raise config.error(f"takes one or two arrays, got {len(parts)}")
        kinds = [part.dtype for part in parts if isinstance(part, np.ndarray)]
        real = [kind for kind in kinds if kind.kind == "f"]
        like = real[0] if real else np.dtype(np.float32)
        exact = all(isinstance(part, (int, np.ndarray)) for part in parts) and not real
        values = [
            part if isinstance(part, np.ndarray) or exact else like.type(part) for part in parts
        ]
        return np.asarray(function(*values))

    return run


def _cast(config: Config, x: Array) -> Array:
    name = config.get("dtype")
    allowed = ("float32", "float64", "int32", "int64", "bool")
    return x.astype(config.choice("dtype", name, *allowed))


def _item(config: Config, x: Array, key: Any) -> Array:
    """X[key], of integers, slices, an ellipsis and new axes."""
    parts = key if isinstance(key, list) else [key]
    found: list[Any] = []
    for part in parts:
        kind = part.get("class_name") if isinstance(part, dict) else None
        if kind == "__slice__":
            ends = part.get("config") or {}
            found.append(slice(*(ends.get(name) for name in ("start", "stop", "step"))))
        elif kind == "__ellipsis__":
            found.append(Ellipsis)
        elif part is None or (isinstance(part, int) and not isinstance(part, bool)):
            found.append(part)
        else:
            raise config.error(f"an index {part!r} is not supported")
    return np.asarray(x[tuple(found)])


def _expand(config: Config, x: Array) -> Array:
    return np.expand_dims(x, _axis(config))


def _like(value: bool) -> Operation:
    def run(config: Config, x: Array) -> Array:
        kind = config.get("dtype")
        return np.full(x.shape, value, bool if kind == "bool" else x.dtype)

    return run


def _softmax(config: Config, x: Array) -> Array:
    return activations.softmax(x, config.integer("axis", -1, least=-8))


OPERATIONS: dict[str, Operation] = {
    "Absolute": _elementwise(np.abs),
    "Add": _elementwise(np.add),
    "All": _reduction(np.all),
    "Any": _reduction(np.any),
    "Cast": _cast,
    "Concatenate": lambda config, parts: np.concatenate(parts, axis=_axis(config)),
    "ConvertToTensor": lambda config, x: x,
    "Divide": _elementwise(np.divide),
    "Equal": _elementwise(np.equal),
    "Exp": _elementwise(np.exp),
    "ExpandDims": _expand,
    "GetItem": _item,
    "Greater": _elementwise(np.greater),
    "GreaterEqual": _elementwise(np.greater_equal),
    "Less": _elementwise(np.less),
    "LessEqual": _elementwise(np.less_equal),
    "Log": _elementwise(np.log),
    "LogicalAnd": _elementwise(np.logical_and),
    "LogicalNot": _elementwise(np.logical_not),
    "LogicalOr": _elementwise(np.logical_or),
    "Matmul": lambda config, a, b: np.matmul(a, b),
    "Max": _reduction(np.max),
    "Maximum": _elementwise(np.maximum),
    "Mean": _reduction(np.mean),
    "Min": _reduction(np.min),
    "Minimum": _elementwise(np.minimum),
    "Multiply": _elementwise(np.multiply),
    "Negative": _elementwise(np.negative),
    "NotEqual": _elementwise(np.not_equal),
    "OnesLike": _like(True),
    "Relu": lambda config, x: np.maximum(x, 0),
    "Reshape": lambda config, x: x.reshape(config.integers("newshape")),
    "Sigmoid": lambda config, x: activations.sigmoid(x),
    "Softmax": _softmax,
    "Sqrt": _elementwise(np.sqrt),
    "Square": _elementwise(np.square),
    "Squeeze": lambda config, x: np.squeeze(x, axis=_axis(config)),
    "Stack": lambda config, parts: np.stack(parts, axis=_axis(config)),
    "Subtract": _elementwise(np.subtract),
    "Sum": _reduction(np.sum),
    "Tanh": _elementwise(np.tanh),
    "Transpose": lambda config, x: np.transpose(x, config.get("axes") and config.integers("axes")),
    "TrueDivide": _elementwise(np.divide),
    "ZerosLike": _like(False),
}
