"""`unrolled compare TASK DATA --cells rnn,gru,lstm`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from unrolled.cli.common import calm_threads, say, spec_options, write_json
from unrolled.cli.training import resolve
from unrolled.config import TrainSpec
from unrolled.errors import ConfigError, did_you_mean
from unrolled.options import AttentionName, CellName
from unrolled.tasks.trials import TASKS, TaskEntry

# What the grid, the seeds and the budget decide.
DECIDED = ("cell", "layers", "encoder_layers", "decoder_layers", "attention", "pooling")


@click.group(name="compare")
def command() -> None:
    """Train several cells, depths and attentions on your data, and say what differs beyond noise.

    Example: unrolled compare classify reviews.csv --cells rnn,gru,lstm --seeds 3
    """


def _task_command(task: str, entry: TaskEntry) -> click.Command:
    def function(data: str, **given: Any) -> None:
        _compare(task, entry, data, given)

    function.__doc__ = f"Compare settings of {task} on DATA, as `unrolled train {task}` reads it."
    function = spec_options(entry.options, TrainSpec, without=DECIDED)(function)
    for option in (
        click.option("--debug", is_flag=True, hidden=True),
        click.option("--quiet", is_flag=True, help="No line a run."),
        click.option("--json", "as_json", is_flag=True, help="Print everything as JSON."),
        click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set any key."),
        click.option("--config", type=click.Path(), help="TOML or JSON file of keys."),
        click.option("--format", "kind", help="csv, jsonl, conllu ... (else by ending)."),
        click.option("--test", type=click.Path(), help="File to measure on (else a fifth)."),
        click.option("--out", type=click.Path(path_type=Path), help="HTML page to write."),
        click.option("--minutes", type=click.FloatRange(min=0), default=0.0,
                     help="Time for the whole comparison (0: as long as it takes)."),
        click.option("--parameters", type=click.IntRange(min=0), default=0,
                     help="Parameters of each model (0: what the first setting takes)."),
        click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True,
                     help="Runs of each setting."),
        click.option("--equal", type=click.Choice(["parameters", "time"]), default="parameters",
                     show_default=True, help="What is held equal."),
        click.option("--attention", "attentions", default="",
                     help="Kinds, by commas: none, additive, dot, general, concat."),
        click.option("--depth", "depths", default="1", show_default=True,
                     help="Stacked layers, by commas."),
        click.option("--cells", default="rnn,gru,lstm", show_default=True,
                     help="Cells, by commas."),
        click.argument("data", type=click.Path()),
    ):  # fmt: skip
        function = option(function)
    made: click.Command = click.command(name=task)(function)
    return made


for _task, _entry in TASKS.items():
    command.add_command(_task_command(_task, _entry))


def _compare(task: str, entry: TaskEntry, data: str, given: dict[str, Any]) -> None:
    options, training, rest = resolve(entry.options, given)
    cells = _names("--cells", rest["cells"], get_args(CellName))
    depths = _depths(rest["depths"])
    attentions = _names("--attention", rest["attentions"], get_args(AttentionName))
    calm_threads()
    from unrolled.tasks.compare import Grid, compare
    from unrolled.tasks.trials import prepare

    runs = len(cells) * len(depths) * max(1, len(attentions)) * rest["seeds"]
    minutes = rest["minutes"] / runs
    if rest["equal"] == "time" and not minutes:
        raise ConfigError("--equal time needs --minutes, the time for the whole comparison")
    grid = Grid(
        cells, depths, attentions, rest["equal"], rest["seeds"], rest["parameters"], minutes
    )
    bench = prepare(entry, data, options, test=rest["test"], kind=rest["kind"])
    say(f"{runs} runs on {len(bench.train)} {bench.entry.counted}, measured on "
        f"{len(bench.test)} others",
        quiet=rest["quiet"])  # fmt: skip
    found = compare(task, bench, grid, options, training, partial(say, quiet=rest["quiet"]))
    if rest["as_json"]:
        write_json(found)
    else:
        from unrolled.explain.comparison import as_text

        sys.stdout.write(as_text(found))
    if rest["out"] is not None:
        from unrolled.explain.comparison import comparison_report
        from unrolled.explain.report import write_report

        write_report(rest["out"], comparison_report(f"{task} on {Path(data).name}", found))
        say(f"the report is in {rest['out']}", quiet=rest["quiet"])


def _names(flag: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise ConfigError(f"{flag}: unknown {name!r}; one of: {', '.join(known)}.{near}")
    if flag == "--cells" and not names:
        raise ConfigError("--cells: expected at least one of: " + ", ".join(known))
    return names


def _depths(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--depth {text}: expected whole numbers above 0, by commas")
    return tuple(int(part) for part in parts)
