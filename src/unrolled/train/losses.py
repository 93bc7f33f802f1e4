"""Training losses on logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cross_entropy(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> tuple[Tensor, float]:
    """Mean cross-entropy in nats, and the number of answers that it is a mean of.

    loss = -1/n sum_i [(1 - e) log p(y_i) + e/C sum_c log p(c)], with label smoothing e (Szegedy et
    al. 2016, section 7). `logits` [n, C], `labels` [n]. With `weights` [C] an answer counts as much
    as its class weighs, each in n too.
    """
    loss = functional.cross_entropy(logits, labels, weight=weights, label_smoothing=label_smoothing)
    if weights is None:
        return loss, int(labels.shape[0])
    return loss, float(weights[labels].sum())


def binary_cross_entropy(
    logits: Tensor, labels: Tensor, *, weights: Tensor | None = None
) -> tuple[Tensor, float]:
    """Mean over n answers of sum_c -[w_c y_c log p_c + (1 - y_c) log(1 - p_c)] in nats, and n.

    p = sigmoid(logits); `logits` [n, C], `labels` [n, C] 0 or 1, `weights` [C] of the ones.
    """
    loss = functional.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=weights, reduction="sum"
    )
    return loss / labels.shape[0], int(labels.shape[0])


def regression_loss(outputs: Tensor, targets: Tensor, *, kind: str = "mse") -> tuple[Tensor, float]:
    """Mean over n answers and K targets of e^2, |e| or Huber's loss (1964) of e, and n.

    e = outputs - targets, both [n, K] and standardised; Huber's is e^2 / 2 up to 1, then |e| - 1/2.
    """
    if kind == "mae":
        loss = functional.l1_loss(outputs, targets)
    elif kind == "huber":
        loss = functional.huber_loss(outputs, targets)
    else:
        loss = functional.mse_loss(outputs, targets)
    return loss, int(targets.shape[0])
