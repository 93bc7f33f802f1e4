"""Gradient flow during training on the report: a heat map of epoch by lag, curves, and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.explain import page
from unrolled.explain.field import decay_chart, field_map, thinned
from unrolled.explain.svg import Series
from unrolled.train.describe_flow import place, reach

Record = Mapping[str, Any]
TITLES = {
    "memory": "What is left of a pull at the last state",
    "h": "Gradient of the loss at each hidden state",
    "c": "Gradient of the loss at each cell state",
}
READINGS = {
    "memory": (
        "A row is an epoch; a lag counts steps back from the last one read. Full colour is the most"
        " of a row, none 1e-8 of that or less. A row that pales to the right is a gradient that"
        " vanishes on its way back, one that pales to the left a gradient that explodes."
    ),
    "h": (
        "A row is an epoch, full colour its most, no colour 1e-8 of that or less. Where every step"
        " has its own path to the loss (attention, means, tags), this does not fall even if nothing"
        " is carried far."
    ),
    "c": "As above, for the cell state, on whose additive path an LSTM's gradient travels.",
}
X_TITLE = "lag [steps back from the last]"


def flow_section(flow: Sequence[Record]) -> str:
    """Return the HTML of a run's `flow.jsonl`: every layer and direction, then all the rest."""
    body = page.paragraph(
        f"Measured on {flow[-1]['sampled_steps']} training steps an epoch, from the layers' own"
        " backward pass; norms are root mean squares over rows. Norms below 1e-19 read as zero."
    )
    panels = []
    for layer in flow[-1]["layers"]:
        for kind in ("memory", "h", "c"):
            rows = _rows(flow, layer, kind)
            if rows and max(map(len, rows.values())) > 1:
                panels.append((f"{place(layer)}: {_small(TITLES[kind])}", _panel(kind, rows), True))
    return body + page.articles(panels) + _numbers(flow)


def _small(title: str) -> str:
    return title[0].lower() + title[1:]


def _rows(flow: Sequence[Record], layer: Record, kind: str) -> dict[int, Sequence[float]]:
    """Return the curve of one layer and direction for each epoch that has it."""
    head = tuple(layer[key] for key in ("name", "layer", "direction"))
    return {
        record["epoch"]: each[kind]
        for record in flow
        for each in record["layers"]
        if tuple(each[key] for key in ("name", "layer", "direction")) == head and each.get(kind)
    }


def _panel(kind: str, rows: Mapping[int, Sequence[float]]) -> str:
    epochs = list(rows)
    last = rows[epochs[-1]]
    said = sentence(last)
    picture = field_map(
        list(rows.values()), [str(e) for e in epochs], x_title=X_TITLE, description=said
    )
    chosen = [epochs[k] for k in thinned(len(epochs), 3)]
    curves = [
        Series(f"epoch {epoch}", tuple((float(k), v) for k, v in enumerate(rows[epoch])))
        for epoch in chosen
    ]
    chart = decay_chart(curves, x_title=X_TITLE, y_title="norm [log scale]", description=said)
    return page.beside(
        page.figure(
            f"{TITLES[kind]}, by epoch (down) and lag (across)",
            picture,
            READINGS[kind],
            scrolls=True,
        ),
        page.figure(
            f"{TITLES[kind]}, by lag", chart, f"A straight fall is exponential decay. {said}"
        ),
    )


def sentence(curve: Sequence[float]) -> str:
    """Return what a curve says in a sentence."""
    far = len(curve) - 1
    if not curve or curve[0] <= 0:
        return "At lag 0 the gradient is zero."
    tenth = reach(curve, 0.1)
    fall = (
        f"it stays below a tenth from lag {tenth}"
        if tenth is not None
        else "it does not stay below a tenth"
    )
    return (
        f"In the last epoch the norm at lag {far} is {curve[far] / curve[0]:.1e} of that at lag 0;"
        f" {fall}."
    )


def _numbers(flow: Sequence[Record]) -> str:
    last = flow[-1]
    radii = [
        (f"{name} {suffix}", gate, value)
        for name, of in last["radius"].items()
        for suffix, gates in of.items()
        for gate, value in gates.items()
    ]
    ratios = [(name, value) for name, value in last["update_ratio"].items()]
    gates = [
        (f"{name} {suffix}", what.replace("_", " "), value)
        for name, of in last["gates"].items()
        for suffix, shares in of.items()
        for what, value in shares.items()
    ]
    steps = [
        (str(r["epoch"]), float(r["gradient_norm"]), 100.0 * r["clipped_share"], r["lr"])
        for r in flow
    ]
    tables = page.table(
        "Gradient norm and clipping, by epoch",
        ("Epoch", "Mean norm", "Clipped steps [%]", "Learning rate"),
        steps,
    )
    tables += page.table(
        "Spectral radius of the recurrent weights, last epoch", ("Layer", "Gate", "Radius"), radii
    )
    tables += page.table(
        "Size of a step relative to the weights, last epoch", ("Parameter", "|step| / |w|"), ratios
    )
    tables += page.table(
        "Share of saturated gate values (within 0.05 of an end), dead units, mean carry",
        ("Layer", "Gate", "Share"),
        gates,
    )
    return page.details("In numbers", tables)
