"""Layers that treat every step alike: embeddings, dense layers, norms, activations, shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from unrolled.interop.keras import activations
from unrolled.interop.keras.kinds import (
    MAX_STEPS,
    Array,
    Config,
    Context,
    Kind,
    Run,
    Slot,
    Value,
    Weights,
    check_shape,
    only,
    own,
    plain,
)

Function = Callable[[Array], Array]


def _identity(config: Config, weights: Weights, context: Context) -> Function:
    return lambda x: x


def _dense_slots(config: Config) -> list[Slot]:
    return own(1 + config.flag("use_bias", True))


def _dense(config: Config, weights: Weights, context: Context) -> Function:
    """Y = f(x W + b), on the last axis."""
    units = config.integer("units")
    check_shape(config, "the kernel", weights[0], None, units)
    for bias in weights[1:]:
        check_shape(config, "the bias", bias, units)
    act, kernel = activations.function(config, context.version), weights[0]
    bias = weights[1] if len(weights) > 1 else np.zeros(units, kernel.dtype)
    return lambda x: act(x @ kernel + bias)


def _embedding(config: Config, weights: Weights, context: Context) -> Run:
    rows = config.integer("input_dim")
    check_shape(config, "the table", weights[0], rows, config.integer("output_dim"))
    masks = config.flag("mask_zero")
    table = weights[0]

    def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        ids = only(config, inputs).array.astype(np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= rows):
            worst = ids.min() if ids.min() < 0 else ids.max()
            raise config.error(f"ids must lie in 0..{rows - 1}, got {worst}")
        return [Value(table[ids], ids != 0 if masks else None)]

    return run


def _masking(config: Config, weights: Weights, context: Context) -> Run:
    """Steps whose every value is `mask_value` are masked, and zero from here on."""
    skipped = config.number("mask_value", 0.0)

    def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        x = only(config, inputs).array
        mask = (x != np.asarray(skipped, x.dtype)).any(axis=-1)
        return [Value(np.where(mask[..., None], x, 0).astype(x.dtype), mask)]

    return run


def _activation(config: Config, weights: Weights, context: Context) -> Function:
    return activations.function(config, context.version)


def _softmax(config: Config, weights: Weights, context: Context) -> Run:
    """Softmax over an axis; masked places, where the mask fits the input, become zero."""
    axis = config.integers("axis", [-1])
    if len(axis) != 1:
        raise config.error(f"a softmax over several axes, {axis}, is not supported")

    def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        x, mask = only(config, inputs)
        if mask is None:
            return [Value(activations.softmax(x, axis[0]))]
        try:
            shown = np.broadcast_to(mask, x.shape)
        except ValueError:
            raise config.error(
                f"a mask of shape {list(mask.shape)} does not fit an input of shape {list(x.shape)}"
            ) from None
        y = activations.softmax(np.where(shown, x, np.asarray(-1e9, x.dtype)), axis[0])
        return [Value(np.where(shown, y, 0).astype(x.dtype), mask)]

    return run


def _relu(config: Config, weights: Weights, context: Context) -> Function:
    slope = config.number("negative_slope", 0.0)
    threshold = config.number("threshold", 0.0)
    most = np.inf if config.get("max_value") is None else config.number("max_value")

    def run(x: Array) -> Array:
        y = np.where(x >= threshold, x, slope * (x - threshold))
        return np.minimum(y, most).astype(x.dtype)

    return run


def _leaky_relu(config: Config, weights: Weights, context: Context) -> Function:
    slope = config.number("negative_slope", config.number("alpha", 0.3))
    return lambda x: activations.leaky_relu(x, slope)


def _elu(config: Config, weights: Weights, context: Context) -> Function:
    alpha = config.number("alpha", 1.0)
    return lambda x: activations.elu(x, alpha)


def _batch_norm_slots(config: Config) -> list[Slot]:
    learned = [config.flag("scale", True), config.flag("center", True)]
    count = sum(learned)
    return own(count) + [Slot(f"vars/{count + k}", trainable=False) for k in range(2)]


def _batch_norm(config: Config, weights: Weights, context: Context) -> Function:
    """Y = gamma (x - mean) / sqrt(variance + epsilon) + beta, with the training's averages."""
    axis = config.integer("axis", -1, least=-8)
    *learned, mean, variance = weights
    size = len(mean) if mean.ndim else 0
    for name, value in zip(("the mean", "the variance"), weights[-2:], strict=True):
        check_shape(config, name, value, size)
    gamma = learned.pop(0) if config.flag("scale", True) else np.ones(size, mean.dtype)
    beta = learned.pop(0) if config.flag("center", True) else np.zeros(size, mean.dtype)
    scale = gamma / np.sqrt(variance + np.asarray(config.number("epsilon", 1e-3), mean.dtype))
    shift = beta - mean * scale

    def run(x: Array) -> Array:
        shape = [1] * x.ndim
        shape[axis] = size
        return np.asarray(x * scale.reshape(shape) + shift.reshape(shape))

    return run


def _layer_norm_slots(config: Config) -> list[Slot]:
    return own(config.flag("scale", True) + config.flag("center", True))


def _layer_norm(config: Config, weights: Weights, context: Context) -> Function:
    """Y = gamma (x - mean) / sqrt(variance + epsilon) + beta, over the last axis of each step."""
    axes = config.integers("axis", [-1])
    if len(axes) != 1 or config.flag("rms_scaling"):
        raise config.error("only over one axis and without rms_scaling")
    epsilon = config.number("epsilon", 1e-3)
    learned = list(weights)
    gamma = learned.pop(0) if config.flag("scale", True) else None
    beta = learned.pop(0) if config.flag("center", True) else None

    def run(x: Array) -> Array:
        axis = axes[0]
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        middle = x - x.mean(axis=axis, keepdims=True)
        y = middle / np.sqrt((middle * middle).mean(axis=axis, keepdims=True) + epsilon)
        y = y if gamma is None else y * gamma.reshape(shape)
        return np.asarray(y if beta is None else y + beta.reshape(shape), dtype=x.dtype)

    return run


def _flatten(config: Config, weights: Weights, context: Context) -> Function:
    config.choice("data_format", "channels_last", "channels_last")
    return lambda x: x.reshape(len(x), -1)


def _reshape(config: Config, weights: Weights, context: Context) -> Function:
    shape = config.integers("target_shape")
    return lambda x: x.reshape(len(x), *shape)


def _permute(config: Config, weights: Weights, context: Context) -> Function:
    order = config.integers("dims")
    if sorted(order) != list(range(1, len(order) + 1)):
        raise config.error(f"dims must be an order of 1..{len(order)}, got {order}")
    return lambda x: x.transpose(0, *order)


def _repeat(config: Config, weights: Weights, context: Context) -> Function:
    times = config.integer("n", most=MAX_STEPS)
    return lambda x: np.repeat(x[:, None], times, axis=1)


IDENTITY = plain(_identity)
BASIC: dict[str, Kind] = {
    "Dense": plain(_dense, _dense_slots),
    "Embedding": Kind(lambda _: own(1), _embedding),
    "Masking": Kind(lambda _: [], _masking),
    "Activation": plain(_activation),
    "Softmax": Kind(lambda _: [], _softmax),
    "ReLU": plain(_relu),
    "LeakyReLU": plain(_leaky_relu),
    "ELU": plain(_elu),
    "Dropout": IDENTITY,
    "SpatialDropout1D": IDENTITY,
    "GaussianNoise": IDENTITY,
    "GaussianDropout": IDENTITY,
    "AlphaDropout": IDENTITY,
    "ActivityRegularization": IDENTITY,
    "Identity": IDENTITY,
    "BatchNormalization": plain(_batch_norm, _batch_norm_slots),
    "LayerNormalization": plain(_layer_norm, _layer_norm_slots),
    "Flatten": plain(_flatten, keeps_mask=False),
    "Reshape": plain(_reshape, keeps_mask=False),
    "Permute": plain(_permute, keeps_mask=False),
    "RepeatVector": plain(_repeat, keeps_mask=False),
}
