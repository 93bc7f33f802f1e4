"""The figures that `explain` draws by matplotlib: of the first input, or of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unrolled.cli.common import say
from unrolled.errors import DataError

Example = Mapping[str, Any]
# The explanations of one input, by name: "explanation", and of a forecast "covariates".
Explained = Mapping[str, Any]


def draw_first(
    path: Path, examples: Sequence[Example], explained: Sequence[Explained], *, quiet: bool
) -> None:
    """Draw the first input: its alignment, its forecast, or which steps mattered.

    Raises DataError where the methods found nothing to draw.
    """
    from unrolled.explain import figures
    from unrolled.explain.forecast_figures import forecast_figure

    example, found = examples[0], list(explained[0].values())
    if example.get("weights") is not None and "target_tokens" in example:
        title = f"{example['word']} → {example['predicted']}"
        drawn = figures.alignment_figure(
            example["weights"], example["source_tokens"], example["target_tokens"], title=title
        )
    elif "forecast" in example:
        drawn = forecast_figure(example, found)
    elif found[0].attributions:
        drawn = figures.attribution_figure(found[0])
    else:
        raise DataError("--png draws alignments and attributions; --methods names none")
    figures.save_figure(drawn, path)
    if len(explained) > 1:
        say(f"{path} is of the first of {len(explained)} inputs", quiet=quiet)


def draw_each(
    folder: Path, examples: Sequence[Example], explained: Sequence[Explained], *, quiet: bool
) -> None:
    """Draw what there is of each input that is explained, its number before each name of several.

    A forecast is drawn too, and what its covariates did.
    """
    from unrolled.explain.figures import attribution_figure, figures_of, save_figures
    from unrolled.explain.forecast_figures import forecast_figure

    count, digits = 0, len(str(len(explained)))
    for number, (example, found) in enumerate(zip(examples, explained, strict=False), start=1):
        drawn = {"forecast": forecast_figure(example)} if "forecast" in example else {}
        drawn |= figures_of(found["explanation"])
        if "covariates" in found:
            drawn["covariates"] = attribution_figure(found["covariates"])
        before = f"{number:0{digits}}-" if len(explained) > 1 else ""
        count += len(save_figures({before + name: one for name, one in drawn.items()}, folder))
    of = f" of {len(explained)} inputs" if len(explained) > 1 else ""
    say(f"{count} figures{of} are in {folder}", quiet=quiet)
