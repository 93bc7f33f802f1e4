"""RNN, LSTM and GRU against torch.nn: outputs, states, all gradients, and state_dict both ways."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from stacks import flat, gradients, random
from tolerances import close
from unrolled import nn
from unrolled.ops.choose import ENGINES

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

CELLS = {
    "tanh": (nn.RNN, torch.nn.RNN, {}),
    "relu": (nn.RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, torch.nn.LSTM, {}),
    "projected": (nn.LSTM, torch.nn.LSTM, {"proj_size": 3}),
    "gru": (nn.GRU, torch.nn.GRU, {}),
}
DTYPES = [torch.float32, torch.float64]
GRID = list(itertools.product((1, 2, 3), (False, True), (True, False), (False, True)))
I, H, N, T = 4, 5, 3, 6  # noqa: E741


def twins(cell, *, engine="auto", dtype=torch.float64, **options):
    """Return our layer and torch's with the same weights."""
    ours, theirs, extra = CELLS[cell]
    torch.manual_seed(0)
    layer = ours(I, H, engine=engine, dtype=dtype, **options, **extra)
    other = theirs(I, H, dtype=dtype, **options, **extra)
    other.load_state_dict(layer.state_dict())
    return layer, other


def inputs(layer, batch_first=False, dtype=torch.float64):
    """Return x and a first state that want gradients."""
    x = random(*((N, T, I) if batch_first else (T, N, I)), dtype=dtype, seed=10)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h = random(rows, N, layer.proj_size or H, dtype=dtype, seed=11)
    hx = (h, random(rows, N, H, dtype=dtype, seed=12)) if isinstance(layer, nn.LSTM) else h
    for tensor in flat(x, hx):
        tensor.requires_grad_()
    return x, hx


def agree(layer, other, x, hx):
    ours, theirs = flat(layer(x, hx)), flat(other(x, hx))
    for found, expected in zip(ours, theirs, strict=True):
        close(found, expected, "forward")
    found = gradients(ours, flat(x, hx, list(layer.parameters())))
    expected = gradients(theirs, flat(x, hx, list(other.parameters())))
    for mine, wanted in zip(found, expected, strict=True):
        close(mine, wanted, "gradient")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_states_and_gradients_agree(engine, cell, dtype):
    for num_layers, bidirectional, bias, batch_first in GRID:
        layer, other = twins(
            cell,
            engine=engine,
            dtype=dtype,
            num_layers=num_layers,
            bidirectional=bidirectional,
            bias=bias,
            batch_first=batch_first,
        )
        agree(layer, other, *inputs(layer, batch_first, dtype))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("engine", ENGINES)
def test_first_state_left_out_is_zero(engine, cell):
    layer, other = twins(cell, engine=engine, num_layers=2, bidirectional=True)
    x, _ = inputs(layer)
    for found, expected in zip(flat(layer(x)), flat(other(x)), strict=True):
        close(found, expected, "forward")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("engine", ENGINES)
def test_one_unbatched_sequence(engine, cell):
    layer, other = twins(cell, engine=engine, num_layers=2, bidirectional=True, batch_first=True)
    x, hx = inputs(layer, batch_first=True)
    hx = (hx[0][:, 0], hx[1][:, 0]) if isinstance(hx, tuple) else hx[:, 0]
    for state in (None, hx):
        for found, expected in zip(flat(layer(x[0], state)), flat(other(x[0], state)), strict=True):
            close(found, expected, "forward")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequence_in_any_order(batch_first, engine, cell):
    layer, other = twins(
        cell, engine=engine, num_layers=2, bidirectional=True, batch_first=batch_first
    )
    x, hx = inputs(layer, batch_first)
    packed = pack_padded_sequence(
        x, torch.tensor([2, 6, 1]), batch_first=batch_first, enforce_sorted=False
    )
    found, expected = layer(packed, hx), other(packed, hx)
    assert torch.equal(found[0].batch_sizes, expected[0].batch_sizes)
    assert torch.equal(found[0].sorted_indices, expected[0].sorted_indices)
    assert torch.equal(found[0].unsorted_indices, expected[0].unsorted_indices)
    for mine, wanted in zip(
        flat(found[0].data, found[1]), flat(expected[0].data, expected[1]), strict=True
    ):
        close(mine, wanted, "forward")


def test_packed_sequence_already_sorted_stays_without_indices():
    layer, other = twins("gru")
    packed = pack_sequence([random(5, I), random(3, I, seed=1), random(3, I, seed=2)])
    found, expected = layer(packed), other(packed)
    assert found[0].sorted_indices is None
    close(found[0].data, expected[0].data, "forward")
    close(found[1], expected[1], "forward")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("engine", ENGINES)
def test_lengths_give_what_torch_gives_for_a_packed_sequence(engine, cell):
    layer, other = twins(cell, engine=engine, num_layers=2, bidirectional=True)
    x, hx = inputs(layer)
    lengths = torch.tensor([2, 6, 1])
    packed, states = other(pack_padded_sequence(x, lengths, enforce_sorted=False), hx)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(packed)
    for found, expected in zip(
        flat(layer(x, hx, lengths=lengths)), flat(padded, states), strict=True
    ):
        close(found, expected, "forward")


@pytest.mark.parametrize("cell", CELLS)
def test_state_dict_round_trip_and_the_same_first_draw(cell):
    ours, theirs, extra = CELLS[cell]
    options = {"num_layers": 2, "bidirectional": True, **extra}
    torch.manual_seed(7)
    layer = ours(I, H, **options)
    torch.manual_seed(7)
    other = theirs(I, H, **options)
    assert list(layer.state_dict()) == list(other.state_dict())
    for name, value in other.state_dict().items():
        assert torch.equal(layer.state_dict()[name], value), name
    fresh, fresh_other = ours(I, H, **options), theirs(I, H, **options)
    fresh.load_state_dict(other.state_dict())
    fresh_other.load_state_dict(fresh.state_dict())
    for name, value in fresh_other.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_positional_arguments_are_torchs():
    for mine, theirs, positional in (
        (nn.RNN, torch.nn.RNN, (I, H, 2, "relu", False, True, 0.0, True)),
        (nn.LSTM, torch.nn.LSTM, (I, H, 2, False, True, 0.0, True, 3)),
        (nn.GRU, torch.nn.GRU, (I, H, 2, False, True, 0.0, True)),
    ):
        layer, other = mine(*positional), theirs(*positional)
        assert list(layer.state_dict()) == list(other.state_dict())
        for name in (
            "input_size",
            "hidden_size",
            "num_layers",
            "bias",
            "batch_first",
            "dropout",
            "bidirectional",
            "proj_size",
        ):
            assert getattr(layer, name) == getattr(other, name), name
        assert [len(w) for w in layer.all_weights] == [len(w) for w in other.all_weights]
    assert nn.RNN(I, H, 1, "relu").nonlinearity == "relu"


@pytest.mark.parametrize("cell", CELLS)
def test_weights_may_move_to_another_dtype_afterwards(cell):
    layer, other = twins(cell, dtype=torch.float32, num_layers=2)
    layer.double()
    agree(layer, other.double(), *inputs(layer))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_in_eval_mode(cell):
    layer, other = twins(cell, dtype=torch.float32, num_layers=2)
    agree(layer.eval(), other.eval(), *inputs(layer, dtype=torch.float32))


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_between_layers_acts_in_training_only_and_not_after_the_last(engine):
    layer, other = twins("lstm", engine=engine, num_layers=3, dropout=1.0)
    x, _ = inputs(layer)
    close(layer(x)[0], other(x)[0], "forward")
    layer.eval()
    other.eval()
    for found, wanted in zip(flat(layer(x)), flat(other(x)), strict=True):
        close(found, wanted, "forward")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cell", CELLS)
def test_cudnn_agrees_with_the_cpu_and_finds_its_weights_in_one_block(cell):
    layer, _ = twins(cell, engine="torch", num_layers=2, bidirectional=True)
    x, hx = inputs(layer)
    expected = flat(layer(x, hx, lengths=[2, 6, 1]))
    layer.cuda()
    assert layer.engine_for(x.cuda()).name == "torch"
    state = tuple(h.cuda() for h in hx) if isinstance(hx, tuple) else hx.cuda()
    for found, wanted in zip(
        flat(layer(x.cuda(), state, lengths=[2, 6, 1])), expected, strict=True
    ):
        close(found, wanted, "forward")
