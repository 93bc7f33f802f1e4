"""What a forecaster's outputs say, in a graph: points, quantiles, distributions, calibrated ones.

The twins of `unrolled.runtime.distributions.from_outputs` and `unrolled.runtime.calibrated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from unrolled.config import CalibrationSpec
from unrolled.errors import InteropError
from unrolled.interop.onnx.graph import Array, GraphBuilder
from unrolled.runtime.distributions import LEAST_DF, LEAST_MEAN, LEAST_SCALE, Quantiles
from unrolled.runtime.special import student_quantile
from unrolled.spec import ForecasterSpec

# Of this degree a polynomial in 1 / df is as close to Student's quantiles as float64 tells.
DEGREE = 20


class Placed(NamedTuple):
    """Where answers go: `base` is added, then `scale` and `location` undo the scaling, float64.

    Each has the axes of the answers, or 1 in their place; `base` may be nothing.
    """

    base: str
    location: str
    scale: str

    def __call__(self, g: GraphBuilder, value: str) -> str:
        """Return values in the units of the series."""
        whole = g.op("Add", value, self.base) if self.base else value
        return g.op("Add", g.op("Mul", whole, self.scale), self.location)

    def wider(self, g: GraphBuilder, axis: int) -> Placed:
        """Return the same with an axis more."""
        at = g.constant([axis])
        return Placed(*(g.op("Unsqueeze", each, at) if each else "" for each in self))


def said(g: GraphBuilder, spec: ForecasterSpec, outputs: str, placed: Placed) -> dict[str, str]:
    """Return what outputs [..., O] say, float64, by the name of each number or of `quantiles`."""

    def number(k: int) -> str:
        return g.op("Gather", outputs, g.constant(k), axis=-1)

    def positive(k: int, least: float) -> str:
        return g.op("Add", g.doubles(g.op("Softplus", number(k))), g.constant(least, double=True))

    if spec.output == "quantiles":
        steps = g.doubles(_spread(g, spec.quantiles, outputs))
        return {"quantiles": placed.wider(g, 2)(g, steps)}
    if spec.output == "negative_binomial":
        alpha = g.op("Div", positive(1, LEAST_MEAN), g.op("Sqrt", placed.scale))
        return {"mean": g.op("Mul", placed.scale, positive(0, LEAST_MEAN)), "alpha": alpha}
    found = {"loc": placed(g, g.doubles(number(0)))}
    if spec.output != "point":
        found["scale"] = g.op("Mul", positive(1, LEAST_SCALE), placed.scale)
    if spec.output == "student_t":
        found = {"df": positive(2, LEAST_DF), **found}
    return found


def _spread(g: GraphBuilder, shares: Sequence[float], outputs: str) -> str:
    """Return quantiles [N, H, Q] in order: the median, and softplus steps away from it."""
    count, middle = len(shares), list(shares).index(0.5)

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


def calibrated_said(
    g: GraphBuilder,
    spec: ForecasterSpec,
    found: dict[str, str],
    by: CalibrationSpec,
    scale: str,
) -> dict[str, str]:
    """Return loc [N, H] and the calibrated quantiles [N, H, Q] of what `said` found.

    `scale` [N, 1] is of the window. Raises InteropError for counts.
    """
    column = g.constant([2])
    if spec.output == "quantiles":
        shares = np.array(spec.quantiles)
        # Each quantile that is asked for lies on the line between two that there are.
        identity = Quantiles(np.eye(len(shares)), shares)
        lines = np.stack([identity.quantile(share) for share in by.shares], axis=1)
        values = g.op("MatMul", found["quantiles"], g.constant(lines, double=True))
        middle = g.constant(identity.quantile(0.5)[:, None], double=True)
        loc = g.op("Squeeze", g.op("MatMul", found["quantiles"], middle), column)
    else:
        if spec.output == "negative_binomial":
            raise InteropError("counts have no calibrated intervals; this model's cannot be told")
        loc = found["loc"]
        values = g.op("Unsqueeze", loc, column)
        if spec.output != "point":
            wide = g.op("Unsqueeze", found["scale"], column)
            values = g.op("Add", values, g.op("Mul", wide, _standardised(g, found, by.shares)))
    offsets = g.constant(by.offsets, double=True)
    return {"loc": loc, "quantiles": moved(g, values, offsets, scale, by.shares)}


def _standardised(g: GraphBuilder, found: dict[str, str], shares: Sequence[float]) -> str:
    """Return the quantiles of a distribution around 0 with a scale of 1, [Q] or [N, H, Q]."""
    if "df" not in found:
        return g.constant([NormalDist().inv_cdf(share) for share in shares], double=True)
    one = g.constant(1.0, double=True)
    # 1 / df goes from 0 to 1/2, and the polynomial's variable from -1 to 1.
    x = g.op("Sub", g.op("Div", g.constant(4.0, double=True), found["df"]), one)
    x = g.op("Unsqueeze", x, g.constant([2]))
    factors = student_polynomials(shares)
    value = g.constant(factors[-1], double=True)
    for factor in factors[-2::-1]:
        value = g.op("Add", g.op("Mul", value, x), g.constant(factor, double=True))
    return value


def student_polynomials(shares: Sequence[float]) -> Array:
    """Return factors [DEGREE + 1, Q] of powers of 4 / df - 1 for Student's quantiles, df above 2.

    The polynomials that meet the quantiles at Chebyshev's nodes.
    """
    nodes = chebyshev.chebpts1(DEGREE + 1)
    exact = np.stack([student_quantile(share, 4 / (nodes + 1)) for share in shares], axis=1)
    fitted = chebyshev.chebfit(nodes, exact, DEGREE)
    return np.stack([_powers(column) for column in fitted.T], axis=1)


def _powers(fitted: Array) -> Array:
    found = np.zeros(len(fitted))
    powers = chebyshev.cheb2poly(fitted)
    found[: len(powers)] = powers
    return found


def moved(g: GraphBuilder, values: str, offsets: str, scale: str, shares: Sequence[float]) -> str:
    """Return q + scale * offset of quantiles [N, H, Q], or of [N, H, 1], such that none cross.

    `offsets` [H, Q]; `scale` [N, 1]. From the median on, each is at least as far as the one before.
    """
    wide = g.op("Unsqueeze", scale, g.constant([2]))
    values = g.op("Add", values, g.op("Mul", offsets, wide))
    each = [g.op("Gather", values, g.constant([k]), axis=2) for k in range(len(shares))]
    middle = list(shares).index(0.5)
    for k in range(middle + 1, len(shares)):
        each[k] = g.op("Max", each[k - 1], each[k])
    for k in range(middle - 1, -1, -1):
        each[k] = g.op("Min", each[k + 1], each[k])
    return g.op("Concat", *each, axis=2)


def paths_graph(by: CalibrationSpec) -> GraphBuilder:
    """The calibrated quantiles of paths that a caller drew: paths, window_scale to loc, quantiles.

    Paths are [N, P, H], of the horizon or less.
    """
    g = GraphBuilder("quantiles")
    rows, paths, steps = "rows", "paths", "steps"
    drawn = g.input("paths", [rows, paths, steps], "double")
    scale = g.input("window_scale", [rows], "double")
    sizes = g.op("Shape", drawn)
    count = g.op("Slice", sizes, g.constant([1]), g.constant([2]))
    ordered = g.ops("TopK", 2, drawn, count, axis=1, largest=0, sorted=1)[0]
    one = g.constant(1.0, double=True)
    top = g.op("Sub", g.doubles(count), one)
    at = g.op("Mul", top, g.constant(by.shares, double=True))
    below = g.op("Floor", at)
    share = g.op("Unsqueeze", g.op("Sub", at, below), g.constant([1]))
    above = g.op("Min", g.op("Add", below, one), top)
    low, high = (g.op("Gather", ordered, g.whole(place), axis=1) for place in (below, above))
    values = g.op("Add", low, g.op("Mul", g.op("Sub", high, low), share))
    values = g.op("Transpose", values, perm=[0, 2, 1])
    horizon = g.op("Gather", sizes, g.constant(2))
    places = g.op("Range", g.constant(0), horizon, g.constant(1))
    # Of a Gather by a Range ONNX Runtime makes a Slice, which cuts where places run out.
    places = g.op("Unsqueeze", places, g.constant([0]))
    offsets = g.op("Gather", g.constant(by.offsets, double=True), places)
    column = g.op("Unsqueeze", scale, g.constant([1]))
    quantiles = moved(g, values, offsets, column, by.shares)
    g.output("loc", g.op("ReduceMean", drawn, axes=[1], keepdims=0), [rows, steps], "double")
    g.output("quantiles", quantiles, [rows, steps, len(by.shares)], "double")
    return g
