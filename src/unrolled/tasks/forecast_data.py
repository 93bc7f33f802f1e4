"""What a forecaster learns from: its parts, what is held out, and what is too short."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.config import TrainSpec
from unrolled.data.panel import Panel, Series
from unrolled.data.windows import Place, Ready, ready
from unrolled.errors import DataError
from unrolled.forecast_options import ForecastOptions
from unrolled.runtime.forecaster_model import rolling
from unrolled.spec import ForecasterSpec
from unrolled.tasks.base import Plan, Run

MOST_CATEGORIES = 1000


@dataclass(frozen=True)
class Material:
    """Series to learn from up to `ends`, and the origins of validation in `held`."""

    series: list[Ready]
    ends: list[int]
    held: list[Ready]
    places: list[Place]


def material_of(panel: Panel, validation: Panel | None, plan: Plan, run: Run) -> Material:
    """Return the series with what is held out of them; tells what is short or constant.

    Raises DataError where nothing is left to learn from or to validate on.
    """
    spec, network = plan.data.forecasting, plan.network
    assert spec is not None
    assert isinstance(network, ForecasterSpec)
    horizon = network.horizon
    for found in (panel, *(() if validation is None else (validation,))):
        if not any(np.isfinite(each.y).any() for each in found.series):
            raise DataError(f"{found.name}: every value of {plan.data.target!r} is missing")
    series = ready(panel, spec, horizon)
    ends = [training_steps(each, network, plan.training, validation) for each in panel.series]
    short = [k for k, each in enumerate(panel.series) if ends[k] < horizon + 1]
    if short:
        each = panel.series[short[0]]
        rest = "" if validation is not None else ", what is held out apart"
        text = (
            f"{len(short)} of {len(panel)} series are too short to learn from: the first, "
            f"{each.where}, has {len(each)} steps; expected {horizon + 1} or more{rest}"
        )
        if len(short) == len(panel):
            raise DataError(f"{panel.name}: {text}")
        run.notify(f"{panel.name}: {text}; the others are learned")
    flat = [each for each in panel.series if _constant(each.y)]
    if flat:
        run.notify(
            f"{panel.name}: {len(flat)} of {len(panel)} series are constant, the first "
            f"{flat[0].where}; they are scaled by 1 and left out of MASE"
        )
    if validation is not None:
        return Material(
            series, ends, ready(validation, spec, horizon),
            rolling(validation, spec.window, horizon, 0, 1),
        )  # fmt: skip
    places = [
        (k, origin)
        for k, each in enumerate(panel.series)
        if k not in short
        for origin in range(ends[k], len(each) - horizon + 1)
        if learnable(each.y, origin, spec.window, horizon)
    ]
    if not places:
        raise DataError(
            f"{panel.name}: nothing is left to validate on; series need {2 * horizon + 1} steps or "
            "more, or give a validation file"
        )
    return Material(series, ends, series, places)


def training_steps(
    series: Series,
    options: ForecastOptions | ForecasterSpec,
    training: TrainSpec,
    validation: Panel | None,
) -> int:
    """Return how many steps of a series are learned from; the rest is held out."""
    if validation is not None:
        return len(series)
    held = max(options.horizon, round(training.validation_fraction * len(series)))
    return len(series) - held


def learnable(y: Any, origin: int, window: int, horizon: int) -> bool:
    """Return whether a window has a value to read and one to learn."""
    before, after = y[max(0, origin - window) : origin], y[origin : origin + horizon]
    return bool(np.isfinite(before).any() and np.isfinite(after).any())


def _constant(y: Any) -> bool:
    known = y[np.isfinite(y)]
    return bool(len(known) > 1 and (known == known[0]).all())


def covariates(
    panel: Panel, kept: Sequence[int]
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[str, ...]]]:
    """Return mean and deviation of covariates that are numbers, and the categories of the others.

    Those in time are measured over the first `kept` steps of each series. Raises DataError for a
    static covariate of more than 1,000 categories.
    """
    columns = panel.columns
    heads = [each.head(n) for each, n in zip(panel.series, kept, strict=True)]
    measures = {
        name: _measure([getattr(each, kind)[:, k] for each in heads])
        for kind, names in (("past", columns.past), ("future", columns.future))
        for k, name in enumerate(names)
    }
    categories: dict[str, tuple[str, ...]] = {}
    for k, name in enumerate(columns.static):
        values = [each.static[k] for each in panel.series]
        numbers = _numbers(values) if name != columns.id else None
        if numbers is not None:
            measures[name] = _measure([numbers])
            continue
        categories[name] = tuple(sorted({str(value) for value in values}))
        if len(categories[name]) > MOST_CATEGORIES:
            raise DataError(
                f"{panel.name}: {name!r} has {len(categories[name])} categories; expected "
                f"{MOST_CATEGORIES} at most"
            )
    return measures, categories


def _measure(parts: list[Any]) -> tuple[float, float]:
    """Return mean and deviation of the known values; a deviation of 0 becomes 1."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    scale = float(values.std())
    return float(values.mean()), scale if scale > 0 else 1.0


def _numbers(values: list[Any]) -> Any:
    """Return values as floats, None where one is no number."""
    try:
        return np.array([float(value) for value in values])
    except (TypeError, ValueError):
        return None


def check_counts(panel: Panel, options: ForecastOptions) -> None:
    """Raise DataError where a negative binomial is asked for values that are no counts."""
    if options.output != "negative_binomial":
        return
    for each in panel.series:
        known = each.y[np.isfinite(each.y)]
        if len(known) and ((known < 0) | (known != np.floor(known))).any():
            wrong = known[(known < 0) | (known != np.floor(known))][0]
            raise DataError(
                f"{panel.name}: output 'negative_binomial' is for counts, but a series "
                f"({each.where}) holds {wrong:g}"
            )


def data_hash(panel: Panel) -> str:
    """Return the SHA-256 of what the series hold."""
    digest = hashlib.sha256(str((panel.columns, str(panel.freq))).encode())
    for each in panel.series:
        digest.update(f"{each.id} {each.origin} {each.static}".encode())
        for part in (each.y, each.past, each.future):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
