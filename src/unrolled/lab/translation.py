"""Encoder-decoders for experiments: sequences to turn around, a loss, answers by the runtime."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.vocab import BOS, EOS, SPECIALS
from unrolled.nn.build import build
from unrolled.options import TranslateOptions
from unrolled.runtime.decode import greedy
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.spec import TranslatorSpec
from unrolled.tasks.translate import network_spec


class Pairs(NamedTuple):
    """Sources [N, S] with lengths [N], targets with `</s>` [N, T] with lengths [N]; 0 past ends."""

    source: Tensor
    source_lengths: Tensor
    target: Tensor
    target_lengths: Tensor

    def rows(self, chosen: Tensor) -> Pairs:
        """Return the pairs at `chosen`."""
        return Pairs(*(part[chosen] for part in self))


def reversal(n: int, lengths: tuple[int, int], symbols: int, random: torch.Generator) -> Pairs:
    """Return random sequences of lengths within `lengths`, and each the other way round."""
    low, high = lengths
    size = torch.randint(low, high + 1, (n,), generator=random)
    first = len(SPECIALS)
    source = torch.randint(first, first + symbols, (n, high), generator=random)
    steps = torch.arange(high)
    source = source * (steps < size[:, None])
    turned = source.gather(1, (size[:, None] - 1 - steps).clamp(min=0)) * (steps < size[:, None])
    target = torch.cat([turned, torch.zeros(n, 1, dtype=torch.int64)], dim=1)
    target[torch.arange(n), size] = EOS
    return Pairs(source, size, target, size + 1)


def network(vocabulary: int, **choices: Any) -> Any:
    """Return a fresh encoder-decoder; `choices` are those of `unrolled train translate`."""
    settings: dict[str, Any] = {"merge": "sum", "dropout": 0.0, "embedding_size": 32, **choices}
    return build(network_spec(TranslateOptions(**settings), vocabulary, vocabulary))


def loss(
    model: Any, pairs: Pairs, forcing: float = 1.0, random: torch.Generator | None = None
) -> Tensor:
    """Return the mean of -log p of the target's tokens, each given those before it.

    `forcing` is the share of steps that read the true token, the others their own likeliest one.
    """
    read = torch.cat([torch.full_like(pairs.target[:, :1], BOS), pairs.target[:, :-1]], dim=1)
    logits, inside = model.packed_logits(
        pairs.source, pairs.source_lengths, read, pairs.target_lengths, forcing, random
    )
    return F.cross_entropy(logits, pairs.target[inside])


def right(model: nn.Module, spec: TranslatorSpec, pairs: Pairs) -> Tensor:
    """Return which pairs a greedy search answers without an error, [N]."""
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    runtime = TranslatorNetwork(spec, weights)
    lengths = pairs.source_lengths.numpy()
    found = greedy(runtime, pairs.source.numpy(), lengths, int(pairs.target_lengths.max()) + 4)
    targets = [
        tuple(row[: length - 1])
        for row, length in zip(pairs.target.tolist(), pairs.target_lengths.tolist(), strict=True)
    ]
    same = [best[0].tokens == target for best, target in zip(found, targets, strict=True)]
    return torch.from_numpy(np.array(same))
