"""What explains one answer a sequence: log p(class | x) of a classifier, a regressor's value."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.errors import ConfigError, did_you_mean
from unrolled.explain.gradients import differentiable, twin
from unrolled.explain.labels import counted
from unrolled.explain.subject import (
    Array,
    Differentiable,
    How,
    Mask,
    Reader,
    Reading,
    Subject,
    token_baseline,
    token_rows,
)
from unrolled.runtime.pooled_model import ClassifierModel, RegressorModel
from unrolled.runtime.weights import log_softmax


def reader(model: ClassifierModel | RegressorModel) -> Reader:
    """Return the stack that reads sequences, and what maps one to its steps and their vectors."""

    def read(sequence: Any) -> Reading:
        row = np.asarray(model.encode(sequence))
        return Reading(model.units(sequence), model.network.read(row))

    return model.network.recurrent, read


def subject(model: ClassifierModel | RegressorModel, sequence: Any, target: str | None) -> Subject:
    """Return the subject of the likeliest label, or of the label or number that `target` names.

    With several labels a sequence the score is log p of that one. Frames are replaced by the mean
    of the training data, never removed, so that time stays as it was. Raises DataError as `predict`
    does, ConfigError for a label or number that the model does not know.
    """
    network: Any = model.network
    row = np.asarray(model.encode(sequence))
    outputs, weights = network.outputs(row[None], np.asarray([len(row)]))
    classes = isinstance(model, ClassifierModel)
    names = model.classes if isinstance(model, ClassifierModel) else model.targets
    index = _index(names, target, int(outputs[0].argmax()) if classes else 0)
    read = network.read(row)
    several = classes and network.spec.multi_label

    def score(keep: Mask, how: How) -> Array:
        if model.reads_frames:
            mean = network.read.arrays["frames.mean"]
            inputs = np.where(keep[:, :, None], row, mean).astype(np.float32)
            found = network.outputs(inputs, np.full(len(keep), len(row)))[0]
        else:
            found = network.outputs(*token_rows(row.tolist(), keep, how))[0]
        found = found.astype(np.float64)
        scored: Array
        if not classes:
            scored = network.undo(found)[:, index]
        elif several:
            scored = -np.logaddexp(0, -found[:, index])
        else:
            scored = log_softmax(found)[:, index]
        return scored

    def slope() -> Differentiable:
        import torch

        module = twin(network.spec, network.weights)

        def answer(rows: int) -> Any:
            repeated = torch.from_numpy(np.repeat(row[None], rows, axis=0))
            if model.reads_frames:
                repeated = repeated.double()
            found = module(repeated, torch.full((rows,), len(row)))
            if not classes:
                return found[:, index] * float(network.scale[index]) + float(network.mean[index])
            if several:
                return torch.nn.functional.logsigmoid(found[:, index])
            return torch.log_softmax(found, dim=-1)[:, index]

        if model.reads_frames:
            baseline = np.zeros_like(read)
        else:
            embedding = network.read.arrays["embedding"]
            baseline = token_baseline(embedding, row.tolist(), model.config.token_dropout)
        return differentiable(module.recurrent, read, baseline, answer)

    return Subject(
        steps=model.units(sequence),
        answer=f"label {names[index]}" if classes else f"value of {names[index]}",
        quantity="log-probability [nats]" if classes else f"value [unit of {names[index]}]",
        removable=not model.reads_frames,
        score=score,
        stack=network.recurrent,
        read=read,
        differentiable=slope,
        attention=None if weights is None else weights[0],
        name=counted(len(row), "step") if model.reads_frames else "",
        series=model.reads_frames,
        either_way=not classes,
    )


def _index(names: tuple[str, ...], target: str | None, default: int) -> int:
    if target is None:
        return default
    if target not in names:
        raise ConfigError(f"no label {target!r}.{did_you_mean(target, names)}")
    return names.index(target)
