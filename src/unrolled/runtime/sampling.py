"""From logits to the next token: temperature, repetition penalty, top-k, top-p, and the draw."""

from __future__ import annotations

import numpy as np

from unrolled.data.vocab import BOS, PAD, UNK
from unrolled.errors import ConfigError
from unrolled.runtime.attention import softmax
from unrolled.runtime.weights import Array
from unrolled.spec import Struct


class Sampling(Struct, frozen=True, kw_only=True):
    """How a token is drawn; raises ConfigError, naming the value, where one is out of range.

    `temperature` divides the logits, 0 takes the likeliest. Of the `top_k` likeliest (0: of all)
    only the fewest that hold `top_p` of the probability stay (Holtzman et al. 2020, section 3.1).
    `repetition_penalty` divides positive logits of tokens that were there before, and multiplies
    negative ones (Keskar et al. 2019, section 4.1).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, value, holds, wish in (
            ("temperature", self.temperature, self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k, self.top_k >= 0, "0 or more"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "more than 0, at most 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0,
                "more than 0",
            ),
        ):
            if not holds:
                raise ConfigError(f"{name} is {value}; expected {wish}")


def distribution(logits: Array, sampling: Sampling, seen: Array) -> Array:
    """Return the probabilities [N, V] that tokens are drawn with; `seen` [N, V] is of bools.

    `<pad>`, `<unk>` and `<s>` are never drawn.
    """
    values = np.array(logits, np.float64)
    penalty = sampling.repetition_penalty
    if penalty != 1:
        values = np.where(seen, np.where(values > 0, values / penalty, values * penalty), values)
    values[:, [PAD, UNK, BOS]] = -np.inf
    if sampling.temperature == 0:
        best = np.zeros_like(values)
        best[np.arange(len(values)), values.argmax(axis=1)] = 1
        return best
    values /= sampling.temperature
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = softmax(np.take_along_axis(values, order, axis=1))
    if 0 < sampling.top_k < ranked.shape[1]:
        ranked[:, sampling.top_k :] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
    if sampling.top_p < 1:
        before = np.cumsum(ranked, axis=1) - ranked
        ranked[before >= sampling.top_p] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
    chances = np.empty_like(ranked)
    np.put_along_axis(chances, order, ranked, axis=1)
    return chances


def draw(chances: Array, generator: np.random.Generator) -> Array:
    """Draw one token a row from probabilities [N, V]; returns [N]."""
    sums = np.cumsum(chances, axis=1)
    points = generator.random((len(chances), 1)) * sums[:, -1:]
    drawn: Array = (sums <= points).sum(axis=1)
    return drawn
