"""What the command does with forecasters: train one, answer, measure, and show its forecasts."""

from __future__ import annotations

import csv
import io
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from unrolled.cli.common import say, spec_options, write_json
from unrolled.cli.training import common_options, report_fitted, resolve, training_run
from unrolled.config import TrainSpec
from unrolled.errors import ConfigError, DataError
from unrolled.forecast_options import ForecastOptions

if TYPE_CHECKING:
    from unrolled.runtime.forecaster_model import ForecastModel

SCORES = ("mae", "rmse", "smape", "mase", "crps", "mse", "rse")
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
NAMES = {"seasonal_naive": "seasonal naive", "drift": "drift"}


@click.command()
@common_options
@spec_options(ForecastOptions, TrainSpec)
def forecast(data: str, valid: str | None, kind: str | None, **given: Any) -> None:
    """Learn to forecast the series in DATA (CSV, TSV, JSONL or Parquet, a row a stamp of a series).

    The columns are unique_id, ds and y unless told otherwise; without the first the file is one
    series. The end of each series is held out for validation. A folder or a pattern of files in
    quotes, each with whole series, is read one file at a time.

    Examples: unrolled train forecast sales.csv --horizon 24 --out model/;
    unrolled train forecast ETTh1.csv --time date --target OT --out model/;
    unrolled train forecast 'parts/*.parquet' --horizon 24 --out model/
    """
    from unrolled.data.panel import Panel, joined, read_panel
    from unrolled.data.read import read_table
    from unrolled.data.shards import shard_paths
    from unrolled.tasks.forecast import columns_of, train
    from unrolled.tasks.forecast_data import PanelShards
    from unrolled.train.watch import describe_metrics

    options, training, rest = resolve(ForecastOptions, given)

    def read(path: str, freq: Any = options.freq) -> Panel:
        return read_panel(read_table(path, format=kind), columns_of(options), freq)

    paths = shard_paths(data)
    panel = PanelShards(data, paths, read) if paths else read(data)
    held = None
    if valid:
        freq = (panel if isinstance(panel, Panel) else panel.load(0)).freq
        held = joined((read(path, freq) for path in shard_paths(valid) or [valid]), valid)
    fitted = train(panel, options, training, validation=held, run=training_run(rest))
    report_fitted(fitted, rest)
    for name, shown in NAMES.items():
        say(
            f"{shown} on the same windows: {describe_metrics(fitted.metrics[name])}",
            quiet=rest["quiet"],
        )


def read(model: ForecastModel, data: str, kind: str | None, *, quiet: bool = False) -> Any:
    """Return the series of a file, or of files, as the model reads them; notices go to stderr."""
    from unrolled.data.frequency import parse_frequency
    from unrolled.data.panel import joined, read_panel
    from unrolled.data.read import read_table
    from unrolled.data.shards import shard_paths

    freq = parse_frequency(model.forecasting.freq)
    tables = (read_table(path, format=kind) for path in shard_paths(data) or [data])
    panel = joined((read_panel(table, model.columns, freq) for table in tables), data)
    for notice in panel.notices:
        say(notice, quiet=quiet)
    return panel


def predict(
    model: ForecastModel,
    data: str,
    kind: str | None,
    *,
    level: tuple[float, ...],
    horizon: int | None,
    future: str | None,
    as_json: bool,
    out: Path | None,
    seed: int,
    quiet: bool,
) -> None:
    """Write the forecasts of every series of `data`, as JSON lines or as a table; see `write`."""
    from unrolled.data.read import read_table

    check_out(out)
    panel = read(model, data, kind, quiet=quiet)
    later = None if future is None else read_table(future)
    columns = model.answer(panel, level=level, horizon=horizon, future=later, seed=seed)
    write(columns, data, kind, as_json=as_json, out=out)


def write(
    columns: dict[str, list[Any]],
    data: str,
    kind: str | None,
    *,
    as_json: bool,
    out: Path | None = None,
) -> None:
    """Write columns to stdout in the format of `data` (of Parquet: CSV), or to `out` by its ending.

    Of several files the format is that of the first. Raises as `check_out`, which belongs before
    the work.
    """
    from unrolled.data.shards import shard_paths
    from unrolled.data.source import format_of

    shape = check_out(out)
    if out is None:
        first = (shard_paths(data) or [data])[0]
        sys.stdout.write(_text(columns, "jsonl" if as_json else format_of(first, kind)))
        return
    content = _parquet(columns) if shape == "parquet" else _text(columns, shape).encode()
    out.write_bytes(content)


def check_out(out: Path | None) -> str:
    """Return the format of the file to write by its ending, "" where there is none to write.

    Raises ConfigError for an ending that is not of a table and for a folder that is not there,
    DataError where Parquet lacks polars.
    """
    if out is None:
        return ""
    shape = ENDINGS.get(out.suffix.lower(), "")
    if not shape:
        raise ConfigError(f"--out {out}: expected a file that ends in {', '.join(ENDINGS)}")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}")
    if shape == "parquet":
        try:
            import polars  # noqa: F401
        except ImportError:
            raise DataError("writing Parquet needs polars: pip install 'unrolled[train]'") from None
    return shape


def _text(columns: dict[str, list[Any]], shape: str) -> str:
    stream = io.StringIO()
    rows = ([_plain(value) for value in row] for row in zip(*columns.values(), strict=True))
    if shape == "jsonl":
        for row in rows:
            record = dict(zip(columns, row, strict=True))
            stream.write(msgspec.json.encode(record).decode() + "\n")
        return stream.getvalue()
    writer = csv.writer(stream, csv.excel_tab if shape == "tsv" else csv.excel, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    import polars

    stream = io.BytesIO()
    found = polars.DataFrame(columns).with_columns(polars.col(polars.Float64).fill_nan(None))
    found.write_parquet(stream)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """Return a number with the digits that mean something, None for a missing one; else text."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return float(f"{value:.7g}")
    return value if isinstance(value, (int, str)) else str(value)


def evaluate(
    model: ForecastModel,
    data: str,
    kind: str | None,
    *,
    level: tuple[float, ...],
    windows: int,
    stride: int | None,
    step: int,
    as_json: bool,
) -> None:
    """Print the errors on `data` beside those of the baselines."""
    from unrolled.tasks.forecast_evaluate import evaluate_forecaster

    panel = read(model, data, kind)
    found = evaluate_forecaster(
        model, panel, windows=windows, stride=stride, step=step, level=level
    )
    if as_json:
        write_json(found)
        return
    sys.stdout.write(table(found))


def table(found: dict[str, Any]) -> str:
    """Return metrics as lines, those of the baselines beside them."""
    lines = [f"{'':<16}{'model':>14}" + "".join(f"{name:>16}" for name in NAMES.values())]
    for name in SCORES:
        if name in found:
            cells = [found[key].get(name) for key in NAMES]
            lines.append(
                f"{name:<16}{found[name]:>14.4f}"
                + "".join(f"{'-' if v is None else format(v, '.4f'):>16}" for v in cells)
            )
    lines += [
        f"{name:<16}{100 * value:>12.2f} %"
        for name, value in found.items()
        if name.startswith("coverage_")
    ]
    counts = f"{found['windows']} windows, {found['count']} values"
    return "\n".join([*lines, f"{'count':<16}{counts}"]) + "\n"
