"""A year of carbon dioxide ahead: a GRU with quantiles on the weekly record of Mauna Loa.

The data is a file of the `statsmodels` package: weekly means in ppm from March 1958 to December
2001, 59 of them missing (Keeling and Whorf 2004). The last four years are held out; the model
forecasts 52 weeks from an origin every four weeks. The largest rise of the record from one year to
the next, 3.0 ppm, begins a few weeks after their first; so what held on the validation years need
not hold on them, and the coverage of the intervals is told for both.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from unrolled import artifact
from unrolled.config import TrainSpec
from unrolled.data.panel import Panel, read_panel
from unrolled.data.table import Table
from unrolled.demo.parts import keep, training_log
from unrolled.errors import ConfigError
from unrolled.explain.forecasting import forecast_examples, forecasting_report
from unrolled.explain.report import write_report
from unrolled.forecast_options import ForecastOptions
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks.base import Run
from unrolled.tasks.forecast import columns_of, train
from unrolled.tasks.forecast_data import training_steps
from unrolled.tasks.forecast_evaluate import evaluate_forecaster

YEAR = 52
HELD_OUT = 4 * YEAR
STRIDE = 4
LEVELS = (80.0, 95.0)
OPTIONS = ForecastOptions(
    target="co2",
    time="week",
    horizon=YEAR,
    window=2 * YEAR,
    residual="season",
    hidden_size=48,
    dropout=0.0,
)
TRAINING = TrainSpec(
    epochs=15, batch_size=32, lr=3e-3, ema=0.99, validation_limit=60, max_minutes=3.0
)


def load_record() -> Table:
    """Return the weeks and their means, empty where there is none.

    Raises ConfigError where the `statsmodels` package is not installed.
    """
    found = importlib.util.find_spec("statsmodels")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("the demo needs the package: pip install 'unrolled[demo]'")
    # The file alone is read: importing the package would take longer than a pass over it.
    path = Path(found.submodule_search_locations[0]) / "datasets" / "co2" / "co2.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    stamps = [row["date"] for row in rows]
    weeks = [f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:]}" for stamp in stamps]
    columns: dict[str, list[Any]] = {"week": weeks, "co2": [row["co2"] for row in rows]}
    return Table("the record of Mauna Loa", columns, list(range(2, len(rows) + 2)))


def run(
    out: Path,
    *,
    training: TrainSpec = TRAINING,
    options: ForecastOptions = OPTIONS,
    overwrite: bool = False,
    watchers: tuple[Any, ...] = (),
    limit: int | None = None,
) -> dict[str, Any]:
    """Train, measure on the years held out, and write `model/`, `data/` and `report.html`.

    `limit` keeps that many of the last weeks only, for a quick look. Returns the metrics with
    `examples`.
    """
    table = load_record()
    if limit is not None:
        columns = {name: values[-limit:] for name, values in table.columns.items()}
        table = Table(table.path, columns, table.rows[-limit:])
    whole = read_panel(table, columns_of(options), options.freq)
    series = whole.series[0]
    learned = replace(whole, series=(series.head(len(series) - HELD_OUT),))
    folder = out / "model"
    artifact.claim(folder, overwrite=overwrite)
    _write_data(out / "data", table)
    fitted = train(
        learned,
        options,
        training,
        run=Run(out=folder, overwrite=overwrite, watchers=watchers),
    )
    model = ForecastModel.from_artifact(fitted)
    windows = (HELD_OUT - YEAR) // STRIDE + 1
    found = evaluate_forecaster(model, whole, windows=windows, stride=STRIDE, level=LEVELS)
    kept = ("epoch", "train_loss", "train_seconds", "epochs_run")
    metrics = {
        **found,
        **_validation_coverage(model, learned, training),
        **{name: fitted.metrics[name] for name in kept},
    }
    keep(fitted, metrics)
    examples = forecast_examples(model, whole, level=LEVELS)
    title, log = "A year of carbon dioxide ahead", training_log(folder)
    page = forecasting_report(title, examples, log=log, metrics=metrics, unit="ppm")
    write_report(out / "report.html", page)
    return {**metrics, "examples": examples}


def _validation_coverage(
    model: ForecastModel, learned: Panel, training: TrainSpec
) -> dict[str, float]:
    """Return the coverage on the end of what is learned from, which training held out."""
    held = len(learned.series[0]) - training_steps(
        learned.series[0], model.network.spec, training, None
    )
    windows = (held - YEAR) // STRIDE + 1
    found = evaluate_forecaster(model, learned, windows=windows, stride=STRIDE, level=LEVELS)
    return {f"validation_{name}": found[name] for name in found if name.startswith("coverage_")}


def _write_data(folder: Path, table: Table) -> None:
    """Write what is learned from and the whole record, so that every command can be tried."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{week},{value}\n" for week, value in zip(*table.columns.values(), strict=True)]
    head = ",".join(table.columns) + "\n"
    (folder / "learned.csv").write_text(head + "".join(rows[:-HELD_OUT]))
    (folder / "whole.csv").write_text(head + "".join(rows))
