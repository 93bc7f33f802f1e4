"""Pictures of results: lines with 95 % intervals, drawn by matplotlib as SVG."""

from __future__ import annotations

import io
import math
from typing import Any

from unrolled.errors import ConfigError
from unrolled.lab.experiment import Plot, Results
from unrolled.lab.statistics import estimate

MARKERS = "osD^vPX*<>"
DASHES = ("-", "--", ":", "-.")


def draw(results: Results, plot: Plot) -> str:
    """Return the SVG of a plot; numbers without an interval, of one seed, have no bars.

    Raises ConfigError where matplotlib is missing.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            "the lab's figures need the package matplotlib: pip install 'unrolled[plot]'"
        ) from None
    rows = [row for row in results.rows if plot.number in row]
    found = Results([row for row in rows if not plot.log_y or row[plot.number] > 0])
    panels = found.values(plot.panels) if plot.panels else [None]
    panels = [p for p in panels if p is None or _widest(found.where(**{plot.panels: p}), plot) > 1]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": plot.title, "font.size": 10}):
        figure = Figure(figsize=(5.2 * len(panels), 4.0), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            part = found if panel is None else found.where(**{plot.panels: panel})
            _panel(axis, part, plot)
            axis.set_title(plot.title if panel is None else f"{plot.title}: {panel}")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _widest(results: Results, plot: Plot) -> int:
    return len(results.values(plot.x))


def _bars(results: Results, plot: Plot, xs: list[Any]) -> tuple[list[float], list[list[float]]]:
    """Return means and the lengths of the bars below and above; by logarithms on such an axis."""
    if not plot.log_y:
        found = [results.mean(plot.number, **{plot.x: x}) for x in xs]
        halves = [e.half if e.n > 1 else 0.0 for e in found]
        return [e.mean for e in found], [halves, halves]
    logs = [
        estimate([math.log(row[plot.number]) for row in results.where(**{plot.x: x}).rows])
        for x in xs
    ]
    means = [math.exp(e.mean) for e in logs]
    spread = [e.half if e.n > 1 else 0.0 for e in logs]
    below = [m - math.exp(e.mean - s) for m, e, s in zip(means, logs, spread, strict=True)]
    above = [math.exp(e.mean + s) - m for m, e, s in zip(means, logs, spread, strict=True)]
    return means, [below, above]


def _panel(axis: Any, results: Results, plot: Plot) -> None:
    xs = results.values(plot.x)
    numeric = all(isinstance(x, (int, float)) for x in xs)
    for k, line in enumerate(results.values(plot.by)):
        part = results.where(**{plot.by: line})
        own = part.values(plot.x)
        means, bars = _bars(part, plot, own)
        places = own if numeric else [xs.index(x) + 0.06 * k for x in own]
        axis.errorbar(
            places,
            means,
            yerr=bars,
            label=str(line),
            marker=MARKERS[k % len(MARKERS)],
            linestyle=DASHES[k % len(DASHES)] if numeric else "none",
            capsize=3,
            markersize=5,
        )
    if not numeric:
        axis.set_xticks(range(len(xs)), [str(x) for x in xs])
        axis.set_xlim(-0.5, len(xs) - 0.2)
    elif plot.log_x:
        axis.set_xscale("log")
        axis.set_xticks(xs, [f"{x:g}" for x in xs])
        axis.minorticks_off()
    if plot.log_y:
        axis.set_yscale("log")
    axis.set_xlabel(plot.x_title)
    axis.set_ylabel(plot.y_title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
