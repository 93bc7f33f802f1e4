"""Recurrent layers in a Keras file of weights alone, known by the names and shapes of arrays."""

from __future__ import annotations

import re
from typing import NamedTuple

from unrolled.errors import InteropError
from unrolled.interop.imported import Imported, odd_values
from unrolled.interop.keras import recurrent
from unrolled.interop.keras.files import Store
from unrolled.interop.keras.kinds import Array, Config, Context
from unrolled.runtime import Recurrent

KINDS = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}
PLACE = re.compile(
    r"(?P<layer>.+?)(?:/(?P<way>forward_layer|backward_layer))?/cell/vars/(?P<k>[012])"
)
ROLES = ("kernel", "recurrent_kernel", "bias")


class Found(NamedTuple):
    """A triple of kernel, recurrent kernel and maybe bias, and the names of its arrays."""

    weights: list[Array]
    names: list[str]


def load(source: str, store: Store, context: Context) -> Imported:
    """Return the recurrent layers and the other arrays of a file without an architecture.

    Activations are taken to be Keras's defaults, which `notes` says.
    """
    groups = _legacy(store) if store.legacy else _folders(store)
    layers: dict[str, Recurrent] = {}
    notes = []
    used: set[str] = set()
    for name, ways in groups.items():
        if "forward" in ways and "backward" in ways:
            parts = [
                _direction(source, name, ways[way], context) for way in ("forward", "backward")
            ]
            config = Config("Bidirectional", {"name": name}, source)
            layers[name] = recurrent.join(config, parts, "concat")
        else:
            for way, found in ways.items():
                label = f"{name}/{way}" if way else name
                config = Config("RNN", {"name": label}, source)
                one = _direction(source, label, found, context)
                layers[label] = recurrent.join(config, [one], "concat")
        used.update(place for found in ways.values() for place in found.names)
    if layers:
        notes.append(
            "weights alone: the activations are taken to be sigmoid and tanh, directions to be "
            "concatenated"
        )
    for name, layer in layers.items():
        if layer.spec.cell == "gru" and not layer.spec.bias:
            notes.append(f"{name}: without a bias; reset is taken to be after the product")
    arrays = {place: value for place, value in store.arrays.items() if place not in used}
    notes += odd_values({**{name: layer.weights for name, layer in layers.items()}, "": arrays})
    return Imported(source, layers, arrays, tuple(notes))


def _legacy(store: Store) -> dict[str, dict[str, Found]]:
    """Return the triples of each layer of a Keras 2 file, by direction where there are two."""
    found: dict[str, dict[str, Found]] = {}
    for layer in store.names or []:
        weights = store.layer(layer)
        for name in weights:
            folder, _, last = name.rpartition("/")
            if last.partition(":")[0] != "recurrent_kernel":
                continue
            names = [
                f"{folder}/{role}".lstrip("/") + last[len("recurrent_kernel") :] for role in ROLES
            ]
            have = [each for each in names if each in weights]
            way = next((w for w in ("forward", "backward") if f"{w}_" in folder), "")
            places = [p for p in store.arrays if any(p.endswith(f"{layer}/{n}") for n in have)]
            found.setdefault(layer, {})[way] = Found([weights[n] for n in have], places)
    return found


def _folders(store: Store) -> dict[str, dict[str, Found]]:
    """Return the triples of each layer of a Keras 3 file, by direction where there are two."""
    found: dict[str, dict[str, Found]] = {}
    for place in sorted(store.arrays):
        match = PLACE.fullmatch(place)
        if match is None or store.arrays[place].ndim == 0:
            continue
        way = (match["way"] or "").removesuffix("_layer")
        name = store.label(match["layer"])
        triple = found.setdefault(name, {}).setdefault(way, Found([], []))
        triple.weights.append(store.arrays[place])
        triple.names.append(place)
    return found


def _direction(source: str, name: str, found: Found, context: Context) -> recurrent.Direction:
    """Return one direction, its cell known by how many gates the recurrent kernel has."""
    shape = found.weights[1].shape if len(found.weights) > 1 else ()
    kind = KINDS.get(shape[1] // shape[0] if len(shape) == 2 and shape[0] else 0)
    if kind is None or shape[1] % shape[0]:
        raise InteropError(
            f"{source}: {name}: a recurrent kernel of shape {list(shape)} is that of no cell"
        )
    bias = found.weights[2] if len(found.weights) > 2 else None
    values = {
        "name": name,
        "units": shape[0],
        "use_bias": bias is not None,
        "reset_after": bias is None or bias.ndim == 2,
    }
    return recurrent.direction(Config(kind, values, source), found.weights, context)
