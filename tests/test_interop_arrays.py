"""Plain arrays in any layout become `Recurrent`; torch.nn computes what they must give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tolerances import close
from unrolled.errors import InteropError
from unrolled.interop.arrays import recurrent

INPUTS, H = 3, 4
RNG = np.random.default_rng(3)
X = RNG.standard_normal((2, 5, INPUTS)).astype(np.float32)
KINDS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


def layer(cell: str, **options: object) -> torch.nn.RNNBase:
    torch.manual_seed(1)
    return KINDS[cell](INPUTS, H, batch_first=True, **options)


def arrays(module: torch.nn.RNNBase, order: list[int]) -> dict[str, np.ndarray]:
    """The module's arrays with their gates put in another order."""
    found = {}
    for name, value in module.state_dict().items():
        parts = np.split(value.numpy(), len(order))
        found[name.removesuffix("_l0")] = np.concatenate([parts[k] for k in order])
    return found


def agrees(module: torch.nn.RNNBase, found, state=None) -> bool:
    with torch.no_grad():
        y, _ = module(torch.from_numpy(X), state)
    return close(found(X)[0], y, "forward")


@pytest.mark.parametrize(
    ("cell", "order", "places"),
    [
        ("lstm", None, [0, 1, 2, 3]),
        ("lstm", "iofc", [0, 3, 1, 2]),
        ("lstm", "fiog", [1, 0, 3, 2]),
        ("lstm", "IFJO", [0, 1, 2, 3]),
        ("gru", "zrn", [1, 0, 2]),
        ("gru", "urh", [1, 0, 2]),
        ("gru", "nzr", [2, 1, 0]),
        ("rnn", None, [0]),
    ],
)
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_every_order_of_gates_and_both_layouts(cell, order, places, layout) -> None:
    module = layer(cell)
    given = arrays(module, places)
    if layout == "columns":
        given |= {name: given[name].T for name in ("weight_ih", "weight_hh")}
    assert agrees(module, recurrent(given, cell=cell, gate_order=order, layout=layout))


@pytest.mark.parametrize("bias", ["both", "input", "recurrent", "single", "pair", "none"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_way_to_keep_biases(cell: str, bias: str) -> None:
    module = layer(cell, bias=bias != "none")
    given = {name: value.copy() for name, value in arrays(module, [0]).items()}
    missing = {"input": "bias_hh", "single": "bias_hh", "recurrent": "bias_ih"}.get(bias)
    if missing:
        with torch.no_grad():
            getattr(module, f"{missing}_l0").zero_()
        del given[missing]
    if bias == "single":
        given["bias"] = given.pop("bias_ih")
    if bias == "pair":
        given["bias"] = np.stack([given.pop("bias_ih"), given.pop("bias_hh")])
    kind = "single" if bias == "pair" else bias
    assert agrees(module, recurrent(given, cell=cell, bias=kind))


def test_an_update_gate_of_the_opposite_sign() -> None:
    """h = z n + (1 - z) h[t-1], written out step by step in float64."""
    given = {name: value.astype(np.float64) for name, value in arrays(layer("gru"), [0]).items()}
    found = recurrent(given, cell="gru", update_gate="new")
    h = np.zeros((len(X), H))
    for t in range(X.shape[1]):
        a = np.split(X[:, t] @ given["weight_ih"].T + given["bias_ih"], 3, axis=1)
        b = np.split(h @ given["weight_hh"].T + given["bias_hh"], 3, axis=1)
        r, z = (1 / (1 + np.exp(-(a[k] + b[k]))) for k in range(2))
        h = z * np.tanh(a[2] + r * b[2]) + (1 - z) * h
        assert close(found(X)[0][:, t], h, "forward")


def test_parameters_that_are_trained_are_read() -> None:
    module = layer("lstm")
    given = {name.removesuffix("_l0"): value for name, value in module.named_parameters()}
    assert agrees(module, recurrent(given, cell="lstm"))


def test_learned_first_states_and_names_of_the_users_own(tmp_path: Path) -> None:
    module = layer("lstm")
    h0, c0 = RNG.standard_normal((2, H)).astype(np.float32)
    names = {name: f"enc_{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    given = {names[name]: value for name, value in arrays(module, [0]).items()}
    path = tmp_path / "weights.npz"
    np.savez(path, start=h0, memory=c0, other=np.zeros(3), **given)
    found = recurrent(path, cell="lstm", names={**names, "h0": "start", "c0": "memory"})
    state = tuple(torch.from_numpy(np.tile(v, (1, len(X), 1))) for v in (h0, c0))
    assert agrees(module, found, state)


def test_reset_before_and_relu_are_taken_over() -> None:
    assert recurrent(arrays(layer("gru"), [0]), cell="gru", reset="before").spec.reset == "before"
    module = layer("rnn", nonlinearity="relu")
    assert agrees(module, recurrent(arrays(module, [0]), cell="rnn", nonlinearity="relu"))


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"gate_order": "ifg"}, "gate_order must have each of the letters 'ifgo' once"),
        ({}, {"bias": "bothe"}, "bias must be one of 'both', .* Did you mean 'both'?"),
        ({}, {"update_gate": "new"}, "update_gate='new' is for GRU only, got it with 'lstm'"),
        ({}, {"names": {"weight": "w"}}, "names: unknown key 'weight'"),
        ({}, {"names": {"h0": "start"}}, "no array 'start' for h0; there is weight_ih"),
        ({"bias_ih": None}, {}, "no array 'bias_ih' for bias_ih; .* Did you mean 'bias_hh'?"),
        ({"weight_ih": np.zeros((15, 3))}, {}, r"as read they are \[15, 3\] and \[16, 4\]"),
        ({"weight_ih": np.zeros((16, 0))}, {}, "empty"),
        ({"bias_ih": np.zeros(15)}, {}, r"bias_ih must have shape \[16\], got \[15\]"),
        ({"weight_ih": np.array(["a"])}, {}, "weight_ih: holds <U1, expected real numbers"),
        ({"weight_ih": [[1.0], [1.0, 2.0]]}, {}, "weight_ih: not an array of numbers"),
        ({"weight_hh": np.full((16, 4), np.nan)}, {}, "weight_hh: holds NaN or infinity"),
        ({"h0": np.zeros(5)}, {}, r"h0 must have shape \[4\], got 5"),
    ],
)
def test_what_does_not_fit_is_named(change, options, said) -> None:
    given = {**arrays(layer("lstm"), [0]), **change}
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(InteropError, match=said):
        recurrent(given, **{"cell": "lstm", **options})
