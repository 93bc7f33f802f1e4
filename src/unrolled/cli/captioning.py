"""What the verbs do with a captioner: train, predict and explain."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click
import msgspec

from unrolled.cli.common import spec_options
from unrolled.cli.training import (
    beside_one_file,
    common_options,
    report_fitted,
    resolve,
    training_run,
)
from unrolled.config import TrainSpec
from unrolled.errors import ConfigError
from unrolled.options import CaptionOptions


@click.command(name="caption")
@common_options
@click.option("--captions", type=click.Path(), help="Texts of DATA: text, a line each, or JSONL.")
@click.option("--valid-captions", type=click.Path(), help="The same for --valid.")
@spec_options(CaptionOptions, TrainSpec, without=("bidirectional", "merge"))
def train(
    data: str,
    valid: str | None,
    kind: str | None,
    captions: str | None,
    valid_captions: str | None,
    **given: Any,
) -> None:
    """Learn to write a text about each vector, set of regions or set of attributes in DATA.

    DATA is npz (features [N, F] or [N, S, F], caption [N] or [N, K]) or JSONL (features or
    attributes, and caption, a text or several). A folder or a pattern of files in quotes is read
    one file at a time.

    Example: unrolled train caption attributes.jsonl --out model/
    """
    from unrolled.data.captions import Described, read_described
    from unrolled.data.shards import read_shards, read_whole
    from unrolled.tasks.caption import train as train_captioner

    options, training, rest = resolve(CaptionOptions, given)

    def read(path: str, texts: str | None) -> Described:
        return read_described(
            path, features=options.features, caption=options.caption, captions=texts, format=kind
        )

    if valid_captions and not valid:
        raise ConfigError("--valid-captions needs --valid")
    beside_one_file("--captions", captions, data)
    beside_one_file("--valid-captions", valid_captions, valid or "")
    held = read_whole(valid, partial(read, texts=valid_captions)) if valid else None
    things = read_shards(data, partial(read, texts=captions))
    fitted = train_captioner(things, options, training, validation=held, run=training_run(rest))
    report_fitted(fitted, rest)


def predict(
    model: Any,
    data: str,
    kind: str | None,
    source: str | None,
    beam: int,
    n_best: int,
    as_json: bool,
) -> None:
    """Write a text for each thing of `data`: JSON lines for JSON lines, else a line each.

    A folder or a pattern of files is answered file by file.
    """
    from unrolled.data.captions import format_of
    from unrolled.data.shards import shard_paths
    from unrolled.tasks.evaluate import read_described_by

    if n_best > beam:
        raise ConfigError(f"--n-best {n_best} needs --beam {n_best} or more")
    for path in shard_paths(data) or [data]:
        things = read_described_by(model, path, format=kind, source=source, captioned=False)
        found = model.caption(things.inputs, beam=beam, n_best=n_best)
        lines = as_json or format_of(path, kind) == "jsonl"
        for i, answers in enumerate(found):
            if not lines:
                sys.stdout.write("\t".join(answer.text for answer in answers) + "\n")
                continue
            record: dict[str, Any] = dict(things.records[i]) if things.records else {}
            record["prediction"] = answers[0].text
            record["answers"] = [
                {"text": a.text, "score": a.score, "log_prob": a.log_prob} for a in answers
            ]
            sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
