"""`unrolled export MODEL`: as ONNX, as torch's weights, or as a folder with fewer bits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from unrolled.cli.common import say, write_json
from unrolled.cli.flags import check_flags, need
from unrolled.errors import ConfigError

if TYPE_CHECKING:
    from unrolled.spec import Precision
    from unrolled.tasks.export import Lowered

# The options that belong to one format.
_ONLY = {
    "onnx": ("seed",),
    "pytorch": (),
    "folder": ("precision", "check", "format", "source", "target", "beam", "overwrite", "json"),
}
# Those that say how the DATA of --check is read and answered, and those that a task may not have.
_OF_CHECK = ("format", "source", "target", "beam")
_OF_TASKS = ("check", *_OF_CHECK)


@click.command(name="export")
@click.argument("model", type=click.Path())
@click.option(
    "--to",
    "kind",
    type=click.Choice(["onnx", "pytorch", "folder"]),
    help="What to write  [default: onnx; folder with --precision].",
)
@click.option(
    "--precision",
    type=click.Choice(["bf16", "int8"]),
    help="folder: what the recurrent weights become.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The place to write.")
@click.option("--seed", type=int, help="onnx: draws what is compared  [default: 0].")
@click.option("--check", metavar="DATA", help="folder: labelled data to compare both models on.")
@click.option("--format", help="folder: that of DATA, csv, conllu ... (else by the ending).")
@click.option("--source", help="folder: column of the text or source  [default: as in training].")
@click.option("--target", help="folder: column of the label or target  [default: as in training].")
@click.option("--beam", type=click.IntRange(1), help="folder: beam width  [default: 1].")
@click.option("--overwrite", is_flag=True, help="folder: replace the model that is there, if any.")
@click.option("--json", is_flag=True, help="folder: print the report as JSON.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(model: str, kind: str | None, out: Path, quiet: bool, **options: Any) -> None:
    """Write MODEL as ONNX, as torch's weights, or as a folder of fewer bits.

    As ONNX a model is one file. A translator, a captioner and an autoregressive forecaster are two,
    an encoder and one step of the decoder, named NAME-encoder.onnx and NAME-decoder.onnx; where
    such a forecaster is calibrated, NAME-quantiles.onnx is the third. The numbers are compared with
    our own on random ragged batches before anything is written: in ONNX Runtime where it is
    installed.

    As pytorch the weights become a state_dict in OUT, a .safetensors file, with torch's names.

    With --precision a model folder is written. With --check the metrics of both models on DATA are
    printed side by side, with the share of equal answers, before anything is written.

    Examples: unrolled export model/ --to onnx --out model.onnx;
    unrolled export model/ --precision int8 --out small/ --check test.csv
    """
    kind = kind or ("folder" if options["precision"] else "onnx")
    given = {name: value for name, value in options.items() if value is not None}
    given = {name: value for name, value in given.items() if value is not False}
    _check(kind, given)
    _check_task(model, given)
    if kind == "onnx":
        from unrolled.interop.onnx import export

        say(str(export(model, out, **given)), quiet=quiet)
    elif kind == "pytorch":
        from unrolled.interop import pytorch

        names = pytorch.export(model, out)
        say(f"wrote {out}: {len(names)} tensors", quiet=quiet)
    else:
        _lower(model, out, quiet=quiet, **given)


def _check(kind: str, given: dict[str, Any]) -> None:
    """Raise ConfigError for an option of another format, and where a folder lacks --precision."""
    for owner, names in _ONLY.items():
        for name in names:
            if owner != kind and name in given:
                raise ConfigError(f"--{name} is for --to {owner}; this export is --to {kind}")
    if kind == "folder" and "precision" not in given:
        raise ConfigError("--to folder needs --precision: bf16 or int8")


def _check_task(model: str, given: dict[str, Any]) -> None:
    """Raise ConfigError for an option that means nothing for the model's task, or without --check.

    A folder is read for that only where such an option is given.
    """
    if any(name in given for name in _OF_TASKS):
        from unrolled import artifact

        check_flags(artifact.load(model).config)
    need("--check", tuple(f"--{name}" for name in _OF_CHECK), "a file to measure on")


def _lower(
    model: str, out: Path, *, precision: str, quiet: bool, json: bool = False, **options: Any
) -> None:
    from unrolled import _native
    from unrolled.tasks.export import lower

    report = lower(model, out, cast("Precision", precision), **options)
    if json:
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
