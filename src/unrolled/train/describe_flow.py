"""An epoch of `training/flow.jsonl` as one line of words. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def describe_flow(record: Mapping[str, Any]) -> str:
    """Return what the gradient did, for a terminal: memory of each top layer, radius, updates."""
    parts = [
        f"{place(layer)}: {share(layer['memory'])}"
        for layer in record["layers"]
        if len(layer.get("memory", ())) > 1 and layer["memory"][0] > 0
    ]
    radii = [r for of in record["radius"].values() for gates in of.values() for r in gates.values()]
    ratios = record["update_ratio"].values()
    if radii:
        parts.append(f"largest radius {max(radii):.2f}")
    if ratios:
        parts.append(f"updates {min(ratios):.0e} to {max(ratios):.0e} of the weights")
    return "  flow: " + "; ".join(parts)


def place(layer: Mapping[str, Any]) -> str:
    """Return which layer and direction a record is of: `"encoder layer 1 backward"`."""
    return f"{layer['name']} layer {layer['layer'] + 1} {layer['direction']}"


def share(memory: Sequence[float]) -> str:
    """Return what is left of a pull at the last state at the farthest lag, and where half is."""
    far = len(memory) - 1
    half = reach(memory, 0.5)
    said = f"half at lag {half}" if half is not None else f"more than half at lag {far}"
    return f"{memory[far]:.1e} of the pull left at lag {far}, {said}"


def reach(curve: Sequence[float], level: float) -> int | None:
    """Return the first lag from which the curve stays below `level` of lag 0; None: never."""
    if not curve or curve[0] <= 0:
        return None
    above = [k for k, value in enumerate(curve) if value >= level * curve[0]]
    return above[-1] + 1 if above[-1] + 1 < len(curve) else None
