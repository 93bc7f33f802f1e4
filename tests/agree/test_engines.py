"""Every engine against the float64 reference, over all that torch.nn lacks, and the runtime too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stacks import CELLS, RAGGED, STACKS, I, N, T, flat, gradients, random, randomise, spec
from tolerances import close
from unrolled import nn
from unrolled.ops.choose import ENGINES
from unrolled.runtime import reference as plain
from unrolled.runtime.recurrent import Recurrent

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

BATCHES = {
    "even": (T, None),
    "ragged": (T, RAGGED),
    "one-step": (1, None),
    "one-step-ragged": (1, [1, 0, 1, 0]),
}
FAST = [
    (engine, cell)
    for engine in ENGINES
    for cell in CELLS
    if not (engine == "torch" and cell == "gru-before")
]
DTYPES = [torch.float32, torch.float64]


def layer_of(spec, engine, dtype=torch.float64):
    return randomise(nn.recurrent(spec, engine=engine, dtype=dtype))


def first_state(spec, dtype, rows=N):
    """Return a state of a tensor per layer, as every stack accepts it."""
    D = spec.num_directions
    h = [random(D, rows, spec.state_size(k), dtype=dtype, seed=k) for k in range(spec.num_layers)]
    if spec.cell != "lstm":
        return tuple(h)
    c = [random(D, rows, size, dtype=dtype, seed=9 - k) for k, size in enumerate(spec.hidden_sizes)]
    return tuple(h), tuple(c)


def outcome(spec, engine, dtype, steps, lengths, *, given):
    """Return outputs, last states and all gradients of one call."""
    layer = layer_of(spec, engine, dtype)
    x = random(N, steps, I, dtype=dtype, seed=5).requires_grad_()
    hx = first_state(spec, dtype) if given else None
    states = [h.requires_grad_() for h in flat(hx)] if given else []
    parameters = [p for n, p in layer.named_parameters() if not (given and n[:2] in ("h0", "c0"))]
    wanted = [x, *states, *parameters]
    outputs = flat(layer(x, hx, lengths=lengths))
    return outputs, gradients(outputs, wanted)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("engine", "cell"), FAST)
def test_agrees_with_the_reference_in_outputs_states_and_gradients(engine, cell, stack):
    form = spec(cell, stack)
    for steps, lengths in BATCHES.values():
        for given in (False, True):
            expected = outcome(form, "reference", torch.float64, steps, lengths, given=given)
            for dtype in DTYPES:
                found = outcome(form, engine, dtype, steps, lengths, given=given)
                for kind, mine, theirs in zip(
                    ("forward", "gradient"), found, expected, strict=True
                ):
                    for a, b in zip(mine, theirs, strict=True):
                        close(a, b, kind)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("engine", "cell"), FAST)
def test_rows_without_a_step_keep_their_state(engine, cell, stack):
    form = spec(cell, stack)
    hx = first_state(form, torch.float64)
    y, last = layer_of(form, engine)(random(N, T, I), hx, lengths=[0] * N)
    assert torch.equal(y, torch.zeros(N, T, form.output_size, dtype=torch.float64))
    found, expected = torch.cat([h.flatten() for h in flat(last)]), flat(hx)
    assert torch.equal(found, torch.cat([h.flatten() for h in expected]))


@pytest.mark.parametrize("stack", ["widths", "mean", "learned"])
@pytest.mark.parametrize(("engine", "cell"), FAST)
def test_strides_and_what_lies_past_the_end_do_not_matter(engine, cell, stack):
    form = spec(cell, stack)
    layer = layer_of(form, engine)
    x = random(N, T, I)
    expected = flat(layer(x, lengths=RAGGED))
    strided = random(N, 2 * T, I + 1, seed=1)[:, ::2, 1:]
    strided.copy_(x)
    assert not strided.is_contiguous()
    for row, length in enumerate(RAGGED):
        strided[row, length:] = float("nan")
    for found, wanted in zip(flat(layer(strided, lengths=RAGGED)), expected, strict=True):
        close(found, wanted, "forward")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_runtime_agrees_with_the_layer(cell, stack, dtype):
    form = spec(cell, stack)
    layer = layer_of(form, "reference", dtype)
    fast = layer.runtime()
    assert fast.dtype == np.dtype(str(dtype).removeprefix("torch."))
    for steps, lengths in BATCHES.values():
        x = random(N, steps, I, dtype=dtype, seed=5)
        for state in (None, first_state(form, dtype)):
            arrays = None if state is None else numpy_state(state)
            found = fast(x.numpy(), arrays, lengths)
            for mine, theirs in zip(
                flat(found), flat(layer(x, state, lengths=lengths)), strict=True
            ):
                assert mine.dtype == fast.dtype
                close(mine, theirs, "forward")


def numpy_state(state):
    if isinstance(state, tuple):
        return tuple(numpy_state(part) for part in state)
    return state.numpy()


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_plain_numpy_loop_agrees_row_by_row(cell, stack):
    form = spec(cell, stack)
    runtime = Recurrent(
        form,
        {name: p.detach().numpy() for name, p in layer_of(form, "reference").named_parameters()},
    )
    x, state = random(N, T, I).numpy(), numpy_state(first_state(form, torch.float64))
    y, last = runtime(x, state, RAGGED)
    hs, cs = state if form.cell == "lstm" else (state, None)
    for row, length in enumerate(RAGGED):
        expected, h, c = plain.sequence(
            form,
            runtime.weights,
            x[row, :length],
            [h[:, row] for h in hs],
            None if cs is None else [c[:, row] for c in cs],
        )
        close(y[row, :length], expected, "forward")
        assert not y[row, length:].any()
        found = np.concatenate([part[:, row].ravel() for part in flat(last)])
        close(found, np.concatenate([part.ravel() for part in flat(h, c)]), "forward")
