"""`unrolled export MODEL --to onnx --out FILE`."""

from __future__ import annotations

from pathlib import Path

import click

from unrolled.cli.common import say


@click.command(name="export")
@click.argument("model", type=click.Path())
@click.option(
    "--to",
    "kind",
    type=click.Choice(["onnx"]),
    default="onnx",
    show_default=True,
    help="The format to write.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws what is compared.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(model: str, kind: str, out: Path, seed: int, quiet: bool) -> None:
    """Write MODEL in a format that other runtimes read.

    A classifier or a tagger is one ONNX file. A translator is two, an encoder and one step of its
    decoder, named NAME-encoder.onnx and NAME-decoder.onnx. The numbers are compared with our own on
    random ragged batches before anything is written: in ONNX Runtime where it is installed.

    Example: unrolled export model/ --to onnx --out model.onnx
    """
    from unrolled.interop.onnx import export

    say(str(export(model, out, seed=seed)), quiet=quiet)
