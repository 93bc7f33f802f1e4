"""`unrolled cross-validate MODEL DATA`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from unrolled.cli.levels import LEVEL, OUT, SpreadLevels


@click.command(name="cross-validate", cls=SpreadLevels)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(allow_dash=True))
@click.option("--format", "kind", help="csv, tsv, jsonl, parquet (else by the ending).")
@click.option(
    "--windows",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Origins of each series, the last a horizon before its end (0: all).",
)
@click.option("--stride", type=click.IntRange(1), help="Steps between them [default: the horizon].")
@click.option("--refit", is_flag=True, help="Train for each origin on what is before it.")
@LEVEL
@click.option("--seed", type=int, default=0, help="Seeds the paths that are drawn.")
@OUT
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(
    model: str,
    data: str,
    kind: str | None,
    windows: int,
    stride: int | None,
    refit: bool,
    level: tuple[float, ...],
    seed: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Forecast DATA from several origins, each told only what is before it: rolling origin.

    The table has a row a step: the series, the stamp, `cutoff` (the last stamp that was read), the
    true value, and the forecast with its intervals. MODEL stays as it is, so DATA should end with
    what it has not learned from; with --refit a model with the options of MODEL is trained for each
    origin. `unrolled evaluate --windows` sums such forecasts up.

    Example: unrolled cross-validate model/ sales.csv --windows 4 --level 80
    """
    from unrolled.cli import forecasting
    from unrolled.cli.common import calm_threads, say
    from unrolled.errors import ConfigError
    from unrolled.runtime.forecaster_model import ForecastModel, rolling
    from unrolled.runtime.model import load

    loaded = load(model)
    if not isinstance(loaded, ForecastModel):
        raise ConfigError(
            f"{model}: cross-validate is for forecasters, this model is of task "
            f"{loaded.config.task!r}; unrolled evaluate measures it"
        )
    forecasting.check_out(out)
    panel = forecasting.read(loaded, data, kind, quiet=quiet)
    if refit:
        from unrolled.tasks.base import Run
        from unrolled.tasks.cross_validate import refitted
        from unrolled.tasks.recalled import options_of

        calm_threads()
        tell = partial(say, quiet=quiet)
        options, training = options_of(loaded.config), loaded.config.training
        columns = refitted(
            panel, options, training, windows=windows, stride=stride, level=level, seed=seed,
            run=Run(notify=tell), progress=tell,
        )  # fmt: skip
    else:
        spec, horizon = loaded.forecasting, loaded.horizon
        series = loaded.ready(panel, horizon)
        places = rolling(panel, spec.window, horizon, windows, stride)
        said = loaded.forecast(series, places, seed=seed)
        columns = loaded.columns_of(panel, places, said, horizon, level, truth=True)
    forecasting.write(columns, data, kind, as_json=as_json, out=out)
