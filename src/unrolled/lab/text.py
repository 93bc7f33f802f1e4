"""Text, a character at a time: a corpus that Python itself carries, and a model of the next one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.lab.problems import documentation
from unrolled.lab.training import recurrent


@dataclass(frozen=True)
class Corpus:
    """Characters as numbers: `train` and `held_out` [T], and how many different ones there are."""

    train: Tensor
    held_out: Tensor
    characters: int

    def batch(self, rows: int, steps: int, random: torch.Generator) -> Tensor:
        """Return pieces of the training text [rows, steps + 1], from places drawn at random."""
        starts = torch.randint(len(self.train) - steps, (rows, 1), generator=random)
        return self.train[starts + torch.arange(steps + 1)]


def corpus(share: float = 1.0) -> Corpus:
    """Return Python's help topics; the last 20,000 characters are held out.

    With `share` below 1 only that share of the rest is there to train on.
    """
    text = documentation()
    known = {c: k for k, c in enumerate(sorted(set(text)))}
    numbers = torch.tensor([known[c] for c in text])
    train = numbers[:-20_000]
    return Corpus(train[: int(share * len(train))], numbers[-20_000:], len(known))


class CharacterModel(nn.Module):
    """The next character: embedding, recurrent layers, softmax."""

    def __init__(self, cell: str, hidden: int, characters: int, **choices: Any) -> None:
        super().__init__()
        layers = choices.pop("layers", 1)
        self.embedding = nn.Embedding(characters, 32)
        self.recurrent = recurrent(cell, 32, hidden, num_layers=layers, **choices)
        self.output = nn.Linear(hidden, characters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T] to logits of the next ones [N, T, V]."""
        y, _ = self.recurrent(self.embedding(tokens))
        logits: Tensor = self.output(y)
        return logits

    def loss(self, tokens: Tensor) -> Tensor:
        """Return the mean of -log p of tokens [N, T + 1] after the first, in nats."""
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def bits(model: Any, text: Tensor, steps: int = 200) -> float:
    """Return bits a character over a text, read in pieces of `steps` that know nothing before."""
    rows = (len(text) - 1) // steps
    pieces = text[: rows * steps].view(rows, steps)
    model.eval()
    with torch.no_grad():
        loss = float(model.loss(pieces))
    model.train()
    return loss / math.log(2)
