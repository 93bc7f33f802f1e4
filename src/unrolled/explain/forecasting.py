"""The report on a forecaster: each series with its forecast, its intervals, and what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.frequency import stamps_at
from unrolled.data.panel import Panel, Series
from unrolled.explain import page
from unrolled.explain.report import Example, Numbers, with_numbers
from unrolled.explain.results import Explanation
from unrolled.explain.sections import with_explanations
from unrolled.explain.timeplot import Band, time_plot
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.train.forecast_metrics import naive_errors, seasonal_naive

MOST_SERIES = 12
LEVELS = (80.0, 95.0)
LEAD = (
    "Below, the model forecast the last steps of each series from the steps before them, so that"
    " its forecast stands beside what came."
)
READING = (
    "To the left of the upright line is the past that the model was told (the end of it); to the"
    " right its forecast, dashed, and what came, dotted.{bands} Where the dotted line follows the"
    " dashed one, the forecast was right."
)
BANDS = " The shades are intervals: of what comes, the share that each names should lie within."
SENTENCE = (
    "Over {steps} steps the forecast was off by {mae} in the mean; the value of a season ago"
    " ({season} steps) would have been off by {naive}.{inside}"
)


def forecast_examples(
    model: ForecastModel, panel: Panel, *, level: Sequence[float] = (), most: int = MOST_SERIES
) -> list[dict[str, Any]]:
    """Forecast the last horizon of the first series of a panel and return what the report shows.

    A series that is too short to have a past before it is forecast beyond its end. Without `level`
    80 and 95 % are shown where the model knows them.
    """
    levels = list(level) or _known(model)
    horizon, spec = model.horizon, model.forecasting
    panel = Panel(panel.name, panel.columns, panel.freq, panel.style, panel.series[:most])
    series = model.ready(panel, horizon)
    found = []
    for k, each in enumerate(panel.series):
        origin = shown_origin(each, horizon)
        said = model.forecast(series, [(k, origin)])
        shown = min(origin, max(2 * horizon, spec.season * 2, 24), spec.window)
        places = np.arange(origin - shown, origin + horizon)
        stamps = stamps_at(panel.freq, each.origin, places)
        truth = np.full(horizon, np.nan)
        truth[: len(each) - origin] = each.y[origin:]
        naive = seasonal_naive(each.y[:origin], spec.season, horizon)
        found.append(
            {
                "name": str(each.id) or model.config.data.target,
                "stamps": list(map(str, panel.style.write(stamps))),
                "past": _plain(each.y[origin - shown : origin]),
                "forecast": _plain(said.mean[0]),
                "truth": _plain(truth),
                "seasonal_naive": _plain(naive),
                "season": spec.season,
                "target": model.config.data.target,
                "scale": _number(naive_errors(each.y, spec.season)[origin]),
                "bands": [
                    {
                        "level": share,
                        "low": _plain(said.quantile((1 - share / 100) / 2)[0]),
                        "high": _plain(said.quantile(1 - (1 - share / 100) / 2)[0]),
                    }
                    for share in levels
                ],
            }
        )  # fmt: skip
    return found


def shown_origin(series: Series, horizon: int) -> int:
    """Return the step from which a series is shown: a horizon before its end, else its end."""
    return len(series) - horizon if len(series) > horizon else len(series)


def forecasting_report(
    title: str,
    examples: Sequence[Example],
    log: Sequence[Numbers] = (),
    metrics: Numbers | None = None,
    *,
    unit: str = "",
    explanations: Sequence[Explanation] = (),
) -> str:
    """Return a page on a forecaster: its numbers, learning curves, and a plot of each series.

    An example is as `forecast_examples` makes it. `unit` is that of the values.
    """
    report = page.Report(title, LEAD)
    if metrics and isinstance(metrics.get("seasonal_naive"), dict):
        report = report.add("Beside what needs no model", _beside(metrics))
    report = with_numbers(report, log, metrics)
    panels = [(str(example["name"]), _panel(example, unit), True) for example in examples]
    return with_explanations(report, explanations, ("Series", page.articles(panels))).html()


def reading_of(intervals: bool) -> str:
    """Return how to read the picture of a forecast, with intervals or without."""
    return READING.format(bands=BANDS if intervals else "")


def _known(model: ForecastModel) -> list[float]:
    spec, moved = model.network.spec, model.forecasting.calibration
    shares = spec.quantiles if moved is None else moved.shares
    if not shares:
        return [] if spec.output == "point" else list(LEVELS)
    widest = 100 * (1 - 2 * max(shares[0], 1 - shares[-1]))
    return [share for share in LEVELS if share <= widest + 1e-9]


def _panel(example: Example, unit: str) -> str:
    truth, forecast = _array(example["truth"]), _array(example["forecast"])
    there = np.isfinite(truth)
    sentence = f"The next {len(forecast)} steps; what comes is not known yet."
    if there.any():
        inside = "".join(
            f" {int(((truth >= _array(b['low'])) & (truth <= _array(b['high'])))[there].sum())} of"
            f" {int(there.sum())} values lie in the interval of {b['level']:g} %."
            for b in example["bands"]
        )
        naive = _array(example["seasonal_naive"])
        sentence = SENTENCE.format(
            steps=int(there.sum()),
            mae=_with_unit(np.abs(truth - forecast)[there].mean(), unit),
            season=example["season"],
            naive=_with_unit(np.abs(truth - naive)[there].mean(), unit),
            inside=inside,
        )
    bands = [Band(b["level"], _array(b["low"]), _array(b["high"])) for b in example["bands"]]
    target = str(example["target"])
    # A phone is shown the first, which begins nearer to the forecast, other screens the second.
    picture = "".join(
        time_plot(
            _array(example["past"]),
            forecast,
            stamps=example["stamps"],
            bands=bands,
            truth=truth,
            y_title=f"{target} [{unit}]" if unit else target,
            description=sentence,
            near=near,
        )
        for near in (True, False)
    )
    reading = reading_of(bool(bands))
    title = f"{example['name']}: {target} and its forecast"
    return page.paragraph(sentence) + page.figure(title, picture, reading, scrolls=True)


def _beside(metrics: Numbers) -> str:
    names = ("mae", "rmse", "smape", "mase", "crps")
    rows = [
        (
            name.upper() if name != "smape" else "sMAPE [%]",
            *(
                round(float(part[name]), 4) if name in part else "-"
                for part in (metrics, metrics["seasonal_naive"], metrics["drift"])
            ),
        )
        for name in names
        if name in metrics
    ]
    header = ("Error", "This model", "Seasonal naive", "Drift")
    said = (
        "Seasonal naive says the value of a season ago, drift goes on along the line from the first"
        " to the last value. The lower an error, the better."
    )
    return page.table("Errors on data that was not learned from", header, rows) + page.paragraph(
        said
    )


def _with_unit(value: float, unit: str) -> str:
    return f"{value:.3g}{chr(0xA0) + unit if unit else ''}"


def _plain(values: Any) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _array(values: Sequence[float | None]) -> Any:
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)
