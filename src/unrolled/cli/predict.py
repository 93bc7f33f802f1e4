"""`unrolled predict MODEL DATA`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from unrolled.cli.common import say
from unrolled.cli.levels import LEVEL, SpreadLevels
from unrolled.cli.naming import check_free, named


@click.command(name="predict", cls=SpreadLevels)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(allow_dash=True))
@click.option("--format", "kind", help="csv, jsonl, conllu ... (else by the ending).")
@click.option("--source", help="Column of the text [default: as in training].")
@click.option("--beam", type=click.IntRange(1), default=1, show_default=True, help="Beam width.")
@click.option("--n-best", type=click.IntRange(1), default=1, show_default=True, help="Answers.")
@click.option("--column", default="prediction", show_default=True, help="Name of the answer.")
@click.option("--max-length", type=click.IntRange(1), default=200, help="Generator: units.")
@click.option("--temperature", type=float, default=1.0, help="Generator: 0 takes the likeliest.")
@click.option("--top-k", type=int, default=0, help="Generator: draw from the k likeliest.")
@click.option("--top-p", type=float, default=1.0, help="Generator: draw from this probability.")
@click.option("--repetition-penalty", type=float, default=1.0, help="Generator: above 1 varies.")
@click.option("--seed", type=int, default=0, help="Generator: seeds what is drawn.")
@LEVEL
@click.option("--horizon", type=click.IntRange(1), help="Forecasters: steps ahead.")
@click.option("--future", type=click.Path(), help="Forecasters: file of what is known ahead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with scores.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(
    model: str,
    data: str,
    kind: str | None,
    source: str | None,
    beam: int,
    n_best: int,
    column: str,
    level: tuple[float, ...],
    horizon: int | None,
    future: str | None,
    as_json: bool,
    quiet: bool,
    **drawing: Any,
) -> None:
    """Answer for every row of DATA; `-` reads one text a line from stdin.

    Lines of text give one answer a line. A table comes back as a table: its columns, then
    `prediction` (and `probability`, for a classifier). With --n-best further answers follow in
    tab-separated fields of the line, or in columns `prediction_2` and so on; --column names them
    otherwise, where the table has such a column already. A tagger answers a line with the tags of
    its words, and a CoNLL file with the file, its tags filled in. A generator goes on with the
    whole text, unit by unit; of items it recommends --n-best. A forecaster answers a table of
    series with one of their next values.

    Example: echo recurrent | unrolled predict model/ -
    """
    from unrolled.cli import forecasting, pooled, tagging
    from unrolled.data.read import texts
    from unrolled.errors import ConfigError
    from unrolled.runtime.forecaster_model import ForecastModel
    from unrolled.runtime.generator_model import GeneratorModel
    from unrolled.runtime.model import ClassifierModel, RegressorModel, load
    from unrolled.runtime.tagger_model import TaggerModel

    loaded = load(model)
    if isinstance(loaded, ForecastModel):
        forecasting.predict(
            loaded, data, kind, level=level, horizon=horizon, future=future, as_json=as_json,
            quiet=quiet,
        )  # fmt: skip
        return
    if level or horizon or future:
        raise ConfigError("--level, --horizon and --future are for forecasters")
    if isinstance(loaded, TaggerModel):
        if beam > 1:
            raise ConfigError("--beam is for translators; a tagger's search is exact")
        tagging.predict(loaded, data, kind, source, n_best, as_json)
        return
    if isinstance(loaded, GeneratorModel):
        from unrolled.cli import generating

        if beam > 1:
            raise ConfigError("--beam is for translators; a generator draws")
        generating.predict(loaded, data, n_best=n_best, **drawing)
        return
    if isinstance(loaded, (ClassifierModel, RegressorModel)):
        if max(beam, n_best) > 1:
            kind_of = "classifier" if isinstance(loaded, ClassifierModel) else "regressor"
            raise ConfigError(f"--beam and --n-best are for translators; this is a {kind_of}")
        pooled.predict(loaded, data, kind, source, column, as_json=as_json, quiet=quiet)
        return
    read = source or loaded.config.data.source
    table, shape = _read(data, kind, read)
    inputs = texts(table, read)
    if n_best > beam:
        raise ConfigError(f"--n-best {n_best} needs --beam {n_best} or more")
    translated = loaded.translate(inputs, beam=beam, n_best=n_best)
    answers = [
        {
            "prediction": best[0].text,
            "answers": [{"text": a.text, "score": a.score, "log_prob": a.log_prob} for a in best],
        }
        for best in translated.answers
    ]
    truncated = translated.truncated
    if truncated:
        limit = loaded.config.data.max_length
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
