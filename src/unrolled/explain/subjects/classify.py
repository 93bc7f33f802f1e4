"""What explains a classifier's label: log p(class | text)."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.errors import ConfigError, did_you_mean
from unrolled.explain.gradients import differentiable, twin
from unrolled.explain.subject import (
    Array,
    Differentiable,
    How,
    Mask,
    Reader,
    Subject,
    token_baseline,
    token_rows,
)
from unrolled.runtime.model import ClassifierModel, encode
from unrolled.runtime.weights import log_softmax


def reader(
    model: ClassifierModel,
) -> Reader:
    """Return the stack that reads texts, and what maps a text to its units and embeddings."""

    def read(text: str) -> tuple[tuple[str, ...], Array]:
        ids = encode(text, model.vocabulary, model.config.data.max_length).ids[0]
        units = tuple(model.vocabulary.unit(k) for k in ids)
        return units, model.network.embedding[ids]

    return model.network.recurrent, read


def subject(model: ClassifierModel, text: str, target: str | None) -> Subject:
    """Return the subject of the likeliest label of a text, or of the label `target`.

    Raises DataError for an empty text, ConfigError for a label that the model does not know.
    """
    network, ids = (
        model.network,
        encode(text, model.vocabulary, model.config.data.max_length).ids[0],
    )
    tokens, lengths = np.asarray([ids]), np.asarray([len(ids)])
    logits, weights = network.classify(tokens, lengths)
    label = _label(model, target, logits[0])
    index = model.classes.index(label)
    read = network.embedding[ids]

    def score(keep: Mask, how: How) -> Array:
        found = network.logits(*token_rows(ids, keep, how)).astype(np.float64)
        return log_softmax(found)[:, index]

    def slope() -> Differentiable:
        import torch

        module = twin(network.spec, network.weights)

        def answer(rows: int) -> Any:
            repeated = torch.tensor([ids] * rows)
            found = module(repeated, torch.full((rows,), len(ids)))
            return torch.log_softmax(found, dim=-1)[:, index]

        baseline = token_baseline(network.embedding, ids, model.config.token_dropout)
        return differentiable(module.recurrent, read, baseline, answer)

    return Subject(
        steps=tuple(model.vocabulary.unit(k) for k in ids),
        answer=f"label {label}",
        quantity="log-probability [nats]",
        removable=True,
        score=score,
        stack=network.recurrent,
        read=read,
        differentiable=slope,
        attention=None if weights is None else weights[0],
    )


def _label(model: ClassifierModel, target: str | None, logits: Array) -> str:
    if target is None:
        return model.classes[int(logits.argmax())]
    if target not in model.classes:
        raise ConfigError(f"no label {target!r}.{did_you_mean(target, model.classes)}")
    return target
