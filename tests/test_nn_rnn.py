"""What RNN, LSTM and GRU do beyond torch.nn."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn.utils.rnn import pack_padded_sequence

from stacks import CELLS, RAGGED, STACKS, I, N, T, flat, random, randomise, spec
from tolerances import close
from unrolled import nn
from unrolled.errors import EngineError
from unrolled.ops import reference
from unrolled.ops.choose import ENGINES
from unrolled.ops.layer import LayerWeights

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def stack_of(cell, stack, *, engine="auto", dtype=torch.float64, batch_first=True, **more):
    form = spec(cell, stack, **more)
    return randomise(nn.recurrent(form, engine=engine, dtype=dtype, batch_first=batch_first))


# Lengths


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_each_row_is_computed_as_if_it_were_alone(cell, stack):
    layer, x = stack_of(cell, stack), random(N, T, I)
    y, hx = layer(x, lengths=RAGGED)
    for row, length in enumerate(RAGGED):
        assert not y[row, length:].any()
        if length:
            alone, last = layer(x[row, :length])
            close(y[row, :length], alone, "forward")
            for found, expected in zip(flat(hx), flat(last), strict=True):
                close(found[:, row], expected, "forward")


@pytest.mark.parametrize("lengths", [[6, 6, 6, 6], torch.tensor([6, 2, 0, 3], dtype=torch.int32)])
def test_lengths_may_be_a_list_or_any_integer_tensor(lengths):
    layer, x = stack_of("gru", "deep"), random(N, T, I)
    y, _ = layer(x, lengths=lengths)
    expected, _ = layer(x, lengths=torch.as_tensor(lengths).long())
    assert torch.equal(y, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_state_carried_over_chunks_equals_one_pass(cell):
    layer, x = stack_of(cell, "residual"), random(N, T, I)
    whole, last = layer(x)
    first, hx = layer(x[:, :2])
    second, hx = layer(x[:, 2:], hx)
    close(torch.cat([first, second], dim=1), whole, "forward")
    for found, expected in zip(flat(hx), flat(last), strict=True):
        close(found, expected, "forward")


# Merge, residual, widths, learned states


@pytest.mark.parametrize("cell", CELLS)
def test_merges_are_those_of_the_concatenated_directions(cell):
    x = random(N, T, I)
    forward, backward = stack_of(cell, "both-ways")(x)[0].chunk(2, dim=-1)
    expected = {
        "sum": forward + backward,
        "mean": (forward + backward) / 2,
        "mul": forward * backward,
    }
    for merge, wanted in expected.items():
        y, _ = stack_of(cell, "both-ways", merge=merge)(x)
        close(y, wanted, "forward")


def test_layers_stack_with_their_own_widths_and_add_their_input_where_residual():
    x = random(N, T, I)
    for name, residual in (("widths", False), ("residual", True)):
        layer = stack_of("lstm", name)
        value, last = x, []
        for k, size in enumerate(layer.spec.hidden_sizes):
            single = torch.nn.LSTM(value.shape[-1], size, batch_first=True, dtype=x.dtype)
            single.load_state_dict(
                {
                    key.replace(f"_l{k}", "_l0"): weight
                    for key, weight in layer.state_dict().items()
                    if key.endswith(f"_l{k}")
                }
            )
            y, hx = single(value)
            value = y + value if residual and k else y
            last.append(hx)
        found, (h, c) = layer(x)
        close(found, value, "forward")
        for k, (h_k, c_k) in enumerate(last):
            close(h[k].reshape(h_k.shape), h_k, "forward")
            close(c[k].reshape(c_k.shape), c_k, "forward")


def test_states_of_differing_widths_are_a_tuple_in_and_out():
    layer = stack_of("lstm", "widths")
    x = random(N, T, I)
    _, (h, c) = layer(x)
    assert [list(part.shape) for part in h] == [[1, N, 5], [1, N, 7], [1, N, 3]]
    assert [list(part.shape) for part in c] == [[1, N, 5], [1, N, 7], [1, N, 3]]
    _, again = layer(x, (h, c))
    assert isinstance(again[0], tuple)
    _, (h, c) = stack_of("projected", "widths")(x)
    assert list(h.shape) == [3, N, 2], "one projection for all layers keeps h in one tensor"
    assert isinstance(c, tuple)
    assert nn.GRU(3, (8, 4)).num_layers == 2
    assert nn.GRU(3, (8, 4)).hidden_size == (8, 4)
    assert nn.GRU(3, (8, 8), num_layers=2).hidden_size == 8


@pytest.mark.parametrize("cell", CELLS)
def test_learned_states_begin_every_row_and_are_learned(cell):
    layer, x = stack_of(cell, "learned"), random(N, T, I)
    names = [name for name, _ in layer.named_parameters() if name.startswith(("h0", "c0"))]
    assert names[:2] == (["h0_l0", "c0_l0"] if layer.cell == "lstm" else ["h0_l0", "h0_l0_reverse"])
    parts = {
        kind: tuple(
            torch.stack([getattr(layer, f"{kind}_l{k}{way}") for way in ("", "_reverse")])
            .unsqueeze(1)
            .expand(-1, N, -1)
            for k in range(2)
        )
        for kind in ("h0", "c0")[: 1 + (layer.cell == "lstm")]
    }
    hx = (parts["h0"], parts["c0"]) if layer.cell == "lstm" else parts["h0"]
    y, _ = layer(x)
    close(y, layer(x, hx)[0], "forward")
    y.sum().backward()
    for name in names:
        assert layer.get_parameter(name).grad.abs().max() > 0, name


# States of every step


@pytest.mark.parametrize("lengths", [None, RAGGED])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_return_states_gives_every_hidden_and_cell_state(cell, stack, lengths):
    layer, x = stack_of(cell, stack), random(N, T, I)
    form = layer.spec
    y, hx, states = layer(x, lengths=lengths, return_states=True)
    close(y, layer(x, lengths=lengths)[0], "forward")
    assert len(states) == form.num_layers
    ends = [T] * N if lengths is None else lengths
    for k, state in enumerate(states):
        assert list(state) == (["h", "c"] if form.cell == "lstm" else ["h"])
        for kind, values in state.items():
            width = form.state_size(k) if kind == "h" else form.hidden_sizes[k]
            assert list(values.shape) == [N, T, form.num_directions, width]
            whole = hx if form.cell != "lstm" else hx["hc".index(kind)]
            last = whole[k] if isinstance(whole, tuple) else whole.chunk(form.num_layers)[k]
            for row, end in enumerate(ends):
                assert not values[row, end:].any()
                if end:
                    close(values[row, end - 1, 0], last[0, row], "forward")
                if end and form.bidirectional:
                    close(values[row, 0, 1], last[1, row], "forward")


def test_cell_states_are_those_that_shorter_runs_end_with():
    layer, x = stack_of("lstm", "one"), random(N, T, I)
    _, _, [state] = layer(x, return_states=True)
    for t in range(T):
        _, (h, c) = layer(x[:, : t + 1])
        close(state["h"][:, t, 0], h[0], "forward")
        close(state["c"][:, t, 0], c[0], "forward")


def test_states_come_in_the_layout_of_the_input():
    x = random(N, T, I)
    expected = stack_of("lstm", "deep")(x, return_states=True)[2]
    time_first = stack_of("lstm", "deep", batch_first=False)
    for found, wanted in zip(
        flat(time_first(x.transpose(0, 1), return_states=True)[2]), flat(expected), strict=True
    ):
        close(found.transpose(0, 1), wanted, "forward")
    for found, wanted in zip(
        flat(stack_of("lstm", "deep")(x[1], return_states=True)[2]), flat(expected), strict=True
    ):
        close(found, wanted[1], "forward")
    packed = pack_padded_sequence(x, torch.tensor([6, 2, 1, 5]), True, enforce_sorted=False)
    ragged = stack_of("lstm", "deep")(x, lengths=[6, 2, 1, 5], return_states=True)[2]
    for found, wanted in zip(
        flat(stack_of("lstm", "deep")(packed, return_states=True)[2]), flat(ragged), strict=True
    ):
        close(found, wanted, "forward")


# Recurrent dropout and initial weights


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_dropout_acts_in_training_only_with_one_mask_a_sequence(cell):
    layer, x = stack_of(cell, "one", recurrent_dropout=0.5), random(N, T, I)
    plain = stack_of(cell, "one")(x)[0]
    assert layer.engine_for(x).name != "torch"
    torch.manual_seed(1)
    y, _ = layer(x)
    torch.manual_seed(1)
    mask = torch.nn.functional.dropout(x.new_ones(1, N, layer.spec.state_size(0)), 0.5)
    weights = (LayerWeights(*flat(list(layer.parameters()))),)
    hidden = x.new_zeros(1, N, layer.spec.state_size(0))
    c = x.new_zeros(1, N, 5) if layer.spec.cell == "lstm" else None
    expected = reference.layer(layer.spec, weights, x.transpose(0, 1), hidden, c, mask=mask)
    close(y.transpose(0, 1), expected.y, "forward")
    assert (y - plain).abs().max() > 1e-3
    close(layer.eval()(x)[0], plain, "forward")


def test_recurrent_dropout_masks_the_product_and_not_what_the_update_gate_carries():
    layer = stack_of("gru", "one", recurrent_dropout=1.0)
    x, hx = random(N, T, I), random(1, N, 5, seed=2)
    w, d = layer.weight_ih_l0, layer.bias_hh_l0
    h = hx[0]
    y, _ = layer(x, hx)
    for t in range(T):
        a_r, a_z, a_n = (x[:, t] @ w.T + layer.bias_ih_l0).chunk(3, dim=-1)
        d_r, d_z, d_n = d.chunk(3)
        z = torch.sigmoid(a_z + d_z)
        h = (1 - z) * torch.tanh(a_n + torch.sigmoid(a_r + d_r) * d_n) + z * h
        close(y[:, t], h, "forward")


@pytest.mark.parametrize("cell", CELLS)
def test_orthogonal_init_has_orthogonal_recurrent_blocks_and_a_forget_bias_of_one(cell):
    layer = nn.recurrent(spec(cell, "both-ways", init="orthogonal"))
    form = layer.spec
    for name, value in layer.named_parameters():
        if name.startswith("weight_hh"):
            for block in value.detach().chunk(form.gates):
                gram = block.T @ block
                close(gram, torch.eye(len(gram)), "forward")
        elif name.startswith("weight_ih"):
            bound = (6 / (form.hidden_sizes[0] + I)) ** 0.5
            assert 0 < value.abs().max() <= bound
        elif name.startswith("bias"):
            expected = torch.zeros(form.gates, form.hidden_sizes[0])
            if form.cell == "lstm" and name.startswith("bias_ih"):
                expected[1] = 1.0
            assert torch.equal(value.detach(), expected.flatten())


# The reference engine: twice differentiable, under torch.func


@pytest.mark.parametrize("stack", ["both-ways", "learned"])
@pytest.mark.parametrize("cell", [name for name in CELLS if name != "relu"])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_reference_gradients_are_those_of_finite_differences(check, cell, stack):
    sizes = {"hidden_sizes": (3,)}
    layer = stack_of(cell, stack, engine="reference", **sizes)
    names = [name for name, _ in layer.named_parameters()]
    inputs = [random(2, 3, I).requires_grad_(), *layer.parameters()]

    def run(x, *values):
        weights = dict(zip(names, values, strict=True))
        return tuple(flat(functional_call(layer, weights, (x,), {"lengths": [3, 2]})))

    assert check(run, inputs, fast_mode=check is torch.autograd.gradgradcheck)


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("lengths", [None, RAGGED])
@pytest.mark.parametrize("cell", CELLS)
def test_vmap_over_inputs(cell, lengths, engine):
    layer, xs = stack_of(cell, "learned", engine=engine), random(3, N, T, I)
    found = vmap(lambda x: layer(x, lengths=lengths)[0])(xs)
    for mine, x in zip(found, xs, strict=True):
        close(mine, layer(x, lengths=lengths)[0], "forward")


@pytest.mark.parametrize("cell", CELLS)
def test_per_sample_gradients_by_vmap_of_grad(cell):
    layer, x = stack_of(cell, "both-ways"), random(N, T, I)
    weights = dict(layer.named_parameters())

    def loss(weights, row):
        return functional_call(layer, weights, (row,))[0].pow(2).sum()

    each = vmap(grad(loss), in_dims=(None, 0))(weights, x)
    for row in range(N):
        expected = torch.autograd.grad(loss(weights, x[row]), list(weights.values()))
        for found, wanted in zip(each.values(), expected, strict=True):
            close(found[row], wanted, "gradient")


@pytest.mark.parametrize("cell", CELLS)
def test_reference_takes_other_floating_dtypes(cell):
    layer = stack_of(cell, "deep", engine="reference", dtype=torch.bfloat16)
    y, hx = layer(random(N, T, I, dtype=torch.bfloat16), lengths=RAGGED)
    assert {value.dtype for value in flat(y, hx)} == {torch.bfloat16}
    expected, _ = stack_of(cell, "deep")(random(N, T, I), lengths=RAGGED)
    assert (y.double() - expected).abs().max() < 0.1


# Engines


def test_engine_for_says_which_and_why():
    x = random(N, T, I)
    before = stack_of("gru-before", "one").engine_for(x)
    assert before.name not in ("torch", "auto")
    assert before.reason
    assert stack_of("gru", "one", engine="torch").engine_for(x) == ("torch", "chosen by name")
    packed = pack_padded_sequence(x, torch.tensor([6, 5, 2, 1]), batch_first=True)
    assert stack_of("gru", "one").engine_for(packed).name in ENGINES


def test_auto_takes_the_reference_under_a_transform():
    layer, chosen = stack_of("gru", "one"), []

    def note(x):
        chosen.append(layer.engine_for(x))
        return x

    vmap(note)(random(2, N, T, I))
    assert chosen[0].name == "reference"
    assert "torch.func" in chosen[0].reason


@pytest.mark.parametrize(
    ("layer", "options", "says"),
    [
        (nn.GRU(I, 4, reset="before", engine="torch"), {}, "has only reset='after'"),
        (nn.RNN(I, 4, recurrent_dropout=0.2, engine="torch"), {}, "no recurrent_dropout"),
        (nn.LSTM(I, 4, engine="torch"), {"return_states": True}, "cell state of every step"),
    ],
)
def test_an_engine_chosen_by_name_that_cannot_says_what_and_which_can(layer, options, says):
    with pytest.raises(EngineError, match=says) as caught:
        layer(torch.zeros(T, N, I), **options)
    assert "'torch' cannot" in str(caught.value)
    assert "'reference'" in str(caught.value)


def test_torch_engine_may_skip_recurrent_dropout_in_eval():
    layer = nn.GRU(I, 4, recurrent_dropout=0.2, engine="torch").eval()
    assert layer(torch.zeros(T, N, I))[0].shape == (T, N, 4)


# The module as a citizen of torch


@pytest.mark.parametrize("cell", CELLS)
def test_copies_and_pickles_compute_the_same(cell):
    layer, x = stack_of(cell, "learned"), random(N, T, I)
    y, _ = layer(x, lengths=RAGGED)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is type(layer)
        assert torch.equal(twin(x, lengths=RAGGED)[0], y)
        assert {p.data_ptr() for p in twin.parameters()}.isdisjoint(
            p.data_ptr() for p in layer.parameters()
        )


def test_weights_may_be_parametrized():
    layer, x = stack_of("gru", "one"), random(N, T, I)
    y, _ = layer(x)
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    close(layer(x)[0], y, "forward")


def test_factory_and_classes_build_the_same():
    form = spec("gru", "deep")
    assert type(nn.recurrent(form)) is nn.GRU
    assert nn.GRU.from_spec(form).batch_first
    assert nn.GRU(I, 5, 2, bidirectional=True).spec == form
    assert not nn.GRU(I, 5).batch_first
    with pytest.raises(ValueError, match="LSTM needs a spec of cell 'lstm', got 'gru'"):
        nn.LSTM.from_spec(form)
    assert "merge='sum'" in repr(nn.GRU(I, 5, bidirectional=True, merge="sum"))
    meta = nn.GRU(I, 5, device="meta", dtype=torch.float64)
    assert meta.weight_ih_l0.is_meta
    assert meta.weight_ih_l0.dtype == torch.float64


def test_state_dicts_with_learned_states_round_trip():
    layer, other = stack_of("lstm", "learned"), nn.recurrent(spec("lstm", "learned")).double()
    other.load_state_dict(layer.state_dict())
    x = random(N, T, I)
    assert torch.equal(layer(x)[0], other(x)[0])
