"""`unrolled train TASK DATA --out FOLDER`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from unrolled.cli.common import calm_threads, gather, say, spec_options, write_json
from unrolled.errors import ConfigError
from unrolled.options import ClassifyOptions, TagOptions, TranslateOptions, build, defaults
from unrolled.spec import TrainSpec


@click.group(name="train")
def command() -> None:
    """Train a model from your file. `unrolled train TASK --help` lists what can be set."""


def _common(function: Any) -> Any:
    """Options of every task that are not part of a spec."""
    for option in (
        click.option("--debug", is_flag=True, hidden=True),
        click.option("--quiet", is_flag=True, help="No progress, no closing lines."),
        click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON."),
        click.option("--resume", is_flag=True, help="Go on with the run in --out."),
        click.option("--overwrite", is_flag=True, help="Replace the model in --out."),
        click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set any key."),
        click.option("--config", type=click.Path(), help="TOML or JSON file of keys."),
        click.option("--format", "kind", help="csv, jsonl, conllu ... (else by ending)."),
        click.option("--valid", type=click.Path(), help="Validation file (else a share of DATA)."),
        click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder."),
        click.argument("data", type=click.Path(allow_dash=True)),
    ):
        function = option(function)
    return function


@command.command()
@_common
@spec_options(ClassifyOptions, TrainSpec)
def classify(data: str, valid: str | None, kind: str | None, **given: Any) -> None:
    """Learn to label the texts in DATA (CSV, TSV, JSONL or Parquet with a text and a label column).

    Example: unrolled train classify reviews.csv --text review --label stars --out model/
    """
    from unrolled.data.read import labels, read_table, texts
    from unrolled.tasks.classify import Examples, train

    options, training, rest = _resolve(ClassifyOptions, given)

    def read(path: str) -> Examples:
        table = read_table(path, columns=[options.text, options.label], format=kind)
        found = texts(table, options.text), labels(table, options.label)
        return Examples(*found, table.path, table.rows)

    held = read(valid) if valid else None
    fitted = train(read(data), options, training, validation=held, run=_run(rest))
    _report(fitted, rest)


@command.command()
@_common
@click.option("--target-file", type=click.Path(), help="Targets, one a line; DATA holds sources.")
@spec_options(TranslateOptions, TrainSpec)
def translate(
    data: str, valid: str | None, kind: str | None, target_file: str | None, **given: Any
) -> None:
    """Learn to turn the sources in DATA into its targets (an encoder-decoder with attention).

    DATA is a TSV of two columns, or any table with a source and a target column.

    Example: unrolled train translate pairs.tsv --out model/
    """
    from unrolled.data.read import read_pairs, read_parallel, texts
    from unrolled.tasks.translate import Pairs, train

    options, training, rest = _resolve(TranslateOptions, given)

    def read(path: str, targets: str | None = None) -> Pairs:
        names = (options.source, options.target)
        if targets:
            table = read_parallel(path, targets, *names)
        else:
            table = read_pairs(path, *names, format=kind)
        return Pairs(texts(table, names[0]), texts(table, names[1]), table.path, table.rows)

    held = read(valid) if valid else None
    pairs = read(data, target_file)
    fitted = train(pairs, options, training, validation=held, run=_run(rest))
    _report(fitted, rest)


@command.command()
@_common
@spec_options(TagOptions, TrainSpec)
def tag(data: str, valid: str | None, kind: str | None, **given: Any) -> None:
    """Learn to tag every word of the sentences in DATA, or every frame of its sequences.

    DATA is CoNLL-U, CoNLL columns or JSONL (--format conllu, conll, jsonl), or frames of numbers in
    npz or Parquet.

    Example: unrolled train tag train.conllu --valid dev.conllu --out model/
    """
    from unrolled.data.sequences import read_sequences
    from unrolled.tasks.tag import train

    options, training, rest = _resolve(TagOptions, given)

    def read(path: str) -> Any:
        return read_sequences(
            path,
            format=kind,
            column=options.column,
            words=options.words,
            intent=options.intent,
            sequence=options.sequence,
            time=options.time,
        )

    held = read(valid) if valid else None
    fitted = train(read(data), options, training, validation=held, run=_run(rest))
    _report(fitted, rest)


def _resolve(struct: type[Any], given: dict[str, Any]) -> tuple[Any, TrainSpec, dict[str, Any]]:
    keys = {**defaults(struct), **defaults(TrainSpec)}
    flags = {k: given.pop(k) for k in list(given) if k in keys}
    values = gather(
        struct, TrainSpec, flags=flags, sets=given.pop("sets"), config=given.pop("config")
    )
    task_keys, train_keys = defaults(struct), defaults(TrainSpec)
    options = build(struct, {k: v for k, v in values.items() if k in task_keys}, where="options")
    training = build(
        TrainSpec, {k: v for k, v in values.items() if k in train_keys}, where="options"
    )
    return options, training, given


def _run(rest: dict[str, Any]) -> Any:
    calm_threads()
    try:
        from unrolled.train.watch import Bar, Lines
    except ImportError as error:
        raise ConfigError(
            f"training needs the package {error.name}: pip install 'unrolled[train,text]'"
        ) from None
    from unrolled.tasks.base import Run

    watchers: list[Any] = []
    if not rest["quiet"]:
        watchers.append(Bar() if sys.stderr.isatty() else Lines())
    return Run(
        out=rest["out"],
        resume=rest["resume"],
        overwrite=rest["overwrite"],
        watchers=tuple(watchers),
        notify=partial(say, quiet=rest["quiet"]),
    )


def _report(fitted: Any, rest: dict[str, Any]) -> None:
    if rest["as_json"]:
        write_json({k: v for k, v in fitted.metrics.items() if isinstance(v, (int, float, str))})
    from unrolled.train.watch import describe

    say(
        f"best epoch {fitted.metrics['epoch']}: {describe(fitted.metrics)}; "
        f"{fitted.metrics['train_seconds']:.0f} s; the model is in {fitted.folder}",
        quiet=rest["quiet"],
    )
