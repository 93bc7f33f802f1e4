"""A model folder in a lower precision, and what that costs on the user's own data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from unrolled import artifact
from unrolled.artifact import CARD, WEIGHTS, Artifact
from unrolled.errors import ModelError
from unrolled.runtime.model import from_artifact
from unrolled.spec import Precision, Struct
from unrolled.tasks.evaluate import answers, evaluate_examples, read_examples


class Lowered(Struct, frozen=True, kw_only=True):
    """What a lower precision costs: metrics by precision, and the share of equal answers.

    Both are empty or None where no data was given. `bytes` are those of `model.safetensors`.
    """

    precision: Precision
    bytes: dict[str, int]
    metrics: dict[str, dict[str, Any]]
    agreement: float | None
    examples: int


def lower(
    folder: str | Path,
    out: Path,
    precision: Precision,
    *,
    check: str | None = None,
    format: str | None = None,
    source: str | None = None,
    target: str | None = None,
    beam: int = 1,
    overwrite: bool = False,
) -> Lowered:
    """Write the model of `folder` to the folder `out` with recurrent weights in `precision`.

    `check` names labelled data to measure both on before anything is written, as `evaluate` reads
    it. Raises ModelError where the model has fewer bits already, or a projection.
    """
    found = artifact.load(folder)
    held = found.config.precision
    if held != "float32":
        raise ModelError(f"{folder}: holds {held} weights already; export the float32 model")
    if Path(out).resolve() == Path(folder).resolve():
        raise ModelError(f"{out}: is the model itself; choose another --out")
    lowered = msgspec.structs.replace(found.config, precision=precision)
    model = from_artifact(found, precision=precision)
    metrics: dict[str, dict[str, Any]] = {}
    agreement, count = None, 0
    if check is not None:
        full = from_artifact(found)
        examples = read_examples(full, check, format=format, source=source, target=target)
        metrics["float32"] = evaluate_examples(full, examples, beam=beam)
        metrics[precision] = evaluate_examples(model, examples, beam=beam)
        pairs = list(
            zip(
                answers(full, examples, beam=beam),
                answers(model, examples, beam=beam),
                strict=True,
            )
        )
        count = len(pairs)
        agreement = sum(a == b for a, b in pairs) / count if count else None
    artifact.claim(out, overwrite=overwrite)
    artifact.save(
        out,
        config=lowered,
        weights=found.weights,
        vocabularies=found.vocabularies,
        metrics=found.metrics,
        card=_card(found, precision, metrics),
    )
    sizes = {"float32": Path(folder), precision: Path(out)}
    return Lowered(
        precision=precision,
        bytes={name: (place / WEIGHTS).stat().st_size for name, place in sizes.items()},
        metrics=metrics,
        agreement=agreement,
        examples=count,
    )


def scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are single numbers and say how good the answers are."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, float) and not isinstance(value, bool)
    }


def _card(found: Artifact, precision: Precision, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    place = found.folder / CARD
    before = place.read_text(encoding="utf-8") if place.exists() else ""
    lines = [
        "",
        f"## {precision}",
        "",
        f"The weights of the recurrent layers are stored as {precision}. The metrics above are of",
        "the float32 model.",
    ]
    if metrics:
        low = scores(metrics[precision])
        lines += ["", f"| metric | float32 | {precision} |", "| --- | --- | --- |"]
        lines += [
            f"| {name} | {value:.4g} | {low[name]:.4g} |"
            for name, value in scores(metrics["float32"]).items()
        ]
    return before + "\n".join(lines) + "\n"
