"""What explains a generator: log p(next | all before), of a unit of a text, an item or a frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.data.batch import pad
from unrolled.data.vocab import BOS, EOS, PAD, UNK
from unrolled.errors import ConfigError, DataError
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
)
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.weights import log_softmax

NEVER = (PAD, BOS, UNK)
MOST_KEYS = 8


def reader(model: GeneratorModel) -> Reader:
    """Return the stack that reads sequences, and what maps one to its steps, from its beginning."""

    def read(sequence: Any) -> Reading:
        if model.kind == "frames":
            frames = model.frames(sequence)
            return Reading(_numbered(len(frames)), frames)
        ids = [BOS, *model.encode(sequence)]
        return Reading(("<s>", *_units(model, ids[1:])), model.network.read(np.asarray(ids)))

    return model.network.recurrent, read


def subject(model: GeneratorModel, sequence: Any, target: str | None) -> Subject:
    """Return the subject of the likeliest unit after a text or a history, or of its `target`-th.

    Steps are the units before it; they are removed, or read as `<unk>`. Of frames the `target`-th,
    by default the last, is explained as a whole: log p of all its keys, and a frame before it is
    replaced by silence. The last of a single frame has none before it: explained is the likeliest
    frame after it. Raises DataError for a sequence without a step, ConfigError for a place that has
    none before it.
    """
    if model.kind == "frames":
        return _of_frames(model, sequence, target)
    ids = model.encode(sequence)
    if not ids:
        raise DataError("the text is empty; expected at least one unit")
    at = _place(target, len(ids))
    given = ids if at is None else ids[:at]
    wanted = _likeliest(model, ids) if at is None else ids[at]
    network = model.network

    def rows(keep: Mask, how: How) -> tuple[Array, Array]:
        if how == "replace":
            found = np.where(keep, np.asarray(given), UNK)
            first = np.full((len(keep), 1), BOS)
            return np.concatenate([first, found], axis=1), np.full(len(keep), len(given) + 1)
        return pad([[BOS, *np.asarray(given)[row].tolist()] for row in keep])

    def score(keep: Mask, how: How) -> Array:
        tokens, lengths = rows(keep, how)
        y, _ = network.recurrent(network.read(tokens), None, lengths)
        logits = network.logits_of(y[np.arange(len(tokens)), lengths - 1])
        found: Array = log_softmax(logits.astype(np.float64))[:, wanted]
        return found

    assert network.embedding is not None
    read = network.read(np.asarray(given))
    before = network.read(np.asarray([BOS]))
    embedding = network.embedding

    def slope() -> Differentiable:
        import torch

        module = twin(network.spec, network.weights)

        def answer(count: int) -> Any:
            logits, _ = module(torch.tensor([[BOS, *given]] * count))
            return torch.log_softmax(logits[:, -1], dim=-1)[:, wanted]

        baseline = token_baseline(embedding, given, 0.0)
        return differentiable(module.recurrent, read, baseline, answer, before)

    (unit,) = _units(model, [wanted])
    place = "next" if at is None else f"as unit {at + 1}"
    return Subject(
        steps=_units(model, given),
        answer=f"{'the end' if wanted == EOS else unit!r} {place}",
        quantity="log-probability [nats]",
        removable=True,
        score=score,
        stack=network.recurrent,
        read=read,
        differentiable=slope,
        before=before,
        name=" ".join(_units(model, given)) if model.kind == "items" else "",
    )


def _place(target: str | None, count: int, unit: str = "unit") -> int | None:
    """Return the index of the unit that is explained, None for what comes next."""
    if target is None:
        return None
    if not target.isdecimal() or not 2 <= int(target) <= count:
        there = (
            f"a place in the sequence, 2 to {count}" if count > 1 else f"none, of a single {unit}"
        )
        raise ConfigError(f"target {target!r}: expected {there}; the first has nothing before it")
    return int(target) - 1


def _likeliest(model: GeneratorModel, ids: list[int]) -> int:
    """Return the likeliest unit that may be answered; of items, one that is not in the history."""
    if model.kind == "items":
        return int(model.next_scores([ids], exclude_seen=True)[0].argmax())
    found, _ = model.network.logits(np.asarray([[BOS, *ids]]))
    last = found[0, -1].astype(np.float64)
    last[list(NEVER)] = -np.inf
    return int(last.argmax())


def _units(model: GeneratorModel, ids: list[int]) -> tuple[str, ...]:
    assert model.vocabulary is not None
    return tuple(model.vocabulary.unit(k) for k in ids)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(t) for t in range(1, count + 1))


def _of_frames(model: GeneratorModel, sequence: Any, target: str | None) -> Subject:
    frames = model.frames(sequence)
    several = len(frames) > 1
    at = _place(str(len(frames)) if several and not target else target, len(frames), "frame")
    network, silence = model.network, np.zeros((1, frames.shape[1]), frames.dtype)
    given = frames[:at]
    if at is None:
        wanted, called = _likeliest_frame(model, np.concatenate([silence, frames]))
    else:
        wanted, called = frames[at].astype(np.float64), f"frame {at + 1}"

    def score(keep: Mask, how: How) -> Array:
        inputs = np.where(keep[:, :, None], given, silence).astype(frames.dtype)
        first = np.repeat(silence[None], len(keep), axis=0)
        logits, _ = network.logits(np.concatenate([first, inputs], axis=1))
        last = logits[:, -1].astype(np.float64)
        found: Array = (wanted * last - np.logaddexp(0, last)).sum(axis=1)
        return found

    def slope() -> Differentiable:
        import torch

        module = twin(network.spec, network.weights)
        keys = torch.from_numpy(wanted)

        def answer(count: int) -> Any:
            whole = np.concatenate([silence, given]).astype(np.float64)
            logits, _ = module(torch.from_numpy(np.repeat(whole[None], count, axis=0)))
            last = logits[:, -1]
            return (keys * last - torch.nn.functional.softplus(last)).sum(dim=1)

        baseline = np.zeros_like(given)
        return differentiable(module.recurrent, given, baseline, answer, silence)

    return Subject(
        steps=_numbered(len(given)),
        answer=called,
        quantity="log-probability [nats]",
        removable=False,
        score=score,
        stack=network.recurrent,
        read=given,
        differentiable=slope,
        before=silence,
        name=counted(len(frames), "frame"),
        series=True,
    )


def _likeliest_frame(model: GeneratorModel, read: Array) -> tuple[Array, str]:
    """Return the likeliest frame [I] after those read, key by key, and what it is called."""
    logits, _ = model.network.logits(read[None])
    frame: Array = (logits[0, -1] > 0).astype(np.float64)
    keys = [str(k + 1) for k in np.flatnonzero(frame)]
    more = ", …" if len(keys) > MOST_KEYS else ""
    said = f"keys {', '.join(keys[:MOST_KEYS])}{more}" if keys else "silence"
    return frame, f"the likeliest frame next, {said}"
