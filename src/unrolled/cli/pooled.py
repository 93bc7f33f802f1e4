"""What the command does with a classifier or a regressor: reading for `train`, and `predict`."""

from __future__ import annotations

import csv
import sys
from typing import Any

import msgspec

from unrolled.cli.common import say
from unrolled.cli.naming import check_free, named
from unrolled.config import DataSpec
from unrolled.data.examples import Examples, format_of, read_examples
from unrolled.data.shards import shard_paths
from unrolled.errors import ConfigError, DataError
from unrolled.runtime.model import ClassifierModel, RegressorModel

DIGITS = 6


def read(path: str, *, spec: DataSpec, kind: str | None) -> Examples:
    """Return the examples of one file."""
    return read_examples(path, spec, format=kind)


def predict(
    model: ClassifierModel | RegressorModel,
    data: str,
    kind: str | None,
    source: str | None,
    column: str,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the answer for every sequence of `data` to stdout, under the name `column`.

    A folder or a pattern of files is answered file by file. Raises DataError where the table has
    such a column already, or other columns than the first file.
    """
    spec = model.config.data
    if source:
        spec = msgspec.structs.replace(spec, source=source)
    header: list[str] = []
    for path in shard_paths(data) or [data]:
        examples, shape = _read(path, kind, spec)
        header = _answer(model, examples, shape, spec, column, header, as_json=as_json, quiet=quiet)


def _answer(
    model: ClassifierModel | RegressorModel,
    examples: Examples,
    shape: str,
    spec: DataSpec,
    column: str,
    header: list[str],
    *,
    as_json: bool,
    quiet: bool,
) -> list[str]:
    """Write the answers to one file; return the header, which is written where there was none."""
    answers, truncated = _answers(model, examples)
    if truncated:
        what = "sequences" if model.reads_frames else "texts"
        first, table = truncated[0], examples.table
        where = examples.where(first) if table is None else table.where(first, spec.source)
        say(
            f"{len(truncated)} of {len(examples)} {what} were longer than {spec.max_length} units "
            f"and were cut there; the first is {where}",
            quiet=quiet,
        )
    if as_json or shape == "jsonl":
        keep = shape == "jsonl" and not as_json
        if keep and examples.table is not None:
            answers = [named(answer, column) for answer in answers]
            check_free(answers[0], examples.table.columns, examples.name)
        _write_jsonl(model, examples, answers, keep=keep)
    elif shape == "txt":
        for answer in answers:
            sys.stdout.write("\t".join(_cells(model, answer)) + "\n")
    else:
        delimiter = "\t" if shape == "tsv" else ","
        return _write_table(model, examples, answers, column, delimiter, header)
    return []


def _read(data: str, kind: str | None, spec: DataSpec) -> tuple[Examples, str]:
    """Read what goes in, and all the columns beside it; texts as in training, headed or not."""
    from unrolled.data.read import read_sources, read_table, texts

    shape = format_of(data, kind)
    if shape == "npz" or spec.frames is not None:
        if shape == "txt":
            raise ConfigError("the model reads frames of numbers; give --format csv or another")
        return read_examples(data, spec, format=kind, answered=False), shape
    if shape == "txt":
        table = read_table(data, columns=[spec.source], format=shape)
    elif shape == "tsv":
        table = read_sources(data, spec.source, format=shape)
    else:
        table = read_table(data, format=shape)
    found = texts(table, spec.source)
    return Examples(found, (), table.path, table.rows, table=table), shape


def _answers(
    model: ClassifierModel | RegressorModel, examples: Examples
) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    if isinstance(model, RegressorModel):
        values, truncated = model.regress(examples.inputs)
        one = len(model.targets) == 1
        return [
            {"prediction": row[0] if one else dict(zip(model.targets, row, strict=True))}
            for row in values.tolist()
        ], truncated
    found = model.classify(examples.inputs)
    answers: list[dict[str, Any]] = []
    for label, row in zip(found.labels, found.probabilities, strict=True):
        shares = dict(zip(model.classes, map(float, row), strict=True))
        top = {} if model.multi_label else {"probability": round(float(row.max()), DIGITS)}
        answers.append({"prediction": label, **top, "probabilities": shares})
    return answers, found.truncated


def _names(model: ClassifierModel | RegressorModel, column: str) -> list[str]:
    """Return the names of the columns that an answer adds."""
    if isinstance(model, RegressorModel) and len(model.targets) > 1:
        return [f"{column}_{name}" for name in model.targets]
    return [column]


def _cells(model: ClassifierModel | RegressorModel, answer: dict[str, Any]) -> list[str]:
    given = answer["prediction"]
    if isinstance(given, dict):
        return [f"{value:.{DIGITS}g}" for value in given.values()]
    if isinstance(given, tuple):
        return [model.config.data.labels.separator.join(given)]
    return [given if isinstance(given, str) else f"{given:.{DIGITS}g}"]


def _sequence(model: ClassifierModel | RegressorModel, examples: Examples) -> dict[str, list[Any]]:
    """Return the columns that stand before an answer: the table's, or the name of the sequence."""
    if examples.table is not None:
        return examples.table.columns
    frames = model.config.data.frames
    name = frames.sequence if frames is not None and frames.sequence else "sequence"
    return {name: list(examples.ids) or list(range(1, len(examples) + 1))}


def _write_jsonl(
    model: ClassifierModel | RegressorModel,
    examples: Examples,
    answers: list[dict[str, Any]],
    *,
    keep: bool,
) -> None:
    columns = _sequence(model, examples)
    for row, answer in enumerate(answers):
        if keep or examples.table is None:
            record = {**{k: v[row] for k, v in columns.items()}, **answer}
        else:
            record = {"input": examples.inputs[row], **answer}
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")


def _write_table(
    model: ClassifierModel | RegressorModel,
    examples: Examples,
    answers: list[dict[str, Any]],
    column: str,
    delimiter: str,
    header: list[str],
) -> list[str]:
    scored = ["probability"] if answers and "probability" in answers[0] else []
    columns = _sequence(model, examples)
    names = [*_names(model, column), *named(dict.fromkeys(scored), column)]
    check_free(names, columns, examples.name)
    dialect = csv.excel if delimiter == "," else csv.excel_tab
    writer = csv.writer(sys.stdout, dialect, lineterminator="\n")
    found = [*columns, *names]
    if header and header != found:
        raise DataError(
            f"{examples.name}: its columns are {', '.join(columns)}, not those of the first file"
        )
    if not header:
        writer.writerow(found)
    for row, answer in enumerate(answers):
        cells = [v[row] for v in columns.values()]
        writer.writerow([*cells, *_cells(model, answer), *(answer[k] for k in scored)])
    return found
