"""The graph of a Keras model's configuration: which layer is called on what, in an order that runs.

Sequential and Functional models (`Model` in Keras 2) in the ways that Keras 2 and 3 write them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from unrolled.errors import InteropError
from unrolled.interop.keras.kinds import Config
from unrolled.interop.keras.ops import OPERATIONS

MODELS = ("Functional", "Model", "Sequential")
MAX_LAYERS, MAX_CALLS = 10_000, 100_000


class Ref(NamedTuple):
    """One output tensor of one call of a layer."""

    layer: str
    node: int
    tensor: int


class Call(NamedTuple):
    """One call of a layer: its arguments, nested lists with a Ref for each tensor."""

    layer: str
    node: int
    arguments: list[Any]
    keywords: dict[str, Any]


class Graph(NamedTuple):
    """A model: its layers, the calls in an order that runs, what goes in and what comes out."""

    layers: list[Config]
    calls: list[Call]
    inputs: list[Ref]
    outputs: list[Ref]


def parse(model: Mapping[str, Any], where: str) -> Graph:
    """Return the graph of a configuration, or raise InteropError where it makes no sense."""
    kind, config = model.get("class_name"), model.get("config")
    if kind not in MODELS:
        raise InteropError(
            f"{where}: the model is of class {kind!r}; only Sequential and Functional models run. "
            "Of others the weights alone can be read"
        )
    if kind == "Sequential" and isinstance(config, list):
        config = {"layers": config}
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(layers, list) or not layers:
        raise InteropError(f"{where}: the configuration of the model has no layers")
    if len(layers) > MAX_LAYERS:
        raise InteropError(f"{where}: has {len(layers)} layers, at most {MAX_LAYERS} are read")
    configs = [_layer(entry, number, where) for number, entry in enumerate(layers)]
    for name, count in Counter(each.name for each in configs).items():
        if count > 1:
            raise InteropError(f"{where}: {count} layers are called {name!r}")
    if kind == "Sequential":
        return _sequential(configs, where)
    calls = [
        _call(each, node, k)
        for each, entry in zip(configs, layers, strict=True)
        for k, node in enumerate(_nodes(each, entry))
    ]
    inputs = _refs(config.get("input_layers"), where, "input_layers")
    outputs = _refs(config.get("output_layers"), where, "output_layers")
    if any(isinstance(node, dict) for entry in layers for node in entry.get("inbound_nodes", [])):
        # Keras 3 counts a model's calls from 1, but only where it says what comes out.
        within = {each.name: 1 for each in configs if each.kind in ("Functional", "Model")}
        outputs = [_shifted(ref, within) for ref in outputs]
    else:
        shift = _first_nodes(calls, outputs)
        calls = [
            call._replace(
                arguments=_shifted(call.arguments, shift),
                keywords={key: _shifted(value, shift) for key, value in call.keywords.items()},
            )
            for call in calls
        ]
        outputs = [_shifted(ref, shift) for ref in outputs]
    return Graph(configs, _order(calls, configs, outputs, where), inputs, outputs)


def _layer(entry: Any, number: int, where: str) -> Config:
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise InteropError(f"{where}: layer {number} of the configuration has no class_name")
    values = entry.get("config")
    if entry["class_name"] == "Sequential" and isinstance(values, list):
        values = {"layers": values}
    if not isinstance(values, dict):
        raise InteropError(f"{where}: layer {number} ({entry['class_name']}) has no configuration")
    name = entry.get("name", values.get("name"))
    if not isinstance(name, str):
        name = f"{snake_case(entry['class_name'])}_{number}"
    return Config(entry["class_name"], {**values, "name": name}, where)


def _sequential(layers: list[Config], where: str) -> Graph:
    first = layers[0]
    calls = []
    before = Ref(first.name, 0, 0)
    inputs = [before]
    if first.kind != "InputLayer":
        before = Ref(f"{first.name}_input", 0, 0)
        inputs = [before]
        calls.append(Call(first.name, 0, [before], {}))
        before = Ref(first.name, 0, 0)
    for layer in layers[1:]:
        if layer.kind == "InputLayer":
            raise layer.error("an input in the middle of a Sequential model")
        calls.append(Call(layer.name, 0, [before], {}))
        before = Ref(layer.name, 0, 0)
    return Graph(layers, calls, inputs, [before])


def _nodes(layer: Config, entry: Mapping[str, Any]) -> list[Any]:
    nodes = entry.get("inbound_nodes", [])
    if not isinstance(nodes, list) or len(nodes) > MAX_CALLS:
        raise layer.error("its inbound_nodes are no list")
    return nodes


def _call(layer: Config, node: Any, number: int) -> Call:
    """Return one call, from Keras 3's args and kwargs or Keras 2's list of tensors."""
    if isinstance(node, dict):
        arguments, keywords = node.get("args", []), node.get("kwargs", {})
        if not isinstance(arguments, list) or not isinstance(keywords, dict):
            raise layer.error("a call of it has no arguments")
        parsed = [_tensors(layer, each) for each in arguments]
        return Call(
            layer.name, number, parsed, {k: _tensors(layer, v) for k, v in keywords.items()}
        )
    if not isinstance(node, list):
        raise layer.error("a call of it is no list of tensors")
    if len(node) in (3, 4) and isinstance(node[0], str):
        node = [node]
    refs: list[Any] = []
    extra: dict[str, Any] = {}
    for entry in node:
        refs.append(_ref(layer, entry))
        if len(entry) > 3 and isinstance(entry[3], dict):
            extra |= entry[3]
    keywords = {key: _legacy_tensors(value) for key, value in extra.items()}
    return Call(layer.name, number, [refs[0] if len(refs) == 1 else refs], keywords)


def _ref(layer: Config, entry: Any) -> Ref:
    fits = isinstance(entry, (list, tuple)) and len(entry) >= 3 and isinstance(entry[0], str)
    if not fits or not all(isinstance(k, int) and 0 <= k < MAX_CALLS for k in entry[1:3]):
        raise layer.error(f"a call of it reads {str(entry)[:80]}, which is no tensor")
    return Ref(entry[0], entry[1], entry[2])


def _tensors(layer: Config, value: Any) -> Any:
    """Return a Keras 3 argument with each of its tensors as a Ref."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        inner = value.get("config")
        return _ref(layer, inner.get("keras_history") if isinstance(inner, dict) else None)
    if isinstance(value, list):
        return [_tensors(layer, each) for each in value]
    return value


def _legacy_tensors(value: Any) -> Any:
    """Return a Keras 2 keyword with each [name, node, tensor] in it as a Ref."""
    if isinstance(value, list):
        if (
            len(value) >= 3
            and isinstance(value[0], str)
            and all(isinstance(k, int) and not isinstance(k, bool) for k in value[1:3])
        ):
            return Ref(*value[:3])
        return [_legacy_tensors(each) for each in value]
    return value


def refs_in(value: Any) -> list[Ref]:
    """Return every Ref in nested lists."""
    if isinstance(value, Ref):
        return [value]
    if isinstance(value, list):
        return [ref for each in value for ref in refs_in(each)]
    return []


def _refs(value: Any, where: str, key: str) -> list[Ref]:
    """Return the tensors of `input_layers` or `output_layers`: one, a list, or lists of lists."""
    if isinstance(value, dict):
        value = list(value.values())
    found = refs_in(_legacy_tensors(value))
    if not found:
        raise InteropError(f"{where}: the configuration of the model has no {key}")
    return found


def _order(given: list[Call], layers: list[Config], outputs: list[Ref], where: str) -> list[Call]:
    """Return the calls that the outputs need, each after those that it reads."""
    inputs = {each.name for each in layers if each.kind == "InputLayer"}
    calls = {(call.layer, call.node): call for call in given}
    done: set[tuple[str, int]] = set()
    order: list[Call] = []
    open_calls: set[tuple[str, int]] = set()
    waiting = [(ref.layer, ref.node) for ref in reversed(outputs)]
    while waiting:
        key = waiting[-1]
        if key in done or key[0] in inputs:
            waiting.pop()
            continue
        if key not in calls:
            raise InteropError(f"{where}: the graph reads call {key[1]} of {key[0]!r}: not there")
        call = calls[key]
        needs = [
            (ref.layer, ref.node)
            for ref in refs_in([*call.arguments, *call.keywords.values()])
            if (ref.layer, ref.node) not in done and ref.layer not in inputs
        ]
        if not needs:
            order.append(call)
            done.add(key)
            open_calls.discard(key)
            waiting.pop()
            continue
        if key in open_calls:
            raise InteropError(f"{where}: the graph goes round in a circle at layer {key[0]!r}")
        open_calls.add(key)
        waiting += needs
    return order


def _first_nodes(calls: list[Call], outputs: list[Ref]) -> dict[str, int]:
    """Return which layers' calls are counted from 1: Keras 2 does so for models within models."""
    counts = Counter(call.layer for call in calls)
    refs = list(outputs)
    for call in calls:
        refs += refs_in([*call.arguments, *call.keywords.values()])
    return {ref.layer: 1 for ref in refs if counts.get(ref.layer, -1) == ref.node}


def _shifted(value: Any, shift: Mapping[str, int]) -> Any:
    if isinstance(value, Ref):
        return value._replace(node=value.node - shift.get(value.layer, 0))
    return [_shifted(each, shift) for each in value] if isinstance(value, list) else value


def snake_case(name: str) -> str:
    """Return `GlobalMaxPooling1D` as `global_max_pooling1d`: Keras 3 names folders of files so."""
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()


def is_operation(layer: Config) -> bool:
    """Return True for an operation of Keras 3, which may have the name of a layer's class."""
    return layer.kind in OPERATIONS and "trainable" not in layer.values


def places(layers: list[Config]) -> list[str]:
    """Return for each layer the folder that a Keras 3 file of weights keeps it in."""
    used: Counter[str] = Counter()
    found = []
    for layer in layers:
        name = snake_case("Functional" if layer.kind == "Model" else layer.kind)
        found.append(f"layers/{name}" + (f"_{used[name]}" if used[name] else ""))
        used[name] += not is_operation(layer)
    return found
