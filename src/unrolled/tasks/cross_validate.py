"""Rolling-origin cross-validation that trains anew for each origin, on what was before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from unrolled.config import TrainSpec
from unrolled.data.panel import Panel, Repairs
from unrolled.data.shards import Whole
from unrolled.errors import ConfigError
from unrolled.forecast_options import ForecastOptions
from unrolled.runtime.forecaster_model import ForecastModel, rolling
from unrolled.tasks.base import Run
from unrolled.tasks.forecast import reading, train
from unrolled.tasks.forecast_survey import surveyed


def refitted(
    panel: Panel,
    options: ForecastOptions,
    training: TrainSpec,
    *,
    windows: int = 1,
    stride: int | None = None,
    level: Sequence[float] = (),
    seed: int = 0,
    run: Run | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[Any]]:
    """Return the columns of `ForecastModel.cross_validate`, each origin by a model of its own.

    The model of an origin learns from the steps before it alone, of every series that has some.
    Rows come origin by origin; `progress` is told of each. Raises as `train` and `rolling` do, and
    ConfigError for `windows` 0, since each takes a training run.
    """
    if windows < 1:
        raise ConfigError(f"windows is {windows}; to train for each origin give 1 or more")
    horizon, run = options.horizon, run or Run()
    apart = horizon if stride is None else stride
    forecasting = reading(surveyed(Whole(panel), options, training), options)
    every = rolling(panel, forecasting.window, horizon, windows, stride)
    found: dict[str, list[Any]] = {}
    for number in range(windows):
        back = horizon + (windows - 1 - number) * apart
        places = [(k, origin) for k, origin in every if origin == len(panel.series[k]) - back]
        if not places:
            continue
        if progress is not None:
            progress(f"origin {number + 1} of {windows}: {len(places)} series")
        heads = [each.head(len(each) - back) for each in panel.series if len(each) > back]
        told = replace(panel, series=tuple(heads), repairs=Repairs())
        fitted = train(told, options, training, run=replace(run, out=None))
        model = ForecastModel.from_artifact(fitted)
        # A series that has no step before its origin was not learned; its categories may be new.
        there = replace(panel, series=tuple(panel.series[k] for k, _ in places))
        renumbered = [(k, origin) for k, (_, origin) in enumerate(places)]
        said = model.forecast(model.ready(there, horizon), renumbered, seed=seed)
        rows = model.columns_of(there, renumbered, said, horizon, level, truth=True)
        for name, values in rows.items():
            found.setdefault(name, []).extend(values)
    return found
