"""Keras's files without Keras: recorded answers of Keras 3, and Keras 2's layouts beside torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import tiny
from tolerances import close
from unrolled.errors import InteropError
from unrolled.interop import keras
from unrolled.runtime import reference

GOLDEN = Path(__file__).parent / "golden" / "keras"
MODELS = sorted(path for path in GOLDEN.glob("*.*") if path.suffixes in ([".keras"], [".h5"]))
RNG = np.random.default_rng(5)
Weights = Mapping[str, np.ndarray]


def recorded(path: Path) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    with np.load(path.with_suffix(".npz")) as found:
        given = {k.removeprefix("x_"): found[k] for k in found.files if k.startswith("x_")}
        return given, [found[f"y_{k}"] for k in range(len(found.files) - len(given))]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_models_of_keras_3_give_its_recorded_outputs(path: Path) -> None:
    model = keras.load(path)
    given, expected = recorded(path)
    for a, b in zip(model.run(given).values(), expected, strict=True):
        assert close(a, b, "forward")
    found = model.predict(given if len(given) > 1 else next(iter(given.values())))
    for a, b in zip(found if isinstance(found, list) else [found], expected, strict=True):
        assert close(a, b, "forward")
    assert model.describe().startswith(f"{path}: a model of")


def test_the_recorded_models_are_all_here() -> None:
    assert len(MODELS) == 14


def test_recurrent_layers_of_a_model_stream() -> None:
    model = keras.load(GOLDEN / "gru_masked.h5")
    assert list(model.layers) == ["layer"]
    x = random(1, 4, 2)
    session = model.layers["layer"].stream()
    steps = [session.step(x[0, t]) for t in range(4)]
    padded = np.pad(x, ((0, 0), (0, 2), (0, 0)))
    assert close(model.predict(padded)[0, :4], np.stack(steps), "forward")


def test_weights_alone_give_layers_by_name() -> None:
    found = keras.load(GOLDEN / "lstm_hard.weights.h5")
    assert list(found.layers) == ["layer"]
    assert "activations are taken to be sigmoid and tanh" in found.describe()
    whole = keras.load(GOLDEN / "lstm_hard.keras").layers["layer"]
    assert whole.options.activations[0][0].name == "HardSigmoid"
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(found.layer().weights[name], value)


def test_architecture_and_weights_in_two_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(GOLDEN / "lstm_hard.keras") as archive:
        (tmp_path / "model.json").write_bytes(archive.read("config.json"))
    model = keras.load(tmp_path / "model.json", GOLDEN / "lstm_hard.weights.h5")
    given, (expected,) = recorded(GOLDEN / "lstm_hard.keras")
    assert close(model.run(given)["layer"], expected, "forward")
    with pytest.raises(InteropError, match="holds no weights; give the file that does"):
        keras.load(tmp_path / "model.json")


# Keras 2, in the layout of its h5 files, written by hand.


def write(
    path: Path, layers: list[dict[str, Any]], weights: Mapping[str, Weights], **extra: Any
) -> Path:
    """A Sequential model as Keras 2 keeps it: config as JSON, a group of weights for each layer."""
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.4.0"
        file.attrs["model_config"] = json.dumps(extra.get("config", config)).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([name.encode() for name in weights])
        for name, arrays in weights.items():
            own = group.create_group(name)
            own.attrs["weight_names"] = np.array([f"{name}/{key}:0".encode() for key in arrays])
            for key, value in arrays.items():
                own[f"{name}/{key}:0"] = value
    return path


def layer(kind: str, units: int = 4, inputs: int = 3, **config: Any) -> dict[str, Any]:
    shape = [None, None, inputs]
    values = {"name": "a", "units": units, "batch_input_shape": shape, **config}
    return {"class_name": kind, "config": values}


def random(*shape: int) -> np.ndarray:
    return RNG.uniform(-0.8, 0.8, shape).astype(np.float32)


def triple(gates: int, *bias: int, inputs: int = 3, units: int = 4) -> Weights:
    found = {
        "kernel": random(inputs, gates * units),
        "recurrent_kernel": random(units, gates * units),
    }
    return {**found, "bias": random(*bias)} if bias else found


X = random(2, 5, 3)


def by_hand(kind: str, weights: Weights, gates: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Keras 2's equations, a row and a step at a time, from its documentation."""
    W, U = weights["kernel"], weights["recurrent_kernel"]
    b = weights.get("bias", np.zeros(W.shape[1]))
    act, rec = gates["activation"], gates["recurrent"]
    h = c = np.zeros((len(x), len(U)))
    for t in range(x.shape[1]):
        if kind == "LSTM":
            i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=1)
            c = rec(f) * c + rec(i) * act(g)
            h = rec(o) * act(c)
        else:
            (xz, xr, xh), (uz, ur, uh) = (
                np.split(x[:, t] @ W + b, 3, axis=1),
                np.split(U, 3, axis=1),
            )
            z, r = rec(xz + h @ uz), rec(xr + h @ ur)
            h = z * h + (1 - z) * act(xh + (r * h) @ uh)
    return h


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_keras_2_has_another_hard_sigmoid_and_resets_before(tmp_path, kind, gates) -> None:
    weights = triple(gates, 4 * gates)
    config = layer(kind, recurrent_activation="hard_sigmoid", activation="softsign")
    model = keras.load(write(tmp_path / "m.h5", [config], {"a": weights}))
    functions = {
        "activation": lambda a: a / (1 + abs(a)),
        "recurrent": lambda a: np.clip(0.2 * a + 0.5, 0, 1),
    }
    assert close(model.predict(X), by_hand(kind, weights, functions, X), "forward")


def test_cudnn_lstm_has_gates_transposed_and_two_biases(tmp_path: Path) -> None:
    """CuDNN reads each gate's kernel [I, H] as it lies in memory, as [H, I], which is torch's."""
    weights = triple(4, 32)
    module = torch.nn.LSTM(3, 4, batch_first=True)
    for name, key, width in (
        ("weight_ih_l0", "kernel", 3),
        ("weight_hh_l0", "recurrent_kernel", 4),
    ):
        gates = [part.reshape(4, width) for part in np.split(weights[key], 4, axis=1)]
        getattr(module, name).data = torch.from_numpy(np.concatenate(gates))
    for name, part in zip(("bias_ih_l0", "bias_hh_l0"), np.split(weights["bias"], 2), strict=True):
        getattr(module, name).data = torch.from_numpy(part)
    with torch.no_grad():
        y, _ = module(torch.from_numpy(X))
    for kind in ("CuDNNLSTM", "LSTM"):
        config = layer(kind, return_sequences=True)
        model = keras.load(write(tmp_path / "m.h5", [config], {"a": weights}))
        assert close(model.predict(X), y, "forward")


def test_cudnn_gru_has_gates_transposed_and_two_biases(tmp_path: Path) -> None:
    weights = triple(3, 24)
    module = torch.nn.GRU(3, 4, batch_first=True)
    order = [1, 0, 2]  # z r h in Keras, r z n in torch
    for name, key, width in (
        ("weight_ih_l0", "kernel", 3),
        ("weight_hh_l0", "recurrent_kernel", 4),
    ):
        gates = [part.reshape(4, width) for part in np.split(weights[key], 3, axis=1)]
        getattr(module, name).data = torch.from_numpy(np.concatenate([gates[k] for k in order]))
    for name, half in zip(("bias_ih_l0", "bias_hh_l0"), np.split(weights["bias"], 2), strict=True):
        parts = np.split(half, 3)
        getattr(module, name).data = torch.from_numpy(np.concatenate([parts[k] for k in order]))
    with torch.no_grad():
        y, _ = module(torch.from_numpy(X))
    for kind in ("CuDNNGRU", "GRU"):
        config = layer(kind, return_sequences=True, go_backwards=False)
        model = keras.load(write(tmp_path / "m.h5", [config], {"a": weights}))
        assert close(model.predict(X), y, "forward")


def test_weights_alone_of_keras_2(tmp_path: Path) -> None:
    forward, backward = triple(4, 16), triple(4, 16)
    both = {f"forward_lstm/{k}": v for k, v in forward.items()}
    both |= {f"backward_lstm/{k}": v for k, v in backward.items()}
    parts = {"a": triple(3, 2, 12), "b": triple(3, 12), "c": triple(1), "two": both}
    write(tmp_path / "m.h5", [], {**parts, "d": {"kernel": random(2, 2)}})
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file.attrs["model_config"]
    found = keras.load(tmp_path / "m.h5")
    specs = {name: found.layer(name).spec for name in found.layers}
    assert {name: (s.cell, s.reset, s.bias) for name, s in specs.items()} == {
        "a": ("gru", "after", True),
        "b": ("gru", "before", True),
        "c": ("rnn", "after", False),
        "two": ("lstm", "after", True),
    }
    assert specs["two"].bidirectional
    np.testing.assert_array_equal(
        found.layer("two").weights["weight_ih_l0_reverse"], backward["kernel"].T
    )
    assert list(found.arrays) == ["model_weights/d/d/kernel:0"]


def test_a_functional_graph_as_keras_2_writes_it(tmp_path: Path) -> None:
    """A first state and a mask handed over, a shared layer called twice, a model counted from 1."""
    dense = {"name": "d", "units": 4, "use_bias": False}
    inner_layers = [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 4]}},
        {"class_name": "Dense", "config": {**dense, "name": "e"}},
    ]
    config = {
        "class_name": "Functional",
        "config": {
            "layers": [
                {"class_name": "InputLayer", "name": "x", "config": {"name": "x"}},
                {"class_name": "InputLayer", "name": "h", "config": {"name": "h"}},
                {"class_name": "Dense", "name": "d", "config": dense,
                 "inbound_nodes": [[["h", 0, 0, {}]], [["a", 0, 0, {}]]]},
                {**layer("GRU", reset_after=True, use_bias=False), "name": "a",
                 "inbound_nodes": [[["x", 0, 0, {"initial_state": [["d", 0, 0]]}]]]},
                {"class_name": "Sequential", "name": "s", "config": {"layers": inner_layers},
                 "inbound_nodes": [[["d", 1, 0, {}]]]},
            ],
            "input_layers": [["x", 0, 0], ["h", 0, 0]],
            "output_layers": [["s", 1, 0]],
        },
    }  # fmt: skip
    weights = {"d": {"kernel": random(4, 4)}, "a": triple(3), "s": {"e/kernel": random(4, 4)}}
    model = keras.load(write(tmp_path / "m.h5", [], weights, config=config))
    h = random(2, 4)
    kernel, outer = weights["d"]["kernel"], weights["s"]["e/kernel"]
    spec = model.layers["a"].spec
    rows = [
        reference.sequence(spec, model.layers["a"].weights, X[n], [(h @ kernel)[n : n + 1]])[0][-1]
        for n in range(2)
    ]
    assert close(model.run({"x": X, "h": h})["s"], np.stack(rows) @ kernel @ outer, "forward")


def test_your_own_functions_stand_for_code(tmp_path: Path) -> None:
    own = {"class_name": "Pool", "config": {"name": "pool", "power": 2}}
    code = {"class_name": "Lambda", "config": {"name": "twice", "function": "..."}}
    config = layer("SimpleRNN", return_sequences=True)
    weights = {"a": triple(1, 4), "pool": {"v": random(4)}}
    path = write(tmp_path / "m.h5", [config, own, code], weights)

    def pool(x: np.ndarray, told: keras.CustomLayer) -> np.ndarray:
        assert (told.name, told.config["power"], told.mask) == ("pool", 2, None)
        return (x * told.weights["v"]).sum(axis=1)

    model = keras.load(path, custom={"Pool": pool, "twice": lambda x, _: 2 * x})
    y, _ = model.layers["a"](X)
    assert close(model.predict(X), 2 * (y * weights["pool"]["v"]).sum(axis=1), "forward")
    with pytest.raises(InteropError, match=r"layer 'pool' \(Pool\): this class .* not supported"):
        keras.load(path)
    with pytest.raises(InteropError, match=r"layer 'twice' \(Lambda\): .* never run from a file"):
        keras.load(path, custom={"pool": pool})
    with pytest.raises(InteropError, match="custom names 'pol', which is no layer or class in it"):
        keras.load(path, custom={"pol": pool})


def test_stateful_layers_are_noted_and_odd_weights_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", [layer("SimpleRNN", stateful=True)], {"a": triple(1, 4)})
    assert [note.split(":")[0] for note in keras.load(path).notes] == ["a"]
    weights = {**triple(1, 4), "bias": np.array([1, np.nan, 0, 0], np.float32)}
    path = write(tmp_path / "odd.h5", [layer("SimpleRNN")], {"a": weights})
    with pytest.raises(InteropError, match=r"layer 'a' \(SimpleRNN\): bias: holds NaN or infinity"):
        keras.load(path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"class_name": "ConvLSTM2D", "config": {"name": "a"}}, r"'a' \(ConvLSTM2D\): this class"),
        (layer("LSTM", time_major=True), "time_major is not read"),
        (layer("LSTM", units=5), "units is 5, the weights are of 4|asks for|must be"),
        (layer("LSTM", units=-1), "units must be an integer of 1 to"),
        (layer("LSTM", units="4"), "units must be an integer"),
        (layer("LSTM", activation="cube"), "activation 'cube' is not one that a recurrent cell"),
        (layer("LSTM", activation={"class_name": "x", "config": 3}), "is not one that a recurrent"),
        (layer("LSTM", use_bias=1), "use_bias must be true or false, got 1"),
        (layer("LSTM", use_bias=False), "has 3 weights in the file, asks for 2"),
        (layer("GRU"), r"weight_ih must be \[3\*H, I\]"),
        (layer("Dense", activation="relu7"), "has 3 weights in the file, asks for 2"),
        (
            {"class_name": "RNN", "config": {"name": "a", "cell": {"class_name": "My"}}},
            "cell is 'My'",
        ),
        ({"class_name": "Bidirectional", "config": {"name": "a", "layer": 3}}, "layer is None"),
        ({"class_name": "LSTM"}, "layer 0 .LSTM. has no configuration"),
        ({"config": {}}, "layer 0 of the configuration has no class_name"),
    ],
)
def test_layers_that_cannot_run_are_named_before_anything_runs(tmp_path, config, said) -> None:
    with pytest.raises(InteropError, match=said):
        keras.load(write(tmp_path / "m.h5", [config], {"a": triple(4, 16)}))


def graph(*, nodes: list[Any], outputs: Any) -> dict[str, Any]:
    dense = {"class_name": "Dense", "name": "a", "config": {"name": "a", "units": 4}}
    first = {"class_name": "InputLayer", "name": "x", "config": {"name": "x"}, "inbound_nodes": []}
    layers = [first, {**dense, "inbound_nodes": nodes}]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": outputs}
    return {"class_name": "Functional", "config": {"layers": layers, **ends}}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            graph(nodes=[[["a", 0, 0, {}]]], outputs=[["a", 0, 0]]),
            "goes round in a circle at layer 'a'",
        ),
        (graph(nodes=[[["x", 0, 0, {}]]], outputs=[["a", 7, 0]]), "reads call 7 of 'a': not there"),
        (graph(nodes=[[["y", 0, 0, {}]]], outputs=[["a", 0, 0]]), "reads call 0 of 'y': not there"),
        (graph(nodes=[[["x", -1, 0, {}]]], outputs=[["a", 0, 0]]), "which is no tensor"),
        (graph(nodes=[7], outputs=[["a", 0, 0]]), "a call of it is no list of tensors"),
        (graph(nodes=[], outputs=[]), "has no output_layers"),
        (
            {"class_name": "MyModel", "config": {}},
            "of class 'MyModel'; only Sequential and Functional",
        ),
        ({"class_name": "Sequential", "config": {"layers": []}}, "has no layers"),
        ([], "no JSON object"),
    ],
)
def test_graphs_that_make_no_sense(tmp_path: Path, config: Any, said: str) -> None:
    weights = {"a": {"kernel": random(3, 4), "bias": random(4)}}
    with pytest.raises(InteropError, match=said):
        keras.load(write(tmp_path / "m.h5", [], weights, config=config))


def test_inputs_that_do_not_fit_are_named() -> None:
    model = keras.load(GOLDEN / "states.keras")
    given, _ = recorded(GOLDEN / "states.keras")
    for change, said in (
        (
            {"frames": np.zeros((3, 6, 5))},
            r"'frames' must have shape \[any, 6, 2\], got \[3, 6, 5\]",
        ),
        ({"frame": 0}, "the inputs are frames, h, c; got"),
        ({"frames": np.full((3, 6, 2), "a")}, "'frames' must hold numbers"),
        ({"h": np.zeros((4, 4))}, "layer '.*' cannot take inputs"),
    ):
        with pytest.raises(InteropError, match=said):
            model.run(given | change)
    ids = keras.load(GOLDEN / "graph.keras")
    given, _ = recorded(GOLDEN / "graph.keras")
    with pytest.raises(InteropError, match=r"ids must lie in 0..8, got 9"):
        ids.run(given | {"ids": np.full((3, 6), 9)})
    with pytest.raises(InteropError, match="takes a list of 2 arrays for ids, frames"):
        ids.predict(given["ids"])


def test_nothing_imports_torch_or_keras_or_h5py_here() -> None:
    code = (
        "from unrolled.interop import keras\nkeras.load(sys.argv[1])\n"
        "print({'torch', 'keras', 'h5py', 'jax'} & set(sys.modules))"
    )
    assert tiny.python("import sys\n" + code, GOLDEN / "conv.keras").stdout == "set()\n"
