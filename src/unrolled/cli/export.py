"""`unrolled export MODEL --precision int8 --out FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from unrolled.cli.common import say, write_json

if TYPE_CHECKING:
    from unrolled.spec import Precision
    from unrolled.tasks.export import Lowered


@click.command(name="export")
@click.argument("model", type=click.Path())
@click.option(
    "--precision",
    type=click.Choice(["bf16", "int8"]),
    required=True,
    help="What the recurrent weights become.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--check", metavar="DATA", help="Labelled data to compare both models on.")
@click.option("--format", help="csv, tsv, jsonl, parquet or txt (else by the ending).")
@click.option("--source", help="Column of the text or source [default: as in training].")
@click.option("--target", help="Column of the label or target [default: as in training].")
@click.option("--beam", type=click.IntRange(1), default=1, show_default=True, help="Beam width.")
@click.option("--overwrite", is_flag=True, help="Replace the model in the folder, if any.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(
    model: str, precision: str, out: Path, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Write MODEL as a folder whose recurrent weights have fewer bits.

    With --check the metrics of both models on DATA are printed side by side, with the share of
    equal answers, before anything is written.

    Example: unrolled export model/ --precision int8 --out small/ --check test.csv
    """
    from unrolled import _native
    from unrolled.tasks.export import lower

    report = lower(model, out, cast("Precision", precision), **options)
    if as_json:
        write_json(report)
    else:
        sys.stdout.write(_table(report))
    if precision == "int8" and _native.int8_instructions() == "plain":
        say("this machine has no kernel for int8: the model is smaller but slower", quiet=quiet)
    say(f"wrote {out}", quiet=quiet)


def _table(report: Lowered) -> str:
    """Return the report as lines: float32 and the lower precision side by side."""
    from unrolled.tasks.export import scores

    low = report.precision
    lines = [f"{'':<16}{'float32':>12}{low:>12}"]
    if report.metrics:
        after = scores(report.metrics[low])
        lines += [
            f"{name:<16}{value:>12.4f}{after[name]:>12.4f}"
            for name, value in scores(report.metrics["float32"]).items()
        ]
    sizes = "".join(f"{count / 1e3:>12.1f}" for count in report.bytes.values())
    lines.append(f"{'weights, kB':<16}{sizes}")
    if report.agreement is not None:
        share = f"{100 * report.agreement:.2f} %"
        lines.append(f"{'equal answers':<16}{share:>12} of {report.examples}")
    return "\n".join(lines) + "\n"
