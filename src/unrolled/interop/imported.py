"""What a file of weights held: its recurrent layers, and every other array by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import InteropError, did_you_mean
from unrolled.runtime.recurrent import Recurrent
from unrolled.spec import Merge, Nonlinearity, RecurrentSpec, Reset

PARAMETER = re.compile(
    r"(?:(?P<layer>.*)\.)?"
    r"(?P<name>(?:weight_ih|weight_hh|weight_hr|bias_ih|bias_hh|h0|c0)(?P<end>_l\d+(?:_reverse)?)?)"
)
FIRST = ("weight_ih", "weight_ih_l0")


@dataclass(frozen=True, eq=False)
class Imported:
    """Recurrent layers by their place in the source, the other arrays, and what is to be told.

    `notes` says what was left out, assumed or found odd. `parity` says how the layers were compared
    with the framework that wrote them, or why they were not.
    """

    source: str
    layers: Mapping[str, Recurrent]
    arrays: Mapping[str, NDArray[Any]]
    notes: tuple[str, ...] = ()
    parity: str = ""

    def layer(self, name: str | None = None) -> Recurrent:
        """Return the layer of that name, or the only one.

        Raises InteropError listing the names where there is none or, unnamed, more than one.
        """
        names = ", ".join(self.layers) or "none"
        if name is None:
            if len(self.layers) != 1:
                raise InteropError(
                    f"{self.source}: name one of its recurrent layers; there are: {names}"
                )
            return next(iter(self.layers.values()))
        if name not in self.layers:
            raise InteropError(
                f"{self.source}: no recurrent layer {name!r}; there are: {names}."
                + did_you_mean(name, self.layers)
            )
        return self.layers[name]

    def describe(self) -> str:
        """Return the layers, the other arrays and the notes as lines of text."""
        lines = [f"{self.source}: {count(len(self.layers), 'recurrent layer')}"]
        lines += [f"  {name}: {describe_layer(layer)}" for name, layer in self.layers.items()]
        if self.arrays:
            lines.append(count(len(self.arrays), "other array"))
            lines += [f"  {name} {list(a.shape)} {a.dtype}" for name, a in self.arrays.items()]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"parity: {self.parity}"] if self.parity else []
        return "\n".join(lines)


def count(number: int, thing: str) -> str:
    """Return `"1 thing"` or `"2 things"`."""
    return f"{number} {thing}{'s' * (number != 1)}"


def describe_spec(spec: RecurrentSpec) -> str:
    """Return the cell, widths and directions of a recurrent stack in one line."""
    parts = [f"{spec.cell.upper()} {spec.input_size} -> {spec.hidden_sizes[0]}"]
    if spec.num_layers > 1:
        parts.append(f"{spec.num_layers} layers")
    if spec.bidirectional:
        parts.append(f"both directions, {spec.merge}")
    if spec.proj_size:
        parts.append(f"projection {spec.proj_size}")
    if spec.cell == "gru" and spec.reset == "before":
        parts.append("reset before")
    if spec.cell == "rnn":
        parts.append(spec.nonlinearity)
    if not spec.bias:
        parts.append("no bias")
    if spec.initial_state == "learned":
        parts.append("learned first state")
    return ", ".join(parts)


def describe_layer(layer: Recurrent) -> str:
    """Return the spec, own activations, dtype and number of parameters of a layer in one line."""
    size = sum(value.size for value in layer.weights.values())
    functions = dict.fromkeys(each.name for own in layer.options.activations for each in own)
    own = f" with {' and '.join(functions)}" if functions else ""
    return f"{describe_spec(layer.spec)}{own}, {layer.dtype}, {size:,} parameters"


def from_names(
    source: str,
    named: Mapping[str, NDArray[Any]],
    *,
    prefix: str | None = None,
    nonlinearity: Nonlinearity = "tanh",
    merge: Merge = "concat",
    reset: Reset = "after",
    notes: tuple[str, ...] = (),
) -> Imported:
    """Return the recurrent layers among arrays named as torch.nn and `unrolled.nn` name them.

    `nn.LSTM` and its kind (`weight_ih_l0` ...) and single cells (`weight_ih` ...) are found at any
    place. `prefix` keeps only the names under it. Raises InteropError where a layer's arrays do not
    fit together, or nothing lies under the prefix.
    """
    groups, arrays = _group(named)
    if prefix is not None:
        whole = prefix.removesuffix(".")
        kept = {name: group for name, group in groups.items() if _under(name, whole)}
        rest = {name: value for name, value in arrays.items() if _under(name, whole)}
        if not kept and not rest:
            there = ", ".join(groups) or "no recurrent layer"
            raise InteropError(
                f"{source}: nothing under the prefix {prefix!r}; there is {there}."
                + did_you_mean(whole, [*groups, *_folders(named)])
            )
        groups, arrays = kept, rest
    layers: dict[str, Recurrent] = {}
    told = list(notes)
    for name, group in groups.items():
        layer = _build(source, name, group, nonlinearity, merge, reset)
        name = name or layer.spec.cell
        layers[name] = layer
        if layer.spec.cell == "rnn":
            told.append(f"{name}: weights do not tell tanh from relu; read as {nonlinearity}")
    told += odd_values({**{k: layer.weights for k, layer in layers.items()}, "": arrays})
    return Imported(source, layers, arrays, tuple(told))


def odd_values(groups: Mapping[str, Mapping[str, NDArray[Any]]]) -> list[str]:
    """Return a note for each array that holds NaN or infinity."""
    return [
        f"{group}{'.' * bool(group)}{name} holds NaN or infinity"
        for group, named in groups.items()
        for name, value in named.items()
        if value.dtype.kind == "f" and not np.isfinite(value).all()
    ]


def _under(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(prefix + ".")


def _folders(named: Mapping[str, Any]) -> set[str]:
    return {name.rpartition(".")[0] for name in named}


def _group(
    named: Mapping[str, NDArray[Any]],
) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]:
    """Return the arrays of each recurrent layer by torch's names, and all that belong to none."""
    matches = {name: PARAMETER.fullmatch(name) for name in named}
    layers = {m["layer"] for m in matches.values() if m and m["name"] in FIRST}
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, match in matches.items():
        if match and match["layer"] in layers and match["name"] not in ("h0", "c0"):
            group = groups.setdefault(match["layer"] or "", {})
            group[match["name"] + ("" if match["end"] else "_l0")] = named[name]
        else:
            arrays[name] = named[name]
    return groups, arrays


def _build(
    source: str,
    name: str,
    group: Mapping[str, NDArray[Any]],
    nonlinearity: Nonlinearity,
    merge: Merge,
    reset: Reset,
) -> Recurrent:
    place = f"{source}: {name or 'the recurrent layer'}"
    for parameter, value in group.items():
        if value.dtype.kind != "f":
            raise InteropError(f"{place}: {parameter} holds {value.dtype}, expected real numbers")
        if parameter.startswith("weight_") and value.ndim != 2:
            raise InteropError(
                f"{place}: {parameter} must have two dimensions, got shape {list(value.shape)}"
            )
    hh = group.get("weight_hh_l0")
    gru = hh is not None and len(hh) == 3 * hh.shape[1]
    try:
        return Recurrent.from_state_dict(
            group, nonlinearity=nonlinearity, merge=merge, reset=reset if gru else "after"
        )
    except (ValueError, ZeroDivisionError) as error:
        raise InteropError(f"{place}: {error}") from None
