"""A forecaster as ONNX graphs, from values as they were measured to what is said of the next ones.

Everything that depends on the window is in the graph: its scale, the missing values, what answers
are added to, and the way back to the units of the series, in float64 as in our own runtime.
Covariates come as numbers, standardised as the file's metadata says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.data.windows import FLAT, QUARTILES
from unrolled.interop.onnx.export_layers import ends_of, joined_state, past_mask, stack
from unrolled.interop.onnx.export_networks import (
    N,
    T,
    bridged_states,
    linear,
    state_inputs,
    state_outputs,
)
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.runtime.distributions import LEAST_DF, LEAST_MEAN, LEAST_SCALE
from unrolled.runtime.forecaster import ForecasterNetwork
from unrolled.runtime.forecaster_model import ForecastModel

# What is said of a step, by the kind of output; quantiles have an axis more.
SAID = {
    "point": ("loc",),
    "quantiles": ("quantiles",),
    "normal": ("loc", "scale"),
    "student_t": ("df", "loc", "scale"),
    "negative_binomial": ("mean", "alpha"),
}


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


def forecaster_graph(model: ForecastModel) -> GraphBuilder:
    """A forecaster that tells all steps of its horizon at once.

    y, lengths and covariates to what is said of each step, [N, H] or [N, H, Q], float64.
    """
    network, g = model.network, GraphBuilder("forecaster")
    spec = network.spec
    window = _window(g, model)
    x, static = _read(g, network, window.y, g.floats(window.observed))
    _, last = stack(g, network.recurrent, x, ends_of(g, window.lengths), None)
    h = joined_state(g, last[-1][0])
    ahead = ""
    if spec.known_size:
        ahead = g.input("ahead", [N, spec.horizon, spec.known_size])
    if network.head is not None:
        outputs = _head(g, network, h, ahead)
    else:
        c = joined_state(g, last[-1][1]) if spec.recurrent.cell == "lstm" else h
        outputs = _decoded(g, network, h, c, ahead, static)
    base = _base(g, model, window)
    column = g.constant([1])
    location, scale = (g.op("Unsqueeze", each, column) for each in (window.location, window.scale))
    _give(g, network, outputs, base, location, scale, [N, spec.horizon])
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
    x, _ = _read(g, network, *early)
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


def forecaster_step_graph(network: ForecasterNetwork) -> GraphBuilder:
    """One step of an autoregressive forecaster.

    The value y of the step before, the window's scale, known of this step, static, h (and c) to
    what is said of this step, and the same states after it.
    """
    spec, g = network.spec, GraphBuilder("decoder")
    raw = g.input("y", [N], "double")
    location, scale = (g.input(f"window_{n}", [N], "double") for n in ("location", "scale"))
    missing = g.op("IsNaN", raw)
    scaled = g.op("Div", g.op("Sub", raw, location), scale)
    value = g.op("Where", missing, g.constant(0.0, double=True), scaled)
    parts = [
        g.op("Unsqueeze", g.floats(part), g.constant([1])) for part in (value, g.op("Not", missing))
    ]
    parts += [
        g.input(name, [N, size])
        for name, size in (("known", spec.known_size), ("static", spec.static_size))
        if size
    ]
    x = g.op("Unsqueeze", g.op("Concat", *parts, axis=1), g.constant([1]))
    base = ""
    if spec.residual == "last":
        base = g.op("Where", missing, g.input("last", [N], "double"), value)
        g.output("last_n", base, [N], "double")
    y, last = stack(g, network.recurrent, x, None, state_inputs(g, spec.recurrent))
    outputs = linear(g, network.output, g.op("Squeeze", y, g.constant([1])))
    _give(g, network, outputs, base, location, scale, [N])
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


def _read(g: GraphBuilder, network: ForecasterNetwork, y: str, observed: str) -> tuple[str, str]:
    """Return what the stack reads [N, T, I], and the static covariates [N, S] where there are."""
    spec = network.spec
    parts = [g.op("Unsqueeze", part, g.constant([2])) for part in (y, observed)]
    for name, size in (("past", spec.past_size), ("known", spec.known_size)):
        if size:
            parts.append(g.input(name, [N, T, size]))
    static = ""
    if spec.static_size:
        static = g.input("static", [N, spec.static_size])
        parts.append(_over_steps(g, static, g.op("Shape", y), spec.static_size))
    return g.op("Concat", *parts, axis=2), static


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


def _give(
    g: GraphBuilder,
    network: ForecasterNetwork,
    outputs: str,
    base: str,
    location: str,
    scale: str,
    shape: list[int | str],
) -> None:
    """Give out what outputs [..., O] say, as `unrolled.runtime.distributions.from_outputs` does."""
    spec = network.spec

    def number(k: int) -> str:
        return g.op("Gather", outputs, g.constant(k), axis=-1)

    def positive(k: int, least: float) -> str:
        return g.op("Add", g.doubles(g.op("Softplus", number(k))), g.constant(least, double=True))

    def placed(value: str, base: str, location: str, scale: str) -> str:
        whole = g.op("Add", value, base) if base else value
        return g.op("Add", g.op("Mul", whole, scale), location)

    if spec.output == "quantiles":
        column = g.constant([2])
        base, location, scale = (
            g.op("Unsqueeze", each, column) if each else "" for each in (base, location, scale)
        )
        values = placed(g.doubles(_quantiles(g, network, outputs)), base, location, scale)
        g.output("quantiles", values, [*shape, len(spec.quantiles)], "double")
        return
    if spec.output == "negative_binomial":
        mean = g.op("Mul", scale, positive(0, LEAST_MEAN))
        said = [mean, g.op("Div", positive(1, LEAST_MEAN), g.op("Sqrt", scale))]
    else:
        said = [placed(g.doubles(number(0)), base, location, scale)]
        if spec.output != "point":
            said.append(g.op("Mul", positive(1, LEAST_SCALE), scale))
        if spec.output == "student_t":
            said.insert(0, positive(2, LEAST_DF))
    for name, value in zip(SAID[spec.output], said, strict=True):
        g.output(name, value, shape, "double")


def _quantiles(g: GraphBuilder, network: ForecasterNetwork, outputs: str) -> str:
    """Return quantiles [N, H, Q] in order: the median, and softplus steps away from it."""
    count, middle = len(network.spec.quantiles), network.spec.quantiles.index(0.5)

    def cut(begin: int, end: int) -> str:
        return g.op("Slice", outputs, g.constant([begin]), g.constant([end]), g.constant([2]))

    centre = cut(middle, middle + 1)
    parts = [centre]
    if middle:
        steps = g.op("Softplus", cut(0, middle))
        below = g.op("CumSum", steps, g.constant(2), reverse=1)
        parts.insert(0, g.op("Sub", centre, below))
    if middle + 1 < count:
        steps = g.op("Softplus", cut(middle + 1, count))
        parts.append(g.op("Add", centre, g.op("CumSum", steps, g.constant(2))))
    return g.op("Concat", *parts, axis=2)
