"""What explains a forecast: its value, by the steps of its window or by its covariates.

A step that is gone is a value that is missing: the network reads 0 beside an indicator that says
so, and what is added to its answer is the last value that is left. The scale stays that of the
whole window, so that all scores are of one forecast. Calendar and what is known ahead stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unrolled.data.frequency import stamps_at
from unrolled.data.panel import Panel
from unrolled.data.windows import WindowBatch, base_of, base_places
from unrolled.errors import DataError
from unrolled.explain.gradients import slope_of, twin
from unrolled.explain.subject import Array, Differentiable, How, Mask, Reader, Reading, Subject
from unrolled.explain.subjects.places import place
from unrolled.runtime.distributions import LEAST_MEAN
from unrolled.runtime.forecaster import ForecasterNetwork
from unrolled.runtime.forecaster_model import DRAWN_ROWS, ForecastModel

COVARIATES = "covariates"
MEAN_PATH = (
    "The forecast is the mean of paths that are drawn, and a draw has no slope. Followed instead is"
    " the one path on which each step reads the mean of the step before."
)


@dataclass(frozen=True)
class From:
    """One series of a panel and the step from which it is forecast; None: from its end."""

    panel: Panel
    origin: int | None = None
    which: int = 0


@dataclass(frozen=True)
class _Window:
    """One window, its place, and what the horizon's value is of it."""

    model: ForecastModel
    batch: WindowBatch
    stamps: tuple[str, ...]
    id: Any
    chosen: slice

    @property
    def steps(self) -> int:
        """The steps that are read, n."""
        return int(self.batch.lengths[0])

    def masked(self, keep: Mask) -> WindowBatch:
        """Return N windows in each of which only the values at `keep` [N, n] are there."""
        found, rows = self.batch, len(keep)
        y, observed = found.y * keep, found.observed * keep
        return self._with_base(
            replace(
                _repeated(found, rows), y=y.astype(found.y.dtype),
                observed=observed.astype(found.observed.dtype), past=found.past * keep[..., None],
            )
        )  # fmt: skip

    def without(self, columns: dict[str, Array]) -> WindowBatch:
        """Return N windows with only some columns: `y` [N, 1], `past`, `known`, `static` [N, k]."""
        found, rows = self.batch, len(columns["y"])
        whole = _repeated(found, rows)
        return self._with_base(
            replace(
                whole,
                y=whole.y * columns["y"],
                observed=whole.observed * columns["y"],
                past=whole.past * columns["past"][:, None],
                known=whole.known * columns["known"][:, None],
                ahead=whole.ahead * columns["known"][:, None],
                static=whole.static * columns["static"],
            )
        )

    def _with_base(self, found: WindowBatch) -> WindowBatch:
        spec, horizon = self.model.network.spec, found.ahead.shape[1]
        season, there = self.model.forecasting.season, found.observed > 0
        base = base_of(found.y, there, found.lengths, horizon, spec.residual, season)
        return replace(found, base=base)

    def values(self, found: WindowBatch) -> Array:
        """Return the mean of the chosen forecasts of each window [N], in the unit of the series."""
        model, rows = self.model, len(found)
        samples = model.forecasting.samples
        drawn = model.network.spec.decoder == "autoregressive"
        size = max(1, DRAWN_ROWS // samples) if drawn else max(1, rows)
        told = []
        for at in range(0, rows, size):
            part = _rows(found, slice(at, at + size))
            # One name for all: the same numbers are drawn for every window, so that they compare.
            said = model.network.predict(part, names=[self.id] * len(part), samples=samples)
            told.append(said.mean[:, self.chosen].mean(axis=1))
        answered: Array = np.concatenate(told)
        return answered


def _rows(found: WindowBatch, part: slice) -> WindowBatch:
    return WindowBatch(**{name: values[part] for name, values in vars(found).items()})


def _repeated(found: WindowBatch, rows: int) -> WindowBatch:
    return WindowBatch(
        **{name: np.repeat(values, rows, axis=0) for name, values in vars(found).items()}
    )


def reader(model: ForecastModel) -> Reader:
    """Return the stack that reads windows, and what maps a series to its steps."""

    def read(data: Any) -> Reading:
        window = _window(model, data, slice(None))
        return Reading(window.stamps, _read(model.network, window.batch)[1])

    return model.network.recurrent, read


def subject(model: ForecastModel, data: Any, target: str | None) -> Subject:
    """Return the subject of a series' mean forecast, or of the `target`-th step ahead, from 1.

    `data` is a frame of one series, or `From`. With the target `covariates`, or `covariates:3` for
    one step, the parts are not the steps but what is read beside them, each as a whole. Raises
    DataError for several series and where what is known ahead is missing, ConfigError for a step
    beyond the horizon.
    """
    head, _, tail = (target or "").partition(":")
    by_covariates = head == COVARIATES
    at = place((tail if by_covariates else head) or None, ("",) * model.horizon, "the horizon")
    window = _window(model, data, slice(None) if at is None else slice(at, at + 1))
    told = f"{at + 1} steps ahead" if at else "the next step"
    common: dict[str, Any] = {
        "answer": f"mean of the next {model.horizon} values" if at is None else f"value of {told}",
        "quantity": f"forecast [unit of {model.config.data.target}]",
        "removable": False,
        "either_way": True,
        "name": str(window.id) or model.config.data.target,
    }
    if by_covariates:
        return _by_covariates(window, {**common, "name": f"{common['name']}, {COVARIATES}"})

    def score(keep: Mask, how: How) -> Array:
        return window.values(window.masked(keep))

    before, read = _read(model.network, window.batch)
    return Subject(
        steps=window.stamps,
        score=score,
        stack=model.network.recurrent,
        read=read,
        differentiable=_slope(window, read) if before is None else _path(window, before, read),
        before=before,
        series=True,
        **common,
    )


def _window(model: ForecastModel, data: Any, chosen: slice) -> _Window:
    given = data if isinstance(data, From) else From(model.read(data))
    if not isinstance(data, From) and len(given.panel) > 1:
        raise DataError(
            f"{given.panel.name}: holds {len(given.panel)} series; expected one to explain"
        )
    panel = replace(given.panel, series=(given.panel.series[given.which],))
    (series,) = panel.series
    origin = len(series) if given.origin is None else given.origin
    ready = model.ready(panel, model.horizon)
    found = model.batch(ready, [(0, origin)], model.horizon)
    model.check(ready, [(0, origin)], found, model.horizon)
    places = np.arange(origin - int(found.lengths[0]), origin)
    stamps = panel.style.write(stamps_at(panel.freq, series.origin, places))
    return _Window(model, found, tuple(map(str, stamps)), series.id, chosen)


def _read(network: ForecasterNetwork, found: WindowBatch) -> tuple[Array | None, Array]:
    """Return what the stack reads of one window before its first step, and of each step.

    An autoregressive stack reads a value one step later, beside what is known of that step.
    """
    if network.spec.decoder != "autoregressive":
        return None, network.read(found)[0]
    shifted = network.read(found, shifted=True)[0]
    last = [found.y[0, -1:], found.observed[0, -1:], found.ahead[0, 0], found.static[0]]
    return shifted[:1], np.concatenate(
        [shifted[1:], np.concatenate(last)[None].astype(network.dtype)]
    )


def _slope(window: _Window, read: Array) -> Callable[[], Differentiable]:
    model, found = window.model, window.batch
    spec = model.network.spec
    places = base_places(
        found.observed > 0, found.lengths, model.horizon, spec.residual, model.forecasting.season
    )[0]
    nothing = np.zeros((1, window.steps), bool)

    def slope() -> Differentiable:
        import torch

        from unrolled.nn.forecaster import Window

        module = twin(spec, model.network.weights)
        scale, location = float(found.scale[0]), float(found.location[0])

        def answer(given: Any) -> Any:
            whole = _repeated(found, len(given))
            tensors = {
                name: torch.from_numpy(np.asarray(getattr(whole, name))) for name in Window._fields
            }
            doubled = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
            hook = module.recurrent.register_forward_pre_hook(
                lambda _, inputs, named: ((given,), named), with_kwargs=True
            )
            try:
                outputs = module(Window(**doubled))
            finally:
                hook.remove()
            if spec.output == "negative_binomial":
                mean = scale * (torch.nn.functional.softplus(outputs[..., 0]) + LEAST_MEAN)
                return mean[:, window.chosen].mean(dim=1)
            middle = spec.quantiles.index(0.5) if spec.output == "quantiles" else 0
            added = torch.where(
                torch.from_numpy(places >= 0), given[:, np.maximum(places, 0), 0], 0.0
            )
            values = (outputs[..., middle] + added) * scale + location
            return values[:, window.chosen].mean(dim=1)

        blank = model.network.read(window.masked(nothing))[0]
        return slope_of(read, blank, answer)

    return slope


def _path(window: _Window, before: Array, read: Array) -> Callable[[], Differentiable]:
    """Return the slope of the path on which an autoregressive stack reads its own means.

    m_t = E[y_t | x, m_1 .. m_(t-1)], which for the first step is what the draws are of (Salinas et
    al. 2020, section 3.1, with each draw's mean in its place).
    """
    model, found = window.model, window.batch
    spec, steps = model.network.spec, found.ahead.shape[1]
    last = base_places(found.observed > 0, found.lengths, 1, spec.residual, 1)[0, 0]
    nothing = np.zeros((1, window.steps), bool)

    def slope() -> Differentiable:
        import torch

        module = twin(spec, model.network.weights)
        scale, location = float(found.scale[0]), float(found.location[0])
        first, ahead, static = (
            torch.from_numpy(part.astype(np.float64))
            for part in (before, found.ahead[0], found.static[0])
        )

        def answer(given: Any) -> Any:
            rows = len(given)
            y, state = module.recurrent(torch.cat([first.expand(rows, -1, -1), given], dim=1))
            value = given[:, last, 0] if last >= 0 else given.new_zeros(rows)
            means = []
            for t in range(steps):
                if t:
                    known = torch.cat([torch.ones(1).double(), ahead[t], static]).expand(rows, -1)
                    told = torch.cat([value[:, None], known], dim=1)
                    y, state = module.recurrent(told[:, None], state)
                output = module.output(y[:, -1])[:, 0]
                if spec.output == "negative_binomial":
                    mean = scale * (torch.nn.functional.softplus(output) + LEAST_MEAN)
                else:
                    added = value if spec.residual == "last" else 0.0
                    mean = (output + added) * scale + location
                value = (mean - location) / scale
                means.append(mean)
            return torch.stack(means, dim=1)[:, window.chosen].mean(dim=1)

        blank = _read(model.network, window.masked(nothing))[1]
        return replace(slope_of(read, blank, answer), note=MEAN_PATH)

    return slope


def _by_covariates(window: _Window, common: dict[str, Any]) -> Subject:
    groups = _groups(window.model)
    width = {name: getattr(window.batch, name).shape[-1] for name in ("past", "known", "static")}
    width["y"] = 1

    def score(keep: Mask, how: How) -> Array:
        columns = {name: np.ones((len(keep), size), np.float32) for name, size in width.items()}
        for k, (_, name, places) in enumerate(groups):
            columns[name][:, places] *= keep[:, k : k + 1]
        return window.values(window.without(columns))

    return Subject(
        steps=tuple(name for name, _, _ in groups),
        score=score,
        stack=None,
        read=None,
        differentiable=None,
        **common,
    )


def _groups(model: ForecastModel) -> list[tuple[str, str, list[int]]]:
    """Return what is read beside the time: its name, the array that it is in, and its columns."""
    spec, target = model.forecasting, model.config.data.target
    found: list[tuple[str, str, list[int]]] = [(f"{target}, its own past", "y", [0])]
    several = len(spec.past)
    found += [(f"{name} (past)", "past", [k, several + k]) for k, name in enumerate(spec.past)]
    found += [
        (f"calendar: {name}", "known", [2 * k, 2 * k + 1]) for k, name in enumerate(spec.calendar)
    ]
    first, several = 2 * len(spec.calendar), len(spec.future)
    found += [
        (f"{name} (known ahead)", "known", [first + k, first + several + k])
        for k, name in enumerate(spec.future)
    ]
    at = 0
    for name in spec.static:
        size = len(spec.categories.get(name, ("",)))
        found.append((f"{name} (static)", "static", list(range(at, at + size))))
        at += size
    return found
