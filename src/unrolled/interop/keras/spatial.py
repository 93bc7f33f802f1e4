"""Layers that look along time without a state: convolution, pooling, padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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
    no_weights,
    only,
    own,
    plain,
)

Function = Callable[[Array], Array]


def _conv_slots(config: Config) -> list[Slot]:
    return own(1 + config.flag("use_bias", True))


def _conv(config: Config, weights: Weights, context: Context) -> Function:
    """Y[t] = f(sum over k of x[t s + k d] W[k] + b), W [K, I / groups, filters]."""
    config.choice("data_format", "channels_last", "channels_last", None)
    padding = config.choice("padding", "valid", "valid", "same", "causal")
    size, stride = config.integer("kernel_size", most=MAX_STEPS), config.integer("strides", 1)
    dilation, groups = config.integer("dilation_rate", 1), config.integer("groups", 1)
    filters = config.integer("filters")
    reach = dilation * (size - 1) + 1
    if reach > MAX_STEPS:
        raise config.error(f"a kernel of {size} with dilation {dilation} is too wide")
    check_shape(config, "the kernel", weights[0], size, None, filters)
    if filters % groups:
        raise config.error(f"{filters} filters in {groups} groups")
    act = activations.function(config, context.version)
    bias = weights[1] if len(weights) > 1 else np.zeros(filters, weights[0].dtype)
    check_shape(config, "the bias", bias, filters)
    width = weights[0].shape[1]
    kernels = [
        part.reshape(size * width, filters // groups)
        for part in np.split(weights[0], groups, axis=2)
    ]

    def run(x: Array) -> Array:
        if x.ndim != 3 or x.shape[2] != width * groups:
            raise config.error(f"the input must be [N, T, {width * groups}], got {list(x.shape)}")
        padded = np.pad(x, ((0, 0), _padding(padding, x.shape[1], reach, stride), (0, 0)))
        seen = _windows(config, padded, reach, stride)[..., ::dilation]
        parts = [
            np.ascontiguousarray(part.swapaxes(2, 3)).reshape(*part.shape[:2], -1) @ kernel
            for part, kernel in zip(np.split(seen, groups, axis=2), kernels, strict=True)
        ]
        return act(np.concatenate(parts, axis=-1) + bias)

    return run


def _padding(kind: str, steps: int, reach: int, stride: int) -> tuple[int, int]:
    """Return how many steps are added before and after; "same" gives ceil(T / stride) outputs."""
    if kind == "causal":
        return reach - 1, 0
    if kind == "valid":
        return 0, 0
    total = max((-(-steps // stride) - 1) * stride + reach - steps, 0)
    return total // 2, total - total // 2


def _windows(config: Config, x: Array, reach: int, stride: int) -> Array:
    """Return what each output sees of x [N, T, I]: [N, outputs, I, reach]."""
    if x.shape[1] < reach:
        raise config.error(f"reads {reach} steps at once, the input has {x.shape[1]}")
    return sliding_window_view(x, reach, axis=1)[:, ::stride]


def _pool(reduce: Callable[..., Array], empty: float) -> Kind:
    def make(config: Config, weights: Weights, context: Context) -> Function:
        config.choice("data_format", "channels_last", "channels_last", None)
        padding = config.choice("padding", "valid", "valid", "same")
        size = config.integer("pool_size", 2, most=MAX_STEPS)
        stride = size if config.get("strides") is None else config.integer("strides")

        def run(x: Array) -> Array:
            ends = _padding(padding, x.shape[1], size, stride)
            padded = np.pad(x, ((0, 0), ends, (0, 0)), constant_values=empty)
            return reduce(_windows(config, padded, size, stride), axis=-1).astype(x.dtype)

        return run

    return plain(make, keeps_mask=False)


def _global_max(config: Config, weights: Weights, context: Context) -> Function:
    config.choice("data_format", "channels_last", "channels_last", None)
    keep = config.flag("keepdims")
    return lambda x: np.asarray(x.max(axis=1, keepdims=keep))


def _global_average(config: Config, weights: Weights, context: Context) -> Run:
    """The mean over the steps that are not masked."""
    config.choice("data_format", "channels_last", "channels_last", None)
    keep = config.flag("keepdims")

    def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        x, mask = only(config, inputs)
        if mask is None:
            return [Value(np.asarray(x.mean(axis=1, keepdims=keep)))]
        shown = mask[:, :, None].astype(x.dtype)
        with np.errstate(invalid="ignore"):
            total = (x * shown).sum(axis=1, keepdims=keep)
            return [Value(total / shown.sum(axis=1, keepdims=keep))]

    return run


def _pad(config: Config, weights: Weights, context: Context) -> Function:
    ends = config.integers("padding", [1])
    before, after = (ends[0], ends[0]) if len(ends) == 1 else (ends[0], ends[-1])
    if min(ends) < 0 or max(ends) > MAX_STEPS or len(ends) > 2:
        raise config.error(f"padding must be one or two counts, got {ends}")
    return lambda x: np.pad(x, ((0, 0), (before, after), (0, 0)))


SPATIAL: dict[str, Kind] = {
    "Conv1D": plain(_conv, _conv_slots, keeps_mask=False),
    "MaxPooling1D": _pool(np.max, -np.inf),
    "AveragePooling1D": _pool(np.nanmean, np.nan),
    "GlobalMaxPooling1D": plain(_global_max, keeps_mask=False),
    "GlobalAveragePooling1D": Kind(no_weights, _global_average),
    "ZeroPadding1D": plain(_pad, keeps_mask=False),
}
