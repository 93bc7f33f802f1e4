"""The public names, pinned: what is added or taken away shows here first."""

from __future__ import annotations

import importlib
import inspect

import pytest

PUBLIC = {
    "unrolled": [
        "Recurrent",
        "__version__",
        "errors",
        "load",
        "nn",
        "num_threads",
        "runtime",
        "set_num_threads",
        "tasks",
    ],
    "unrolled.nn": [
        "GRU",
        "LSTM",
        "RNN",
        "Attention",
        "AttentionPooling",
        "gradient_flow",
        "recurrent",
    ],
    "unrolled.explain": ["Explanation", "explain", "memory", "nearest"],
    "unrolled.interop.arrays": ["recurrent"],
    "unrolled.interop.keras": ["CustomLayer", "KerasModel", "load"],
    "unrolled.interop.pytorch": ["Imported", "export", "load"],
    "unrolled.interop.onnx": ["Exported", "OnnxModel", "describe", "export", "load"],
    "unrolled.tasks": [
        "Captioner",
        "Classifier",
        "Forecaster",
        "Generator",
        "Regressor",
        "Tagger",
        "Translator",
    ],
    "unrolled.runtime": [
        "Activation",
        "Attention",
        "AttentionPooling",
        "CellOptions",
        "ClassifierSession",
        "GeneratorSession",
        "LookaheadSession",
        "Recurrent",
        "RunningTag",
        "Session",
        "SessionPool",
        "SessionState",
        "TaggerSession",
        "WritingSession",
        "Written",
        "classify_many",
        "step_many",
        "tag_many",
    ],
}
ERRORS = [
    "ConfigError",
    "DataError",
    "EngineError",
    "InteropError",
    "ModelError",
    "TrainingError",
    "UnrolledError",
]


def public(module: str) -> dict[str, object]:
    found = importlib.import_module(module)
    return {name: getattr(found, name) for name in found.__all__}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == sorted(PUBLIC[module])


def test_errors_are_all_of_one_family() -> None:
    found = public("unrolled")["errors"]
    kinds = {n: kind for n, kind in vars(found).items() if inspect.isclass(kind) and "Error" in n}
    assert sorted(kinds) == ERRORS
    assert all(issubclass(kind, kinds["UnrolledError"]) for kind in kinds.values())


def test_dir_tells_what_may_be_used_before_it_is_imported() -> None:
    assert sorted(dir(importlib.import_module("unrolled"))) == sorted(PUBLIC["unrolled"])


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'unrolled' has no attribute 'lod'"):
        importlib.import_module("unrolled").lod  # noqa: B018


def members(name: str, thing: object) -> dict[str, object]:
    """A public thing and, of a class, its public methods and properties."""
    found = {name: thing}
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                found[f"{name}.{attribute}"] = value
    return found


def test_everything_public_has_a_docstring_of_its_own() -> None:
    bare = []
    for module in PUBLIC:
        found = importlib.import_module(module)
        assert found.__doc__
        for name, thing in public(module).items():
            for place, each in members(f"{module}.{name}", thing).items():
                if not isinstance(each, str) and not (getattr(each, "__doc__", None) or "").strip():
                    bare.append(place)
    assert bare == []


@pytest.mark.parametrize("module", ["unrolled.nn", "unrolled.runtime", "unrolled.tasks"])
def test_every_module_says_in_its_first_line_what_it_is(module: str) -> None:
    for thing in public(module).values():
        assert (inspect.getmodule(thing).__doc__ or "").strip()
