"""A reset mask against torch.nn, which runs each episode by itself: outputs, states, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import stacks
from tolerances import close
from unrolled.episodes import cut
from unrolled.nn import recurrent
from unrolled.runtime import Recurrent, SessionPool
from unrolled.spec import RecurrentSpec

N, T = 4, 7
ENGINES = ("reference", "torch", "native")
MASKS = {
    "none": np.zeros((N, T), bool),
    "all": np.ones((N, T), bool),
    "first": np.eye(N, T, dtype=bool),
    "some": np.random.default_rng(0).random((N, T)) < 0.3,
}
LENGTHS = {"whole": None, "ragged": np.array([5, 0, 7, 1])}
TORCH = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def layer_of(cell, engine="native", **more):
    spec = RecurrentSpec(cell=cell, input_size=3, hidden_sizes=(5, 5), **more)
    return stacks.randomise(recurrent(spec, batch_first=True, engine=engine).double())


def begin(cell, directions, rows=N, seed=5):
    h = stacks.random(2 * directions, rows, 5, seed=seed)
    return (h, stacks.random(2 * directions, rows, 5, seed=seed + 1)) if cell == "lstm" else h


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def by_hand(layer, x, hx, lengths, reset):
    """Run torch.nn's layer on each episode, one after the other: y and last states, row by row."""
    spec = layer.spec
    theirs = TORCH[spec.cell](3, 5, 2, batch_first=True, bidirectional=spec.bidirectional).double()
    names = [name for name, _ in theirs.named_parameters()]
    weights = {name: getattr(layer, name) for name in names}
    backwards = torch.arange(2 * spec.num_directions) % spec.num_directions == 1
    rows, lasts = [], []
    for n in range(len(x)):
        end = T if lengths is None else int(lengths[n])
        given = [part[:, n : n + 1] for part in parts(hx)]
        starts = [t for t in range(end) if t == 0 or reset[n, t]]
        final = [part.clone() for part in given]
        y = x.new_zeros(T, layer.spec.output_size)
        for start, until in zip(starts, [*starts[1:], end], strict=False):
            begins, ends = start == 0, until == end
            # Forwards a row's first episode goes on from hx, backwards its last.
            keep = torch.where(backwards, ends, begins and not reset[n, 0])
            state = [torch.where(keep[:, None, None], part, 0) for part in given]
            call = (x[n : n + 1, start:until], tuple(state) if len(state) == 2 else state[0])
            out, after = torch.func.functional_call(theirs, weights, call)
            y = torch.cat([y[:start], out[0], y[until:]])
            take = torch.where(backwards, begins, ends)[:, None, None]
            for k, part in enumerate(parts(after)):
                final[k] = torch.where(take, part, final[k])
        rows.append(y)
        lasts.append(final)
    last = [torch.cat(each, dim=1) for each in zip(*lasts, strict=True)]
    return torch.stack(rows), last


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", TORCH)
def test_every_engine_does_what_torch_does_episode_by_episode(cell, both, engine, mask, lengths):
    layer = layer_of(cell, engine, bidirectional=both)
    reset, ends = MASKS[mask], LENGTHS[lengths]
    x = stacks.random(N, T, 3).requires_grad_()
    hx = begin(cell, 2 if both else 1)
    for part in parts(hx):
        part.requires_grad_()
    y, last = layer(x, hx, lengths=ends, reset=reset)
    expected, final = by_hand(layer, x, hx, ends, reset)
    found, wanted = [y, *parts(last)], [expected, *final]
    for a, b in zip(found, wanted, strict=True):
        close(a, b, "forward")
    sources = [x, *parts(hx), *layer.parameters()]
    ours = _gradients(found, sources)
    theirs = _gradients(wanted, sources)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, "gradient")


def _gradients(outputs, sources):
    loss = sum((out * stacks.random(*out.shape, seed=k)).sum() for k, out in enumerate(outputs))
    found = torch.autograd.grad(loss, sources, allow_unused=True, materialize_grads=True)
    return [g.detach() for g in found]


@pytest.mark.parametrize("cell", TORCH)
def test_a_loop_of_single_steps_that_masks_the_state_says_the_same(cell):
    layer, reset = layer_of(cell, initial_state="learned"), MASKS["some"]
    x, hx = stacks.random(N, T, 3), begin(cell, 1)
    y, last = layer(x, hx, reset=reset)
    _, new = layer(x[:, :1] * 0, lengths=[0] * N)
    state, outputs = hx, []
    for t in range(T):
        anew = torch.from_numpy(reset[:, t])[None, :, None]
        mixed = [torch.where(anew, b, a) for a, b in zip(parts(state), parts(new), strict=True)]
        out, state = layer(x[:, t : t + 1], tuple(mixed) if len(mixed) == 2 else mixed[0])
        outputs.append(out)
    close(y, torch.cat(outputs, dim=1), "forward")
    for a, b in zip(parts(last), parts(state), strict=True):
        close(a, b, "forward")
    new_rows = layer(x, hx, reset=np.ones((N, T), bool))[0].sum()
    assert layer.h0_l0.grad is None
    new_rows.backward()
    assert layer.h0_l0.grad.abs().max() > 0


@pytest.mark.parametrize("both", [False, True])
def test_all_states_are_those_of_the_episodes(both):
    layer, reset = layer_of("lstm", bidirectional=both), MASKS["some"]
    x = stacks.random(N, T, 3)
    y, _, states = layer(x, reset=reset, lengths=[5, 2, 7, 1], return_states=True)
    top = states[-1]["h"].flatten(2)
    close(top, y, "forward")
    assert states[0]["c"].shape == (N, T, 1 + both, 5)


def test_time_first_and_single_sequences_take_the_mask_in_their_own_layout():
    layer = layer_of("gru")
    x, reset = stacks.random(N, T, 3), torch.from_numpy(MASKS["some"])
    y, h = layer(x, reset=reset)
    layer.batch_first = False
    close(layer(x.transpose(0, 1), reset=reset.T)[0].transpose(0, 1), y, "forward")
    one, last = layer(x[2], reset=reset[2])
    close(one, y[2], "forward")
    close(last, h[:, 2], "forward")


@pytest.mark.parametrize(
    ("reset", "message"),
    [
        (np.zeros((N, T), np.int64), "reset must be of booleans, got"),
        (np.zeros((T, N), bool), r"reset must be \[N, T\] = \[4, 7\], got \[7, 4\]"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_by_both(reset, message):
    layer = layer_of("gru")
    with pytest.raises(ValueError, match=message):
        layer(stacks.random(N, T, 3), reset=reset)
    with pytest.raises(ValueError, match=message):
        layer.runtime()(np.zeros((N, T, 3)), reset=reset)


def test_flow_and_packed_sequences_do_not_go_with_a_mask():
    layer, reset = layer_of("gru"), MASKS["some"]
    with pytest.raises(ValueError, match="flow= is of whole rows"):
        layer(stacks.random(N, T, 3), reset=reset, flow=[])
    packed = torch.nn.utils.rnn.pack_sequence([stacks.random(T, 3)])
    with pytest.raises(ValueError, match="a PackedSequence has no layout for reset="):
        layer(packed, reset=reset)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", TORCH)
def test_the_runtime_says_the_same(cell, both, mask, lengths):
    layer = layer_of(cell, bidirectional=both, initial_state="learned")
    x, hx = stacks.random(N, T, 3), begin(cell, 2 if both else 1)
    given = {"lengths": LENGTHS[lengths], "reset": MASKS[mask]}
    y, last = layer(x, hx, **given)
    state = [part.numpy() for part in parts(hx)]
    found, after = layer.runtime()(
        x.numpy(), tuple(state) if len(state) == 2 else state[0], **given
    )
    close(found, y, "forward")
    for a, b in zip(parts(after), parts(last), strict=True):
        close(a, b, "forward")


@pytest.mark.parametrize("cell", TORCH)
def test_sessions_in_chunks_give_the_bits_of_the_whole(cell):
    layer: Recurrent = layer_of(cell, initial_state="learned").float().runtime()
    x = stacks.random(N, 40, 3, dtype=torch.float32).numpy()
    reset = np.random.default_rng(1).random((N, 40)) < 0.15
    whole, _ = layer(x, reset=reset)
    session = layer.stream(N)
    chunks = [session.run(x[:, :9], reset=reset[:, :9])]
    chunks += [session.step(x[:, t], reset=reset[:, t])[:, None] for t in range(9, 17)]
    chunks.append(session.run(x[:, 17:], reset=reset[:, 17:]))
    assert np.array_equal(np.concatenate(chunks, axis=1), whole)
    pool = SessionPool(layer, 2)
    sessions = [pool.open() for _ in range(N)]
    each = [pool.step(x[:, t], sessions, reset=reset[:, t]) for t in range(40)]
    assert np.array_equal(np.stack(each, axis=1), whole)
    with pytest.raises(ValueError, match=r"reset must be \[4\] booleans"):
        pool.step(x[:, 0], sessions, reset=np.zeros(3, bool))


def test_episodes_of_very_unlike_lengths_are_run_in_groups():
    reset = np.zeros((50, 8), bool)
    reset[:, :7] = True
    found = cut(reset, None)
    assert len(found.groups) == 2
    assert sum(group.steps.size for group in found.groups) == reset.size
    assert sorted(np.concatenate([g.episodes for g in found.groups])) == list(range(351))
    layer, x = layer_of("gru"), stacks.random(8, 50, 3)
    pairs = zip(x, reset.T, strict=True)
    expected = torch.cat([layer(row[None], reset=mask[None])[0] for row, mask in pairs])
    close(layer(x, reset=reset.T)[0], expected, "forward")
