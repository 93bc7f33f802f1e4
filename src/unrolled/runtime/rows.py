"""Frames and states as plain rows: what a stepper reads, and what a session keeps.

A row of state holds, layer after layer, h [P] and, for LSTM, c [H]: S values in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unrolled.runtime.layer import Array
from unrolled.spec import RecurrentSpec


def plain(value: ArrayLike, dtype: np.dtype[Any]) -> Array:
    """Return `value` as an array of its own class, aligned and with its values side by side."""
    return np.require(value, dtype, ("C", "A", "E"))


def frames(x: ArrayLike, size: int, dtype: np.dtype[Any]) -> Array:
    """Return x [N, I] or [I] as a plain array; raises ValueError where it is no such."""
    values = plain(x, dtype)
    if values.ndim not in (1, 2) or values.shape[-1] != size:
        raise ValueError(
            f"a step's input must be [N, {size}] or [{size}], got {list(values.shape)}"
        )
    return values


def check_out(out: Array | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `out` is None or an array of this shape."""
    if out is not None and (not isinstance(out, np.ndarray) or out.shape != shape):
        given = list(out.shape) if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be an array {list(shape)}, got {given}")


def first_rows(spec: RecurrentSpec, weights: Mapping[str, Array], dtype: np.dtype[Any]) -> Array:
    """Return the row [1, S] with which every sequence begins: learned, or zero."""
    parts = [
        weights.get(f"{kind}0_l{layer}", np.zeros(width, dtype))
        for layer, kind, width in _parts(spec)
    ]
    return np.concatenate(parts)[None].astype(dtype)


def to_state(spec: RecurrentSpec, rows: Array) -> Any:
    """Return rows [N, S] as the state that `Recurrent` takes."""
    found: dict[str, list[Array]] = {"h": [], "c": []}
    at = 0
    for _, kind, width in _parts(spec):
        found[kind].append(np.ascontiguousarray(rows[:, at : at + width]))
        at += width
    h = _joined(found["h"])
    return (h, _joined(found["c"])) if found["c"] else h


def to_rows(spec: RecurrentSpec, state: Any) -> Array:
    """Return the state of `Recurrent` as rows [N, S]."""
    h, c = state if spec.cell == "lstm" else (state, ())
    held = {"h": [_layer(h, k) for k in range(spec.num_layers)]}
    held["c"] = [_layer(c, k) for k in range(spec.num_layers)] if spec.cell == "lstm" else []
    return np.concatenate([held[kind][layer] for layer, kind, _ in _parts(spec)], axis=1)


def _parts(spec: RecurrentSpec) -> list[tuple[int, str, int]]:
    """Return layer, h or c, and width of each part of a row, in their order."""
    parts = []
    for layer, hidden in enumerate(spec.hidden_sizes):
        parts.append((layer, "h", spec.state_size(layer)))
        if spec.cell == "lstm":
            parts.append((layer, "c", hidden))
    return parts


def _joined(parts: list[Array]) -> Array | tuple[Array, ...]:
    """Return [L, N, H], or a tuple of [1, N, H_l] where widths differ."""
    if len({part.shape[1] for part in parts}) > 1:
        return tuple(part[None] for part in parts)
    return np.stack(parts)


def _layer(stacked: Any, k: int) -> Array:
    part: Array = stacked[k][0] if isinstance(stacked, tuple) else stacked[k]
    return part
