"""Random ragged windows on which a forecaster's graphs are held against our own runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from unrolled.data.windows import Ready, WindowBatch
from unrolled.interop.onnx.export_cases import BATCHES, Arrays, Case, draw_lengths, flat_state
from unrolled.interop.onnx.export_forecaster import SAID, is_scaled_inside
from unrolled.interop.onnx.graph import Array
from unrolled.runtime.distributions import Predictive
from unrolled.runtime.forecaster_model import ForecastModel

# Steps before the window, which a scale of the whole series counts.
BEFORE = 3


def forecaster_cases(model: ForecastModel, generator: np.random.Generator) -> Iterator[Case]:
    """Yield windows, and what is said of the horizon."""
    spec = model.network.spec
    for feeds, batch in _windows(model, generator):
        outputs = model.network.outputs(batch)
        said = model.network.say(outputs, batch.base, batch.location, batch.scale)
        if spec.known_size:
            feeds["ahead"] = batch.ahead
        yield feeds, _said(model, said)


def encoder_cases(model: ForecastModel, generator: np.random.Generator) -> Iterator[Case]:
    """Yield windows, and where an autoregressive forecaster begins."""
    network = model.network
    for feeds, batch in _windows(model, generator):
        _, state = network.recurrent(network.read(batch, shifted=True), lengths=batch.lengths)
        expected = flat_state(network.spec.recurrent, state, "_n")
        expected["y_n"] = _ends(feeds["y"], batch)
        if network.spec.residual == "last":
            expected["last_n"] = batch.base[:, 0]
        if is_scaled_inside(model):
            expected |= _scale(batch)
        yield feeds, expected


def step_cases(model: ForecastModel, generator: np.random.Generator) -> Iterator[Case]:
    """Yield two steps in a row after each window, the second from a drawn value."""
    network, spec = model.network, model.network.spec
    stack, added = spec.recurrent, spec.residual == "last"
    for given, batch in _windows(model, generator):
        _, state = network.recurrent(network.read(batch, shifted=True), lengths=batch.lengths)
        y, base = _ends(given["y"], batch), batch.base[:, 0].astype(np.float64)
        fixed = {name: given[name] for name in ("static",) if name in given} | _scale(batch)
        for t in range(min(2, spec.horizon)):
            feeds = {"y": y, **fixed, **flat_state(stack, state)}
            if spec.known_size:
                feeds["known"] = batch.ahead[:, t]
            if added:
                feeds["last"] = base
            observed = np.isfinite(y)
            value = np.where(observed, (y - batch.location) / batch.scale, 0)
            base = np.where(observed, value, base) if added else np.zeros(len(y))
            outputs, state = network.advance(
                value, observed.astype(np.float32), batch.ahead[:, t], batch.static, state
            )
            said = network.say(outputs[:, None], base[:, None], batch.location, batch.scale)
            expected = {name: each[:, 0] for name, each in _said(model, said).items()}
            expected |= flat_state(stack, state, "_n")
            if added:
                expected["last_n"] = base
            yield feeds, expected
            y = batch.location + batch.scale * generator.normal(size=len(y))


def _windows(
    model: ForecastModel, generator: np.random.Generator
) -> Iterator[tuple[Arrays, WindowBatch]]:
    """Yield what a caller feeds of some series, and the windows that our own code makes of them."""
    for rows, steps in BATCHES:
        series = [
            _series(model, generator, int(length) + BEFORE, far=bool(k % 2))
            for k, length in enumerate(draw_lengths(generator, rows, steps, 1))
        ]
        places = [(k, len(each.y)) for k, each in enumerate(series)]
        # Some windows begin where their series does.
        places = [(k, end - BEFORE * (k % 2)) for k, end in places]
        batch = model.batch(series, places, model.horizon)
        y = np.zeros(batch.y.shape)
        for row, (which, origin) in enumerate(places):
            n = batch.lengths[row]
            y[row, :n] = series[which].y[origin - n : origin]
        feeds: Arrays = {"y": y, "lengths": batch.lengths}
        for name in ("past", "known", "static"):
            if getattr(batch, name).shape[-1]:
                feeds[name] = getattr(batch, name)
        if not is_scaled_inside(model):
            feeds |= _scale(batch)
        yield feeds, batch


def _series(
    model: ForecastModel, generator: np.random.Generator, steps: int, *, far: bool
) -> Ready:
    """Return a series around a level of its own, a fifth of it missing; counts where asked for.

    One that is not `far` has values around 1, of which a difference shows best.
    """
    spec = model.network.spec
    level, spread = (generator.uniform(10, 1000), 10.0) if far else (0.0, 1.0)
    y = generator.normal(level, spread, steps)
    if spec.output == "negative_binomial":
        y = generator.poisson(generator.uniform(1, 20), steps).astype(np.float64)
    y[generator.random(steps) < 0.2] = np.nan

    def numbers(*shape: int) -> Array:
        return generator.normal(size=shape).astype(np.float32)

    known = numbers(steps + spec.horizon, spec.known_size)
    return Ready("", y, numbers(steps, spec.past_size), known, numbers(spec.static_size))


def _ends(y: Array, batch: WindowBatch) -> Array:
    ends: Array = y[np.arange(len(y)), batch.lengths - 1]
    return ends


def _scale(batch: WindowBatch) -> Arrays:
    return {"window_location": batch.location, "window_scale": batch.scale}


def _said(model: ForecastModel, said: Predictive) -> dict[str, Any]:
    names = SAID[model.network.spec.output]
    return {n: getattr(said, "values" if n == "quantiles" else n) for n in names}
