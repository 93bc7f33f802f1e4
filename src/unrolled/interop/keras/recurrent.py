"""Keras's recurrent layers on `Recurrent`: LSTM, GRU, SimpleRNN, their CuDNN twins, Bidirectional.

A masked step leaves the state as it is, wherever it lies. A row's unmasked steps are moved to the
front, run as a row of that length, and their outputs moved back: this gives Keras's numbers for
masks of any form. At a masked step Keras gives the state before it as output, or zero where
`zero_output_for_mask` is set, as Bidirectional does when it returns sequences.

`go_backwards` reads from the last step to the first and gives its outputs in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from unrolled.errors import InteropError
from unrolled.interop import arrays
from unrolled.interop.keras import activations
from unrolled.interop.keras.kinds import (
    Array,
    Config,
    Context,
    Kind,
    Run,
    Slot,
    Value,
    Weights,
)
from unrolled.runtime import Activation, CellOptions, Recurrent
from unrolled.spec import Cell, Merge, RecurrentSpec, Reset

CELLS: dict[str, Cell] = {
    "LSTM": "lstm",
    "GRU": "gru",
    "SimpleRNN": "rnn",
    "LSTMCell": "lstm",
    "GRUCell": "gru",
    "SimpleRNNCell": "rnn",
    "CuDNNLSTM": "lstm",
    "CuDNNGRU": "gru",
}
ORDERS: dict[Cell, str] = {"lstm": "ifco", "gru": "zrh", "rnn": "h"}
MERGES: dict[Any, Merge] = {
    "concat": "concat",
    "sum": "sum",
    "ave": "mean",
    "mul": "mul",
    None: "concat",
}


class Direction(NamedTuple):
    """One direction of a recurrent layer: a `Recurrent` of its own and how it differs."""

    layer: Recurrent
    activations: tuple[Activation, ...]


def cell_config(config: Config) -> Config:
    """Return the settings of the cell: the layer's own, or those of the cell in an `RNN`."""
    if config.kind != "RNN":
        return config
    cell = config.get("cell")
    if not isinstance(cell, dict) or cell.get("class_name") not in CELLS:
        what = cell.get("class_name") if isinstance(cell, dict) else cell
        raise config.error(f"its cell is {what!r}; only LSTMCell, GRUCell and SimpleRNNCell run")
    values = cell.get("config")
    if not isinstance(values, dict):
        raise config.error("its cell has no configuration")
    return Config(cell["class_name"], {**values, "name": config.name}, config.where)


def slots(config: Config) -> list[Slot]:
    """Return where a recurrent layer keeps kernel, recurrent kernel and bias."""
    return [Slot(f"cell/vars/{k}") for k in range(3 if _has_bias(cell_config(config)) else 2)]


def _has_bias(cell: Config) -> bool:
    return cell.kind.startswith("CuDNN") or cell.flag("use_bias", True)


def direction(config: Config, weights: Weights, context: Context) -> Direction:
    """Return a recurrent layer of Keras in one direction, forward."""
    if config.flag("time_major"):
        raise config.error("time_major is not read; the batch comes first")
    cell = cell_config(config)
    kind, units = CELLS[cell.kind], cell.integer("units")
    kernel, recurrent, bias, cudnn = _standard(cell, kind, units, weights)
    after = kind != "gru" or cudnn or cell.flag("reset_after", False)
    reset: Reset = "after" if after else "before"
    named = {"weight_ih": kernel, "weight_hh": recurrent}
    try:
        layer = arrays.recurrent(
            named if bias is None else {**named, "bias": bias},
            cell=kind,
            gate_order=ORDERS[kind],
            bias="none" if bias is None else "single",
            layout="columns",
            reset=reset,
        )
    except InteropError as error:
        raise config.error(str(error).removeprefix("the arrays: ")) from None
    if layer.spec.hidden_sizes != (units,):
        raise config.error(f"units is {units}, the weights are of {layer.spec.hidden_sizes[0]}")
    return Direction(layer, _activations(cell, kind, context))


def _standard(
    cell: Config, kind: Cell, units: int, weights: Weights
) -> tuple[Array, Array, Array | None, bool]:
    """Return the weights in Keras's own layout, and whether they were in CuDNN's.

    CuDNN's layers, known by their class or by the length of their bias, keep each gate's kernel
    transposed, and two biases one after the other (Keras 2, `hdf5_format`).
    """
    kernel, recurrent = weights[0], weights[1]
    bias = weights[2] if len(weights) > 2 else None
    gates = len(ORDERS[kind])
    if gates == 1 or bias is None or bias.shape != (2 * gates * units,):
        return kernel, recurrent, bias, False
    if kernel.ndim != 2 or kernel.shape[1] != gates * units:
        raise cell.error(
            f"the kernel has shape {list(kernel.shape)}, expected [any, {gates * units}]"
        )
    if recurrent.shape != (units, gates * units):
        raise cell.error(f"the recurrent kernel has shape {list(recurrent.shape)}")
    inputs = len(kernel)
    turned = [part.reshape(units, inputs).T for part in np.split(kernel, gates, axis=1)]
    back = [part.T for part in np.split(recurrent, gates, axis=1)]
    return np.hstack(turned), np.hstack(back), bias.reshape(2, -1), True


def _activations(cell: Config, kind: Cell, context: Context) -> tuple[Activation, ...]:
    """Return f, g and h of the cell, as far as it has them."""
    if cell.kind.startswith("CuDNN"):
        gates, inner = Activation("Sigmoid"), Activation("Tanh")
    else:
        inner = activations.in_cell(cell, context.version, "activation", "tanh")
        if kind == "rnn":
            return (inner,)
        gates = activations.in_cell(cell, context.version, "recurrent_activation", "sigmoid")
    return (gates, inner) if kind == "gru" else (gates, inner, inner)


def join(config: Config, directions: list[Direction], merge: Merge) -> Recurrent:
    """Return one `Recurrent` of one or two directions, on fast kernels where the cell is plain."""
    first = directions[0].layer.spec
    for other in directions[1:]:
        if msg := _difference(first, other.layer.spec):
            raise config.error(f"its directions have different {msg}, which is not supported")
    weights: dict[str, Any] = {}
    for suffix, each in zip(("", "_reverse"), directions, strict=False):
        weights |= {name + suffix: value for name, value in each.layer.weights.items()}
    functions = tuple(each.activations for each in directions)
    names = {tuple(each.name for each in own) for own in functions}
    relu = first.cell == "rnn" and names == {("Relu",)}
    standard = relu or names in ({("Sigmoid", "Tanh")}, {("Sigmoid", "Tanh", "Tanh")}, {("Tanh",)})
    spec = RecurrentSpec(
        cell=first.cell,
        input_size=first.input_size,
        hidden_sizes=first.hidden_sizes,
        nonlinearity="relu" if relu else "tanh",
        bidirectional=len(directions) == 2,
        merge=merge,
        bias=first.bias,
        reset=first.reset,
    )
    return Recurrent(spec, weights, None if standard else CellOptions(activations=functions))


def _difference(a: RecurrentSpec, b: RecurrentSpec) -> str:
    for field in ("cell", "input_size", "hidden_sizes", "bias", "reset"):
        if getattr(a, field) != getattr(b, field):
            return field
    return ""


def run_masked(
    layer: Recurrent, x: Array, mask: Array | None, state: list[Array]
) -> tuple[Array, list[Array]]:
    """Return y [N, T, D*H] and the last states, each [D, N, H], skipping masked steps.

    At a masked step y is the output before it, in one direction the state. `state` is empty or h
    and, for LSTM, c, [D, N, H].
    """
    given: Any = tuple(state) if len(state) == 2 else state[0] if state else None
    if mask is None:
        y, last = layer(x, given)
    else:
        if mask.shape != x.shape[:2]:
            raise InteropError(
                f"a mask of shape {list(mask.shape)} for steps of {list(x.shape[:2])}"
            )
        front = np.argsort(~mask, axis=1, kind="stable")
        packed = np.take_along_axis(x, front[:, :, None], axis=1)
        y, last = layer(packed, given, mask.sum(axis=1))
        place = np.cumsum(mask, axis=1) - 1
        y = np.take_along_axis(y, np.maximum(place, 0)[:, :, None], axis=1)
        if not layer.spec.bidirectional:
            first = state[0][0] if state else np.zeros((len(x), y.shape[2]), y.dtype)
            y = np.where(place[:, :, None] < 0, first[:, None], y)
    return y, cast("list[Array]", list(last) if isinstance(last, tuple) else [last])


def build(config: Config, weights: Weights, context: Context) -> Run:
    """Return a recurrent layer of one direction as a function."""
    layer = join(config, [direction(config, weights, context)], "concat")
    backwards, zero = config.flag("go_backwards"), config.flag("zero_output_for_mask")
    sequences, states = config.flag("return_sequences"), config.flag("return_state")

    def run(inputs: list[Value], keywords: Mapping[str, Any]) -> list[Value]:
        value, first, mask = _inputs(config, context, inputs, keywords, layer)
        order = slice(None, None, -1) if backwards else slice(None)
        mask = None if mask is None else mask[:, order]
        y, last = run_masked(layer, value.array[:, order], mask, first)
        if zero and mask is not None:
            y = np.where(mask[:, :, None], y, 0).astype(y.dtype)
        found = [Value(y, value.mask) if sequences else Value(y[:, -1])]
        return found + [Value(part[0]) for part in last if states]

    return run


def _inputs(
    config: Config,
    context: Context,
    inputs: list[Value],
    keywords: Mapping[str, Any],
    layer: Recurrent,
) -> tuple[Value, list[Array], Array | None]:
    """Return the sequence, the first states [D, N, H] each, and the mask that the cells see."""
    value, *rest = inputs
    given = keywords.get("initial_state")
    if given is not None:
        rest = list(given) if isinstance(given, list) else [given]
    count = layer.spec.num_directions * (2 if layer.spec.cell == "lstm" else 1)
    if rest and len(rest) != count:
        raise config.error(f"takes {count} first states, got {len(rest)}")
    mask = value.mask
    if rest and context.version >= 3 and keywords.get("mask") is None:
        # Keras 3 finds a mask by itself only for layers that are called on one tensor.
        mask = None
    per = count // layer.spec.num_directions
    states = [np.stack([part.array for part in rest[k::per]]) for k in range(per) if rest]
    return value, states, mask


RECURRENT = Kind(slots, build)


def _parts(config: Config) -> tuple[Config, Config]:
    """Return the configurations of the forward and the backward layer of a Bidirectional."""
    forward = _inner(config, "layer")
    backward = _inner(config, "backward_layer") if config.get("backward_layer") else forward
    turned = config.get("backward_layer") is None or backward.flag("go_backwards")
    if forward.flag("go_backwards") or not turned:
        raise config.error("its forward layer must go forwards and its backward layer backwards")
    for key in ("return_sequences", "return_state"):
        if forward.flag(key) != backward.flag(key):
            raise config.error(f"its layers must agree on {key}")
    return forward, backward


def _inner(config: Config, key: str) -> Config:
    found = config.get(key)
    kind = found.get("class_name") if isinstance(found, dict) else None
    values = found.get("config") if isinstance(found, dict) else None
    if kind not in CELLS and kind != "RNN":
        raise config.error(f"{key} is {kind!r}; expected LSTM, GRU or SimpleRNN")
    if not isinstance(values, dict):
        raise config.error(f"{key} has no configuration")
    return Config(kind, {**values, "name": config.name}, config.where)


def bidirectional_slots(config: Config) -> list[Slot]:
    """Return where a Bidirectional keeps the weights of its two layers."""
    forward, backward = _parts(config)
    found = [Slot(f"forward_layer/{slot.place}") for slot in slots(forward)]
    return found + [Slot(f"backward_layer/{slot.place}") for slot in slots(backward)]


def both(config: Config, weights: Weights, context: Context) -> Recurrent:
    """Return a Bidirectional layer as one `Recurrent` of two directions."""
    forward, backward = _parts(config)
    half = len(slots(forward))
    mode = config.choice("merge_mode", "concat", *MERGES)
    return join(
        config,
        [
            direction(forward, weights[:half], context),
            direction(backward, weights[half:], context),
        ],
        MERGES[mode],
    )


def build_bidirectional(config: Config, weights: Weights, context: Context) -> Run:
    """Return a Bidirectional layer as a function."""
    layer = both(config, weights, context)
    forward, _ = _parts(config)
    sequences, states = forward.flag("return_sequences"), forward.flag("return_state")
    mode = config.get("merge_mode", "concat")

    def run(inputs: list[Value], keywords: Mapping[str, Any]) -> list[Value]:
        value, first, mask = _inputs(config, context, inputs, keywords, layer)
        y, last = run_masked(layer, value.array, mask, first)
        if sequences and mask is not None:
            y = np.where(mask[:, :, None], y, 0).astype(y.dtype)
        if not sequences:
            y = _merge(last[0], mode)
        parts = np.split(y, 2, axis=-1) if mode is None else [y]
        found = [Value(part, value.mask if sequences else None) for part in parts]
        # Keras gives the forward layer's states first, then the backward layer's.
        return found + [Value(part[d]) for d in range(2) for part in last if states]

    return run


def _merge(h: Array, mode: str | None) -> Array:
    """Return the last outputs [2, N, H] of the two directions as one array."""
    if mode in ("concat", None):
        return np.concatenate(list(h), axis=-1)
    if mode == "mul":
        return np.asarray(h[0] * h[1])
    return np.asarray(h[0] + h[1]) / (2 if mode == "ave" else 1)


BIDIRECTIONAL = Kind(bidirectional_slots, build_bidirectional)
