"""Gates, states and memory against torch's cells and against Jacobians that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import explaining
from tolerances import close
from unrolled import Recurrent, explain
from unrolled.errors import ConfigError
from unrolled.explain.remembering import effective_length, jacobian_norms
from unrolled.explain.states import layer_states, nearest, time_constants, trace
from unrolled.nn import recurrent
from unrolled.spec import RecurrentSpec


def layer(cell: str, **choices):
    torch.manual_seed(0)
    sizes = {"input_size": 3, "hidden_sizes": (4, 4)} | choices
    module = recurrent(RecurrentSpec(cell=cell, **sizes), batch_first=True).double()
    return module, module.runtime()


def x_of(steps: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(steps, width))


CHOICES = {
    "plain": {},
    "two ways": {"bidirectional": True},
    "sum": {"bidirectional": True, "merge": "sum", "residual": True},
    "learned": {"initial_state": "learned"},
    "no bias": {"bias": False},
}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("case", CHOICES)
def test_a_trace_is_the_states_of_the_layer(cell: str, case: str) -> None:
    module, found = layer(cell, **CHOICES[case])
    module.engine = "reference"
    x = x_of(6)
    traces = trace(found, x)
    _, _, states = module(torch.from_numpy(x)[None], return_states=True)
    for each in traces:
        close(each.h, states[each.layer]["h"][0, :, int(each.backward)], "forward")
        if cell == "lstm":
            close(each.c, states[each.layer]["c"][0, :, int(each.backward)], "forward")


@pytest.mark.parametrize(
    ("cell", "choices"),
    [
        ("gru", {"reset": "before"}),
        ("rnn", {"nonlinearity": "relu"}),
        ("lstm", {"proj_size": 2}),
    ],
)
def test_the_rarer_cells(cell: str, choices) -> None:
    _, found = layer(cell, **choices)
    x = x_of(5)
    y, _ = found(x[None])
    close(trace(found, x)[-1].h, y[0], "forward")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_are_those_that_torch_computes(cell: str) -> None:
    module, found = layer(cell, hidden_sizes=(4,))
    x = torch.from_numpy(x_of(5))
    h = c = torch.zeros(4, dtype=torch.float64)
    (traced,) = trace(found, x.numpy())
    kind = torch.nn.LSTMCell if cell == "lstm" else torch.nn.GRUCell
    one = kind(3, 4).double()
    one.load_state_dict({k.removesuffix("_l0"): v for k, v in module.state_dict().items()})
    for t in range(5):
        a = one.weight_ih @ x[t] + one.bias_ih
        b = one.weight_hh @ h + one.bias_hh
        if cell == "lstm":
            i, f, _, o = (a + b).chunk(4)
            gates = {"input": i.sigmoid(), "forget": f.sigmoid(), "output": o.sigmoid()}
            h, c = one(x[t], (h, c))
        else:
            gates = {"reset": (a + b)[:4].sigmoid(), "update": (a + b)[4:8].sigmoid()}
            h = one(x[t], h)
        for name, values in gates.items():
            close(traced.gates[name][t], values, "forward")


@pytest.mark.parametrize(("cell", "gate"), [("lstm", 1), ("gru", 1)])
def test_time_constants_of_known_gates(cell: str, gate: int) -> None:
    """A gate with no weights and bias logit(k) keeps k of the state: it fades as k to the lag."""
    keeps = np.array([0.5, 0.9, 0.99, 1 - 1e-4])
    module, _ = layer(cell, hidden_sizes=(4,))
    with torch.no_grad():
        for each in module.parameters():
            each.zero_()
        module.bias_ih_l0[gate * 4 : gate * 4 + 4] = torch.from_numpy(np.log(keeps / (1 - keeps)))
    (traced,) = trace(module.runtime(), x_of(7))
    expected = -1 / np.log(keeps)
    assert np.allclose(time_constants(traced), expected, rtol=1e-9)
    said = layer_states(traced)
    named = {each.name: each for each in said.gates}
    kept = named["forget" if cell == "lstm" else "update"]
    assert kept.by_unit == pytest.approx(keeps)
    assert (kept.closed, kept.open) == (0.0, 0.5)
    assert said.median_time_constant == pytest.approx(np.median(expected))


def test_a_vanilla_cell_has_no_time_constants() -> None:
    _, found = layer("rnn")
    said = layer_states(trace(found, x_of(5))[0])
    assert (said.gates, said.time_constants, said.state) == ((), None, "h")
    assert np.shape(said.heat) == (4, 5)


def test_the_nearest_input_of_a_unit_is_the_one_that_moves_it() -> None:
    model = explaining.planted()
    texts = ["w0 w1", "w2 good w3", "bad w4", "w5 w6 w7"]
    inputs = [model.network.read(np.array(model.encode(text))) for text in texts]
    best = nearest(model.network.recurrent, inputs, "L0:0", count=2)
    assert (best[0].input, best[0].step) == (1, 1)
    assert best[0].value == pytest.approx(np.tanh(1.0), abs=1e-6)
    assert len(best) == 2
    with pytest.raises(ConfigError, match="unit 'L1:0': the stack has 1 layers, L0 to L0"):
        nearest(model.network.recurrent, inputs, "L1:0")
    with pytest.raises(ConfigError, match="unit 'L0:9': layer L0 has units 0 to 1"):
        nearest(model.network.recurrent, inputs, "L0:9")
    with pytest.raises(ConfigError, match="unit '17': expected a layer and a unit"):
        nearest(model.network.recurrent, inputs, "17")
    with pytest.raises(ConfigError, match="no backward direction"):
        nearest(model.network.recurrent, inputs, "L0r:0")


def linear_stack(keeps) -> Recurrent:
    """h_t = diag(keeps) h_(t-1) + U x_t, as long as all is above 0 (relu)."""
    size = len(keeps)
    spec = RecurrentSpec(
        cell="rnn", input_size=size, hidden_sizes=(size,), nonlinearity="relu", bias=False
    )
    u = np.random.default_rng(2).uniform(0.1, 1, (size, size))
    return Recurrent(spec, {"weight_ih_l0": u, "weight_hh_l0": np.diag(keeps)})


def test_the_memory_of_a_diagonal_recurrence_is_the_closed_form() -> None:
    keeps = np.array([0.95, 0.8, 0.5])
    stack = linear_stack(keeps)
    norms, errors = jacobian_norms(stack, np.random.default_rng(3).uniform(0.1, 1, (60, 3)))
    u, lags = stack.weights["weight_ih_l0"], np.arange(60)
    expected = np.linalg.norm(keeps[None, :, None] ** lags[:, None, None] * u, axis=(1, 2))
    assert np.abs(norms - expected).max() <= 1e-4 * expected.max()
    assert np.allclose(norms, expected, rtol=1e-9)
    assert not errors.any()


def test_the_memory_of_a_full_recurrence_is_the_matrix_power() -> None:
    draw = np.random.default_rng(4)
    w, u = draw.uniform(0, 0.3, (5, 5)), draw.uniform(0.1, 1, (5, 2))
    spec = RecurrentSpec(
        cell="rnn", input_size=2, hidden_sizes=(5,), nonlinearity="relu", bias=False
    )
    stack = Recurrent(spec, {"weight_ih_l0": u, "weight_hh_l0": w})
    norms, _ = jacobian_norms(stack, draw.uniform(0.1, 1, (20, 2)))
    expected = [np.linalg.norm(np.linalg.matrix_power(w, lag) @ u) for lag in range(20)]
    assert np.allclose(norms, expected, rtol=1e-9)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_memory_of_gated_cells_is_the_jacobian_of_autograd(cell: str) -> None:
    module, found = layer(cell, bidirectional=True)
    module.engine = "reference"
    x = x_of(7)

    def last(read):
        _, state = module(read[None])
        return (state[0] if cell == "lstm" else state)[-2, 0]

    whole = torch.autograd.functional.jacobian(last, torch.from_numpy(x))
    norms, _ = jacobian_norms(found, x)
    assert np.allclose(norms[::-1], whole.square().sum(dim=(0, 2)).sqrt().numpy(), rtol=1e-8)


def test_the_estimate_is_within_its_error_and_repeats() -> None:
    stack = linear_stack(np.linspace(0.3, 0.95, 24))
    x = np.random.default_rng(3).uniform(0.1, 1, (12, 24))
    exact, _ = jacobian_norms(stack, x)
    found, errors = jacobian_norms(stack, x, exact=False, probes=400, seed=1)
    assert (np.abs(found - exact) <= 5 * errors).all()
    assert (errors > 0).all()
    again, _ = jacobian_norms(stack, x, exact=False, probes=400, seed=1)
    assert np.array_equal(found, again)


def test_effective_lengths() -> None:
    norms = 0.9 ** np.arange(100)
    assert effective_length(norms, 1 / np.e) == 10
    assert effective_length(norms, 0.01) == 44
    assert effective_length(norms[:5], 0.01) is None
    assert effective_length(np.array([0.1, 1.0, 0.2]), 1 / np.e) == 2


def test_memory_of_a_model_has_the_answers_own_curve_beside_it() -> None:
    model = explaining.linear(0.9)
    text = "w0 w1 good w2 w3"
    found = explain.memory(model, text, target="a")
    lost = model.explain(text, "occlusion", target="a").attributions[0].values
    assert found.deletion == pytest.approx(np.abs(lost)[::-1])
    assert found.exact
    assert found == model.explain(text, "memory", target="a").memory
    assert (found.length_1, found.sentence.count("1/e")) == (None, 1)


def test_what_has_no_trace() -> None:
    from unrolled.runtime import CellOptions

    weights = layer("lstm")[0].state_dict()
    clipped = Recurrent.from_state_dict(weights, options=CellOptions(clip=1.0))
    with pytest.raises(ValueError, match="options or peepholes has no trace"):
        trace(clipped, x_of(3))
    with pytest.raises(ValueError, match=r"x must be \[T, 3\], got \[4, 2\]"):
        trace(layer("gru")[1], np.zeros((4, 2)))
