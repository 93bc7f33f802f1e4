"""One call for every explanation: which methods there are, and what each needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from unrolled.errors import ConfigError, did_you_mean
from unrolled.explain import alignment as aligning
from unrolled.explain import attribution
from unrolled.explain.deletion import deletion_test
from unrolled.explain.gradients import need_torch
from unrolled.explain.remembering import memory_of
from unrolled.explain.results import (
    Alignment,
    Attribution,
    Explanation,
    LayerStates,
    Words,
    numbers,
)
from unrolled.explain.states import cut, layer_states, trace
from unrolled.explain.subject import STEPS_AT_ONCE, How, Stack, Subject, scores
from unrolled.explain.subjects import subject_of
from unrolled.explain.timeshap import timeshap

# What each method is, and whether it needs torch. Attributions come first, in this order.
METHODS = {
    "attention": False,
    "occlusion": False,
    "gradient": True,
    "integrated": True,
    "timeshap": False,
    "states": False,
    "memory": True,
}
NAMES = {
    "gradient": "gradient x input",
    "integrated": "integrated gradients",
    "memory": "the memory of a model",
}
DEFAULT = ("attention", "occlusion", "states")
# Steps read times steps written above which the tests take so long that they have to be asked for.
MOST_DEFAULT = 20_000


def explain(
    model: Any,
    x: Any,
    methods: Sequence[str] | str | None = None,
    *,
    target: str | int | None = None,
    how: How | None = None,
    seed: int = 0,
    stack: Stack | None = None,
) -> Explanation:
    """Return why `model` answers `x` as it does, by each of `methods`.

    Methods: attention, occlusion, gradient (x input), integrated (gradients), timeshap, states,
    memory; `"all"` is every one that the model has. Left out: attention where there is any,
    occlusion and states, which need no torch; of very long inputs only states. Each attribution
    carries its own deletion test.
    `target` is the label to explain, or the place in the answer, from 1; left out, the answer as a
    whole. `how` steps leave the input: "remove", or "replace" by `<unk>` or a mean. `seed` is of
    what is random. `stack` is whose states and memory a translator shows: "encoder" (left out), or
    "decoder", over what it wrote.

    Raises ConfigError for a method, target, `how` or `stack` that does not fit and, naming the
    extra, where a method needs torch and there is none; DataError for an input that the model
    cannot read.
    """
    subject = subject_of(model, x, None if target is None else str(target), stack)
    chosen, way = _methods(methods, subject), _how(how, subject)
    if stack is not None and not {"states", "memory"} & set(chosen):
        raise ConfigError(f"stack {stack!r}: its states or memory are not among the methods")
    steps = len(subject.steps)
    both = scores(subject, np.array([[True] * steps, [False] * steps]), way)
    found = [
        replace(each, deletion=deletion_test(subject, np.array(each.values), way, seed=seed))
        for each in _attributions(subject, chosen, way, seed)
    ]
    return Explanation(
        answer=subject.answer,
        quantity=subject.quantity,
        score=float(both[0]),
        score_of_nothing=float(both[1]),
        steps=subject.steps,
        how=way,
        seed=seed,
        attributions=tuple(found),
        alignment=_alignment(subject) if "attention" in chosen else None,
        words=_words(subject, way) if "occlusion" in chosen else None,
        states=_states(subject) if "states" in chosen else (),
        memory=memory_of(subject, way, seed=seed) if "memory" in chosen else None,
        name=subject.name,
        series=subject.series,
        either_way=subject.either_way,
        wrote=() if subject.wrote is None else subject.wrote.steps,
    )


def _methods(asked: Sequence[str] | str | None, subject: Subject) -> tuple[str, ...]:
    if isinstance(asked, str):
        asked = [part.strip() for part in asked.split(",")]
    lacks = _lacking(subject)
    has = [name for name in METHODS if name not in lacks]
    if asked is None:
        long = len(subject.steps) * max(1, len(subject.written)) > MOST_DEFAULT
        asked = ["states"] if long else [name for name in DEFAULT if name in has]
    if list(asked) == ["all"]:
        asked = has
    for name in asked:
        if name not in METHODS:
            near = did_you_mean(name, METHODS)
            raise ConfigError(f"no method {name!r}; one of: {', '.join(METHODS)}.{near}")
        if name in lacks:
            raise ConfigError(f"method {name!r}: {lacks[name]}")
        if METHODS[name]:
            need_torch(NAMES[name])
    return tuple(asked)


def _lacking(subject: Subject) -> dict[str, str]:
    """Return the methods that say nothing here, and why."""
    lacks = {}
    if subject.attention is None:
        lacks["attention"] = "this model has no attention over its input"
    if subject.differentiable is None:
        why = "these parts are there or gone as a whole, so that there is no slope to follow"
        lacks |= dict.fromkeys(("gradient", "integrated"), why)
    if subject.stack is None:
        why = "the parts of this input are no steps of a recurrent stack"
        lacks |= dict.fromkeys(("states", "memory"), why)
    return lacks


def _how(how: How | None, subject: Subject) -> How:
    if how not in (None, "remove", "replace"):
        raise ConfigError(f"how {how!r}: expected remove or replace")
    if how == "remove" and not subject.removable:
        raise ConfigError("how 'remove': the steps of this input can only be replaced")
    return how or subject.how


def _attributions(
    subject: Subject, chosen: Sequence[str], how: How, seed: int
) -> list[Attribution]:
    found = []
    if "attention" in chosen:
        found.append(attribution.attention(subject))
    if "occlusion" in chosen:
        found.append(attribution.occlusion(subject, how))
    if "gradient" in chosen or "integrated" in chosen:
        assert subject.differentiable is not None
        given = subject.differentiable()
        if "gradient" in chosen:
            found.append(attribution.gradient_input(subject, given))
        if "integrated" in chosen:
            found.append(attribution.integrated_gradients(subject, given))
    if "timeshap" in chosen:
        found.append(timeshap(subject, how, seed=seed))
    return found


def _states(subject: Subject) -> tuple[LayerStates, ...]:
    assert subject.stack is not None
    if subject.wrote is not None:
        _, x, start = subject.wrote
        return tuple(layer_states(each) for each in trace(subject.stack, x, start))
    found = trace(subject.stack, subject.whole)
    return tuple(layer_states(cut(each, subject.lead)) for each in found)


def _words(subject: Subject, how: How) -> Words | None:
    """Return what each step did for each unit that was written, by occlusion of the step alone."""
    steps = len(subject.steps)
    if subject.each is None or steps < 2 or len(subject.written) < 2:
        return None
    keep = np.concatenate([np.ones((1, steps), bool), ~np.eye(steps, dtype=bool)])
    rows = max(1, STEPS_AT_ONCE // (steps + len(subject.written)))
    found = np.concatenate(
        [subject.each(keep[at : at + rows], how) for at in range(0, len(keep), rows)]
    )
    losses = (found[0] - found[1:]).T
    return Words(values=tuple(numbers(row) for row in losses), written=subject.written)


def _alignment(subject: Subject) -> Alignment | None:
    if subject.alignment is None:
        return None
    said = aligning.summary(subject.alignment, subject.steps, subject.written)
    return Alignment(
        weights=tuple(numbers(row) for row in subject.alignment),
        written=subject.written,
        coverage=said.coverage,
        entropy=said.entropy,
        monotonicity=said.monotonicity,
        overview=said.overview,
    )
