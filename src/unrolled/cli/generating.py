"""What the verbs do with a generator: train it, let it go on with a prompt, measure, show."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from unrolled.cli.common import spec_options
from unrolled.cli.training import common_options, report_fitted, resolve, training_run
from unrolled.config import TrainSpec
from unrolled.errors import ConfigError, DataError
from unrolled.options import GenerateOptions
from unrolled.runtime.generator_model import GeneratorModel

if TYPE_CHECKING:
    from unrolled.data.items import Corpus

DIGITS = 6


@click.command()
@common_options
@spec_options(GenerateOptions, TrainSpec, without=("bidirectional", "merge"))
def generate(data: str, valid: str | None, kind: str | None, **given: Any) -> None:
    """Learn what comes next in DATA: a text, items in JSONL, or frames of 0 and 1 in npz.

    A folder or a pattern of files in quotes is read one file at a time, files of text in the order
    of their names as one text.

    Example: unrolled train generate corpus.txt --tokens char --out model/
    """
    from unrolled.data.items import read_binary_frames, read_items, shape_of_files
    from unrolled.data.shards import read_shards, read_whole, shard_paths
    from unrolled.data.streams import files_lines
    from unrolled.tasks.generate import train_sequences, train_text

    options, training, rest = resolve(GenerateOptions, given)
    paths = shard_paths(data) or [data]
    held = (shard_paths(valid) or [valid]) if valid else []
    shape = shape_of_files([*paths, *held], kind)
    run = training_run(rest)
    if shape == "text":
        lines = files_lines(held) if held else None
        fitted = train_text(files_lines(paths), options, training, validation=lines, run=run)
    else:
        items = shape == "items"
        read = partial(read_items, key=options.items) if items else read_binary_frames
        fitted = train_sequences(
            read_shards(data, read),
            "items" if items else "frames",
            options,
            training,
            validation=read_whole(valid, read) if valid else None,
            run=run,
        )
    report_fitted(fitted, rest)


def predict(
    model: GeneratorModel,
    data: str,
    kind: str | None,
    *,
    max_length: int,
    n_best: int,
    seed: int,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Go on with the text of `data`, each unit written as it is drawn; items: recommend.

    A history of items a line gives a line of `n_best` items, of frames an array in JSON. With
    `as_json` a text's continuation is an object too. Raises ConfigError for a `kind` of file that
    the model does not read. A folder or a pattern of such files is answered file by file.
    """
    from unrolled.data.shards import shard_paths
    from unrolled.data.source import STDIN, read_text

    if kind is not None:
        check_shape(model, data, kind)
    paths = shard_paths(data)
    if model.kind != "text":
        for path in paths or [data]:
            _predict_sequences(model, path, n_best, max_length, seed, sampling["temperature"])
        return
    if paths is not None:
        raise ConfigError(
            f"{data}: predict goes on with the text of one file; that is a folder or a pattern"
        )
    text = sys.stdin.read() if data == STDIN else read_text(data)
    prompt = text.removesuffix("\n")
    pieces = model.iterate(prompt, max_length=max_length, seed=seed, **sampling)
    if as_json:
        sys.stdout.write(msgspec.json.encode({"prediction": "".join(pieces)}).decode() + "\n")
        return
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _predict_sequences(
    model: GeneratorModel, data: str, n_best: int, max_length: int, seed: int, temperature: float
) -> None:
    """Write what is likeliest after each history of one file: items, or the keys of frames."""
    from unrolled.data.items import read_items

    if model.kind == "items":
        corpus = read_items(data, model.generation.items)
        for row, history in enumerate(corpus.sequences, start=1):
            try:
                found = model.recommend(history, n_best)
            except DataError as error:
                raise DataError(f"{corpus.name}, row {row}: {error}") from None
            record = {
                "recommended": found.items,
                "probabilities": [round(float(p), DIGITS) for p in found.probabilities],
            }
            sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
        return
    for frames in _frames(model, data).sequences:
        drawn = model.generate(frames, max_length=max_length, seed=seed, temperature=temperature)[0]
        keys = [np.flatnonzero(frame).tolist() for frame in drawn]
        sys.stdout.write(msgspec.json.encode({"keys": keys}).decode() + "\n")


def evaluate(model: GeneratorModel, data: str, kind: str | None) -> dict[str, Any]:
    """Measure on a text, the state carried through all of it, on items or on frames.

    A folder or a pattern of files is read together, in the order of their names.
    """
    from unrolled.data.items import read_items
    from unrolled.data.shards import read_whole, shard_paths
    from unrolled.data.streams import count_characters, files_lines, write_ids
    from unrolled.data.vocab import Vocabulary
    from unrolled.tasks import measure_generator as measure

    paths = shard_paths(data) or [data]
    for path in paths:
        check_shape(model, path, kind)
    if model.kind == "frames":
        return measure.frame_metrics(model, read_whole(data, partial(_frames, model)))
    if model.kind == "items":
        corpus = read_whole(data, partial(read_items, key=model.generation.items))
        return {
            **measure.next_item_metrics(model, corpus),
            **measure.every_step_metrics(model, corpus),
            **measure.sequence_metrics(model, corpus),
        }
    assert isinstance(model.vocabulary, Vocabulary)
    lines = files_lines(paths)
    ids = write_ids(lines, model.vocabulary, name=data)
    return measure.stream_metrics(model, ids, characters=count_characters(lines))


def _frames(model: GeneratorModel, data: str) -> Corpus:
    """Read frames of 0 and 1; DataError, naming the sequence, where their width is another."""
    from unrolled.data.items import read_binary_frames

    corpus, size = read_binary_frames(data), model.network.spec.frame_size
    for number, frames in enumerate(corpus.sequences, start=1):
        if frames.shape[1] != size:
            raise DataError(
                f"{corpus.name}, sequence {number}: frames of {frames.shape[1]} numbers, "
                f"expected {size}"
            )
    return corpus


def check_shape(model: GeneratorModel, data: str, kind: str | None) -> str:
    """Return what the file holds; ConfigError where the model reads something else."""
    from unrolled.data.items import shape_of

    shape = shape_of(data, kind)
    if shape != model.kind:
        raise ConfigError(f"{data}: the model reads {model.kind}, the file holds {shape}")
    return shape
