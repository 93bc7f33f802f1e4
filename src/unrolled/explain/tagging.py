"""The report on a tagger: which tag each step got, how sure, and what else it might have been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.explain import page, svg
from unrolled.explain.labels import join, shown
from unrolled.explain.report import Example, Numbers, with_numbers
from unrolled.explain.results import Explanation
from unrolled.explain.sections import with_explanations
from unrolled.runtime.tagger_model import TaggerModel

MOST_TAGS = 12
MOST_STEPS = 60
LEAD = "Below is how the model tagged each sequence, and how sure it was of every step."
LEAST = (
    "The model is least sure of '{token}' ({place}): {tag}, {share}. All tags together have a"
    " probability of {whole}."
)
READING = (
    "A row is a {unit}, its probabilities of the {count} most likely tags of this sequence beside"
    " one another. The stronger the colour, the likelier; the frame marks the most. Each is summed"
    " over all sequences of tags that may be answered."
)


def tagged_examples(model: TaggerModel, sequences: Sequence[Any]) -> list[dict[str, Any]]:
    """Tag each sequence and return what `tagging_report` shows of it."""
    found = model.tag(sequences, marginals=True)
    examples = []
    assert found.marginals is not None
    for i, sequence in enumerate(sequences):
        words = sequence.split() if isinstance(sequence, str) else list(sequence)
        best = found.answers[i][0]
        example: dict[str, Any] = {
            "tokens": [str(t + 1) for t in range(len(words))] if model.reads_frames else words,
            "tags": best.tags,
            "confidences": best.confidences,
            "marginals": found.marginals[i],
            "columns": model.tags,
            "log_prob": best.log_prob,
            "predicted": " ".join(best.tags),
        }
        if found.intents is not None:
            intent = found.intents[i]
            example["intent"] = intent.label
            example["intents"] = dict(
                zip(model.intents, map(float, intent.probabilities), strict=True)
            )
        examples.append(example)
    return examples


def tagging_report(
    title: str,
    examples: Sequence[Example],
    log: Sequence[Numbers] = (),
    metrics: Numbers | None = None,
    *,
    unit: str = "word",
    explanations: Sequence[Explanation] = (),
) -> str:
    """Return a page on a tagger: its numbers, learning curves, and the tags of each sequence.

    An example is as `tagged_examples` makes it: `tokens`, `tags` and `confidences` [T], `marginals`
    [T, K] over `columns`, `intent` with `intents` where the model has one, and where it is known
    `word`, its heading.
    """
    report = with_numbers(page.Report(title, LEAD), log, metrics)
    panels = [(_heading(e), _panel(e, unit), len(e["tokens"]) > MOST_TAGS) for e in examples]
    return with_explanations(report, explanations, ("Sequences", page.articles(panels))).html()


def _heading(example: Example) -> str:
    text = str(example.get("word") or "".join(join(example["tokens"])))
    text = text if len(text) <= MOST_STEPS else text[: MOST_STEPS - 1] + "…"
    return f"{example['intent']}: {text}" if "intent" in example else text


def _panel(example: Example, unit: str) -> str:
    tokens, tags = list(example["tokens"]), list(example["tags"])
    marginals, columns = np.asarray(example["marginals"]), list(example["columns"])
    least = int(np.argmin(example["confidences"]))
    sentence = LEAST.format(
        token=shown(tokens[least]),
        place=f"{unit} {least + 1} of {len(tokens)}",
        tag=tags[least],
        share=page.percent(float(example["confidences"][least])),
        whole=page.percent(float(np.exp(example["log_prob"]))),
    )
    header = (unit.capitalize(), "Tag", "Probability", "Next best", "Its probability")
    rows = [_row(tokens[t], tags[t], marginals[t], columns) for t in range(len(tokens))]
    body = page.paragraph(sentence) + page.table("Every step", header, rows)
    if "intent" in example:
        odds = sorted(example["intents"].items(), key=lambda item: -item[1])[:MOST_TAGS]
        body = page.shares("The whole sequence", ("Label", "Probability"), odds) + body
    if len(tokens) > MOST_STEPS:
        return body
    top = sorted(np.argsort(-marginals.max(axis=0), kind="stable")[:MOST_TAGS])
    picture = svg.heat_map(
        marginals[:, top].astype(np.float64),
        tokens,
        [columns[k] for k in top],
        target_title=f"{unit}s",
        source_title="tags",
        description=sentence,
    )
    reading = READING.format(unit=unit, count=len(top))
    return body + page.figure(
        "Probability of each tag, from 0 to 1", picture, reading, scrolls=True
    )


def _row(token: str, tag: str, marginals: Any, columns: Sequence[str]) -> tuple[str | float, ...]:
    own = columns.index(tag)
    others = np.where(np.arange(len(columns)) == own, -1.0, marginals)
    second = int(others.argmax())
    return (
        shown(token),
        tag,
        round(float(marginals[own]), 4),
        columns[second],
        round(float(marginals[second]), 4),
    )
