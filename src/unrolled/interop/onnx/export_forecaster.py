"""A forecaster as ONNX graphs, from values as they were measured to what is said of the next ones.

Everything that depends on the window is in the graph: its scale, the missing values, what answers
are added to, and the way back to the units of the series, in float64 as in our own runtime.
Covariates come raw; what the network reads of them is made by `export_covariates`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.data.windows import FLAT, QUARTILES
from unrolled.interop.onnx.export_covariates import (
    AHEAD,
    known_numbers,
    past_numbers,
    static_numbers,
)
from unrolled.interop.onnx.export_layers import ends_of, joined_state, past_mask, stack
from unrolled.interop.onnx.export_networks import (
    N,
    T,
    bridged_states,
    linear,
    state_inputs,
    state_outputs,
)
from unrolled.interop.onnx.export_said import Placed, calibrated_said, said
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.runtime.forecaster import ForecasterNetwork
from unrolled.runtime.forecaster_model import ForecastModel


class _Window(NamedTuple):
    """What a graph knows of its windows.

    `raw` [N, T] float64 as given; `y` [N, T] float32, scaled, 0 where not `observed` [N, T];
    `location` and `scale` [N] float64; `lengths` [N].
    """

    raw: str
    y: str
    observed: str
    location: str
    scale: str
    lengths: str


def is_scaled_inside(model: ForecastModel) -> bool:
    """Whether the window alone tells its scale, so that the graph finds it."""
    return model.forecasting.scale_by == "window" or model.forecasting.scaling == "none"


def quantile_shares(model: ForecastModel) -> tuple[float, ...]:
    """Return which quantiles a file tells, none where it tells a distribution."""
    moved = model.forecasting.calibration
    return model.network.spec.quantiles if moved is None else moved.shares


def forecaster_graph(model: ForecastModel) -> GraphBuilder:
    """A forecaster that tells all steps of its horizon at once.

    y, lengths and covariates to what is said of each step, [N, H] or [N, H, Q], float64.
    """
    network, g = model.network, GraphBuilder("forecaster")
    spec, reads = network.spec, model.forecasting
    window = _window(g, model)
    x, static = _read(g, model, window.y, g.floats(window.observed))
    _, last = stack(g, network.recurrent, x, ends_of(g, window.lengths), None)
    h = joined_state(g, last[-1][0])
    ahead = known_numbers(g, reads, [N, spec.horizon], AHEAD)
    if network.head is not None:
        outputs = _head(g, network, h, ahead)
    else:
        c = joined_state(g, last[-1][1]) if spec.recurrent.cell == "lstm" else h
        outputs = _decoded(g, network, h, c, ahead, static)
    column = g.constant([1])
    location, scale = (g.op("Unsqueeze", each, column) for each in (window.location, window.scale))
    found = said(g, spec, outputs, Placed(_base(g, model, window), location, scale))
    if reads.calibration is not None:
        found = calibrated_said(g, spec, found, reads.calibration, scale)
    _give(g, found, [N, spec.horizon], len(quantile_shares(model)))
    return g


def forecaster_encoder_graph(model: ForecastModel) -> GraphBuilder:
    """The window of an autoregressive forecaster to the state before its last value is read.

    y, lengths, known and static to h_n (c_n), y_n, and where it finds them the window's scale and
    the last observed value.
    """
    network, g = model.network, GraphBuilder("encoder")
    window = _window(g, model)
    zero, early = g.constant(0.0), []
    for part in (window.y, g.floats(window.observed)):
        first = g.op("Slice", part, g.constant([0]), g.constant([1]), g.constant([1]))
        rest = g.op("Slice", part, g.constant([0]), g.constant([-1]), g.constant([1]))
        early.append(g.op("Concat", g.op("Mul", first, zero), rest, axis=1))
    x, _ = _read(g, model, *early)
    _, last = stack(g, network.recurrent, x, ends_of(g, window.lengths), None)
    state_outputs(g, network.spec.recurrent, last)
    end = g.op("Sub", window.lengths, g.constant(1))
    g.output("y_n", _pick(g, window.raw, end), [N], "double")
    if network.spec.residual == "last":
        g.output("last_n", g.doubles(_last(g, window)), [N], "double")
    if is_scaled_inside(model):
        g.output("window_location", g.op("Identity", window.location), [N], "double")
        g.output("window_scale", g.op("Identity", window.scale), [N], "double")
    return g


def forecaster_step_graph(model: ForecastModel) -> GraphBuilder:
    """One step of an autoregressive forecaster.

    The value y of the step before, the window's scale, covariates of this step, h (and c) to what
    is said of this step, and the same states after it.
    """
    network, g = model.network, GraphBuilder("decoder")
    spec = network.spec
    raw = g.input("y", [N], "double")
    location, scale = (g.input(f"window_{n}", [N], "double") for n in ("location", "scale"))
    missing = g.op("IsNaN", raw)
    scaled = g.op("Div", g.op("Sub", raw, location), scale)
    value = g.op("Where", missing, g.constant(0.0, double=True), scaled)
    parts = [
        g.op("Unsqueeze", g.floats(part), g.constant([1])) for part in (value, g.op("Not", missing))
    ]
    parts.append(known_numbers(g, model.forecasting, [N]))
    parts.append(static_numbers(g, model.forecasting, N))
    x = g.op("Concat", *filter(None, parts), axis=1)
    base = ""
    if spec.residual == "last":
        base = g.op("Where", missing, g.input("last", [N], "double"), value)
        g.output("last_n", base, [N], "double")
    begin = state_inputs(g, spec.recurrent)
    y, last = stack(g, network.recurrent, g.op("Unsqueeze", x, g.constant([1])), None, begin)
    outputs = linear(g, network.output, g.op("Squeeze", y, g.constant([1])))
    _give(g, said(g, spec, outputs, Placed(base, location, scale)), [N], 0)
    state_outputs(g, spec.recurrent, last)
    return g


def _window(g: GraphBuilder, model: ForecastModel) -> _Window:
    raw = g.input("y", [N, T], "double")
    lengths = g.input("lengths", [N], "integer")
    observed = g.op("Not", g.op("Or", g.op("IsNaN", raw), past_mask(g, raw, lengths)))
    zero = g.constant(0.0, double=True)
    kept = g.op("Where", observed, raw, zero)
    if is_scaled_inside(model):
        location, scale = _scales(g, model, kept, observed)
    else:
        location, scale = (g.input(f"window_{n}", [N], "double") for n in ("location", "scale"))
    column = g.constant([1])
    apart = g.op("Sub", kept, g.op("Unsqueeze", location, column))
    scaled = g.op("Div", apart, g.op("Unsqueeze", scale, column))
    y = g.floats(g.op("Where", observed, scaled, zero))
    return _Window(raw, y, observed, location, scale, lengths)


def _scales(g: GraphBuilder, model: ForecastModel, kept: str, observed: str) -> tuple[str, str]:
    """Return location and scale [N] as `unrolled.data.windows.scales` does."""
    zero, one, axis = g.constant(0.0, double=True), g.constant(1.0, double=True), g.constant([1])
    there = g.op("ReduceSum", g.doubles(observed), axis, keepdims=0)
    none = g.op("Mul", there, zero)
    if model.forecasting.scaling == "none":
        return none, g.op("Add", none, one)
    counts = g.op("Max", there, one)
    mean = g.op("Div", g.op("ReduceSum", kept, axis, keepdims=0), counts)
    if model.network.spec.output == "negative_binomial":
        return none, g.op("Add", mean, one)
    if model.forecasting.scaling == "robust":
        far = g.op("Where", observed, kept, g.constant(np.inf, double=True))
        steps = g.op("Slice", g.op("Shape", far), g.constant([1]), g.constant([2]))
        ordered = g.ops("TopK", 2, far, steps, axis=1, largest=0, sorted=1)[0]
        low, location, high = (_quantile(g, ordered, counts, q) for q in (0.25, 0.5, 0.75))
        location = g.op("Where", g.op("Greater", there, zero), location, zero)
        scale = g.op("Div", g.op("Sub", high, low), g.constant(QUARTILES, double=True))
    else:
        location = mean
        apart = g.op("Sub", kept, g.op("Unsqueeze", mean, axis))
        apart = g.op("Where", observed, apart, zero)
        squares = g.op("ReduceSum", g.op("Mul", apart, apart), axis, keepdims=0)
        scale = g.op("Sqrt", g.op("Div", squares, counts))
    least = g.op("Mul", g.op("Abs", location), g.constant(FLAT, double=True))
    return location, g.op("Where", g.op("Greater", scale, least), scale, one)


def _quantile(g: GraphBuilder, ordered: str, counts: str, q: float) -> str:
    """Return a quantile of the first `counts` [N] of each row, between the two beside it."""
    one = g.constant(1.0, double=True)
    top = g.op("Sub", counts, one)
    at = g.op("Mul", top, g.constant(q, double=True))
    below = g.op("Floor", at)
    above = g.op("Min", g.op("Add", below, one), top)
    share = g.op("Sub", at, below)
    under = g.op("Mul", _pick(g, ordered, g.whole(below)), g.op("Sub", one, share))
    return g.op("Add", under, g.op("Mul", _pick(g, ordered, g.whole(above)), share))


def _pick(g: GraphBuilder, values: str, places: str) -> str:
    """Return values [N, T] at one place [N] of each row."""
    column = g.op("Unsqueeze", places, g.constant([1]))
    return g.op("Squeeze", g.op("GatherElements", values, column, axis=1), g.constant([1]))


def _read(g: GraphBuilder, model: ForecastModel, y: str, observed: str) -> tuple[str, str]:
    """Return what the stack reads [N, T, I], and the static covariates [N, S] where there are."""
    reads, count = model.forecasting, model.network.spec.static_size
    parts = [g.op("Unsqueeze", part, g.constant([2])) for part in (y, observed)]
    parts += [past_numbers(g, reads, [N, T]), known_numbers(g, reads, [N, T])]
    static = static_numbers(g, reads, N)
    if static:
        parts.append(_over_steps(g, static, g.op("Shape", y), count))
    return g.op("Concat", *filter(None, parts), axis=2), static


def _over_steps(g: GraphBuilder, static: str, shape: str, size: int) -> str:
    """Return [N, S] at each step of a shape [N, T]."""
    whole = g.op("Concat", shape, g.constant([size]), axis=0)
    return g.op("Expand", g.op("Unsqueeze", static, g.constant([1])), whole)


def _head(g: GraphBuilder, network: ForecasterNetwork, h: str, ahead: str) -> str:
    """Return the outputs [N, H, O] of a decoder that is a layer or two."""
    head, horizon = network.head, network.spec.horizon
    assert head is not None
    context = g.op("Reshape", linear(g, head.context, h), g.constant([0, horizon, -1]))
    if head.local is not None:
        context = g.op("Relu", context)
        read = g.op("Concat", context, ahead, axis=2) if ahead else context
        return linear(g, head.output, g.op("Relu", linear(g, head.local, read)))
    if head.known is not None:
        return g.op("Add", context, g.linear(ahead, head.known, None))
    return context


def _decoded(
    g: GraphBuilder, network: ForecasterNetwork, h: str, c: str, ahead: str, static: str
) -> str:
    """Return the outputs [N, H, O] of a decoder that runs over what is known of the horizon."""
    spec, decoder = network.spec, network.decoder
    assert decoder is not None
    rows = g.op("Slice", g.op("Shape", h), g.constant([0]), g.constant([1]))
    shape = g.op("Concat", rows, g.constant([spec.horizon]), axis=0)
    places = np.arange(1, spec.horizon + 1) / spec.horizon
    place = g.op("Expand", g.constant(places), shape)
    parts = [g.op("Unsqueeze", place, g.constant([2]))]
    if ahead:
        parts.append(ahead)
    if static:
        parts.append(_over_steps(g, static, shape, spec.static_size))
    x = g.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]
    first = bridged_states(g, decoder.spec, (network.bridge_h, network.bridge_c), h, c)
    y, _ = stack(g, decoder, x, None, first, name="decoder")
    return linear(g, network.output, y)


def _last(g: GraphBuilder, window: _Window) -> str:
    """Return the last observed value of each window [N], scaled; 0 where there is none."""
    steps = g.op("Gather", g.op("Shape", window.y), g.constant(1))
    places = g.op("Range", g.constant(0), steps, g.constant(1))
    seen = g.op("Where", window.observed, places, g.constant(0))
    return _pick(g, window.y, g.op("ReduceMax", seen, axes=[1], keepdims=0))


def _base(g: GraphBuilder, model: ForecastModel, window: _Window) -> str:
    """Return what answers are added to, [N, H] or [N, 1] float64, or nothing."""
    spec, season = model.network.spec, model.forecasting.season
    if spec.residual == "none":
        return ""
    column = g.constant([1])
    last = g.op("Unsqueeze", _last(g, window), column)
    if spec.residual == "last":
        return g.doubles(last)
    back = g.constant(np.arange(spec.horizon) % season - season)
    places = g.op("Add", g.op("Unsqueeze", window.lengths, column), back)
    inside = g.op("GreaterOrEqual", places, g.constant(0))
    places = g.op("Max", places, g.constant(0))
    there = g.op("GatherElements", g.floats(window.observed), places, axis=1)
    there = g.op("And", inside, g.op("Greater", there, g.constant(0.0)))
    ago = g.op("GatherElements", window.y, places, axis=1)
    return g.doubles(g.op("Where", there, ago, last))


def _give(g: GraphBuilder, found: dict[str, str], shape: list[int | str], shares: int) -> None:
    """Give out what is said of each step; of quantiles there are `shares`."""
    for name, value in found.items():
        wide = [*shape, shares] if name == "quantiles" else shape
        g.output(name, value, wide, "double")
