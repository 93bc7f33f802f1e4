"""The report on a generator: how much each unit of a text surprised it, and what it expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.vocab import BOS
from unrolled.errors import DataError
from unrolled.explain import page
from unrolled.explain.labels import counted, join, shown
from unrolled.explain.report import Example, Numbers, with_numbers
from unrolled.explain.results import Explanation
from unrolled.explain.sections import with_explanations
from unrolled.runtime.generator_model import GeneratorModel, frame_losses

TOP = 3
LEAD = (
    "Below is how much each {kind} of a {whole} surprised the model, and what it expected instead."
)
MEAN = "{mean}. The most surprising is '{unit}' ({kind} {place}): {most:.2f} bits."
HEADINGS = {"item": "Sequences of items", "frame": "Sequences of frames"}


def surprised_examples(model: GeneratorModel, texts: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what `surprise_report` shows of each sequence: units, bits [T], likeliest units [T].

    `unit` is what a unit is called: unit, item or frame. bits = -log2 p(unit | all before); of
    frames, that of all keys of a frame, beside the likeliest keys. Raises DataError for an empty
    text.
    """
    if model.vocabulary is None:
        return [_surprised_frames(model, model.frames(each)) for each in texts]
    unit, kind = model.vocabulary.unit, "item" if model.kind == "items" else "unit"
    examples = []
    for number, text in enumerate(texts, start=1):
        ids = model.encode(text)
        if not ids:
            raise DataError(f"text {number} is empty; expected at least one unit")
        found = model.network.log_probs(np.array([[BOS, *ids[:-1]]]))[0][0]
        best = np.argsort(-found, axis=1, kind="stable")[:, :TOP]
        examples.append(
            {
                "unit": kind,
                "tokens": [unit(k) for k in ids],
                "bits": -found[np.arange(len(ids)), ids] / math.log(2),
                "expected": [
                    [(unit(int(k)), float(np.exp(found[t, k]))) for k in row]
                    for t, row in enumerate(best)
                ],
            }
        )
        bits = examples[-1]["bits"]
        examples[-1]["predicted"] = _mean(bits, kind)
    return examples


def _surprised_frames(model: GeneratorModel, frames: Any) -> dict[str, Any]:
    begun = np.concatenate([np.zeros_like(frames[:1]), frames[:-1]])
    logits = model.network.logits(begun[None])[0][0].astype(np.float64)
    shares = np.exp(-np.logaddexp(0, -logits))
    bits = frame_losses(model.network, frames) / math.log(2)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    return {
        "word": counted(len(frames), "frame"),
        "unit": "frame",
        "tokens": [str(t) for t in range(1, len(frames) + 1)],
        "bits": bits,
        "expected": [
            [(f"key {k + 1}", float(shares[t, k])) for k in row] for t, row in enumerate(best)
        ],
        "predicted": _mean(bits, "frame"),
    }


def _mean(bits: Any, kind: str) -> str:
    """Return the mean of bits as words: of items "2.500 bits an item"."""
    article = "an" if kind == "item" else "a"
    return f"{float(np.mean(bits)):.3f} bits {article} {kind}"


def surprise_report(
    title: str,
    examples: Sequence[Example],
    log: Sequence[Numbers] = (),
    metrics: Any = None,
    *,
    explanations: Sequence[Explanation] = (),
    sections: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a page on a generator: its numbers, learning curves, and each text's surprise.

    `sections` are headings with HTML made by `unrolled.explain.page`, to stand before the numbers.
    """
    kind = str(examples[0].get("unit", "unit")) if examples else "unit"
    whole = "sequence" if kind in HEADINGS else "text"
    report = page.Report(title, LEAD.format(kind=kind, whole=whole))
    for section, body in sections:
        report = report.add(section, body)
    report = with_numbers(report, log, metrics)
    panels = [(_heading(e), _panel(e), len(e["tokens"]) > 40) for e in examples]
    heading = HEADINGS.get(kind, "Texts")
    return with_explanations(report, explanations, (heading, page.articles(panels))).html()


def _heading(example: Example) -> str:
    tokens = list(example["tokens"])
    read = " ".join(tokens) if example.get("unit") == "item" else "".join(join(tokens))
    return str(example.get("word") or read)[:60]


def _panel(example: Example) -> str:
    kind = str(example.get("unit", "unit"))
    tokens, bits = list(example["tokens"]), np.asarray(example["bits"], np.float64)
    most = int(bits.argmax())
    said = MEAN.format(
        kind=kind,
        mean=_mean(bits, kind),
        unit=shown(tokens[most]),
        place=most + 1,
        most=float(bits[most]),
    )
    # A key's name holds a space that is none of a text.
    seen = str if kind == "frame" else shown
    header = (kind.capitalize(), "Bits", *(f"Expected {k + 1}" for k in range(TOP)))
    rows = [
        (
            shown(token),
            f"{bits[t]:.2f}",
            *(f"{seen(unit)} {page.percent(p)}" for unit, p in example["expected"][t]),
        )
        for t, token in enumerate(tokens)
    ]
    shares = (bits / max(float(bits.max()), 1e-9)).tolist()
    marked = page.marked_text(tokens, shares, apart=kind != "unit")
    return page.paragraph(said) + marked + page.table(f"Every {kind}", header, rows)
