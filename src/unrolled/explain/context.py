"""How much of what a generator read helps it: bits a unit by how far back its state goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.streams import Ids
from unrolled.errors import DataError
from unrolled.explain import page, svg
from unrolled.runtime.generator_model import BATCH_SIZE, GeneratorModel

Array = NDArray[Any]

STEPS = 128
READING = (
    "To the left the model had read one {unit} from a state of zeros, to the right {steps}; the"
    " scale of both is that of the {unit}s read, doubled from mark to mark. The same {unit}s were"
    " foretold with the state carried on from all of the text before them. Where the lines meet,"
    " what lies further back is of no more help."
)


def windows_bits(model: GeneratorModel, ids: Ids, steps: int = STEPS) -> tuple[Array, Array]:
    """Return -log2 p of the units of windows of a text, [W, T] twice.

    A window is 1 + T units, one behind the other. First each is read from a state of zeros, so that
    its unit t is foretold from t units; then all are read in one stream, the state carried from
    window to window. Raises DataError for a text of less than one window.
    """
    count = (len(ids) - 1) // (steps + 1)
    if not count:
        raise DataError(f"the text has {len(ids) - 1} units; expected {steps + 1} or more")
    whole = np.asarray(ids[1 : 1 + count * (steps + 1)], np.int64).reshape(count, steps + 1)
    fresh = np.empty((count, steps))
    for begin in range(0, count, BATCH_SIZE):
        rows = whole[begin : begin + BATCH_SIZE]
        found, _ = model.network.log_probs(rows[:, :-1])
        fresh[begin : begin + BATCH_SIZE] = -np.take_along_axis(found, rows[:, 1:, None], 2)[..., 0]
    stream = np.concatenate(list(model.stream_losses(ids[: 1 + count * (steps + 1)])))
    carried = stream.reshape(count, steps + 1)[:, 1:]
    return fresh / math.log(2), carried / math.log(2)


def context_figure(lines: Mapping[str, Array], unit: str = "unit") -> str:
    """Return a figure of bits [W, T] by units read, a line for each name, T on a scale of powers.

    Its points are means over all windows and over the steps from one point to the next.
    """
    steps = next(iter(lines.values())).shape[1]
    edges = _edges(steps)
    middles = [math.log2((low + 1 + high) / 2) for low, high in edges]
    series, said, columns = [], [], []
    for name, bits in lines.items():
        means = [float(bits[:, low:high].mean()) for low, high in edges]
        series.append(svg.Series(name, tuple(zip(middles, means, strict=True))))
        columns.append(means)
        first, last = means[0], means[-1]
        said.append(f"{name[0].upper()}{name[1:]}: {first:.2f} bits at first, {last:.2f} at last.")
    powers = range(int(middles[-1]) + 1)
    picture = svg.line_chart(
        series,
        x_title=f"{unit}s read",
        y_title=f"bits a {unit}",
        description=" ".join(said),
        x_ticks=[(float(k), str(2**k)) for k in powers],
    )
    title = f"Bits a {unit} by the {unit}s read before it, mean of {len(bits)} windows of a text"
    reading = READING.format(unit=unit, steps=steps)
    read = [str(high) if high - low == 1 else f"{low + 1} to {high}" for low, high in edges]
    rows = [
        (place, *(round(mean, 3) for mean in means))
        for place, *means in zip(read, *columns, strict=True)
    ]
    table = page.table(f"Bits a {unit} by {unit}s read", ("Read", *lines), rows)
    figure = page.figure(title, picture, f"{reading} {' '.join(said)}")
    return figure + page.details("In numbers", table)


def _edges(steps: int) -> list[tuple[int, int]]:
    """Return runs of steps, [low, high), half a power of two each or one step."""
    ends = sorted({min(round(2 ** (k / 2)), steps) for k in range(2 * steps.bit_length() + 1)})
    return list(zip([0, *ends[:-1]], ends, strict=True))
