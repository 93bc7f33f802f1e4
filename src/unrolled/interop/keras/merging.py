"""Layers of several inputs: sums, products, concatenation, and Keras's two attentions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from unrolled.interop.keras.activations import softmax
from unrolled.interop.keras.kinds import (
    Array,
    Config,
    Context,
    Kind,
    Run,
    Slot,
    Value,
    Weights,
    no_weights,
    own,
)


def _several(config: Config, inputs: list[Value], least: int = 2) -> list[Value]:
    if len(inputs) < least:
        raise config.error(f"takes {least} inputs or more, got {len(inputs)}")
    return inputs


def _mask_of_all(values: list[Value], version: int) -> Array | None:
    """Return the mask of inputs that are added: Keras 2 takes and, Keras 3 or, of all of them."""
    masks = [value.mask for value in values if value.mask is not None]
    if not masks or (version >= 3 and len(masks) < len(values)):
        return None
    return reduce(np.logical_or if version >= 3 else np.logical_and, masks)


def _align(values: list[Value]) -> list[Array]:
    """Return the arrays with as many axes as the widest, the new ones behind the batch."""
    most = max(value.array.ndim for value in values)
    return [
        value.array.reshape(
            len(value.array), *[1] * (most - value.array.ndim), *value.array.shape[1:]
        )
        for value in values
    ]


def _merge(function: Callable[[list[Array]], Array]) -> Kind:
    def build(config: Config, weights: Weights, context: Context) -> Run:
        def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
            values = _several(config, inputs)
            mask = _mask_of_all(values, context.version)
            return [Value(function(_align(values)), mask)]

        return run

    return Kind(no_weights, build)


def _concatenate(config: Config, weights: Weights, context: Context) -> Run:
    axis = config.integer("axis", -1, least=-8)

    def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        values = _several(config, inputs, 1)
        joined = np.concatenate([value.array for value in values], axis=axis)
        if all(value.mask is None for value in values):
            return [Value(joined)]
        masks = []
        for array, mask in values:
            shown = np.ones(array.shape, bool)
            if mask is not None:
                shown &= mask.reshape(*mask.shape, *[1] * (array.ndim - mask.ndim))
            masks.append(shown)
        whole = np.concatenate(masks, axis=axis)
        seen = whole.any(axis=-1) if context.version >= 3 else whole.all(axis=-1)
        return [Value(joined, np.asarray(seen))]

    return run


def _dot(config: Config, weights: Weights, context: Context) -> Run:
    """The product of two inputs, summed over one axis of each."""
    axes = config.integers("axes")
    first, second = (axes[0], axes[0]) if len(axes) == 1 else axes[:2]
    unit = config.flag("normalize")
    if 0 in (first, second) or len(axes) > 2:
        raise config.error(f"axes must be one or two axes behind the batch, got {axes}")

    def run(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        if len(inputs) != 2:
            raise config.error(f"takes two inputs, got {len(inputs)}")
        a, b = inputs[0].array, inputs[1].array
        if unit:
            a, b = _unit(a, first), _unit(b, second)
        a, b = np.moveaxis(a, first, -1), np.moveaxis(b, second, -1)
        left = a.reshape(len(a), -1, a.shape[-1])
        right = b.reshape(len(b), -1, b.shape[-1])
        y = left @ right.swapaxes(1, 2)
        shape = (*a.shape[1:-1], *b.shape[1:-1])
        return [Value(y.reshape(len(a), *(shape or (1,))))]

    return run


def _unit(x: Array, axis: int) -> Array:
    length = np.sqrt(np.maximum((x * x).sum(axis=axis, keepdims=True), 1e-12))
    return np.asarray(x / length, dtype=x.dtype)


def _attention_slots(config: Config) -> list[Slot]:
    mode = config.get("score_mode", "dot")
    return own(config.flag("use_scale") + (mode == "concat" and config.kind == "Attention"))


def _additive_slots(config: Config) -> list[Slot]:
    return own(int(config.flag("use_scale", True)))


def _attention(config: Config, weights: Weights, context: Context) -> Run:
    """softmax(scores(query, key)) value; inputs query [N, T, A], value [N, S, M] and maybe key.

    Scores are q . k, or sum v tanh(q + k) for AdditiveAttention and score_mode "concat".
    """
    additive = config.kind == "AdditiveAttention"
    mode = "additive" if additive else config.choice("score_mode", "dot", "dot", "concat")
    scaled = config.flag("use_scale", additive)
    scale = weights[0] if scaled else np.float32(1)
    outer = weights[-1] if mode == "concat" else np.float32(1)

    def scores(query: Array, key: Array) -> Array:
        if mode == "dot":
            return np.asarray(query @ key.swapaxes(1, 2) * scale)
        both = query[:, :, None] + key[:, None]
        if mode == "concat":
            return np.asarray(outer * np.tanh(scale * both).sum(axis=-1))
        return np.asarray((scale * np.tanh(both)).sum(axis=-1))

    def run(inputs: list[Value], keywords: Mapping[str, Any]) -> list[Value]:
        if not 2 <= len(inputs) <= 3:
            raise config.error(f"takes query, value and maybe key, got {len(inputs)} inputs")
        query, value, key = inputs[0], inputs[1], inputs[-1 if len(inputs) > 2 else 1]
        a = scores(query.array, key.array)
        shown = np.ones((1, 1, 1), bool) if value.mask is None else value.mask[:, None, :]
        if keywords.get("use_causal_mask") or config.flag("causal"):
            shown = shown & np.tril(np.ones(a.shape[1:], bool))
        a = softmax(np.where(shown, a, a - np.asarray(1e9, a.dtype)))
        y = a @ value.array
        if query.mask is not None:
            y = np.where(query.mask[:, :, None], y, 0).astype(y.dtype)
        found = [Value(y, query.mask)]
        return [*found, Value(a)] if keywords.get("return_attention_scores") else found

    return run


MERGING: dict[str, Kind] = {
    "Add": _merge(lambda parts: reduce(np.add, parts)),
    "Subtract": _merge(lambda parts: reduce(np.subtract, parts)),
    "Multiply": _merge(lambda parts: reduce(np.multiply, parts)),
    "Average": _merge(lambda parts: reduce(np.add, parts) / len(parts)),
    "Maximum": _merge(lambda parts: reduce(np.maximum, parts)),
    "Minimum": _merge(lambda parts: reduce(np.minimum, parts)),
    "Concatenate": Kind(no_weights, _concatenate),
    "Dot": Kind(no_weights, _dot),
    "Attention": Kind(_attention_slots, _attention),
    "AdditiveAttention": Kind(_additive_slots, _attention),
}
