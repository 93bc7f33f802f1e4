"""`unrolled doctor MODEL [--data FILE --try]`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from unrolled.cli.common import calm_threads, say, write_json
from unrolled.errors import ConfigError, ModelError

MOST_EPOCHS = 5


@click.command(name="doctor")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(), help="Data as the model was trained on, for --try.")
@click.option("--format", "kind", help="csv, jsonl, conllu ... (else by ending).")
@click.option("--try", "trying", is_flag=True, help="Run each advice shortly and say what helped.")
@click.option("--epochs", type=click.IntRange(1), help="Of each try [default: 5, or fewer].")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Of each try.")
@click.option("--out", type=click.Path(path_type=Path), help="HTML page to write.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    model: Path,
    data: str | None,
    kind: str | None,
    trying: bool,
    epochs: int | None,
    seeds: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what went wrong in the run that made MODEL, with the numbers, and what to try.

    A run that was trained with --watch tells most. With --try each piece of advice that is an
    option is trained shortly on --data, against the run as it was.

    Example: unrolled doctor model/ --data reviews.csv --try
    """
    from unrolled import artifact
    from unrolled.explain.diagnosis import as_text, diagnosis_report
    from unrolled.explain.doctor import diagnose
    from unrolled.train.history import read_history

    if trying and data is None:
        raise ConfigError("--try needs --data, a file as the model was trained on")
    config = artifact.load(model).config
    log = read_history(model)
    if not log:
        raise ModelError(f"{model}: no training/log.jsonl; the doctor reads what a run wrote")
    findings = diagnose(config, log)
    every = (each for finding in findings for each in finding.advice)
    advice = {each.words: each.changes for each in every if each.changes}
    tried = []
    if trying and advice:
        tried = _try(config, str(data), kind, advice, epochs, seeds, partial(say, quiet=quiet))
    watched = any("flow" in record for record in log)
    if as_json:
        write_json({"findings": findings, "tried": tried, "watched": watched})
    else:
        sys.stdout.write(as_text(findings, tried, watched=watched, log=log))
    if out is not None:
        from unrolled.explain.report import write_report

        title = f"The run of {model.name}"
        write_report(out, diagnosis_report(title, findings, tried, log, watched=watched))
        say(f"the report is in {out}", quiet=quiet)


def _try(
    config: Any, data: str, kind: str | None, advice: Any, epochs: int | None, seeds: int, tell: Any
) -> Any:
    calm_threads()
    from unrolled.tasks.recalled import options_of
    from unrolled.tasks.remedies import try_advice
    from unrolled.tasks.trials import entry_of, prepare

    entry, options = entry_of(config.task), options_of(config)
    training = msgspec.structs.replace(
        config.training,
        epochs=epochs or min(config.training.epochs, MOST_EPOCHS),
        tensorboard=False,
    )
    bench = prepare(entry, data, options, kind=kind)
    return try_advice(bench, options, training, advice, seeds=seeds, tell=tell)
