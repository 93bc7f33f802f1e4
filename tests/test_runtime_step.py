"""One step of a stack in one native call: against the plain loop and the whole sequence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stacks import CELLS, flat
from tolerances import close
from unrolled import _native
from unrolled.runtime import Recurrent, reference
from unrolled.shapes import parameter_shapes
from unrolled.spec import RecurrentSpec

STACKS = {
    "one": {"hidden_sizes": (5,)},
    "widths": {"hidden_sizes": (5, 33, 3)},
    "residual": {"hidden_sizes": (7, 7, 7), "residual": True, "bias": False},
    "learned": {"hidden_sizes": (19, 6), "initial_state": "learned"},
    # Whole panels, several at once, and a rest, of every instruction set.
    "wide": {"hidden_sizes": (200, 70)},
}
I, T = 9, 4  # noqa: E741


@pytest.fixture(params=_native.available_isas())
def isa(request):
    _native.set_isa(request.param)
    _native.poison_scratch(True)
    yield request.param
    _native.poison_scratch(False)
    _native.set_isa("")


@pytest.fixture
def threads():
    before = _native.num_threads()
    yield _native.set_num_threads
    _native.set_num_threads(before)


def layer_of(cell, stack, dtype=np.float64, inputs=I):
    spec = RecurrentSpec(input_size=inputs, **{**CELLS[cell], **STACKS[stack]})
    return with_weights(spec, dtype)


def with_weights(spec, dtype):
    generator = np.random.default_rng(5)
    scale = 2 * max(spec.hidden_sizes) ** -0.5
    weights = {
        name: generator.uniform(-scale, scale, shape).astype(dtype)
        for name, shape in parameter_shapes(spec).items()
    }
    return Recurrent(spec, weights)


def inputs(rows, dtype=np.float64, steps=T, width=I):
    return np.random.default_rng(rows).standard_normal((rows, steps, width)).astype(dtype)


def plain(layer, x):
    """Return y and the last h and c by the plain loop in float64, of one row x [T, I]."""
    spec = layer.spec
    weights = {name: value.astype(np.float64) for name, value in layer.weights.items()}
    h, c = (
        [
            weights.get(f"{kind}_l{k}", np.zeros(width))[None]
            for k, width in enumerate(map(width_of, range(spec.num_layers)))
        ]
        for kind, width_of in (("h0", spec.state_size), ("c0", spec.hidden_sizes.__getitem__))
    )
    return reference.sequence(
        spec, weights, x.astype(np.float64), h, c if spec.cell == "lstm" else None
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_are_the_plain_loop_and_the_bits_of_the_whole_sequence(isa, cell, stack, dtype):
    layer = layer_of(cell, stack, dtype)
    for rows in (1, 2, 13):
        x = inputs(rows, dtype)
        whole, last = layer(x)
        state = None
        for t in range(T):
            y, state = layer.step(np.ascontiguousarray(x[:, t]), state)
            assert y.dtype == dtype
            assert np.array_equal(y, whole[:, t])
        for mine, other in zip(flat(state), flat(last), strict=True):
            assert np.array_equal(mine, other)
        expected, h, c = plain(layer, x[-1])
        close(y[-1], expected[-1], "forward")
        for k, part in enumerate(h):
            found = state[0] if c else state
            close(found[k][-1] if np.ndim(found[k]) < 3 else found[k][0, -1], part[0], "forward")


@pytest.mark.parametrize("rows", [1, 3, 150])
@pytest.mark.parametrize("cell", CELLS)
def test_no_result_depends_on_the_number_of_threads(threads, cell, rows):
    spec = RecurrentSpec(input_size=300, hidden_sizes=(310, 310), **CELLS[cell])
    layer = with_weights(spec, np.float32)
    x = inputs(rows, np.float32, 2, 300)
    found = []
    for count in (1, 2, 3):
        threads(count)
        state = None
        for t in range(2):
            y, state = layer.step(np.ascontiguousarray(x[:, t]), state)
        found.append(flat(y, state))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
    assert np.array_equal(found[0][0], layer(x)[0][:, -1])


@pytest.mark.parametrize("stack", ["one", "widths", "residual", "learned"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_alone_is_the_row_of_a_batch(cell, stack):
    layer, x = layer_of(cell, stack), inputs(3)
    alone = batch = None
    for t in range(T):
        one, alone = layer.step(x[1, t], alone)
        many, batch = layer.step(x[:, t], batch)
        assert one.shape == (layer.spec.output_size,)
        assert np.array_equal(one, many[1])
    for part, rows in zip(flat(alone), flat(batch), strict=True):
        assert part.shape == (*rows.shape[:1], *rows.shape[2:])
        assert np.array_equal(part, rows[:, 1])


@pytest.mark.parametrize("cell", CELLS)
def test_arguments_in_any_form_give_the_same(cell):
    layer, x = layer_of(cell, "one"), inputs(4)
    _, state = layer.step(x[:, 0])
    expected, after = layer.step(np.ascontiguousarray(x[:, 1]), state)
    wide = np.zeros((8, 3 * I))
    wide[::2, ::3] = x[:, 1]
    odd = np.zeros(4 * I * 8 + 1, np.uint8)[1:].view(np.float64).reshape(4, I)
    odd[:] = x[:, 1]
    per_layer = tuple((part,) for part in state) if isinstance(state, tuple) else (state,)
    turned = [np.asfortranarray(part) for part in flat(state)]
    forms = [
        (x[:, 1].tolist(), state),
        (wide[::2, ::3], state),
        (odd, state),
        (x[:, 1].astype(">f8"), state),
        (x[:, 1], per_layer),
        (x[:, 1], tuple(turned) if isinstance(state, tuple) else turned[0]),
        (x[:, 1], list(state) if isinstance(state, tuple) else state),
    ]
    for values, given in forms:
        y, found = layer.step(values, given)
        assert np.array_equal(y, expected)
        for mine, other in zip(flat(found), flat(after), strict=True):
            assert np.array_equal(mine, other)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_given_is_not_written_to_and_what_is_returned_is_fresh(cell):
    layer, x = layer_of(cell, "residual"), inputs(2)
    _, first = layer.step(x[:, 0])
    given = [part.copy() for part in flat(first)], x.copy()
    y, second = layer.step(x[:, 1], first)
    for part, kept in zip(flat(first), given[0], strict=True):
        assert np.array_equal(part, kept)
    assert np.array_equal(x, given[1])
    arrays = flat(y, second, first)
    for k, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[k + 1 :])


def test_out_receives_y_also_where_it_is_strided_or_lies_over_what_is_read():
    layer = layer_of("lstm", "wide", inputs=70)
    x = inputs(2, width=70)[:, 0]
    _, state = layer.step(x)
    expected, after = layer.step(x, state)
    over = x.copy()
    for out, values in (
        (np.empty((2, 70)), x),
        (np.empty((2, 140))[:, ::2], x),
        (np.empty((2, 70), np.float32), x),
        (over, over),
    ):
        y, found = layer.step(values, state, out=out)
        assert y is out
        close(y, expected, "forward")
        assert all(np.array_equal(a, b) for a, b in zip(flat(found), flat(after), strict=True))
    square = layer_of("gru", "residual", inputs=7)
    x = inputs(1, width=7)[:, 0]
    _, state = square.step(x)
    expected, after = square.step(x, state)
    y, found = square.step(x, state, out=state[2])
    assert y.base is state
    assert np.array_equal(state[2], expected)
    assert np.array_equal(found, after)


def test_a_step_without_rows_is_empty():
    layer = layer_of("lstm", "one")
    y, (h, c) = layer.step(np.zeros((0, I)))
    assert y.shape == (0, 5)
    assert h.shape == c.shape == (1, 0, 5)


def test_python_threads_may_step_one_layer_at_once():
    layer, x = layer_of("gru", "wide", np.float32), inputs(8, np.float32, 40)

    def stream(row):
        state = None
        for t in range(40):
            y, state = layer.step(x[row, t], state)
        return y

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(stream, range(8)))
    whole, _ = layer(x)
    assert all(np.array_equal(y, whole[row, -1]) for row, y in enumerate(found))


GRU, LSTM = layer_of("gru", "one", np.float32), layer_of("lstm", "widths", np.float32)
X = np.zeros((2, I), np.float32)
ZERO = np.zeros((1, 2, 5))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: GRU.step(X[None]), r"step's input must be \[N, 9\] or \[9\], got \[1, 2, 9\]"),
        (lambda: GRU.step(X[:, :4]), r"or \[9\], got \[2, 4\]"),
        (lambda: GRU.step(X[0, 0]), r"or \[9\], got \[\]"),
        (
            lambda: GRU.step(X, np.zeros((1, 3, 5))),
            r"h of the state must be \[1, 2, 5\], got \[1, 3",
        ),
        (lambda: GRU.step(X[0], ZERO), r"h of the state must be \[1, 5\], got \[1, 2, 5\]"),
        (lambda: GRU.step(X, (ZERO, ZERO)), r"one array per layer of shapes \[\[1, 2, 5\]\]"),
        (lambda: LSTM.step(X, ZERO), r"LSTM takes its state as a pair \(h, c\)"),
        (lambda: LSTM.step(X, (ZERO, ZERO)), r"h of the state must be a tuple for widths"),
        (lambda: GRU.step(X, out=np.zeros((2, 4))), r"out must be an array \[2, 5\], got \[2, 4\]"),
        (lambda: GRU.step(X[0], out=np.zeros((1, 5))), r"out must be an array \[5\], got \[1, 5\]"),
        (lambda: GRU.step(X, out=[0.0]), r"out must be an array \[2, 5\], got list"),
    ],
)
def test_errors_say_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call()


STEPPER = _native.StepperF32
ROWS = np.zeros((3, 5), np.float32)


@pytest.mark.parametrize(
    ("index", "rows", "says"),
    [
        (None, 2, "the frame has 2 rows for 3 states"),
        (np.array([0]), 2, "index must be 2 int64 values"),
        (np.array([0, 3]), 2, r"index\[1\] is 3, expected 0 to 2"),
        (np.array([-1, 0]), 2, r"index\[0\] is -1, expected 0 to 2"),
        (np.array([2, 2]), 2, r"index\[1\] names row 2 again"),
        (np.array([0, 1], np.int32), 2, "index must be 2 int64 values"),
    ],
)
def test_the_rows_of_a_block_are_checked_where_they_are_used(index, rows, says):
    with pytest.raises(ValueError, match=says):
        GRU._stepper.advance(X[:rows], ROWS, index, None)


def test_a_stepper_refuses_layers_that_do_not_follow_each_other():
    one, three = GRU._layers, LSTM._layers
    for layers, says in (
        ([], "at least one layer"),
        ([one[0], one[0]], "must follow each other"),
    ):
        with pytest.raises(ValueError, match=says):
            STEPPER(layers, False, [np.zeros(5, np.float32)] * len(layers), [])
    with pytest.raises(ValueError, match="one initial state a layer"):
        STEPPER(three, False, [], [])
    spec = RecurrentSpec(cell="gru", input_size=3, hidden_sizes=(4,), bidirectional=True)
    both = with_weights(spec, np.float32)._layers
    with pytest.raises(ValueError, match="no single step"):
        STEPPER(both, False, [np.zeros(4, np.float32)], [])
