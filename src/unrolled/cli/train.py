"""`unrolled train TASK DATA --out FOLDER`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from unrolled.cli import captioning
from unrolled.cli.common import spec_options
from unrolled.cli.forecasting import forecast
from unrolled.cli.generating import generate
from unrolled.cli.training import (
    beside_one_file,
    common_options,
    report_fitted,
    resolve,
    training_run,
)
from unrolled.config import TrainSpec
from unrolled.options import ClassifyOptions, RegressOptions, TagOptions, TranslateOptions


@click.group(name="train")
def command() -> None:
    """Train a model from your file. `unrolled train TASK --help` lists what can be set."""


command.add_command(captioning.train)


@command.command()
@common_options
@spec_options(ClassifyOptions, TrainSpec)
def classify(data: str, valid: str | None, kind: str | None, **given: Any) -> None:
    """Learn to label the texts, or the sequences of numbers, in DATA.

    Texts: CSV, TSV, JSONL or Parquet with a text and a label column. Numbers: npz, or a table with
    a row a step (--sequence, --time, --features). A folder or a pattern of files in quotes is read
    one file at a time.

    Example: unrolled train classify reviews.csv --text review --label stars --out model/

    Example: unrolled train classify gait.csv --sequence id --time t --features x,y --out model/
    """
    from unrolled.cli import pooled
    from unrolled.data.shards import read_shards, read_whole
    from unrolled.tasks.classify import train
    from unrolled.tasks.reading import reading

    options, training, rest = resolve(ClassifyOptions, given)
    spec = reading(options, data, kind)
    read = partial(pooled.read, spec=spec, kind=kind)
    held = read_whole(valid, read) if valid else None
    examples = read_shards(data, read)
    run = training_run(rest)
    fitted = train(examples, options, training, validation=held, data=spec, run=run)
    report_fitted(fitted, rest)


@command.command()
@common_options
@spec_options(RegressOptions, TrainSpec)
def regress(data: str, valid: str | None, kind: str | None, **given: Any) -> None:
    """Learn to give the numbers of the texts, or of the sequences of numbers, in DATA.

    DATA is as for `classify`, with one or more columns of numbers in the place of the label.

    Example: unrolled train regress wells.csv --sequence well --time day --target yield --out model/
    """
    from unrolled.cli import pooled
    from unrolled.data.shards import read_shards, read_whole
    from unrolled.tasks.reading import reading
    from unrolled.tasks.regress import train

    options, training, rest = resolve(RegressOptions, given)
    spec = reading(options, data, kind)
    read = partial(pooled.read, spec=spec, kind=kind)
    held = read_whole(valid, read) if valid else None
    examples = read_shards(data, read)
    run = training_run(rest)
    fitted = train(examples, options, training, validation=held, data=spec, run=run)
    report_fitted(fitted, rest)


@command.command()
@common_options
@click.option("--target-file", type=click.Path(), help="Targets, one a line; DATA holds sources.")
@spec_options(TranslateOptions, TrainSpec)
def translate(
    data: str, valid: str | None, kind: str | None, target_file: str | None, **given: Any
) -> None:
    """Learn to turn the sources in DATA into its targets (an encoder-decoder with attention).

    DATA is a TSV of two columns, or any table with a source and a target column. A folder or a
    pattern of files in quotes is read one file at a time.

    Example: unrolled train translate pairs.tsv --out model/
    """
    from unrolled.data.read import read_pairs, read_parallel, texts
    from unrolled.data.shards import read_shards, read_whole
    from unrolled.tasks.translate import Pairs, train

    options, training, rest = resolve(TranslateOptions, given)

    def read(path: str, targets: str | None = None) -> Pairs:
        names = (options.source, options.target)
        if targets:
            table = read_parallel(path, targets, *names)
        else:
            table = read_pairs(path, *names, format=kind)
        return Pairs(texts(table, names[0]), texts(table, names[1]), table.path, table.rows)

    held = read_whole(valid, read) if valid else None
    beside_one_file("--target-file", target_file, data)
    pairs = read_shards(data, partial(read, targets=target_file))
    fitted = train(pairs, options, training, validation=held, run=training_run(rest))
    report_fitted(fitted, rest)


@command.command()
@common_options
@spec_options(TagOptions, TrainSpec)
def tag(data: str, valid: str | None, kind: str | None, **given: Any) -> None:
    """Learn to tag every word of the sentences in DATA, or every frame of its sequences.

    DATA is CoNLL-U, CoNLL columns or JSONL (--format conllu, conll, jsonl), or frames of numbers in
    npz or Parquet. A folder or a pattern of files in quotes is read one file at a time.

    Example: unrolled train tag train.conllu --valid dev.conllu --out model/
    """
    from unrolled.data.shards import read_shards, read_whole
    from unrolled.tasks.tag import train
    from unrolled.tasks.tag_data import read_tagged

    options, training, rest = resolve(TagOptions, given)
    read = partial(read_tagged, options=options, kind=kind)
    held = read_whole(valid, read) if valid else None
    sequences = read_shards(data, read)
    fitted = train(sequences, options, training, validation=held, run=training_run(rest))
    report_fitted(fitted, rest)


command.add_command(generate)
command.add_command(forecast)
