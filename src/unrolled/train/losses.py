"""Training losses on logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cross_entropy(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0
) -> tuple[Tensor, int]:
    """Mean cross-entropy in nats, and the number of answers that it is a mean of.

    loss = -1/n sum_i [(1 - e) log p(y_i) + e/C sum_c log p(c)], with label smoothing e (Szegedy et
    al. 2016, section 7). `logits` [n, C], `labels` [n].
    """
    loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return loss, int(labels.shape[0])
