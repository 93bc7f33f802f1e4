"""What explains a tagger's answer: log p(tags | x), that of one step's tag, or of the intent.

A tag sits at a step, so steps are replaced, never removed; the intent is of the whole sequence.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.data.tagging import TaggerInput
from unrolled.errors import ConfigError, did_you_mean
from unrolled.explain.gradients import differentiable, twin
from unrolled.explain.labels import counted
from unrolled.explain.subject import Array, Differentiable, How, Mask, Reader, Reading, Subject
from unrolled.explain.subjects.places import place
from unrolled.runtime import crf
from unrolled.runtime.tagger_model import TaggerModel

# No vocabulary holds it: a private-use character, read as `<unk>` in words and in spelling.
UNKNOWN = "\uf8ff"
INTENT = "intent"


def reader(model: TaggerModel) -> Reader:
    """Return the stack that reads sequences, and what maps one to its steps and their vectors."""

    def read(sequence: Any) -> Reading:
        units = sequence.split() if isinstance(sequence, str) else list(sequence)
        return Reading(_shown(model, units), model.network.read(model.encode([units]))[0])

    return model.network.recurrent, read


def _shown(model: TaggerModel, units: list[Any]) -> tuple[str, ...]:
    return tuple(str(t) if model.reads_frames else str(u) for t, u in enumerate(units, start=1))


def subject(model: TaggerModel, sequence: Any, target: str | None) -> Subject:
    """Return the subject of the best tags of a sequence, or of the `target`-th step's tag, from 1.

    With the target `intent` it is that of the intent, with `intent:NAME` that of the one so named.
    A sequence is a text, a list of words, or frames [T, I]. A word that is replaced is read as
    unknown in its whole and in its spelling, a frame as the mean of the training data. Raises
    DataError as `TaggerModel.tag` does, ConfigError for a place that the sequence does not have.
    """
    network, scores = model.network, model.network.scores.where(model.legal)
    units = sequence.split() if isinstance(sequence, str) else list(sequence)
    batch = model.encode([units])
    if target is not None and target.partition(":")[0] == INTENT:
        return _of_intent(model, units, batch, target.partition(":")[2])
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
        name=counted(len(units), "step") if model.reads_frames else "",
        series=model.reads_frames,
    )


def _of_intent(model: TaggerModel, units: list[Any], batch: TaggerInput, name: str) -> Subject:
    """Return the subject of log p(intent | x), of the likeliest or of the one named."""
    network, names = model.network, model.intents
    if not names:
        raise ConfigError(
            "target 'intent': this tagger has no label of the whole sequence; train one with "
            "--intent"
        )
    if name and name not in names:
        raise ConfigError(f"no intent {name!r}.{did_you_mean(name, names)}")
    _, found = network.emissions(batch)
    assert found is not None
    index = names.index(name) if name else int(found[0].argmax())

    def score(keep: Mask, how: How) -> Array:
        if how == "remove":
            rows = [[u for u, k in zip(units, row, strict=True) if k] or [UNKNOWN] for row in keep]
        else:
            rows = [_replaced(model, units, row) for row in keep]
        _, several = network.emissions(model.encode(rows))
        assert several is not None
        chosen: Array = several[:, index].astype(np.float64)
        return chosen

    read = network.read(batch)[0]

    def slope() -> Differentiable:
        import torch

        module = twin(network.spec, network.weights)
        nothing = np.zeros(len(units), dtype=bool)
        blank = network.read(model.encode([_replaced(model, units, nothing)]))[0]

        def answer(rows: int) -> Any:
            _, logits = module(*_given(batch, rows))
            return torch.log_softmax(logits, dim=-1)[:, index]

        return differentiable(module.recurrent, read, blank, answer)

    return Subject(
        steps=_shown(model, units),
        answer=f"intent {names[index]}",
        quantity="log-probability [nats]",
        removable=not model.reads_frames,
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
        given = _given(batch, rows)
        lengths = given[1]
        found, _ = module(*given)
        whole = log_partition(found, transitions, start, end, lengths)
        if at is None:
            tags = torch.from_numpy(np.repeat(path[None], rows, axis=0))
            return sequence_score(found, transitions, start, end, tags, lengths) - whole
        only = found.clone()
        only[:, at] = only[:, at].masked_fill(others, -1e9)
        return log_partition(only, transitions, start, end, lengths) - whole

    return answer


def _given(batch: TaggerInput, rows: int) -> tuple[Any, ...]:
    """Return what the torch twin takes for copies of the one sequence of a batch."""
    import torch

    values, words = (
        None if part is None else torch.from_numpy(np.repeat(part, rows, axis=0))
        for part in (batch.values, batch.words)
    )
    spelled = (
        None if part is None else torch.from_numpy(part)
        for part in (batch.spellings, batch.spelling_lengths)
    )
    assert values is not None
    if values.is_floating_point():
        values = values.double()
    return values, torch.full((rows,), int(batch.lengths[0])), *spelled, words
