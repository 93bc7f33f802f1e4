"""Training losses on logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def token_cross_entropy(
    logits: Tensor, targets: Tensor, *, pad: int, label_smoothing: float = 0.0
) -> tuple[Tensor, int]:
    """Mean cross-entropy over real tokens, and how many there were.

    loss = -1/n sum_{t: y_t != pad} [(1 - e) log p(y_t) + e/V sum_v log p(v)], in nats, with label
    smoothing e (Szegedy et al. 2016, section 7). `logits` [N, T, V], `targets` [N, T].
    """
    count = int((targets != pad).sum())
    loss = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        ignore_index=pad,
        label_smoothing=label_smoothing,
    )
    return loss, count


def class_cross_entropy(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0
) -> tuple[Tensor, int]:
    """Mean cross-entropy over a batch in nats, and its size. `logits` [N, C], `labels` [N]."""
    loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return loss, int(labels.shape[0])
