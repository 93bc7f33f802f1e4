"""Exact span F1 as the script conlleval counts it (Tjong Kim Sang and Buchholz 2000). No torch.

Ill-formed sequences count too: an `I-X` that follows `O` or another type begins a span. For tags
with B, I and O the rules are the script's own. It was written before BIOES; there `E` ends a span
and `S` is one alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from unrolled.data.schemes import parts


class Span(NamedTuple):
    """The words `first` to `last`, both included, are a span of a type."""

    kind: str
    first: int
    last: int


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans that a sequence of tags spells, in order."""
    found: list[Span] = []
    begun: int | None = None
    before = ("O", "")
    for t, tag in enumerate([*tags, "O"]):
        now = parts(tag)
        if begun is not None and _ends(before, now):
            found.append(Span(before[1], begun, t - 1))
            begun = None
        if _begins(before, now):
            begun = t
        before = now
    return found


def span_metrics(
    predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Precision, recall and F1 of spans, right where type, first and last word are.

    precision = right / said; recall = right / there; F1 = 2 P R / (P + R), 0 where undefined, over
    all spans of all sequences; `span_types` has the same for each type.
    """
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for ours, theirs in zip(predicted, true, strict=True):
        found, expected = set(spans(ours)), set(spans(theirs))
        said.update(span.kind for span in found)
        there.update(span.kind for span in expected)
        right.update(span.kind for span in found & expected)
    kinds = sorted(said.keys() | there.keys())
    total = _rates(right.total(), said.total(), there.total())
    return {
        **{f"span_{name}": value for name, value in total.items()},
        "span_types": {
            kind: {**_rates(right[kind], said[kind], there[kind]), "count": there[kind]}
            for kind in kinds
        },
    }


def _rates(right: int, said: int, there: int) -> dict[str, float]:
    return {
        "f1": 2 * right / max(said + there, 1),
        "precision": right / max(said, 1),
        "recall": right / max(there, 1),
    }


def _ends(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether a span that `before` is in ends before `now`."""
    (old, old_kind), (new, kind) = before, now
    if old in ("E", "S"):
        return True
    if old in ("B", "I") and new in ("B", "S", "O"):
        return True
    return old != "O" and old_kind != kind


def _begins(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether a span begins at `now`."""
    (old, old_kind), (new, kind) = before, now
    if new in ("B", "S"):
        return True
    if old in ("O", "E", "S") and new in ("I", "E"):
        return True
    return new != "O" and old_kind != kind
