"""What `explain` reads: texts of the command line, or rows of a file; inputs that excite a unit."""

from __future__ import annotations

import sys
from typing import Any

from unrolled.cli.common import write_json
from unrolled.errors import ConfigError, DataError
from unrolled.runtime.tagger_model import TaggerModel

CONTEXT = 5


def chosen_inputs(
    model: Any, texts: tuple[str, ...], data: str | None, rows: tuple[int, ...]
) -> list[Any]:
    """Return the texts, a tagger's as words, or the `rows` of the file `data`, from 1.

    Raises ConfigError where there is neither or both, DataError for a row that the file does not
    have, for a text without a word, and for texts where the model reads frames.
    """
    if bool(texts) == (data is not None):
        raise ConfigError("explain takes texts, or a file by --data; give one of them")
    if data is not None:
        found = read_inputs(model, data)
        for row in rows:
            if row > len(found):
                raise DataError(f"{data}: --row {row}: the file has {len(found)} inputs")
        return [found[row - 1] for row in rows or (1,)]
    if not isinstance(model, TaggerModel):
        return list(texts)
    if model.reads_frames:
        raise DataError("explain takes texts; this model reads frames of numbers")
    for number, text in enumerate(texts, start=1):
        if not text.split():
            raise DataError(f"text {number} is empty; expected at least one word")
    return [text.split() for text in texts]


def read_inputs(model: Any, data: str) -> list[Any]:
    """Return every input of a file as the model reads it: texts, lists of words, or frames."""
    if isinstance(model, TaggerModel):
        from unrolled.tasks.evaluate import read_sentences

        return list(read_sentences(model, data, tagged=False).inputs)
    from unrolled.data.read import read_sources, texts

    column = model.config.data.source
    return list(texts(read_sources(data, column), column))


def nearest_inputs(model: Any, data: str | None, unit: str, *, as_json: bool) -> None:
    """Write the inputs of `data` in which `unit` is largest, best first, and where in them."""
    from unrolled.explain.states import nearest
    from unrolled.explain.subjects import stack_of

    if data is None:
        raise ConfigError("--unit needs --data: a file with the inputs to look through")
    inputs = read_inputs(model, data)
    stack, reads = stack_of(model)
    names, read = zip(*(reads(each) for each in inputs), strict=True)
    found = nearest(stack, read, unit)
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
