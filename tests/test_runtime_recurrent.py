"""The torch-free layer: against torch.nn, step by step, from a state_dict, and its messages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stacks import CELLS, RAGGED, STACKS, I, N, T, flat, random, randomise, spec
from tolerances import close
from unrolled import nn
from unrolled.runtime.recurrent import Recurrent

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

TORCH = {
    "tanh": (torch.nn.RNN, {}),
    "relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (torch.nn.LSTM, {}),
    "projected": (torch.nn.LSTM, {"proj_size": 3}),
    "gru": (torch.nn.GRU, {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", TORCH)
def test_agrees_with_torch_nn_from_its_state_dict(cell, num_layers, bidirectional, bias, dtype):
    kind, extra = TORCH[cell]
    torch.manual_seed(0)
    other = kind(I, 5, num_layers, bias=bias, bidirectional=bidirectional, dtype=dtype, **extra)
    layer = Recurrent.from_state_dict(
        other.state_dict(), nonlinearity=extra.get("nonlinearity", "tanh")
    )
    x = random(T, N, I, dtype=dtype)
    first, state = other(x), None
    for y, hx in (first, other(x, first[1])):
        found, state = layer(x.transpose(0, 1).numpy(), state)
        close(found, y.transpose(0, 1), "forward")
        for mine, theirs in zip(flat(state), flat(hx), strict=True):
            close(mine, theirs, "forward")


def layer_of(cell, stack, dtype=torch.float64):
    return randomise(nn.recurrent(spec(cell, stack), dtype=dtype)).runtime()


@pytest.mark.parametrize("stack", ["one", "widths", "residual"])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_one_after_the_other_equal_the_whole_sequence(cell, stack):
    layer, x = layer_of(cell, stack), random(N, T, I).numpy()
    y, last = layer(x)
    state = None
    for t in range(T):
        out, state = layer.step(x[:, t], state)
        close(out, y[:, t], "forward")
    for mine, theirs in zip(flat(state), flat(last), strict=True):
        close(mine, theirs, "forward")


@pytest.mark.parametrize("stack", ["one", "widths", "residual"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_of_one_row_needs_no_batch_and_may_write_in_place(cell, stack):
    layer, x = layer_of(cell, stack), random(N, T, I).numpy()
    y, _ = layer(x)
    state, out = None, np.empty(layer.spec.output_size)
    for t in range(T):
        given, state = layer.step(x[1, t], state, out=out)
        assert given is out
        close(out, y[1, t], "forward")
    _, batched = layer.step(x[:, 0])
    for part, rows in zip(flat(state), flat(batched), strict=True):
        assert part.shape == (*rows.shape[:1], *rows.shape[2:])


def test_learned_states_begin_steps_as_well():
    form = spec("lstm", "learned", bidirectional=False)
    layer, x = randomise(nn.LSTM.from_spec(form)).runtime(), random(N, T, I).numpy()
    close(layer.step(x[:, 0])[0], layer(x)[0][:, 0], "forward")


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_nothing_given_is_written_to(cell, stack):
    layer, x = layer_of(cell, stack), random(N, T, I).numpy()
    weights = {name: value.copy() for name, value in layer.weights.items()}
    _, state = layer(x)
    before = x.copy(), [part.copy() for part in flat(state)]
    first = layer(x, state, RAGGED)
    second = layer(x, state, RAGGED)
    if not layer.spec.bidirectional:
        layer.step(x[:, 0], state)
    assert np.array_equal(x, before[0])
    for part, kept in zip(flat(state), before[1], strict=True):
        assert np.array_equal(part, kept)
    for name, value in layer.weights.items():
        assert np.array_equal(value, weights[name])
    for one, other in zip(flat(first), flat(second), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("cell", CELLS)
def test_large_values_saturate_without_a_warning(cell):
    layer = layer_of(cell, "deep", torch.float32)
    y, state = layer(np.full((N, T, I), 1e4, np.float32))
    assert all(np.isfinite(part).all() for part in flat(y, state))


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_from_state_dict_reads_the_spec_from_names_and_shapes(cell, stack):
    layer = layer_of(cell, stack)
    form = layer.spec
    again = Recurrent.from_state_dict(
        layer.weights,
        nonlinearity=form.nonlinearity,
        merge=form.merge,
        reset=form.reset,
        residual=form.residual,
    )
    assert again.spec == form
    x = random(N, T, I).numpy()
    assert np.array_equal(again(x)[0], layer(x)[0])


GRU = Recurrent.from_state_dict(torch.nn.GRU(I, 4).state_dict())
BOTH = Recurrent.from_state_dict(torch.nn.GRU(I, 4, bidirectional=True).state_dict())
LSTM = Recurrent.from_state_dict(torch.nn.LSTM(I, 4).state_dict())
X = np.zeros((2, 5, I), np.float32)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: GRU(X[0]), r"input must be \[N, T, 3\] with T at least 1, got \[5, 3\]"),
        (lambda: GRU(X[:, :0]), "T at least 1"),
        (lambda: GRU(X[..., :2]), r"got \[2, 5, 2\]"),
        (lambda: GRU(X, lengths=[5]), "lengths must be 2 integers"),
        (lambda: GRU(X, lengths=[5.0, 2.0]), "lengths must be 2 integers, one per row, got float"),
        (lambda: GRU(X, lengths=[6, 2]), r"0..5 \(T of the input\), got 6 in row 0"),
        (lambda: GRU(X, np.zeros((1, 3, 4))), r"h of the state must be \[1, 2, 4\]"),
        (lambda: GRU(X, (np.zeros((1, 3, 4)),)), "one array per layer of shapes"),
        (lambda: LSTM(X, np.zeros((1, 2, 4))), r"pair \(h, c\)"),
        (lambda: BOTH.step(X[:, 0]), "a bidirectional layer has no single step"),
        (lambda: GRU.step(X), r"a step's input must be \[N, 3\] or \[3\], got \[2, 5, 3\]"),
        (lambda: Recurrent.from_state_dict({"weight": X}), "expected a key 'weight_ih_l0', got we"),
        (lambda: Recurrent.from_state_dict({"weight_ih_l0": X[0]}), "missing parameter 'weight_hh"),
        (
            lambda: Recurrent.from_state_dict(
                {"weight_ih_l0": np.zeros((10, 3)), "weight_hh_l0": np.zeros((10, 5))}
            ),
            "10 rows for 5 units",
        ),
        (
            lambda: Recurrent.from_state_dict({**GRU.weights, "weight_hh_l0": np.zeros((7, 4))}),
            r"'weight_hh_l0' must have shape \[12, 4\], got \[7, 4\]",
        ),
        (
            lambda: Recurrent.from_state_dict({**GRU.weights, "bias_l0": np.zeros(4)}),
            "unexpected parameter 'bias_l0'",
        ),
        (lambda: Recurrent(LSTM.spec, GRU.weights), r"'weight_ih_l0' must have shape \[16, 3\]"),
    ],
)
def test_errors_say_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call()
