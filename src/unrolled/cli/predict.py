"""`unrolled predict MODEL DATA`."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from unrolled.cli.common import say

if TYPE_CHECKING:
    from unrolled.runtime.model import TranslatorModel


@click.command(name="predict")
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(allow_dash=True))
@click.option("--format", "kind", help="csv, jsonl, conllu ... (else by the ending).")
@click.option("--source", help="Column of the text [default: as in training].")
@click.option("--beam", type=click.IntRange(1), default=1, show_default=True, help="Beam width.")
@click.option("--n-best", type=click.IntRange(1), default=1, show_default=True, help="Answers.")
@click.option("--stream", is_flag=True, help="Write units as they are decoded (DATA is -).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with scores.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(
    model: str,
    data: str,
    kind: str | None,
    source: str | None,
    beam: int,
    n_best: int,
    stream: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Answer for every row of DATA; `-` reads one text a line from stdin.

    Lines of text give one answer a line. A table comes back as a table: its columns, then
    `prediction` (and `probability`, for a classifier). With --n-best further answers follow in
    tab-separated fields of the line, or in columns `prediction_2` and so on. A tagger answers a
    line with the tags of its words, and a CoNLL file with the file, its tags filled in.

    Example: echo recurrent | unrolled predict model/ -
    """
    from unrolled.cli import tagging
    from unrolled.data.read import texts
    from unrolled.errors import ConfigError
    from unrolled.runtime.model import ClassifierModel, TranslatorModel, load
    from unrolled.runtime.tagger_model import TaggerModel

    loaded = load(model)
    if stream:
        if not isinstance(loaded, TranslatorModel):
            raise ConfigError("--stream is for translators")
        if data != "-" or kind not in (None, "txt") or max(beam, n_best) > 1 or as_json:
            raise ConfigError("--stream reads lines from - and goes with no --beam or --json")
        _stream(loaded, quiet)
        return
    if isinstance(loaded, TaggerModel):
        if beam > 1:
            raise ConfigError("--beam is for translators; a tagger's search is exact")
        tagging.predict(loaded, data, kind, source, n_best, as_json)
        return
    column = source or loaded.config.data.source
    table, shape = _read(data, kind, column)
    inputs = texts(table, column)
    if isinstance(loaded, ClassifierModel):
        if max(beam, n_best) > 1:
            raise ConfigError("--beam and --n-best are for translators; this is a classifier")
        found = loaded.classify(inputs)
        chosen = found.probabilities.max(axis=1)
        answers: list[dict[str, Any]] = [
            {
                "prediction": label,
                "probability": round(float(top), 6),
                "probabilities": dict(zip(loaded.classes, map(float, row), strict=True)),
            }
            for label, top, row in zip(found.labels, chosen, found.probabilities, strict=True)
        ]
        truncated = found.truncated
    else:
        if n_best > beam:
            raise ConfigError(f"--n-best {n_best} needs --beam {n_best} or more")
        translated = loaded.translate(inputs, beam=beam, n_best=n_best)
        answers = [
            {
                "prediction": best[0].text,
                "answers": [
                    {"text": a.text, "score": a.score, "log_prob": a.log_prob} for a in best
                ],
            }
            for best in translated.answers
        ]
        truncated = translated.truncated
    if truncated:
        limit = loaded.config.data.max_length
        say(
            f"{len(truncated)} of {len(inputs)} texts were longer than {limit} units and were cut "
            f"there; the first is {table.where(truncated[0], column)}",
            quiet=quiet,
        )
    if as_json:
        _write_jsonl(inputs, answers)
    elif shape == "txt":
        for answer in answers:
            sys.stdout.write("\t".join(_predictions(answer)) + "\n")
    elif shape == "jsonl":
        _write_jsonl(inputs, answers, table.columns)
    else:
        _write_table(table.columns, answers, "\t" if shape == "tsv" else ",")


def _stream(model: TranslatorModel, quiet: bool) -> None:
    """Answer each line of stdin as it comes, each unit as it is decoded."""
    from unrolled.errors import DataError

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
    from unrolled.data.read import read_sources, read_table
    from unrolled.data.source import format_of

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
    answers: Iterable[dict[str, Any]],
    columns: dict[str, list[Any]] | None = None,
) -> None:
    for row, answer in enumerate(answers):
        if columns is None:
            record = {"input": inputs[row], **answer}
        else:
            record = {**{k: v[row] for k, v in columns.items()}, **answer}
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")


def _write_table(
    columns: dict[str, list[Any]], answers: Sequence[dict[str, Any]], delimiter: str
) -> None:
    scored = ["probability"] if "probability" in answers[0] else []
    most = max(len(_predictions(answer)) for answer in answers)
    further = [f"prediction_{k}" for k in range(2, most + 1)]
    dialect = csv.excel if delimiter == "," else csv.excel_tab
    writer = csv.writer(sys.stdout, dialect, lineterminator="\n")
    writer.writerow([*columns, "prediction", *further, *scored])
    for row, answer in enumerate(answers):
        found = _predictions(answer)
        found += [""] * (most - len(found))
        cells = [v[row] for v in columns.values()]
        writer.writerow([*cells, *found, *(answer[k] for k in scored)])


def _predictions(answer: dict[str, Any]) -> list[str]:
    """Return the answer, or all of the n best, best first."""
    if "answers" in answer:
        return [each["text"] for each in answer["answers"]]
    return [answer["prediction"]]
