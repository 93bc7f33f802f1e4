"""What explains a tagger's answer: log p(tags | x), or that of the tag of one step.

A tag sits at a step, so steps are replaced, never removed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.data.tagging import TaggerInput
from unrolled.explain.gradients import differentiable, twin
from unrolled.explain.subject import Array, Differentiable, How, Mask, Reader, Subject
from unrolled.explain.subjects.places import place
from unrolled.runtime import crf
from unrolled.runtime.tagger_model import TaggerModel

# No vocabulary holds it: a private-use character, read as `<unk>` in words and in spelling.
UNKNOWN = "\uf8ff"


def reader(model: TaggerModel) -> Reader:
    """Return the stack that reads sequences, and what maps one to its steps and their vectors."""

    def read(sequence: Any) -> tuple[tuple[str, ...], Array]:
        units = sequence.split() if isinstance(sequence, str) else list(sequence)
        return _shown(model, units), model.network.read(model.encode([units]))[0]

    return model.network.recurrent, read


def _shown(model: TaggerModel, units: list[Any]) -> tuple[str, ...]:
    return tuple(str(t) if model.reads_frames else str(u) for t, u in enumerate(units, start=1))


def subject(model: TaggerModel, sequence: Any, target: str | None) -> Subject:
    """Return the subject of the best tags of a sequence, or of the `target`-th step's tag, from 1.

    A sequence is a text, a list of words, or frames [T, I]. A word that is replaced is read as
    unknown in its whole and in its spelling, a frame as the mean of the training data. Raises
    DataError as `TaggerModel.tag` does, ConfigError for a place that the sequence does not have.
    """
    network, scores = model.network, model.network.scores.where(model.legal)
    units = sequence.split() if isinstance(sequence, str) else list(sequence)
    batch = model.encode([units])
    emissions, _ = network.emissions(batch)
    paths, _ = network.best(emissions, batch.lengths, model.legal)
    path, steps = paths[0, 0], np.arange(len(units))
    names = [model.labels.label(int(k)) for k in path]
    at = place(target, names, "the sequence")

    def score(keep: Mask, how: How) -> Array:
        several = model.encode([_replaced(model, units, row) for row in keep])
        found, _ = network.emissions(several)
        if at is not None:
            shares = network.marginals(found, several.lengths, model.legal)
            return np.log(np.maximum(shares[:, at, path[at]].astype(np.float64), 1e-300))
        total = scores.start[path[0]] + scores.end[path[-1]]
        total += scores.transitions[path[:-1], path[1:]].sum()
        each: Array = found[:, steps, path].astype(np.float64).sum(axis=1) + total
        return each - crf.log_partition(found, scores, several.lengths)

    read = network.read(batch)[0]

    def slope() -> Differentiable:
        module = twin(network.spec, network.weights)
        nothing = np.zeros(len(units), dtype=bool)
        blank = network.read(model.encode([_replaced(model, units, nothing)]))[0]
        answer = _answer(module, batch, scores, path, at)
        return differentiable(module.recurrent, read, blank, answer)

    shown = _shown(model, units)
    return Subject(
        steps=shown,
        answer=f"tags {' '.join(names)}" if at is None else f"{names[at]} at {shown[at]}",
        quantity="log-probability [nats]",
        removable=False,
        score=score,
        stack=network.recurrent,
        read=read,
        differentiable=slope,
    )


def _replaced(model: TaggerModel, units: list[Any], keep: Mask) -> Any:
    if model.network.scaling is not None:
        mean, _ = model.network.scaling
        return np.where(keep[:, None], np.asarray(units), mean)
    return [unit if kept else UNKNOWN for unit, kept in zip(units, keep, strict=True)]


def _answer(
    module: Any, batch: TaggerInput, scores: crf.Scores, path: Array, at: int | None
) -> Any:
    """Return what maps n to the scores [n] of the tags of n copies of the sequence.

    log p(y_t = k | x) = log Z where y_t is k, less log Z.
    """
    import torch

    from unrolled.ops.crf import log_partition, sequence_score

    transitions, start, end = (torch.from_numpy(np.asarray(part, np.float64)) for part in scores)
    others = torch.arange(len(start)) != int(path[0 if at is None else at])

    def answer(rows: int) -> Any:
        values, words = (
            None if part is None else torch.from_numpy(np.repeat(part, rows, axis=0))
            for part in (batch.values, batch.words)
        )
        lengths = torch.full((rows,), len(path))
        spelled = (
            None if part is None else torch.from_numpy(part)
            for part in (batch.spellings, batch.spelling_lengths)
        )
        assert values is not None
        if values.is_floating_point():
            values = values.double()
        found, _ = module(values, lengths, *spelled, words)
        whole = log_partition(found, transitions, start, end, lengths)
        if at is None:
            tags = torch.from_numpy(np.repeat(path[None], rows, axis=0))
            return sequence_score(found, transitions, start, end, tags, lengths) - whole
        only = found.clone()
        only[:, at] = only[:, at].masked_fill(others, -1e9)
        return log_partition(only, transitions, start, end, lengths) - whole

    return answer
