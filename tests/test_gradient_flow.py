"""The flow of the gradient through time against autograd over torch's own cells, row by row."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from stacks import random
from tolerances import close
from unrolled import nn
from unrolled.errors import EngineError

T, N, I, H = 7, 4, 3, 5  # noqa: E741
LENGTHS = [7, 0, 3, 1]
CELLS = {
    "rnn": (nn.RNN, torch.nn.RNNCell),
    "gru": (nn.GRU, torch.nn.GRUCell),
    "lstm": (nn.LSTM, torch.nn.LSTMCell),
}


def states_of_row(layer, kind, x):
    """Return y [T, 2 * H] of one row by torch's cells, and h and c at [layer][direction][t]."""
    hs, cs = [], []
    for k in range(layer.spec.num_layers):
        outputs, h_layer, c_layer = [], [], []
        for suffix in ("", "_reverse"):
            cell = kind(x.shape[1], H, dtype=x.dtype)
            weights = {
                name: getattr(layer, f"{name}_l{k}{suffix}") for name, _ in cell.named_parameters()
            }
            steps = list(range(len(x)))[:: -1 if suffix else 1]
            h, c = x.new_zeros(1, H), x.new_zeros(1, H)
            h_at, c_at = {}, {}
            for t in steps:
                state = (h, c) if kind is torch.nn.LSTMCell else h
                found = torch.func.functional_call(cell, weights, (x[t : t + 1], state))
                h, c = found if isinstance(found, tuple) else (found, c)
                h_at[t], c_at[t] = h, c
            outputs.append([h_at[t] for t in range(len(x))])
            h_layer.append(outputs[-1])
            c_layer.append([c_at[t] for t in range(len(x))])
        hs.append(h_layer)
        cs.append(c_layer)
        x = torch.cat([torch.cat(both, dim=1) for both in zip(*outputs, strict=True)])
    return x, hs, cs


def expected_flow(layer, kind, x, lengths):
    """Return the norms over the batch of dL/dh and dL/dc, [L, D, T] each, L as in `loss`."""
    squares = torch.zeros(2, layer.spec.num_layers, 2, T, dtype=x.dtype)
    for n, length in enumerate(lengths):
        if length == 0:
            continue
        y, *states = states_of_row(layer, kind, x[n, :length])
        wanted = [[s for one in of for d in one for s in d] for of in states]
        if kind is not torch.nn.LSTMCell:
            wanted = wanted[:1]
        value = loss(torch.nn.functional.pad(y, (0, 0, 0, T - length)), n)
        for kind_of, tensors in enumerate(wanted):
            found = torch.autograd.grad(value, tensors, retain_graph=True)
            norms = torch.stack([g.square().sum() for g in found])
            squares[kind_of, :, :, :length] += norms.view(-1, 2, length)
    return squares.sqrt()


def loss(y, n):
    return (y * random(*y.shape, seed=n)).sum() + y[0].square().sum()


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", CELLS)
def test_flow_is_what_autograd_finds_over_torchs_cells(name, lengths, engine):
    ours, theirs = CELLS[name]
    layer = ours(I, H, 2, batch_first=True, bidirectional=True, dtype=torch.float64, engine=engine)
    x = random(N, T, I, seed=3)
    with nn.gradient_flow(layer) as flow:
        assert flow.h == []
        y, _ = layer(x, lengths=lengths)
        sum(loss(y[n], n) for n in range(N)).backward()
    h, c = expected_flow(layer, theirs, x, lengths or [T] * N)
    close(torch.stack(flow.h), h, "gradient")
    assert len(flow.c) == (2 if name == "lstm" else 0)
    if flow.c:
        close(torch.stack(flow.c), c, "gradient")


def test_the_last_state_pulls_too_and_backward_may_come_after_the_block():
    layer = nn.LSTM(I, H, dtype=torch.float64, engine="native")
    with nn.gradient_flow(layer) as flow:
        _, (h, c) = layer(random(T, N, I))
    assert not flow.h[0].any()
    (h.sum() + 2 * c.sum()).backward()
    assert (flow.h[0] > 0).all()
    close(flow.h[0][0, -1], torch.tensor(float(N * H), dtype=torch.float64).sqrt(), "gradient")
    kept = flow.h[0].clone()
    layer(random(T, N, I))[0].sum().backward()
    assert torch.equal(flow.h[0], kept)


def test_packed_rows_and_a_layer_inside_a_network():
    layer = nn.GRU(I, H, batch_first=True, dtype=torch.float64)
    network = torch.nn.ModuleDict({"inner": layer})
    x, lengths = random(N, T, I), torch.tensor([7, 2, 3, 1])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    found = []
    for call in (lambda: network["inner"](packed)[1], lambda: layer(x, lengths=lengths)[1]):
        with nn.gradient_flow(layer) as flow:
            call().sum().backward()
        found.append(flow.h[0])
    close(*found, "gradient")
    assert not layer._forward_pre_hooks


def test_recording_changes_no_gradient():
    layer = nn.LSTM(I, H, 2, bidirectional=True, engine="native")
    x = random(T, N, I, dtype=torch.float32)

    def gradients():
        return torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))

    plain = gradients()
    with nn.gradient_flow(layer):
        recorded = gradients()
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


def test_what_cannot_be_recorded_says_so():
    x = random(T, N, I, dtype=torch.float32)
    layer = nn.GRU(I, H, engine="torch")
    with (
        nn.gradient_flow(layer),
        pytest.raises(EngineError, match=r"the gradient of every hidden state.*'native' or 'refer"),
    ):
        layer(x)
    layer = nn.GRU(I, H)
    with (
        nn.gradient_flow(layer),
        pytest.raises(EngineError, match="recorded in eager mode only"),
    ):
        torch.func.vmap(lambda row: layer(row)[0])(x)
