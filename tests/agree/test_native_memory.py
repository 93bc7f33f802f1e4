"""What a training step keeps for its backward pass: at most what torch keeps."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from stacks import CELLS as STACKED
from unrolled import _native, nn
from unrolled.shapes import cell_name
from unrolled.spec import RecurrentSpec

T, N, I = 20, 6, 24  # noqa: E741
CELLS = {
    "tanh": (nn.RNN, torch.nn.RNN, {}),
    "relu": (nn.RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, torch.nn.GRU, {}),
    "lstm": (nn.LSTM, torch.nn.LSTM, {}),
    "projected": (nn.LSTM, torch.nn.LSTM, {"proj_size": 12}),
}
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def saved_bytes(layer, x):
    """Return the bytes that one forward pass keeps, beside what the caller holds anyway.

    That is the input, the output, the last state and the weights. Memory that several tensors
    share counts once.
    """
    kept: dict[int, int] = {}
    # Held until the end, so that no address is used twice.
    held: list[torch.Tensor] = []

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        y, hx = layer(x)
    state = hx if isinstance(hx, tuple) else (hx,)
    for tensor in (x, y, *state, *layer.parameters()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_training_keeps_at_most_what_torch_keeps(cell, dtype, bidirectional):
    ours, theirs, choices = CELLS[cell]
    for layers, hidden, trained_input, batch_first in [
        (1, 16, False, False),
        (1, 33, True, True),
        (2, 33, False, True),
        (2, 16, True, False),
    ]:
        options = {"dtype": dtype, "bidirectional": bidirectional, "batch_first": batch_first}
        shape = (N, T, I) if batch_first else (T, N, I)
        x = torch.randn(*shape, dtype=dtype, requires_grad=trained_input)
        found = saved_bytes(ours(I, hidden, layers, engine="native", **options, **choices), x)
        assert found <= saved_bytes(theirs(I, hidden, layers, **options, **choices), x)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", STACKED)
def test_all_that_is_kept_is_a_tape_of_at_most_two_columns_more_than_gates(cell, both):
    spec = RecurrentSpec(input_size=I, hidden_sizes=(16,), bidirectional=both, **STACKED[cell])
    width = _native.tape_width(cell_name(spec), 16, spec.state_size(0))
    assert width <= (spec.gates + 2) * 16
    found = saved_bytes(nn.recurrent(spec, engine="native"), torch.randn(N, T, I))
    tape = spec.num_directions * T * N * width * 4
    # The first state, which the caller does not hold here, as it was not given.
    first = spec.num_directions * N * (spec.state_size(0) + 16) * 4
    assert tape <= found <= tape + first


def test_inference_keeps_nothing():
    layer = nn.LSTM(I, 16, engine="native")
    with torch.no_grad():
        assert saved_bytes(layer, torch.randn(T, N, I)) == 0
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    assert saved_bytes(layer, torch.randn(T, N, I)) == 0
