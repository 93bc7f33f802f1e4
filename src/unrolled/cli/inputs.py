"""What `explain` reads: texts of the command line, or rows of a file; inputs that excite a unit."""

from __future__ import annotations

import sys
from typing import Any

from unrolled.cli.common import write_json
from unrolled.cli.flags import need
from unrolled.errors import ConfigError, DataError
from unrolled.explain.subject import Stack
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.pooled_model import ClassifierModel, RegressorModel
from unrolled.runtime.tagger_model import TaggerModel

CONTEXT = 5
FIRST_ROWS = "1-5"


def chosen_inputs(
    model: Any, texts: tuple[str, ...], data: str | None, kind: str | None, rows: str | None
) -> list[Any]:
    """Return the texts, a tagger's as words, or the `rows` of the file `data`, from 1.

    Raises ConfigError where there are both, or for rows that the file does not have; DataError for
    a text without a word, and for texts where the model reads frames.
    """
    if texts and data is not None:
        raise ConfigError("explain takes texts, or a file by --data; give one of them")
    if data is not None:
        found = read_inputs(model, data, kind)
        return [found[i] for i in chosen_rows(rows, len(found))]
    need("--data", ("--format", "--rows"), "a file with the inputs to explain")
    frames = isinstance(model, GeneratorModel) and model.kind == "frames"
    if frames or getattr(model, "reads_frames", False):
        raise DataError("explain takes texts; this model reads frames of numbers: give --data")
    if not isinstance(model, TaggerModel):
        return list(texts)
    for number, text in enumerate(texts, start=1):
        if not text.split():
            raise DataError(f"text {number} is empty; expected at least one word")
    return [text.split() for text in texts]


def read_inputs(model: Any, data: str, kind: str | None) -> list[Any]:
    """Return every input of a file as the model reads it: texts, lists of words, or frames.

    A forecaster's are the series, each from a horizon before its end.
    """
    if isinstance(model, ForecastModel):
        from unrolled.cli.forecasting import read
        from unrolled.explain.forecasting import shown_origin
        from unrolled.explain.subjects.forecast import From

        panel = read(model, data, kind)
        origins = [shown_origin(each, model.horizon) for each in panel.series]
        return [From(panel, origin, which) for which, origin in enumerate(origins)]
    if isinstance(model, GeneratorModel) and model.kind != "text":
        from unrolled.cli.generating import check_shape
        from unrolled.data.items import read_binary_frames, read_items

        check_shape(model, data, kind)
        if model.kind == "frames":
            return list(read_binary_frames(data).sequences)
        return list(read_items(data, model.generation.items).sequences)
    if isinstance(model, CaptionerModel):
        from unrolled.tasks.evaluate import read_described_by

        return list(read_described_by(model, data, format=kind, captioned=False).inputs)
    if isinstance(model, TaggerModel):
        from unrolled.tasks.evaluate import read_sentences

        return list(read_sentences(model, data, format=kind, tagged=False).inputs)
    if isinstance(model, (ClassifierModel, RegressorModel)):
        from unrolled.data.examples import read_examples

        return list(read_examples(data, model.config.data, format=kind, answered=False).inputs)
    from unrolled.data.read import read_sources, texts

    column = model.config.data.source
    return list(texts(read_sources(data, column, format=kind), column))


def chosen_rows(rows: str | None, count: int) -> list[int]:
    """Return the places that `--rows` names, from 0; ConfigError where it names none."""
    rows = rows or FIRST_ROWS
    places: list[int] = []
    for part in rows.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"--rows {rows}: expected numbers such as 3 or 1-5 or 2,7")
        places += range(int(first) - 1, min(int(last or first), count))
    found = [place for place in places if 0 <= place < count]
    if not found:
        raise ConfigError(f"--rows {rows}: the file has sequences 1 to {count}")
    return found


def nearest_inputs(
    model: Any,
    data: str | None,
    unit: str,
    kind: str | None,
    stack: Stack | None = None,
    *,
    as_json: bool,
) -> None:
    """Write the inputs of `data` in which `unit` is largest, best first, and where in them."""
    from unrolled.explain.states import nearest
    from unrolled.explain.subjects import stack_of

    if data is None:
        raise ConfigError("--unit needs --data: a file with the inputs to look through")
    inputs = read_inputs(model, data, kind)
    layers, reads = stack_of(model, stack)
    names, read, starts = zip(*(reads(each) for each in inputs), strict=True)
    found = nearest(layers, read, unit, starts=starts)
    if as_json:
        write_json(
            [
                {
                    "row": peak.input + 1,
                    "place": peak.step + 1,
                    "step": names[peak.input][peak.step],
                    "value": peak.value,
                }
                for peak in found
            ]
        )
        return
    for peak in found:
        steps = names[peak.input]
        first = max(0, peak.step - CONTEXT)
        around = [*steps[first : peak.step], f"[{steps[peak.step]}]"]
        around += steps[peak.step + 1 : peak.step + 1 + CONTEXT]
        said = " ".join(around)
        sys.stdout.write(f"{peak.value:.4f}\trow {peak.input + 1}\t{said}\n")
