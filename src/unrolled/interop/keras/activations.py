"""Keras's activation functions, by the names that configurations give them.

https://keras.io/api/layers/activations. `hard_sigmoid` is clip(0.2 x + 0.5, 0, 1) in Keras 2 and
relu6(x + 3) / 6 in Keras 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unrolled.errors import did_you_mean
from unrolled.interop.keras.kinds import Array, Config
from unrolled.runtime import Activation

Function = Callable[[Array], Array]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written so that exp never overflows."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=x.dtype)


def softmax(x: Array, axis: int = -1) -> Array:
    """exp(x) / sum exp(x) along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def elu(x: Array, alpha: float = 1.0) -> Array:
    """X where positive, else alpha (exp(x) - 1)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))).astype(x.dtype)


def leaky_relu(x: Array, slope: float) -> Array:
    """X where positive, else slope x."""
    return np.where(x > 0, x, slope * x).astype(x.dtype)


def gelu(x: Array) -> Array:
    """X times the normal distribution's cumulative function of x."""
    erf = np.asarray(np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)), dtype=x.dtype)
    return np.asarray(0.5 * x * (1 + erf), dtype=x.dtype)


def hard_sigmoid(version: int) -> Function:
    """Return the hard sigmoid of Keras 2 or 3."""
    slope = 0.2 if version < 3 else 1 / 6
    return lambda x: np.clip(slope * x + 0.5, 0, 1).astype(x.dtype)


FUNCTIONS: dict[str, Function] = {
    "elu": elu,
    "exponential": np.exp,
    "gelu": gelu,
    "leaky_relu": lambda x: leaky_relu(x, 0.2),
    "linear": lambda x: x,
    "mish": lambda x: np.asarray(x * np.tanh(np.logaddexp(0, x)), dtype=x.dtype),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: np.asarray(1.0507009873554805 * elu(x, 1.6732632423543772), dtype=x.dtype),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softmax": softmax,
    "softplus": lambda x: np.logaddexp(0, x).astype(x.dtype),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
}

# Those that a recurrent cell can apply, by ONNX's names.
IN_CELLS: dict[str, Activation] = {
    "elu": Activation("Elu", 1.0),
    "leaky_relu": Activation("LeakyRelu", 0.2),
    "linear": Activation("Affine", 1.0, 0.0),
    "relu": Activation("Relu"),
    "sigmoid": Activation("Sigmoid"),
    "softplus": Activation("Softplus"),
    "softsign": Activation("Softsign"),
    "tanh": Activation("Tanh"),
}


def name_of(config: Config, key: str, default: str = "linear") -> str:
    """Return the name of an activation, however the configuration writes it."""
    value: Any = config.get(key, default)
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value.get("class_name")
        if isinstance(inner, dict) and set(inner) - {"name", "trainable", "dtype"}:
            raise config.error(f"{key} is a layer, {value!r}; write it as a layer of its own")
    if value is None:
        return "linear"
    if not isinstance(value, str):
        raise config.error(f"{key} must be the name of an activation, got {value!r}")
    return value


def function(config: Config, version: int, key: str = "activation") -> Function:
    """Return the activation that a layer's configuration names."""
    name = name_of(config, key)
    if name == "hard_sigmoid":
        return hard_sigmoid(version)
    if name not in FUNCTIONS:
        raise config.error(f"the activation {name!r} is not known.{did_you_mean(name, FUNCTIONS)}")
    return FUNCTIONS[name]


def in_cell(config: Config, version: int, key: str, default: str) -> Activation:
    """Return the activation of a recurrent cell that a configuration names."""
    name = name_of(config, key, default)
    if name == "hard_sigmoid":
        return Activation("HardSigmoid", 0.2 if version < 3 else 1 / 6, 0.5)
    if name not in IN_CELLS:
        allowed = ", ".join(sorted([*IN_CELLS, "hard_sigmoid"]))
        raise config.error(f"{key} {name!r} is not one that a recurrent cell has here: {allowed}")
    return IN_CELLS[name]
