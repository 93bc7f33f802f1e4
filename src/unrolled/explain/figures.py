"""The same pictures by matplotlib, for a PNG, SVG or PDF file of their own."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.artifact import write_files
from unrolled.errors import ConfigError
from unrolled.explain.alignment import checked
from unrolled.explain.curves import Log, best_epoch, charts
from unrolled.explain.labels import MOST_UPRIGHT, fitted, short, width
from unrolled.explain.plotting import fonts, legend_below, new_figure, titled, with_reading, wrapped
from unrolled.explain.readings import (
    ALIGNMENT_READING,
    BARS_READING,
    DELETION_READING,
    GATE_READING,
    HEAT_READING,
    MEMORY_READING,
    WORDS_READING,
)
from unrolled.explain.results import Attribution, DeletionTest, Explanation, LayerStates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
MOST_NUMBERED_COLUMNS = 20
MOST_NAMED_STEPS = 40
# The page's colours: of values below 0, of 0, and above.
SIGNED = ("#963e08", "#ffffff", "#083b86")
MOST_NAMED_TIMES = 6
WIDEST_NAME = 14.0
# Of the height of a panel, what is left for the label of its y axis.
LABEL_INCHES = 1.5


def alignment_figure(
    weights: Any,
    source: Sequence[str],
    target: Sequence[str],
    *,
    title: str = "Alignment",
    source_unit: str = "token",
    target_unit: str = "token",
) -> Figure:
    """Draw weights [T, S] as a heat map: target tokens down, source tokens across.

    Raises `ConfigError` without matplotlib and `ValueError` where the weights are not an alignment
    of the tokens.
    """
    array = checked(weights, target, source)
    figure = new_figure(max(4.0, 1.6 + 0.36 * len(source)), max(3.0, 1.5 + 0.36 * len(target)))
    axes = figure.subplots()
    image = axes.imshow(array, vmin=0, vmax=1, cmap="Blues", aspect="equal")
    axes.set_xticks(range(len(source)), [short(s) for s in source], fontfamily=fonts())
    axes.set_yticks(range(len(target)), [short(t) for t in target], fontfamily=fonts())
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    if max((len(s) for s in source), default=0) > MOST_UPRIGHT:
        for label in axes.get_xticklabels():
            label.set(rotation=60, ha="left", rotation_mode="anchor")
    axes.set_xlabel(f"{source_unit}s read")
    axes.set_ylabel(f"{target_unit}s written")
    axes.set_title(titled(title, 0.7 * figure.get_figwidth()), fontfamily=fonts())
    if len(source) <= MOST_NUMBERED_COLUMNS:
        for t, row in enumerate(array):
            for s, weight in enumerate(row):
                if weight >= 0.05:
                    color = "white" if weight > 0.6 else "black"
                    axes.text(s, t, f"{weight:.2f}", ha="center", va="center", color=color, size=7)
    figure.colorbar(image, ax=axes, label="attention weight, 0 to 1", shrink=0.8)
    reading = ALIGNMENT_READING.format(source_unit=source_unit, target_unit=target_unit)
    return with_reading(figure, reading.partition(" The stronger")[0])


def attribution_figure(found: Explanation) -> Figure:
    """Draw what each step did for the answer: a panel of bars a method, and its deletion test.

    Raises `ConfigError` without matplotlib.
    """
    rows = len(found.attributions)
    figure = new_figure(attribution_width(found), 2.0 + rows * attribution_height(found))
    grid = figure.subplots(rows, 2, squeeze=False, width_ratios=(2, 1))
    for (bars, curves), each in zip(grid, found.attributions, strict=True):
        draw_attribution(bars, curves, each, found)
    title = f"Which step mattered for: {found.answer}"
    figure.suptitle(titled(title, figure.get_figwidth()), fontfamily=fonts())
    return with_reading(figure, *attribution_readings(found))


def attribution_width(found: Explanation) -> float:
    """Return how wide a figure of attributions is, in inches."""
    return 4 + min(8.0, 2 + 0.3 * len(found.steps))


def attribution_height(found: Explanation) -> float:
    """Return how high a panel of attributions is, with the names of its steps, in inches."""
    names = [] if len(found.steps) > MOST_NAMED_STEPS else [_named(step) for step in found.steps]
    leaning = max(map(len, names), default=0) > MOST_UPRIGHT and not found.series
    return 2.7 + (0.1 * max(map(width, names)) if leaning else 0.0)


def attribution_readings(found: Explanation) -> list[str]:
    """Return how to read each method's bars, their colours and the tests beside them."""
    said = [f"{each.title}: {each.reading}" for each in found.attributions]
    return [*said, BARS_READING[found.either_way], f"Deletion test: {DELETION_READING}"]


def draw_attribution(bars: Any, curves: Any, each: Attribution, found: Explanation) -> None:
    """Draw what one method says of each step as bars, and beside them its deletion test."""
    places = list(range(1, len(found.steps) + 1))
    colours = ["tab:blue" if value >= 0 else "tab:orange" for value in each.values]
    bars.bar(places, each.values, color=colours)
    bars.axhline(0, color="gray", linewidth=0.8)
    bars.set_title(each.title)
    bars.set_ylabel(wrapped(each.unit, LABEL_INCHES, 9), size=9, fontfamily=fonts())
    _name_steps(bars, found.steps, places, series=found.series)
    if each.deletion is not None:
        _draw_deletion(curves, each.deletion, found)


def words_figure(found: Explanation) -> Figure:
    """Draw what each part did for each written unit: units down, parts across.

    Raises `ConfigError` without matplotlib or where the explanation has no such grid.
    """
    if found.words is None:
        raise ConfigError("this explanation has no written units; ask for the method 'occlusion'")
    values, written = found.words.values, found.words.written
    wide = 3 + min(10.0, 0.36 * len(found.steps))
    figure = new_figure(wide, max(4.0, 2.2 + min(14.0, 0.3 * len(written))))
    axes = figure.subplots()
    most = _draw_signed(figure, axes, values, "fall of the log-probability [nats]")
    _name_steps(axes, found.steps, range(len(found.steps)))
    rows = [f"{short(unit)} ({t})" for t, unit in enumerate(written, start=1)]
    axes.set_yticks(range(len(rows)), rows, fontfamily=fonts())
    axes.set_xlabel("part of the input")
    axes.set_ylabel("written")
    axes.set_title("What each part did for each word")
    return with_reading(figure, WORDS_READING.format(most=most))


def memory_figure(found: Explanation) -> Figure:
    """Draw the memory curve and the answer's own by lag, each as a share of its largest.

    Raises `ConfigError` without matplotlib or where the explanation has no memory.
    """
    memory = found.memory
    if memory is None:
        raise ConfigError("this explanation has no memory to draw; ask for the method 'memory'")
    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    for name, values, style in (
        ("gradient: norm of d h_T / d x", memory.norms, "o-"),
        ("answer: change without the step", memory.deletion, "s--"),
    ):
        most = max(values) or 1.0
        axes.plot(range(len(values)), [v / most for v in values], style, label=name, markersize=4)
    axes.set_xlabel("lag in steps")
    axes.set_ylabel("share of the largest")
    axes.set_title("Memory by lag")
    axes.legend()
    return with_reading(figure, MEMORY_READING, memory.sentence)


def gates_figure(found: Explanation) -> Figure:
    """Draw, for each layer and direction that has gates, the mean of each over its units by step.

    Raises `ConfigError` without matplotlib or where there are no gates.
    """
    gated = [each for each in found.states if each.gates]
    if not gated:
        raise ConfigError("this explanation has no gates; ask for the method 'states'")
    steps = len(found.read)
    figure = new_figure(3 + min(10.0, 0.3 * steps), 1.2 + 2.8 * len(gated))
    rows = figure.subplots(len(gated), 1, squeeze=False)[:, 0]
    for axes, each in zip(rows, gated, strict=True):
        for gate, style in zip(each.gates, ("o-", "s--", "D:"), strict=False):
            axes.plot(range(steps), gate.over_time, style, label=gate.name, markersize=4)
        axes.set_ylim(0, 1)
        axes.set_ylabel("mean activity, 0 to 1")
        axes.set_title(f"Gates of {_place(each)}")
        _name_steps(axes, found.read, range(steps), series=found.series)
        axes.legend()
    return with_reading(figure, GATE_READING)


def states_figure(found: Explanation) -> Figure:
    """Draw, for each layer and direction, the states of the units that vary most as a heat map.

    Raises `ConfigError` without matplotlib or where the explanation has no states.
    """
    if not found.states:
        raise ConfigError("this explanation has no states to draw; ask for the method 'states'")
    steps = len(found.read)
    figure = new_figure(3 + min(10.0, 0.3 * steps), 1.2 + 3.6 * len(found.states))
    rows = figure.subplots(len(found.states), 1, squeeze=False)[:, 0]
    for axes, each in zip(rows, found.states, strict=True):
        state = "cell state c" if each.state == "c" else "state h"
        _draw_signed(figure, axes, each.heat, f"{state} (a plain number)")
        axes.set_yticks(range(len(each.units)), [each.name_of(u) for u in each.units], size=7)
        axes.set_ylabel("unit")
        axes.set_title(f"The {state} of {_place(each)}")
        _name_steps(axes, found.read, range(steps), series=found.series)
    return with_reading(figure, HEAT_READING)


def figures_of(found: Explanation) -> dict[str, Figure]:
    """Return a figure of each thing that the explanation has, by its name.

    Raises `ConfigError` without matplotlib.
    """
    drawn = {}
    if found.attributions:
        drawn["attributions"] = attribution_figure(found)
    if found.alignment is not None:
        weights = found.alignment.weights
        drawn["alignment"] = alignment_figure(weights, found.steps, found.alignment.written)
    if found.words is not None:
        drawn["words"] = words_figure(found)
    if found.states:
        drawn["states"] = states_figure(found)
    if any(each.gates for each in found.states):
        drawn["gates"] = gates_figure(found)
    if found.memory is not None:
        drawn["memory"] = memory_figure(found)
    return drawn


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> list[Path]:
    """Write figures by their names into a folder, each as PNG and SVG; return the files."""
    places = [
        (figure, Path(folder) / f"{name}.{ending}")
        for name, figure in figures.items()
        for ending in ("png", "svg")
    ]
    for figure, place in places:
        save_figure(figure, place)
    return [place for _, place in places]


def _draw_signed(figure: Figure, axes: Any, values: Any, label: str) -> float:
    """Draw a heat map of values of either sign and its bar; return the largest size."""
    from matplotlib.colors import LinearSegmentedColormap

    most = max((abs(v) for row in values for v in row), default=0.0)
    colours = LinearSegmentedColormap.from_list("signed", SIGNED)
    ends = {"vmin": -(most or 1.0), "vmax": most or 1.0}
    image = axes.imshow(values, cmap=colours, aspect="auto", **ends)
    figure.colorbar(image, ax=axes, label=label)
    return most


def _named(step: str) -> str:
    """Return a step's name; what is no unit of a text, such as a covariate, keeps its spaces."""
    return fitted(step, WIDEST_NAME) if " " in step.strip() else short(step)


def _name_steps(
    axes: Any, steps: Sequence[str], places: Sequence[int], *, series: bool = False
) -> None:
    """Write the names of steps below an axis, or only what it counts where they are many.

    Of places in time a few are named.
    """
    if series and max(map(len, steps)) > MOST_UPRIGHT:
        chosen = range(0, len(steps), -(-len(steps) // MOST_NAMED_TIMES))
        names = [steps[k] for k in chosen]
        turned = {"rotation": 20, "ha": "right", "size": 8}
        axes.set_xticks([places[k] for k in chosen], names, **turned)
    elif len(steps) <= MOST_NAMED_STEPS:
        names = [_named(step) for step in steps]
        long = max(map(len, names), default=0) > MOST_UPRIGHT
        turned = {"rotation": 60, "ha": "right"} if long else {}
        axes.set_xticks(places, names, fontfamily=fonts(), **turned)
    else:
        axes.set_xlabel("step")


def _place(each: LayerStates) -> str:
    return f"layer {each.layer + 1} {each.direction}"


def _draw_deletion(axes: Any, test: DeletionTest, found: Explanation) -> None:
    axes.set_title(f"deletion test:\n{test.verdict}", size=10)
    if len(test.ks) < 2:
        axes.set_axis_off()
        return
    full = test.top[0]
    lines = {"highest": test.top, "random": test.random, "lowest": test.bottom}
    for (name, scores), style in zip(lines.items(), ("o-", "s--", "D:"), strict=True):
        axes.plot(test.ks, [full - score for score in scores], style, label=name)
    low, high = ([full - score for score in ends] for ends in (test.random_high, test.random_low))
    axes.fill_between(test.ks, low, high, color="gray", alpha=0.2)
    axes.set_xlabel("steps gone")
    axes.xaxis.get_major_locator().set_params(integer=True)
    moved = f"{'change' if found.either_way else 'fall'} of the {found.quantity}"
    axes.set_ylabel(wrapped(moved, LABEL_INCHES, 8), size=8, fontfamily=fonts())
    legend_below(axes, 0.45, 3)


def learning_curves_figure(log: Log) -> Figure:
    """Draw losses [nats], rates [%] and BLEU by epoch, side by side, as far as the log has them.

    Raises `ConfigError` without matplotlib or where the log holds nothing to draw.
    """
    found = charts(log)
    if not found:
        raise ConfigError("the training log holds no loss and no metric to draw")
    figure = new_figure(4.6 * len(found), 3.4)
    best = best_epoch(log)
    for axes, chart in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        for line, style in zip(chart.series, ("o-", "s--", "D:", "^-."), strict=False):
            axes.plot(*zip(*line.points, strict=True), style, label=line.name)
        if best is not None:
            axes.axvline(best, color="gray", linestyle=(0, (2, 3)), label="best")
        axes.set_title(chart.title)
        axes.set_xlabel("epoch")
        axes.set_ylabel(chart.y_title)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure whole or not at all; the ending of `path` says whether PNG, SVG or PDF.

    Raises `ConfigError` for another ending.
    """
    place = Path(path)
    ending = place.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise ConfigError(f"{place}: cannot draw a {ending!r} file; one of: {', '.join(FORMATS)}")
    # A layout may change which ticks there are, and so how much room the next one has to leave.
    figure.draw_without_rendering()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending, dpi=150)
    write_files(place.parent, {place.name: buffer.getvalue()})
