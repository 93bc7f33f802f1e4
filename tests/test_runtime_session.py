"""Sessions: any chunking is the whole sequence; forks, pools, states as bytes, looking ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks import CELLS
from tolerances import close
from unrolled import runtime
from unrolled.errors import DataError
from unrolled.runtime import (
    CellOptions,
    Recurrent,
    Session,
    SessionPool,
    SessionState,
    step_many,
)
from unrolled.shapes import parameter_shapes
from unrolled.spec import RecurrentSpec

I, T = 3, 12  # noqa: E741
STACKS = {
    "one": {"hidden_sizes": (17,)},
    "widths": {"hidden_sizes": (5, 7, 3), "initial_state": "learned"},
    "residual": {"hidden_sizes": (6, 6), "residual": True},
}


def layer_of(cell, stack="widths", dtype=np.float64, seed=0, **more):
    spec = RecurrentSpec(input_size=I, **{**CELLS[cell], **STACKS[stack], **more})
    generator = np.random.default_rng(seed)
    weights = {
        name: generator.uniform(-0.7, 0.7, shape).astype(dtype)
        for name, shape in parameter_shapes(spec).items()
    }
    return Recurrent(spec, weights)


def frames(rows, steps=T, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, steps, I))


LAYERS = {(cell, stack): layer_of(cell, stack) for cell in CELLS for stack in STACKS}
# By name: what hypothesis keeps of its arguments would outlive the native module.
any_name = st.sampled_from(sorted(LAYERS))
# Lengths of chunks; 0 is an empty chunk, 1 goes in turn through `run` and `step`.
chunkings = st.lists(st.integers(0, 5), min_size=1, max_size=8)


def feed(session, x, sizes, steps):
    """Give x [N, T, I] in chunks of these sizes and then the rest; chunks of 1 may be steps."""
    found, at = [], 0
    for size in [*sizes, x.shape[1]]:
        chunk = x[:, at : at + size]
        at += chunk.shape[1]
        if chunk.shape[1] == 1 and steps:
            found.append(session.step(chunk[:, 0])[:, None])
        else:
            found.append(session.run(chunk))
    return np.concatenate(found, axis=1)


@settings(max_examples=60)
@given(name=any_name, sizes=chunkings, rows=st.integers(1, 3), steps=st.booleans())
def test_any_chunking_gives_the_bits_of_the_whole_sequence(name, sizes, rows, steps):
    layer = LAYERS[name]
    x = frames(rows)
    whole, _ = layer(x)
    session = layer.stream(rows)
    assert np.array_equal(feed(session, x, sizes, steps), whole)
    session.reset()
    assert np.array_equal(session.run(x), whole)


@settings(max_examples=40)
@given(name=any_name, at=st.integers(0, T), pooled=st.booleans())
def test_a_fork_goes_its_own_way(name, at, pooled):
    layer = LAYERS[name]
    x, other = frames(1), frames(1, seed=1)
    pool = SessionPool(layer, 1)
    session = pool.open() if pooled else layer.stream()
    session.run(x[:, :at])
    fork = session.fork()
    mixed = np.concatenate([x[:, :at], other[:, at:]], axis=1)
    assert np.array_equal(fork.run(mixed[:, at:]), layer(mixed)[0][:, at:])
    assert np.array_equal(session.run(x[:, at:]), layer(x)[0][:, at:])
    assert len(pool) == 2 * pooled


@settings(max_examples=40)
@given(name=any_name, at=st.integers(0, T), rows=st.integers(1, 3))
def test_a_state_goes_through_bytes_and_to_another_session(name, at, rows):
    layer = LAYERS[name]
    x = frames(rows)
    first = layer.stream(rows)
    first.run(x[:, :at])
    state = SessionState.from_bytes(first.state.to_bytes())
    assert np.array_equal(state.values, first.state.values)
    second = layer.stream(rows)
    second.state = state
    first.reset()
    assert np.array_equal(second.run(x[:, at:]), layer(x)[0][:, at:])


@settings(max_examples=40)
@given(
    name=any_name,
    script=st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), max_size=10),
    many=st.booleans(),
)
def test_each_session_of_a_pool_is_a_stream_of_its_own(name, script, many):
    layer = LAYERS[name]
    x, pool = frames(6), SessionPool(layer, 2)
    sessions = [pool.open() for _ in range(6)]
    given_to = [0] * 6
    outputs = [[] for _ in range(6)]
    for chosen in script:
        batch = np.array([x[k, given_to[k]] for k in chosen]).reshape(-1, I)
        some = [sessions[k] for k in chosen]
        y = step_many(some, batch) if many and some else pool.step(batch, pool.rows(some))
        for k, row in zip(chosen, y, strict=True):
            outputs[k].append(row)
            given_to[k] += 1
    for k in range(6):
        if given_to[k]:
            whole, _ = layer(x[k : k + 1, : given_to[k]])
            assert np.array_equal(np.stack(outputs[k]), whole[0])
        fresh = layer.stream()
        fresh.run(x[k, : given_to[k]])
        assert np.array_equal(sessions[k].state.values, fresh.state.values)


def test_sessions_that_come_again_are_still_looked_at():
    pool = SessionPool(LAYERS[sorted(LAYERS)[0]], 2)
    sessions = [pool.open() for _ in range(3)]
    assert list(pool.rows(sessions)) == list(pool.rows(list(sessions)))
    assert list(pool.rows(sessions[::-1])) == list(pool.rows(sessions))[::-1]
    rows, closed = pool.rows(sessions), "session 1 is closed or of another pool"
    sessions[1].close()
    with pytest.raises(ValueError, match=closed):
        pool.rows(sessions)
    assert list(pool.rows([sessions[0], pool.open(), sessions[2]])) == list(rows)
    with pytest.raises(ValueError, match=closed):
        pool.rows(sessions)


def test_a_closed_session_leaves_its_row_to_another():
    layer, x = LAYERS["gru", "one"], frames(3)
    pool = SessionPool(layer, 2)
    first, second = pool.open(), pool.open()
    pool.step(x[:2, 0], [first, second])
    kept = first.state
    first.close()
    first.close()
    assert (len(pool), first.closed, second.closed) == (1, True, False)
    third = pool.open()
    assert np.array_equal(third.run(x[2]), layer(x[2:])[0][0])
    assert (len(pool), pool.capacity) == (2, 2)
    fourth = pool.open(kept)
    assert (len(pool), pool.capacity) == (3, 4)
    assert np.array_equal(fourth.step(x[0, 1]), layer(x)[0][0, 1])
    assert np.array_equal(second.step(x[1, 1]), layer(x)[0][1, 1])


@pytest.mark.parametrize("cell", CELLS)
def test_float32_streams_are_the_bits_of_the_whole_sequence_too(cell):
    layer, x = layer_of(cell, "one", np.float32), frames(2).astype(np.float32)
    session, out = layer.stream(2), np.empty((2, layer.spec.output_size), np.float32)
    whole, _ = layer(x)
    for t in range(T):
        assert session.step(x[:, t], out=out) is out
        assert np.array_equal(out, whole[:, t])


def test_frames_in_any_form_and_any_out_are_taken():
    layer, x = LAYERS["lstm", "residual"], frames(1)
    whole, _ = layer(x)
    session = layer.stream()
    assert np.array_equal(session.step(x[0, 0].tolist()), whole[0, 0])
    wide = np.empty((1, 2 * layer.spec.output_size))
    assert np.array_equal(session.step(x[:, 1], out=wide[:, ::2]), whole[:, 1])
    narrow = np.empty(layer.spec.output_size, np.float32)
    close(session.step(x[0, 2].astype(">f8"), out=narrow), whole[0, 2], "forward")
    assert session.run(x[0, 3:]).shape == whole[0, 3:].shape
    assert session.run(x[:, :0]).shape == (1, 0, layer.spec.output_size)


@settings(max_examples=40)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    ahead=st.integers(0, T + 3),
    sizes=chunkings,
    data=st.data(),
)
def test_looking_ahead_is_exact_forward_and_bounded_backward(cell, ahead, sizes, data):
    layer = layer_of(cell, "one", bidirectional=True)
    rows = data.draw(st.integers(1, 2))
    x = frames(rows)
    whole, _ = layer(x)
    session = layer.stream(rows, lookahead=ahead)
    found = feed(session, x, sizes, False)
    assert found.shape[1] == max(0, T - ahead)
    y = np.concatenate([found, session.flush()], axis=1)
    half = y.shape[2] // 2
    assert np.array_equal(y[..., :half], whole[..., :half])
    for t in range(T):
        seen, _ = layer(x[:, t : t + ahead + 1])
        assert np.array_equal(y[:, t, half:], seen[:, 0, half:])
    assert np.array_equal(np.concatenate([session.run(x), session.flush()], axis=1), y)


@pytest.mark.parametrize("more", [{}, {"merge": "mul"}, {"merge": "mean", "residual": True}])
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_over_the_whole_sequence_is_the_whole_sequence(cell, more):
    layer = layer_of(cell, "residual", bidirectional=True, **{"residual": False, **more})
    x = frames(2)
    session = layer.stream(2, lookahead=T)
    assert all(session.step(x[:, t]) is None for t in range(T))
    assert np.array_equal(session.flush(), layer(x)[0])


def test_looking_ahead_forks_and_gives_frames_as_it_was_given_them():
    layer, x = layer_of("lstm", "one", bidirectional=True), frames(1)[0]
    session = layer.stream(lookahead=2)
    assert session.step(x[0]) is None
    assert session.step(x[1]) is None
    assert session.step(x[2]).shape == (34,)
    fork = session.fork()
    rest = np.concatenate([session.run(x[3:]), session.flush()])
    assert rest.shape == (T - 1, 34)
    assert np.array_equal(np.concatenate([fork.run(x[3:]), fork.flush()]), rest)


@settings(max_examples=40)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    stack=st.sampled_from(["one", "widths"]),
    dtype=st.sampled_from([np.float64, np.float32]),
    ahead=st.integers(0, 4),
    at=st.integers(0, T),
    data=st.data(),
)
def test_looking_ahead_goes_on_from_a_saved_state(cell, stack, dtype, ahead, at, data):
    layer = layer_of(cell, stack, dtype, bidirectional=True)
    rows = data.draw(st.integers(1, 2))
    x = frames(rows).astype(dtype)
    session = layer.stream(rows, lookahead=ahead)
    session.run(x[:, :at])
    saved, fork = session.state.to_bytes(), session.fork()
    rest = np.concatenate([session.run(x[:, at:]), session.flush()], axis=1)
    assert rest.shape[1] == T - max(0, at - ahead)
    other = layer_of(cell, stack, dtype, bidirectional=True).stream(rows, lookahead=ahead)
    other.run(frames(rows, data.draw(st.integers(0, 6)), seed=1))
    for each in (other, fork):
        each.state = SessionState.from_bytes(saved)
        assert each.state.to_bytes() == saved
        assert np.array_equal(each.run(x[:, at:]), rest[:, : T - at - max(0, ahead - at)])
        assert np.array_equal(each.flush(), rest[:, T - at - max(0, ahead - at) :])


GRU, LSTM = LAYERS["gru", "one"], LAYERS["lstm", "widths"]
BOTH = layer_of("gru", "one", bidirectional=True)
X = frames(2)


def closed():
    session = SessionPool(GRU).open()
    session.close()
    return session


def pool_of(count):
    pool = SessionPool(GRU)
    return pool, [pool.open() for _ in range(count)]


def step_closed():
    pool, sessions = pool_of(2)
    rows = pool.rows(sessions)
    sessions[0].close()
    pool.step(X[:, 0], rows)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: BOTH.stream(), r"cannot stream: .* stream\(lookahead=k\) runs it over the k fr"),
        (lambda: GRU.stream(lookahead=3), "a layer in one direction streams exactly: leave out"),
        (lambda: BOTH.stream(lookahead=-1), "lookahead must be at least 0 and rows at least 1"),
        (lambda: GRU.stream(0), "room for at least 1 row, got 0"),
        (lambda: GRU.stream().step(X[0]), "the frame has 12 rows for 1 states"),
        (lambda: GRU.stream().step(X[0, 0, :2]), r"input must be \[N, 3\] or \[3\], got \[2\]"),
        (lambda: GRU.stream(2).step(X[:, 0], out=X[:, 0]), r"out must be an array \[2, 17\], got"),
        (lambda: GRU.stream().run(X), r"chunk must be \[1, T, 3\] or \[T, 3\], got \[2, 12, 3\]"),
        (lambda: GRU.stream(2).run(X[0]), r"a chunk must be \[2, T, 3\], got \[12, 3\]"),
        (lambda: BOTH.stream(2, lookahead=1).run(X[:1]), r"chunk must be \[2, T, 3\], got \[1,"),
        (lambda: BOTH.stream(lookahead=1).step(X), r"a step's input must be \[N, 3\] or \[3\]"),
        (lambda: closed().step(X[0, 0]), "the session is closed"),
        (lambda: closed().state, "the session is closed"),
        (lambda: pool_of(1)[0].step(X[:1, 0], [closed()]), "session 0 is closed or of another"),
        (lambda: step_many([*pool_of(1)[1], *pool_of(1)[1]], X[:, 0]), "session 1 is closed or of"),
        (lambda: step_many(pool_of(1)[1] * 2, X[:, 0]), r"index\[1\] names row 0 again"),
        (lambda: step_many(pool_of(3)[1], X[:, 0]), "index must be 2 int64 values"),
        (lambda: step_many([GRU.stream(2)], X[:, 0]), "session 0 is none that a pool opened"),
        (lambda: step_many([], X[:0, 0]), "step_many needs at least one session"),
        (step_closed, "one of the sessions is closed"),
    ],
)
def test_errors_say_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call()


BYTES = GRU.stream(2).state.to_bytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "these 0 bytes are no saved state: expected at least 44"),
        (BYTES[1:], "are no saved state"),
        (BYTES[:8] + b"\x02" + BYTES[9:], "has format 2, this version of unrolled reads 1"),
        (BYTES[:-1], "is cut or damaged: 319 bytes, expected 320 for 2 rows of 17 values"),
        (BYTES + b"\0", "is cut or damaged: 321 bytes, expected 320"),
        (BYTES[:12] + b"\xff" * 16 + BYTES[28:], "is cut or damaged"),
        (BYTES[:60] + b"\x01" + BYTES[61:], "its checksum does not fit"),
    ],
)
def test_bytes_that_are_no_state_are_refused(data, says):
    with pytest.raises(DataError, match=says):
        SessionState.from_bytes(data)


@settings(max_examples=100)
@given(data=st.binary(max_size=100), tail=st.booleans())
def test_any_bytes_are_read_or_refused(data, tail):
    with pytest.raises(DataError):
        SessionState.from_bytes(BYTES[:44] + data if tail else data)


def test_a_state_of_another_model_or_shape_is_refused():
    session = GRU.stream()
    before = session.state
    for other in (
        layer_of("gru", "one", seed=1).stream(),
        layer_of("gru", "one", np.float32).stream(),
        LSTM.stream(),
    ):
        with pytest.raises(DataError, match="is of another model: its fingerprint is"):
            session.state = other.state
    with pytest.raises(
        DataError, match=r"is float64 \[2, 17\], the session's is float64 \[1, 17\]"
    ):
        session.state = GRU.stream(2).state
    assert np.array_equal(session.state.values, before.values)


def test_a_state_that_looks_elsewhere_is_refused():
    session = BOTH.stream(lookahead=2)
    session.run(X[0, :5])
    before, other = session.state, layer_of("gru", "one", seed=1, bidirectional=True)
    cases = [
        (BOTH.stream(lookahead=3).state, "looks 3 frames ahead, this session looks 2 ahead"),
        (SessionState(BOTH.fingerprint, np.empty((0, 0))), "looks no frames ahead"),
        (SessionState(BOTH.fingerprint, before.values[:, :-1]), r"is float64 \[1, 23\], the sess"),
        (SessionState(BOTH.fingerprint, before.values[:, :4]), r"\[1, 4\], .* float64 \[1, 18\]"),
        (BOTH.stream(2, lookahead=2).state, r"is float64 \[2, 18\], the session's is .* \[1, 18\]"),
        (other.stream(lookahead=2).state, "of another"),
        (GRU.stream().state, "is of another model"),
    ]
    for state, says in cases:
        with pytest.raises(DataError, match=says):
            session.state = state
    assert np.array_equal(session.state.values, before.values)


def test_a_fingerprint_is_of_what_the_layer_computes():
    again = Recurrent(GRU.spec, GRU.weights)
    assert again.fingerprint == GRU.fingerprint
    trained = RecurrentSpec(input_size=I, cell="gru", hidden_sizes=(17,), dropout=0.5)
    assert Recurrent(trained, GRU.weights).fingerprint == GRU.fingerprint
    before = RecurrentSpec(input_size=I, cell="gru", hidden_sizes=(17,), reset="before")
    assert Recurrent(before, GRU.weights).fingerprint != GRU.fingerprint


def test_sessions_are_made_by_layers_and_pools():
    assert isinstance(GRU.stream(), Session)
    assert isinstance(BOTH.stream(lookahead=1), runtime.LookaheadSession)


def test_options_make_another_fingerprint():
    spec = RecurrentSpec(cell="gru", input_size=2, hidden_sizes=(3,), bias=False)
    weights = {"weight_ih_l0": np.ones((9, 2)), "weight_hh_l0": np.ones((9, 3))}
    plain = Recurrent(spec, weights)
    assert plain.fingerprint == Recurrent(spec, weights, CellOptions()).fingerprint
    assert plain.fingerprint != Recurrent(spec, weights, CellOptions(clip=1.0)).fingerprint
