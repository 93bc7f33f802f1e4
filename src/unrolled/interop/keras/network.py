"""A Keras model as functions: its layers built from their weights, and its graph run on arrays.

Also the layers that hold layers: models within models, TimeDistributed, and the user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from unrolled.errors import InteropError, did_you_mean
from unrolled.interop.keras import recurrent
from unrolled.interop.keras.basic import BASIC
from unrolled.interop.keras.graph import MODELS, Call, Graph, Ref, is_operation, parse, places
from unrolled.interop.keras.kinds import (
    Array,
    Config,
    Context,
    Kind,
    Run,
    Slot,
    Value,
    Weights,
    only,
)
from unrolled.interop.keras.merging import MERGING
from unrolled.interop.keras.ops import OPERATIONS
from unrolled.interop.keras.spatial import SPATIAL
from unrolled.runtime import Recurrent

MAX_NESTED = 8
RECURRENT = (*recurrent.CELLS, "RNN")
# How a layer's weights are found: by its configuration, its folder in the file, and its slots.
Fetch = Callable[[Config, str, list[Slot]], Weights]


class Network(NamedTuple):
    """A built model: its graph, a function for each layer, and its recurrent layers."""

    graph: Graph
    runs: dict[str, Run]
    recurrents: dict[str, Recurrent]


class CustomLayer(NamedTuple):
    """What a user's own function is told about the layer that it stands for."""

    name: str
    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    mask: Array | None


def build(
    graph: Graph,
    context: Context,
    fetch: Fetch,
    own_weights: Callable[[Config, str], Mapping[str, Array]],
) -> Network:
    """Return the model of a graph, every layer checked.

    Raises InteropError naming the first layer whose class is not known or whose weights or
    settings do not fit.
    """
    for layer in graph.layers:
        kind_of(layer, context)
    runs: dict[str, Run] = {}
    recurrents: dict[str, Recurrent] = {}
    for layer, place in zip(graph.layers, places(graph.layers), strict=True):
        if layer.kind == "InputLayer":
            continue
        function = context.custom.get(layer.name, context.custom.get(layer.kind))
        if function is not None:
            runs[layer.name] = _custom(layer, function, own_weights(layer, place))
            continue
        kind = kind_of(layer, context)
        weights = fetch(layer, place, kind.slots(layer))
        runs[layer.name] = kind.build(layer, weights, context)
        recurrents |= _recurrents(layer, weights, context)
    return Network(graph, runs, recurrents)


def kind_of(layer: Config, context: Context) -> Kind:
    """Return how a layer is built, or raise InteropError naming it and its class."""
    if layer.name in context.custom or layer.kind in context.custom:
        return Kind(lambda _: [], _no_custom_within)
    if is_operation(layer):
        return Kind(lambda _: [], _operation)
    if layer.kind in KINDS:
        return KINDS[layer.kind]
    if layer.kind == "Lambda":
        raise layer.error(
            "its function is Python code, which is never run from a file; write it again and give "
            f"custom={{{layer.name!r}: function}}"
        )
    raise layer.error(
        f"this class of layers is not supported; give custom={{{layer.kind!r}: function}} to "
        f"compute it yourself.{did_you_mean(layer.kind, KINDS)}"
    )


def run(network: Network, values: list[Value]) -> list[Value]:
    """Return the outputs of a model for its inputs, in their orders."""
    graph = network.graph
    known: dict[Ref, Value] = dict(zip(graph.inputs, values, strict=True))
    for call in graph.calls:
        found = _run_call(network, call, known)
        for place, value in enumerate(found):
            known[Ref(call.layer, call.node, place)] = value
    return [_known(known, ref) for ref in graph.outputs]


def _known(known: Mapping[Ref, Value], ref: Ref) -> Value:
    if ref not in known:
        raise InteropError(f"layer {ref.layer!r} has no output {ref.tensor}")
    return known[ref]


def _run_call(network: Network, call: Call, known: Mapping[Ref, Value]) -> list[Value]:
    function = network.runs[call.layer]
    arguments = [_fill(each, known) for each in call.arguments]
    keywords = {key: _fill(value, known) for key, value in call.keywords.items()}
    try:
        if isinstance(function, Operation):
            return [Value(function.run(function.config, *[_arrays(each) for each in arguments]))]
        inputs = [value for each in arguments for value in _values(each)]
        return function(_with_masks(inputs, keywords.get("mask")), keywords)
    except (ValueError, IndexError, TypeError, ArithmeticError, MemoryError) as error:
        shapes = [list(part.array.shape) for each in arguments for part in _values(each)]
        raise InteropError(
            f"layer {call.layer!r} cannot take inputs of shapes {shapes}: {error}"
        ) from error


def _fill(value: Any, known: Mapping[Ref, Value]) -> Any:
    if isinstance(value, Ref):
        return _known(known, value)
    return [_fill(each, known) for each in value] if isinstance(value, list) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, Value):
        return value.array
    return [_arrays(each) for each in value] if isinstance(value, list) else value


def _values(value: Any) -> list[Value]:
    if isinstance(value, Value):
        return [value]
    return [part for each in value for part in _values(each)] if isinstance(value, list) else []


def _with_masks(inputs: list[Value], given: Any) -> list[Value]:
    """Return the inputs with masks that the graph hands over in place of those that they carry."""
    masks = given if isinstance(given, list) else [given]
    changed = list(inputs)
    for place, mask in enumerate(masks[: len(inputs)]):
        if isinstance(mask, Value):
            changed[place] = Value(inputs[place].array, mask.array.astype(bool))
    return changed


class Operation(NamedTuple):
    """An operation of Keras 3 in the graph: it takes arrays and knows no masks."""

    config: Config
    run: Callable[..., Array]

    def __call__(self, inputs: list[Value], keywords: Mapping[str, Any]) -> list[Value]:
        """Run on the arrays of the inputs."""
        return [Value(self.run(self.config, *[value.array for value in inputs]))]


def _operation(config: Config, weights: Weights, context: Context) -> Run:
    return cast("Run", Operation(config, OPERATIONS[config.kind]))


def _no_custom_within(config: Config, weights: Weights, context: Context) -> Run:
    raise config.error("a layer of your own inside another layer is not supported")


def _custom(config: Config, function: Callable[..., Any], weights: Mapping[str, Array]) -> Run:
    def call(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        arrays = [value.array for value in inputs]
        mask = inputs[0].mask if inputs else None
        layer = CustomLayer(config.name, config.values, weights, mask)
        found = function(arrays[0] if len(arrays) == 1 else arrays, layer)
        parts = found if isinstance(found, (list, tuple)) else [found]
        return [Value(np.asarray(part)) for part in parts]

    return call


def _recurrents(config: Config, weights: Weights, context: Context) -> dict[str, Recurrent]:
    if config.kind in RECURRENT:
        one = recurrent.direction(config, weights, context)
        return {config.name: recurrent.join(config, [one], "concat")}
    if config.kind == "Bidirectional":
        return {config.name: recurrent.both(config, weights, context)}
    if config.kind == "TimeDistributed" or config.kind in MODELS:
        found: dict[str, Recurrent] = {}
        for inner, part in _inner_weights(config, weights, context):
            names = _recurrents(inner, part, context)
            found |= {f"{config.name}/{name}": layer for name, layer in names.items()}
        return found
    return {}


def _inner_weights(
    config: Config, weights: Weights, context: Context
) -> list[tuple[Config, Weights]]:
    """Return the layers within a layer, each with its own weights."""
    rest = list(weights)
    found = []
    for inner, _ in _inner(config):
        count = len(kind_of(inner, context).slots(inner))
        found.append((inner, rest[:count]))
        rest = rest[count:]
    return found


def _inner(config: Config) -> list[tuple[Config, str]]:
    """Return the layers within a layer, each with its folder below it in a Keras 3 file."""
    depth = config.where.count(" in ")
    if depth > MAX_NESTED:
        raise config.error(f"more than {MAX_NESTED} models within models")
    where = f"{config.where} in "
    if config.kind in MODELS:
        layers = parse({"class_name": config.kind, "config": config.values}, where).layers
        pairs = zip(layers, places(layers), strict=True)
        return [(layer, place) for layer, place in pairs if layer.kind != "InputLayer"]
    found = config.get("layer")
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
        raise config.error("it holds no layer")
    return [(Config(str(found.get("class_name")), found["config"], where), "layer")]


def _slots_within(config: Config) -> list[Slot]:
    context = Context(config.where, 3, {})
    found = []
    for inner, place in _inner(config):
        trained = inner.get("trainable", True) is not False
        found += [
            Slot(f"{place}/{slot.place}", slot.trainable and trained)
            for slot in kind_of(inner, context).slots(inner)
        ]
    return found


def _build_model(config: Config, weights: Weights, context: Context) -> Run:
    graph = parse({"class_name": config.kind, "config": config.values}, f"{config.where} in ")
    runs = {
        inner.name: kind_of(inner, context).build(inner, part, context)
        for inner, part in _inner_weights(config, weights, context)
    }
    network = Network(graph, runs, {})

    def call(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        if len(inputs) != len(graph.inputs):
            raise config.error(f"takes {len(graph.inputs)} inputs, got {len(inputs)}")
        return run(network, inputs)

    return call


def _build_time_distributed(config: Config, weights: Weights, context: Context) -> Run:
    """The layer within, on every step of every row."""
    ((inner, part),) = _inner_weights(config, weights, context)
    function = kind_of(inner, context).build(inner, part, context)
    masked = inner.kind in RECURRENT or inner.kind in ("Bidirectional", "GlobalAveragePooling1D")

    def call(inputs: list[Value], _: Mapping[str, Any]) -> list[Value]:
        x, mask = only(config, inputs)
        rows, steps = x.shape[:2]
        flat = x.reshape(rows * steps, *x.shape[2:])
        own = None
        if mask is not None and mask.ndim > 2 and masked:
            own = mask.reshape(rows * steps, *mask.shape[2:])
        (y,) = function([Value(flat, own)], {})
        return [Value(y.array.reshape(rows, steps, *y.array.shape[1:]), mask)]

    return call


KINDS: dict[str, Kind] = {
    **BASIC,
    **SPATIAL,
    **MERGING,
    **dict.fromkeys(
        ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"), recurrent.RECURRENT
    ),
    "Bidirectional": recurrent.BIDIRECTIONAL,
    "TimeDistributed": Kind(_slots_within, _build_time_distributed),
    "InputLayer": Kind(lambda _: [], lambda config, weights, context: lambda inputs, _: inputs),
    **dict.fromkeys(MODELS, Kind(_slots_within, _build_model)),
}
