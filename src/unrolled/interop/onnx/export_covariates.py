"""Covariates of a forecaster in a graph: raw, as a user has them, to what the network reads.

The twin of `unrolled.data.windows.ready`. Numbers are float64, NaN where missing; a category is its
place among those that were there in training; a stamp is in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from unrolled.config import ForecastingSpec
from unrolled.data.windows import static_size
from unrolled.errors import InteropError
from unrolled.interop.onnx.export_calendar import calendar_numbers
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.runtime.forecaster_model import ForecastModel

AHEAD = "_ahead"
SECONDS = "seconds since 1970-01-01 00:00"

Shape = list[int | str]


def check_sizes(model: ForecastModel) -> None:
    """Raise InteropError where a network reads other numbers than its model's covariates make."""
    spec, reads = model.network.spec, model.forecasting
    made = {
        "past_size": 2 * len(reads.past),
        "known_size": 2 * (len(reads.calendar) + len(reads.future)),
        "static_size": static_size(reads),
    }
    for name, count in made.items():
        if getattr(spec, name) != count:
            raise InteropError(
                f"the forecaster's {name} is {getattr(spec, name)}, but the covariates that it "
                f"reads make {count} numbers"
            )


def past_numbers(g: GraphBuilder, reads: ForecastingSpec, shape: Shape) -> str:
    """Return the past covariates of steps `shape` as they are read, [..., 2 * P], or nothing."""
    if not reads.past:
        return ""
    raw = g.input("past", [*shape, len(reads.past)], "double")
    return _standard(g, raw, reads.past, reads)


def known_numbers(g: GraphBuilder, reads: ForecastingSpec, shape: Shape, ending: str = "") -> str:
    """Return the calendar and the future covariates as they are read, [..., K], or nothing.

    `ending` is what the inputs' names end in.
    """
    parts = []
    if reads.calendar:
        stamp = g.input(f"stamp{ending}", shape, "double")
        parts.append(calendar_numbers(g, stamp, reads.calendar))
    if reads.future:
        raw = g.input(f"future{ending}", [*shape, len(reads.future)], "double")
        parts.append(_standard(g, raw, reads.future, reads))
    if not parts:
        return ""
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=-1)


def static_numbers(g: GraphBuilder, reads: ForecastingSpec, rows: str) -> str:
    """Return the static covariates as they are read, [N, S], or nothing."""
    numbers, kinds = static_columns(reads)
    parts = dict.fromkeys(reads.static, "")
    if numbers:
        raw = g.input("static", [rows, len(numbers)], "double")
        scaled = g.floats(_scaled(g, raw, numbers, reads))
        for k, name in enumerate(numbers):
            parts[name] = g.op("Gather", scaled, g.constant([k]), axis=1)
    if kinds:
        given = g.input("categories", [rows, len(kinds)], "integer")
        for k, name in enumerate(kinds):
            place = g.op("Gather", given, g.constant(k), axis=1)
            parts[name] = _one_hot(g, place, len(reads.categories[name]))
    if not parts:
        return ""
    found = list(parts.values())
    return found[0] if len(found) == 1 else g.op("Concat", *found, axis=1)


def static_columns(reads: ForecastingSpec) -> tuple[list[str], list[str]]:
    """Return the static covariates that are numbers, and those that are categories."""
    numbers = [name for name in reads.static if name not in reads.categories]
    return numbers, [name for name in reads.static if name in reads.categories]


def _one_hot(g: GraphBuilder, place: str, count: int) -> str:
    """Return rows [N, count] of an identity; places [N] outside it are an error of the run."""
    # A Gather would take a negative place from the end.
    negative = g.op("Less", place, g.constant(0))
    place = g.op("Where", negative, g.constant(count), place)
    return g.op("Gather", g.constant(np.eye(count)), place)


def _standard(g: GraphBuilder, raw: str, names: Sequence[str], reads: ForecastingSpec) -> str:
    """Return (x - mean) / deviation [..., k], 0 where missing, and beside it where it is there."""
    finite = g.op("Less", g.op("Abs", raw), g.constant(np.inf, double=True))
    scaled = _scaled(g, raw, names, reads)
    kept = g.op("Where", finite, scaled, g.constant(0.0, double=True))
    return g.op("Concat", g.floats(kept), g.floats(finite), axis=-1)


def _scaled(g: GraphBuilder, raw: str, names: Sequence[str], reads: ForecastingSpec) -> str:
    means, scales = zip(*(reads.statistics[name] for name in names), strict=True)
    apart = g.op("Sub", raw, g.constant(means, double=True))
    return g.op("Div", apart, g.constant(scales, double=True))


def input_notes(model: ForecastModel, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what a caller must know of those of a graph's inputs that are made from data.

    By the name of an input: its columns in their order, its unit, what stands for a missing value,
    and of categories the values of each column, whose places are counted from 0.
    """
    reads = model.forecasting
    numbers, kinds = static_columns(reads)
    columns = {"columns": list(reads.future), "missing": "NaN"}
    stamp = {"columns": [reads.time], "unit": SECONDS, "freq": reads.freq}
    notes: dict[str, dict[str, Any]] = {
        "y": {"columns": [model.config.data.target], "missing": "NaN"},
        "lengths": {"unit": "steps", "most": reads.window},
        "past": {"columns": list(reads.past), "missing": "NaN"},
        "stamp": stamp,
        f"stamp{AHEAD}": stamp,
        "future": columns,
        f"future{AHEAD}": columns,
        "static": {"columns": numbers},
        "categories": {
            "columns": kinds,
            "values": {name: reads.categories[name] for name in kinds},
        },
    }
    return {name: notes[name] for name in names if name in notes}
