"""The report on a captioner: what each written unit looked at, or what the answer hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.captions import Described
from unrolled.explain import page
from unrolled.explain.report import Example, Numbers, alignment_panel, heading, with_numbers
from unrolled.explain.results import Explanation
from unrolled.explain.sections import with_explanations
from unrolled.runtime.captioner_model import CaptionerModel

Array = NDArray[Any]
MOST_THINGS = 24
MOST_PARTS = 12
CELL = 12
UNKNOWN = "\0"
LEAD = "Below is what the model wrote about each {thing}, and what it looked at while it did."
HANGS = (
    "Each part was hidden in turn: a number was set to its mean in training, a region to the mean"
    " of each of its numbers, an attribute was read as one the model does not know. What the answer"
    " lost of its log-probability is what hung on the part (occlusion, Zeiler and Fergus 2014)."
)


def captioned_examples(
    model: CaptionerModel, things: Described, *, beam: int = 1, limit: int = MOST_THINGS
) -> list[dict[str, Any]]:
    """Write about the first `limit` things and return what `captioning_report` shows of them.

    With attention `weights` is the alignment [T, S]; without, `losses` [parts] is what the answer's
    log-probability in nats falls by when each part is hidden.
    """
    kind = model.network.spec.inputs
    examples = []
    things = things.take(range(min(limit, len(things))))
    for i, (given, (best, *_)) in enumerate(
        zip(things.inputs, model.caption(things.inputs, beam=beam), strict=True)
    ):
        parts = list(given) if kind == "attributes" else _numbered(given)
        if kind != "attributes" and best.alignment is not None:
            parts = list(best.parts)
        example: dict[str, Any] = {
            "word": ", ".join(given) if kind == "attributes" else f"row {things.rows[i]}",
            "predicted": best.text,
            "log_prob": best.log_prob,
            "source_tokens": parts,
            "target_tokens": best.units,
            "weights": best.alignment,
            "unit": {"attributes": "attribute", "regions": "region"}.get(kind, "number"),
        }
        if best.alignment is None:
            example["losses"] = occlusion(model, given, best.text)
        if things.captions:
            example["true"] = list(things.captions[i])
        examples.append(example)
    return examples


def _numbered(given: Array) -> list[str]:
    count = given.shape[1] if len(given) == 1 else len(given)
    return [str(k) for k in range(1, count + 1)]


def occlusion(model: CaptionerModel, given: Any, text: str) -> Array:
    """Return by how much log p(text | x) falls, in nats, with each part of x hidden in turn.

    A number of a vector is set to its mean in training, a region to the mean of each number; an
    attribute is read as unknown. Zeiler and Fergus 2014, section 4.2. Empty where nothing was
    written.
    """
    if not text.strip():
        return np.zeros(len(given) if isinstance(given, tuple) else len(_numbered(given)))
    if isinstance(given, tuple):
        hidden: list[Any] = [(*given[:k], UNKNOWN, *given[k + 1 :]) for k in range(len(given))]
    else:
        mean = model.network.mean
        rows = len(given) > 1
        hidden = [given.copy() for _ in range(len(given) if rows else given.shape[1])]
        for k, each in enumerate(hidden):
            if rows:
                each[k] = mean
            else:
                each[0, k] = mean[k]
    told = model.log_prob([given, *hidden], [text] * (len(hidden) + 1))
    losses: Array = told[0] - told[1:]
    return losses


def captioning_report(
    title: str,
    examples: Sequence[Example],
    log: Sequence[Numbers] = (),
    metrics: Numbers | None = None,
    *,
    explanations: Sequence[Explanation] = (),
) -> str:
    """Return a page on a captioner: its numbers, learning curves, and each text with its reasons.

    An example is as `captioned_examples` makes it, with `true` where the texts are known and
    `picture`, an array [rows, columns] from 0 to 1, where there is one to show.
    """
    thing = "set of attributes" if examples and examples[0]["unit"] == "attribute" else "item"
    report = with_numbers(page.Report(title, LEAD.format(thing=thing)), log, metrics)
    panels = [
        (heading(example), _panel(k, example), len(example["source_tokens"]) > MOST_PARTS)
        for k, example in enumerate(examples, start=1)
    ]
    return with_explanations(report, explanations, ("Texts", page.articles(panels))).html()


def _panel(number: int, example: Example) -> str:
    drawn = ""
    if "picture" in example:
        drawn = page.figure(
            "What was read", picture(np.asarray(example["picture"])), "", scrolls=True
        )
    units = {"source_unit": str(example["unit"]), "target_unit": "word"}
    if example["weights"] is not None:
        return drawn + alignment_panel(number, example, units)
    losses = np.asarray(example["losses"])
    order = np.argsort(-np.abs(losses), kind="stable")[:MOST_PARTS]
    rows = [(str(example["source_tokens"][k]), round(float(losses[k]), 4)) for k in order]
    header = (units["source_unit"].capitalize(), "Log-probability lost, nats")
    table = page.table(f"What the answer hangs on, the first {len(rows)}", header, rows)
    return drawn + page.paragraph(HANGS, kind="soft") + table


def picture(array: Array) -> str:
    """Return numbers [rows, columns] from 0 to 1 as an SVG picture, 1 in the colour of text."""
    rows, columns = array.shape
    cells = [
        f'<rect x="{c * CELL}" y="{r * CELL}" width="{CELL}" height="{CELL}" '
        f'fill="currentColor" fill-opacity="{float(array[r, c]):.2f}"/>'
        for r in range(rows)
        for c in range(columns)
    ]
    wide, high = columns * CELL, rows * CELL
    frame = f'<rect width="{wide}" height="{high}" fill="none" stroke="currentColor"/>'
    return (
        f'<svg viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img" '
        f'aria-label="{rows} by {columns} numbers">{"".join(cells)}{frame}</svg>'
    )
