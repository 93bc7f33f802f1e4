"""A forecast with its intervals by matplotlib, alone or above what it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.explain.field import thinned
from unrolled.explain.figures import (
    attribution_height,
    attribution_readings,
    attribution_width,
    draw_attribution,
)
from unrolled.explain.forecasting import reading_of
from unrolled.explain.plotting import fonts, legend_below, new_figure, titled, with_reading, wrapped
from unrolled.explain.report import Example
from unrolled.explain.results import Explanation
from unrolled.explain.timeplot import OPACITY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.0, 3.4
MOST_STAMPS = 4
LABEL_INCHES = 2.2


def forecast_figure(example: Example, explanations: Sequence[Explanation] = ()) -> Figure:
    """Draw a forecast, its intervals, its past and what came; below, what `explanations` found.

    An example is as `forecast_examples` makes it; explanations without attributions add nothing.
    Raises `ConfigError` without matplotlib.
    """
    found = [each for each in explanations if each.attributions]
    panels = [(each, one) for each in found for one in each.attributions]
    heights = [HEIGHT, *(attribution_height(each) for each, _ in panels)]
    wide = max([WIDTH, *map(attribution_width, found)])
    figure = new_figure(wide, 1.0 + sum(heights) + 0.2 * len(panels))
    grid = figure.add_gridspec(len(heights), 2, width_ratios=(2, 1), height_ratios=heights)
    axes = figure.add_subplot(grid[0, :])
    _draw(axes, example)
    title = f"{example['name']}: {example['target']} and its forecast"
    axes.set_title(titled(title, 0.7 * wide), fontfamily=fonts())
    for row, (each, one) in enumerate(panels, start=1):
        bars = figure.add_subplot(grid[row, 0])
        draw_attribution(bars, figure.add_subplot(grid[row, 1]), one, each)
        named = f"{one.title}, {each.name}: {each.answer}"
        bars.set_title(titled(named, 0.5 * wide), fontfamily=fonts())
    said = dict.fromkeys(line for each in found for line in attribution_readings(each))
    return with_reading(figure, reading_of(bool(example["bands"])), *said)


def _draw(axes: Any, example: Example) -> None:
    """Draw the past, the forecast with its intervals and what came, by step, named by stamps."""
    past, forecast, truth = (_array(example[key]) for key in ("past", "forecast", "truth"))
    begin = len(past)
    ahead = np.arange(begin, begin + len(forecast))
    bands = sorted(example["bands"], key=lambda each: each["level"])
    # The wider an interval, the further behind; one step has no width of its own.
    for k, band in reversed(list(enumerate(bands))):
        opacity = OPACITY[min(k, len(OPACITY) - 1)]
        low, high = _array(band["low"]), _array(band["high"])
        label = f"{band['level']:g} %"
        if len(ahead) > 1:
            axes.fill_between(ahead, low, high, color="tab:orange", alpha=opacity, label=label)
        else:
            tall = {"height": high - low, "bottom": low}
            axes.bar(ahead, **tall, color="tab:orange", alpha=opacity, label=label)
    alone = {"marker": "o"} if len(forecast) == 1 else {}
    axes.plot(np.arange(begin), past, color="tab:blue", label="past")
    axes.plot(ahead, forecast, "--", color="tab:orange", label="forecast", **alone)
    if np.isfinite(truth).any():
        axes.plot(ahead, truth, ":", color="tab:green", label="what came", **alone)
    axes.axvline(begin, color="gray", linestyle=(0, (2, 3)))
    stamps = list(map(str, example["stamps"]))
    chosen = thinned(len(stamps), MOST_STAMPS)
    axes.set_xticks(chosen, [stamps[k] for k in chosen], size=8)
    axes.set_ylabel(wrapped(str(example["target"]), LABEL_INCHES, 9), size=9, fontfamily=fonts())
    legend_below(axes, 0.25, 7)


def _array(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
