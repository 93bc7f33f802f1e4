"""Attention without torch: `Attention` and `AttentionPooling` of `unrolled.nn`, in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.shapes import attention_shapes, check_attention
from unrolled.spec import AttentionSpec

Array = NDArray[np.floating]
Lengths = Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]


def sequence_mask(lengths: Lengths, memory: Array) -> NDArray[np.bool_]:
    """Return [N, S], true inside each row's length, for a memory [N, S, M].

    `lengths` [N], or a boolean mask [N, S] which is returned as it is. Raises ValueError for
    lengths outside 1..S, and for a row with nothing inside, naming the row.
    """
    rows, steps = memory.shape[:2]
    value = np.asarray(lengths)
    if value.dtype == np.bool_:
        if value.shape != (rows, steps):
            raise ValueError(f"a mask must be [N, S] = [{rows}, {steps}], got {list(value.shape)}")
        mask: NDArray[np.bool_] = value
    else:
        if value.shape != (rows,) or not np.issubdtype(value.dtype, np.integer):
            raise ValueError(
                f"lengths must be {rows} integers, got {value.dtype} {list(value.shape)}"
            )
        wrong = np.flatnonzero((value < 0) | (value > steps))
        if len(wrong):
            raise ValueError(
                f"lengths must lie in 1..{steps}, got {value[wrong[0]]} in row {wrong[0]}"
            )
        mask = np.arange(steps) < value[:, None]
    empty = np.flatnonzero(~mask.any(axis=1))
    if len(empty):
        raise ValueError(
            f"row {empty[0]} has nothing to attend to: its length is 0 or its mask is all false"
        )
    return mask


def softmax(scores: Array) -> Array:
    """Return exp(a) / sum exp(a) over the last axis."""
    weights: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


class Attention:
    """Weights of queries over a memory, and its weighted sum; see `unrolled.nn.Attention`.

    `weights` has the parameters under `prefix` ("attention." for a translator's). Raises ValueError
    naming the one that is missing or misshapen.
    """

    def __init__(
        self, spec: AttentionSpec, weights: Mapping[str, ArrayLike], prefix: str = ""
    ) -> None:
        check_attention(spec)
        self.spec = spec
        for name, shape in attention_shapes(spec).items():
            _parameter(weights, prefix + name, shape)
        shapes = attention_shapes(spec)
        self.key = self.query = self.bias = self.score = None
        if "key.weight" in shapes:
            self.key = _transposed(weights[prefix + "key.weight"])
        if "query.weight" in shapes:
            self.query = _transposed(weights[prefix + "query.weight"])
            self.bias = np.asarray(weights[prefix + "key.bias"])
            self.score = np.asarray(weights[prefix + "score.weight"])[0]

    def precompute(self, memory: Array) -> Array:
        """Return the keys [N, S, A or Q] of a memory [N, S, M], computed once for all queries."""
        if memory.ndim != 3 or memory.shape[-1] != self.spec.key_size:
            raise ValueError(
                f"memory must be [N, S, {self.spec.key_size}], got {list(memory.shape)}"
            )
        if self.key is None:
            return memory
        keys: Array = memory @ self.key
        if self.bias is not None:
            keys += self.bias
        return keys

    def scores(self, query: Array, keys: Array) -> Array:
        """Return score(q[t], m[s]) [N, T, S] of queries [N, T, Q] and precomputed keys."""
        if self.query is None or self.score is None:
            return query @ keys.transpose(0, 2, 1)
        hidden: Array = (query @ self.query)[:, :, None] + keys[:, None]
        np.tanh(hidden, out=hidden)
        # OpenBLAS's product with a vector computes on lanes that nobody wrote and throws them away;
        # where they hold a signalling NaN, numpy would warn of it.
        with np.errstate(invalid="ignore"):
            scores: Array = hidden @ self.score
        return scores

    def __call__(
        self,
        query: Array,
        memory: Array,
        lengths: Lengths | None = None,
        keys: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return the context [N, T, M] and the weights [N, T, S]; without T for a query [N, Q].

        `lengths` [N], or a mask [N, S], give weight exactly 0 outside. Raises ValueError as
        `unrolled.nn.Attention` does.
        """
        rows, size = len(memory), self.spec.query_size
        if query.ndim not in (2, 3) or len(query) != rows or query.shape[-1] != size:
            raise ValueError(
                f"query must be [{rows}, {size}] or [{rows}, T, {size}] for memory "
                f"{list(memory.shape)}, got {list(query.shape)}"
            )
        if keys is None:
            keys = self.precompute(memory)
        scores = self.scores(query[:, None] if query.ndim == 2 else query, keys)
        if lengths is not None:
            scores[
                np.broadcast_to(~sequence_mask(lengths, memory)[:, None], scores.shape)
            ] = -np.inf
        weights = softmax(scores)
        context = weights @ memory
        return (context[:, 0], weights[:, 0]) if query.ndim == 2 else (context, weights)


class AttentionPooling:
    """One sequence summed up by a learned query; see `unrolled.nn.AttentionPooling`."""

    def __init__(
        self, spec: AttentionSpec, weights: Mapping[str, ArrayLike], prefix: str = ""
    ) -> None:
        self.spec = spec
        self.attention = Attention(spec, weights, prefix + "attention.")
        self._query = _parameter(weights, prefix + "query_vector", (spec.query_size,))
        self.weights = {"query_vector": self._query} | {
            name: np.asarray(weights[f"{prefix}attention.{name}"])
            for name in attention_shapes(spec)
        }

    def scores(self, memory: Array) -> Array:
        """Return the score [N, S] of each step of a memory [N, S, M], before the softmax."""
        query = np.broadcast_to(self._query, (len(memory), 1, len(self._query)))
        scores: Array = self.attention.scores(query, self.attention.precompute(memory))[:, 0]
        return scores

    def __call__(self, memory: Array, lengths: Lengths | None = None) -> tuple[Array, Array]:
        """Return the context [N, M] and the weights [N, S] of a memory [N, S, M]."""
        query = np.broadcast_to(self._query, (len(memory), len(self._query)))
        return self.attention(query, memory, lengths)


def _parameter(weights: Mapping[str, ArrayLike], name: str, shape: tuple[int, ...]) -> Array:
    if name not in weights:
        raise ValueError(f"missing parameter {name!r} of shape {list(shape)}")
    value = np.asarray(weights[name])
    if value.shape != shape:
        raise ValueError(
            f"parameter {name!r} must have shape {list(shape)}, got {list(value.shape)}"
        )
    return value


def _transposed(weight: ArrayLike) -> Array:
    return np.ascontiguousarray(np.asarray(weight).T)
