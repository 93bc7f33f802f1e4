"""What `explain` shows of each input on the page of its task, and what it explains of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unrolled.cli.inputs import chosen_inputs, chosen_rows, read_inputs
from unrolled.errors import ConfigError
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.model import TranslatorModel
from unrolled.runtime.tagger_model import TaggerModel

# Of the things of a file that the page shows, so many are explained unless --rows names them.
MOST_EXPLAINED = 5
OF_PARTS = ("occlusion", "timeshap")


@dataclass(frozen=True)
class Shown:
    """What the page shows of each input, and the inputs that are explained, the first of them."""

    examples: list[dict[str, Any]]
    inputs: list[Any]


def shown_of(
    model: Any,
    texts: tuple[str, ...],
    data: str | None,
    kind: str | None,
    rows: str | None,
    *,
    beam: int,
    level: tuple[float, ...],
) -> Shown:
    """Answer the inputs; a forecaster's and a captioner's texts are files.

    Raises ConfigError and DataError as `chosen_inputs` does.
    """
    if isinstance(model, (ForecastModel, CaptionerModel)):
        if texts and data is not None:
            raise ConfigError("explain takes a file, or one by --data; give one of them")
        files = texts or (str(data),)
        if isinstance(model, ForecastModel):
            return _forecasts(model, files, kind, rows, level)
        return _captions(model, files, kind, rows, beam)
    inputs = chosen_inputs(model, texts, data, kind, rows)
    return Shown(_examples(model, inputs, beam), inputs)


def _examples(model: Any, inputs: list[Any], beam: int) -> list[dict[str, Any]]:
    from unrolled.explain.explanation import examples_of
    from unrolled.explain.generating import surprised_examples
    from unrolled.explain.tagging import tagged_examples

    if isinstance(model, TaggerModel):
        return tagged_examples(model, inputs)
    if isinstance(model, GeneratorModel):
        return surprised_examples(model, inputs)
    if isinstance(model, TranslatorModel):
        return examples_of(model, inputs, beam=beam)
    return examples_of(model, inputs)


def _forecasts(
    model: ForecastModel,
    files: tuple[str, ...],
    kind: str | None,
    rows: str | None,
    level: tuple[float, ...],
) -> Shown:
    from dataclasses import replace

    from unrolled.explain.forecasting import MOST_SERIES, forecast_examples

    if len(files) != 1:
        raise ConfigError("a forecaster's page is of one file: unrolled explain MODEL data.csv")
    found = read_inputs(model, files[0], kind)
    if rows is not None:
        found = [found[i] for i in chosen_rows(rows, len(found))]
    found = found[:MOST_SERIES]
    panel = found[0].panel
    panel = replace(panel, series=tuple(panel.series[each.which] for each in found))
    examples = forecast_examples(model, panel, level=level)
    return Shown(examples, found if rows is not None else found[:MOST_EXPLAINED])


def _captions(
    model: CaptionerModel, files: tuple[str, ...], kind: str | None, rows: str | None, beam: int
) -> Shown:
    from unrolled.explain.captioning import captioned_examples
    from unrolled.tasks.evaluate import read_described_by

    examples: list[dict[str, Any]] = []
    inputs: list[Any] = []
    for path in files:
        things = read_described_by(model, path, format=kind, captioned=False)
        if rows is not None:
            things = things.take(chosen_rows(rows, len(things)))
        found = captioned_examples(model, things, beam=beam)
        examples += found
        inputs += things.inputs[: len(found)]
    return Shown(examples, inputs if rows is not None else inputs[:MOST_EXPLAINED])


def explained_by(
    model: Any, given: Any, methods: str | None, choices: dict[str, Any]
) -> dict[str, Any]:
    """Return the explanations of one input by name: of its steps, and of a forecast's covariates.

    Where a target is named it is all that is explained.
    """
    from unrolled.explain.explaining import explain

    found = {"explanation": explain(model, given, methods, **choices)}
    if not isinstance(model, ForecastModel) or choices["target"] is not None:
        return found
    spec = model.forecasting
    asked = None if methods in (None, "all") else [m.strip() for m in str(methods).split(",")]
    chosen = methods if asked is None else [m for m in asked if m in OF_PARTS]
    if chosen != [] and any((spec.past, spec.future, spec.static, spec.calendar)):
        own = {**choices, "target": "covariates"}
        found["covariates"] = explain(model, given, chosen, **own)
    return found
