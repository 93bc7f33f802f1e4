"""An LSTM with a projection as a loop over its steps: ONNX's LSTM has none.

z_t = W x_t + b + R h_t-1 in the gates i, f, g, o; c_t = s(f) c_t-1 + s(i) tanh(g);
h_t = W_hr (s(o) tanh(c_t)) (Sak, Senior and Beaufays 2014, section 2).
"""

from __future__ import annotations

from unrolled.interop.onnx.graph import GraphBuilder, Kind
from unrolled.runtime.recurrent import Recurrent
from unrolled.shapes import suffixes


def projected_layer(
    g: GraphBuilder,
    layer: Recurrent,
    k: int,
    x: str,
    lengths: str,
    first: tuple[str, ...],
    name: str,
) -> list[str]:
    """Add layer k over x [T, N, I]; return Y [T, D, N, P] and its last h [D, N, P], c [D, N, H].

    `lengths` [N] int64 or nothing. Behind a row's length Y is zero and the states stay as they are,
    so that the backward direction begins at each row's own end. Without `first` states are zero.
    """
    spec = layer.spec
    inside = _inside(g, x, lengths) if lengths else ""
    found = []
    for d, suffix in enumerate(suffixes(spec, k)):
        if first:
            begin = [g.op("Gather", each, g.constant(d), axis=0) for each in first]
        else:
            sizes = (spec.state_size(k), spec.hidden_sizes[k])
            begin = [_zeros(g, x, size) for size in sizes]
        found.append(_direction(g, layer, suffix, x, inside, begin, f"{name}{suffix}"))
    y, h, c = (
        [g.op("Unsqueeze", one, g.constant([axis])) for one in each]
        for axis, each in zip((1, 0, 0), zip(*found, strict=True), strict=True)
    )
    return [g.op("Concat", *y, axis=1), g.op("Concat", *h, axis=0), g.op("Concat", *c, axis=0)]


def _direction(
    g: GraphBuilder,
    layer: Recurrent,
    suffix: str,
    x: str,
    inside: str,
    begin: list[str],
    name: str,
) -> tuple[str, str, str]:
    """Run one direction of a layer; return its outputs [T, N, P] and last states [N, P], [N, H]."""
    weights = layer.weights
    bias = weights["bias_ih" + suffix] + weights["bias_hh" + suffix] if layer.spec.bias else None
    added = g.linear(x, weights["weight_ih" + suffix], bias)
    recurrent = g.constant(weights["weight_hh" + suffix].T, f"{name}.R")
    projection = g.constant(weights["weight_hr" + suffix].T, f"{name}.P")
    zero = g.constant(0.0)

    def step(b: GraphBuilder, given: list[str]) -> list[str]:
        h, c, from_input, *within = given
        gates = b.op("Add", from_input, b.op("MatMul", h, recurrent))
        i, f, cell, o = b.ops("Split", 4, gates, axis=1)
        entering = b.op("Mul", b.op("Sigmoid", i), b.op("Tanh", cell))
        new_c = b.op("Add", b.op("Mul", b.op("Sigmoid", f), c), entering)
        shown = b.op("Mul", b.op("Sigmoid", o), b.op("Tanh", new_c))
        new_h = b.op("MatMul", shown, projection)
        if not within:
            return [new_h, new_c, new_h]
        kept = [b.op("Where", within[0], *pair) for pair in ((new_h, h), (new_c, c))]
        return [*kept, b.op("Where", within[0], new_h, zero)]

    scanned: list[tuple[str, Kind]] = [(added, "float")]
    if inside:
        scanned.append((inside, "truth"))
    h, c, y = g.scan(
        [(begin[0], "float"), (begin[1], "float")],
        scanned,
        ["float"],
        step,
        backwards=suffix.endswith("_reverse"),
    )
    return y, h, c


def _inside(g: GraphBuilder, x: str, lengths: str) -> str:
    """Return [T, N, 1], true before each row's length, for x [T, N, I]."""
    steps = g.op("Gather", g.op("Shape", x), g.constant(0))
    places = g.op("Range", g.constant(0), steps, g.constant(1))
    within = g.op("Less", g.op("Unsqueeze", places, g.constant([1])), lengths)
    return g.op("Unsqueeze", within, g.constant([2]))


def _zeros(g: GraphBuilder, x: str, size: int) -> str:
    """Return zeros [N, size] for x [T, N, I]."""
    rows = g.op("Slice", g.op("Shape", x), g.constant([1]), g.constant([2]))
    shape = g.op("Concat", rows, g.constant([size]), axis=0)
    return g.op("Expand", g.constant(0.0), shape)
