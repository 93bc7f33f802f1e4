"""What every `unrolled train TASK` shares: flags, options, the run and its closing lines."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from unrolled.cli.common import calm_threads, gather, say, write_json
from unrolled.config import TrainSpec
from unrolled.errors import ConfigError
from unrolled.options import build, defaults


def common_options(function: Any) -> Any:
    """Options of every task that are not part of a spec."""
    for option in (
        click.option("--debug", is_flag=True, hidden=True),
        click.option("--quiet", is_flag=True, help="No progress, no closing lines."),
        click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON."),
        click.option("--watch", is_flag=True, help="Record how gradients flow back through time."),
        click.option("--resume", is_flag=True, help="Go on with the run in --out."),
        click.option("--overwrite", is_flag=True, help="Replace the model in --out."),
        click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set any key."),
        click.option("--config", type=click.Path(), help="TOML or JSON file of keys."),
        click.option("--format", "kind", help="csv, jsonl, conllu ... (else by ending)."),
        click.option(
            "--valid", type=click.Path(), help="Data to validate on (else a share of DATA)."
        ),
        click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder."),
        click.argument("data", type=click.Path(allow_dash=True)),
    ):
        function = option(function)
    return function


def beside_one_file(flag: str, value: str | None, data: str) -> None:
    """Raise ConfigError where `flag` names a file that goes with one file, and `data` is more."""
    from unrolled.data.shards import shard_paths

    if value and shard_paths(data) is not None:
        raise ConfigError(f"{flag} is for one file; {data} is a folder or a pattern")


def resolve(struct: type[Any], given: dict[str, Any]) -> tuple[Any, TrainSpec, dict[str, Any]]:
    """Return the task's options, the training spec and what is left of a command's parameters."""
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


def training_run(rest: dict[str, Any]) -> Any:
    """Return the Run that the flags ask for; ConfigError where the extra `train` is missing."""
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
        watch=partial(_tell_flow, watchers) if rest["watch"] else None,
    )


def _tell_flow(watchers: list[Any], record: dict[str, Any]) -> None:
    """Say an epoch's gradient flow in a line, above the bar where there is one."""
    from unrolled.train.describe_flow import describe_flow

    for watcher in watchers:
        watcher.note(describe_flow(record))


def report_fitted(fitted: Any, rest: dict[str, Any]) -> None:
    """Tell how the run ended; with --json print its metrics."""
    if rest["as_json"]:
        write_json({k: v for k, v in fitted.metrics.items() if _told(v)})
    from unrolled.train.watch import describe

    say(
        f"best epoch {fitted.metrics['epoch']}: {describe(fitted.metrics)}; "
        f"{fitted.metrics['train_seconds']:.0f} s; the model is in {fitted.folder}",
        quiet=rest["quiet"],
    )


def _told(value: Any) -> bool:
    """Whether a metric is one value, or several by name: no matrix and no report by class."""
    if isinstance(value, dict):
        return all(isinstance(each, (int, float)) for each in value.values())
    return isinstance(value, (int, float, str))
