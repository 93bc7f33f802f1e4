"""What `unrolled predict` does with a translator: a file, or lines answered as they come."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec

from unrolled.cli.common import say
from unrolled.cli.naming import check_free, named
from unrolled.data.read import read_sources, read_table, texts
from unrolled.data.source import format_of
from unrolled.errors import ConfigError, DataError
from unrolled.runtime.model import TranslatorModel


def predict(
    model: TranslatorModel,
    data: str,
    kind: str | None,
    source: str | None,
    column: str,
    *,
    beam: int,
    n_best: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the answer to every text of `data` to stdout, under the name `column`.

    Raises DataError where the table has such a column already.
    """
    read = source or model.config.data.source
    table, shape = _read(data, kind, read)
    inputs = texts(table, read)
    if n_best > beam:
        raise ConfigError(f"--n-best {n_best} needs --beam {n_best} or more")
    translated = model.translate(inputs, beam=beam, n_best=n_best)
    answers = [
        {
            "prediction": best[0].text,
            "answers": [{"text": a.text, "score": a.score, "log_prob": a.log_prob} for a in best],
        }
        for best in translated.answers
    ]
    truncated = translated.truncated
    if truncated:
        limit = model.config.data.max_length
        say(
            f"{len(truncated)} of {len(inputs)} texts were longer than {limit} units and were cut "
            f"there; the first is {table.where(truncated[0], read)}",
            quiet=quiet,
        )
    if as_json:
        _write_jsonl(inputs, answers)
    elif shape == "txt":
        for answer in answers:
            sys.stdout.write("\t".join(_predictions(answer)) + "\n")
    elif shape == "jsonl":
        _write_jsonl(inputs, [named(a, column) for a in answers], table)
    else:
        _write_table(table, answers, column, "\t" if shape == "tsv" else ",")


def stream(model: TranslatorModel, quiet: bool) -> None:
    """Answer each line of stdin as it comes, each unit as it is decoded."""
    limit = model.config.data.max_length
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            line = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(f"stdin: line {number} is not UTF-8") from None
        units = len(model.source_vocabulary.encode(line))
        if not units:
            raise DataError(f"stdin: line {number} is empty; expected at least one unit to read")
        if units > limit:
            say(f"line {number} was longer than {limit} units and was cut there", quiet=quiet)
        with warnings.catch_warnings(action="ignore"):
            session = model.stream(line)
        for written in session:
            sys.stdout.write(written.text)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()


def _read(data: str, kind: str | None, column: str) -> tuple[Any, str]:
    """Read all columns of a table, or lines; a TSV may come without a header, as in training."""
    shape = format_of(data, kind)
    if shape == "txt":
        return read_table(data, columns=[column], format=shape), shape
    if shape == "tsv":
        return read_sources(data, column, format=shape), shape
    table = read_table(data, format=shape)
    table.column(column)
    return table, shape


def _write_jsonl(
    inputs: Sequence[str],
    answers: Sequence[dict[str, Any]],
    table: Any = None,
) -> None:
    if table is not None:
        check_free(answers[0], table.columns, table.path)
    for row, answer in enumerate(answers):
        if table is None:
            record = {"input": inputs[row], **answer}
        else:
            record = {**{k: v[row] for k, v in table.columns.items()}, **answer}
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")


def _write_table(
    table: Any, answers: Sequence[dict[str, Any]], column: str, delimiter: str
) -> None:
    most = max(len(_predictions(answer)) for answer in answers)
    names = [column, *(f"{column}_{k}" for k in range(2, most + 1))]
    check_free(names, table.columns, table.path)
    dialect = csv.excel if delimiter == "," else csv.excel_tab
    writer = csv.writer(sys.stdout, dialect, lineterminator="\n")
    writer.writerow([*table.columns, *names])
    for row, answer in enumerate(answers):
        found = _predictions(answer)
        found += [""] * (most - len(found))
        cells = [v[row] for v in table.columns.values()]
        writer.writerow([*cells, *found])


def _predictions(answer: dict[str, Any]) -> list[str]:
    """Return the answer, or all of the n best, best first."""
    if "answers" in answer:
        return [each["text"] for each in answer["answers"]]
    return [answer["prediction"]]
