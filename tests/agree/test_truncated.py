"""Truncated back-propagation: the numbers of the whole pass, and torch.nn's gradients of pieces."""

from __future__ import annotations

import pytest
import torch

import stacks
from tolerances import close
from unrolled import nn
from unrolled.nn.captioner import Captioner
from unrolled.nn.truncated import truncate
from unrolled.spec import AttentionSpec, CaptionerSpec, RecurrentSpec

T, N, I, H = 11, 3, 4, 5  # noqa: E741
LENGTHS = [11, 4, 7]
TORCH = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
ENGINES = ["native", "torch", "reference"]


def layer_of(cell: str, engine: str, layers: int, both: bool) -> nn.Recurrent:
    spec = RecurrentSpec(
        cell=cell, input_size=I, hidden_sizes=(H,) * layers, bidirectional=both, merge="concat"
    )
    layer = stacks.randomise(nn.recurrent(spec, batch_first=False, engine=engine)).double()
    layer.truncate = 3
    return layer.train()


def in_order(cell, weights, x, state, steps):
    """torch.nn's layer in one direction over x [T, I], its state detached every `steps` steps."""
    theirs = TORCH[cell](x.shape[1], H).double()
    outputs = []
    for k in range(0, len(x), steps):
        if k:
            state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
        y, state = torch.func.functional_call(theirs, weights, (x[k : k + steps], state))
        outputs.append(y)
    return torch.cat(outputs), state


def by_rows(cell, parameters, x, h, c, lengths, steps, layers, directions):
    """The same for a batch: every row, layer and direction by itself; y [T, N, D * H], last h."""
    rows, lasts = [], []
    for n, length in enumerate(lengths):
        read = x[:length, n]
        ends = []
        for k in range(layers):
            sides = []
            for d in range(directions):
                suffix = f"_l{k}" + ("_reverse" if d else "")
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                weights = {f"{name}_l0": parameters[name + suffix] for name in names}
                place = k * directions + d
                state = h[place, n][None]
                if cell == "lstm":
                    state = (state, c[place, n][None])
                y, last = in_order(cell, weights, read.flip(0) if d else read, state, steps)
                ends.append((last[0] if cell == "lstm" else last)[0])
                sides.append(y.flip(0) if d else y)
            read = torch.cat(sides, dim=1)
        rows.append(torch.nn.functional.pad(read, (0, 0, 0, x.shape[0] - length)))
        lasts.append(torch.stack(ends))
    return torch.stack(rows, dim=1), torch.stack(lasts, dim=1)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("cell", list(TORCH))
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_are_those_of_pieces(engine, cell, layers, both, ragged):
    layer = layer_of(cell, engine, layers, both)
    directions, lengths = 1 + both, LENGTHS if ragged else [T] * N
    x, weigh = stacks.random(T, N, I), stacks.random(T, N, directions * H)
    weigh_last = stacks.random(layers * directions, N, H)
    h, c = (stacks.random(layers * directions, N, H) for _ in range(2))
    names, parameters = zip(*layer.named_parameters(), strict=True)
    inputs = [x, h, *([c] if cell == "lstm" else [])]
    for each in inputs:
        each.requires_grad_(True)

    hx = (h, c) if cell == "lstm" else h
    y, last = layer(x, hx, lengths=lengths if ragged else None)
    last_h = last[0] if cell == "lstm" else last
    told = (y * weigh).sum() + (last_h * weigh_last).sum()
    found = torch.autograd.grad(told, [*inputs, *parameters])
    expected_y, expected_h = by_rows(
        cell, dict(zip(names, parameters, strict=True)), x, h, c, lengths, 3, layers, directions
    )
    wanted = (expected_y * weigh).sum() + (expected_h * weigh_last).sum()
    expected = torch.autograd.grad(wanted, [*inputs, *parameters])

    close(y, expected_y, "forward")
    for one, other in zip(found, expected, strict=True):
        close(one, other, "gradient")
    layer.truncate = 0
    whole, whole_last = layer(x, hx, lengths=lengths if ragged else None)
    close(y, whole, "forward")
    for one, other in zip(stacks.flat(last), stacks.flat(whole_last), strict=True):
        close(one, other, "forward")
    whole_h = whole_last[0] if cell == "lstm" else whole_last
    untouched = torch.autograd.grad((whole * weigh).sum() + (whole_h * weigh_last).sum(), h)[0]
    assert (untouched - found[1]).abs().max() > 1e-3


def test_a_gradient_reaches_the_first_step_of_its_piece_and_no_further():
    layer = layer_of("gru", "native", 1, False)
    x = stacks.random(T, N, I).requires_grad_(True)
    (found,) = torch.autograd.grad(layer(x)[0][7].sum(), x)
    reached = found.abs().amax(dim=(1, 2)) > 0
    assert reached.tolist() == [t in (6, 7) for t in range(T)]
    states = layer(x, return_states=True)[2][0]["h"]
    close(states[:, :, 0], layer(x)[0], "forward")
    (whole,) = torch.autograd.grad(layer.eval()(x)[0][7].sum(), x)
    assert bool((whole[:8].abs().amax(dim=(1, 2)) > 0).all())


def test_episodes_are_cut_from_their_own_beginnings():
    layer = layer_of("lstm", "native", 1, False)
    reset = torch.zeros(T, N, dtype=torch.bool)
    reset[5] = True
    x = stacks.random(T, N, I).requires_grad_(True)
    (found,) = torch.autograd.grad(layer(x, reset=reset)[0][9].sum(), x)
    assert (found.abs().amax(dim=(1, 2)) > 0).tolist() == [t in (8, 9) for t in range(T)]


def test_flow_is_of_whole_rows():
    layer = layer_of("rnn", "native", 1, False)
    with pytest.raises(ValueError, match="flow= is of whole rows"):
        layer(stacks.random(T, N, I), flow=[])


@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_decoders_that_attend_are_cut_too(kind):
    size = 6 + (6 if kind == "additive" else 0)
    spec = CaptionerSpec(
        inputs="regions",
        feature_size=4,
        memory_size=6,
        decoder=RecurrentSpec(cell="gru", input_size=size, hidden_sizes=(6,)),
        target_vocab_size=9,
        target_embedding_size=6,
        attention=AttentionSpec(
            kind=kind, query_size=6, key_size=6, size=5 if kind == "additive" else 0
        ),
        readout_size=5,
        condition="attend",
    )
    model = Captioner(spec).double().train()
    source, lengths = stacks.random(2, 3, 4), torch.tensor([3, 2])
    tokens = torch.randint(1, 9, (2, 8))

    def reach() -> torch.Tensor:
        embedded = model.target_embedding(tokens).detach().requires_grad_(True)
        model.target_embedding.forward = lambda _: embedded
        r = model.readouts(source, lengths, tokens)
        del model.target_embedding.forward
        (found,) = torch.autograd.grad(r[:, 5].sum(), embedded)
        reach.values = r.detach()
        return found.abs().amax(dim=(0, 2)) > 0

    assert reach().tolist() == [t <= 5 for t in range(8)]
    whole = reach.values
    truncate(model, 4)
    assert reach().tolist() == [t in (4, 5) for t in range(8)]
    close(reach.values, whole, "forward")
