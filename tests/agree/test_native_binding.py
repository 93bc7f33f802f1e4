"""The native module given what does not fit: an error that says so, and never a crash."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unrolled import _native

T, N, I, H, P = 3, 2, 4, 5, 2  # noqa: E741
BIG = [2**31, 2**40, 2**61, 2**62, 2**63 - 1]
OVERFLOWING = [2**58, 2**61, 2**62, 2**63 - 1]
CELLS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru_after": 3, "gru_before": 3}


def weights(cell, projected, dtype=np.float32):
    rows, outputs = CELLS[cell] * H, P if projected else H
    hr = np.zeros((P, H), dtype) if projected else None
    return (
        np.zeros((rows, I), dtype),
        np.zeros((rows, outputs), dtype),
        np.zeros(rows, dtype),
        np.zeros(rows, dtype),
        hr,
    )


def call(cell, projected, both, dtype=np.float32):
    """Return the arguments of a good `run`."""
    outputs, directions = P if projected else H, 2 if both else 1
    lstm = cell == "lstm"
    return {
        "x": np.zeros((N, T, I), dtype),
        "h": np.zeros((directions, N, outputs), dtype),
        "c": np.zeros((directions, N, H), dtype) if lstm else None,
        "lengths": np.array([T, 0], np.int64),
        "y": np.zeros((N, T, directions * outputs), dtype),
        "h_n": np.zeros((directions, N, outputs), dtype),
        "c_n": np.zeros((directions, N, H), dtype) if lstm else None,
    }


def worse(array, how):
    """Return an array of another shape, dtype or layout, or something that is none."""
    grown = np.concatenate([array, array[..., -1:]], axis=-1)
    return {
        "wider": lambda: grown,
        "narrower": lambda: np.ascontiguousarray(array[..., :-1]),
        "taller": lambda: np.concatenate([array, array[:1]]),
        "empty": lambda: array[:0],
        "flatter": lambda: array.reshape(-1) if array.ndim > 1 else array.reshape(1, -1),
        "deeper": lambda: array[None],
        "scalar": lambda: np.zeros((), array.dtype),
        "dtype": lambda: array.astype(np.float16 if array.dtype.kind == "f" else np.int32),
        "other": lambda: array.astype(np.float64 if array.dtype == np.float32 else np.float32),
        "complex": lambda: array.astype(np.complex64),
        "objects": lambda: array.astype(object),
        "swapped": lambda: array.astype(array.dtype.newbyteorder()),
        "strided": lambda: np.repeat(array, 2, axis=-1)[..., ::2],
        "backwards": lambda: array[..., ::-1],
        "turned": lambda: np.asfortranarray(array),
        "none": lambda: None,
        "list": array.tolist,
        "number": lambda: 3,
    }[how]()


HOW = [
    *("wider", "narrower", "taller", "empty", "flatter", "deeper", "scalar", "dtype", "other"),
    *("complex", "objects", "swapped", "strided", "backwards", "turned", "none", "list", "number"),
]
FORMS = [
    (cell, projected, both)
    for cell in CELLS
    for projected in (False, True)
    for both in (False, True)
    if cell == "lstm" or not projected
]
REFUSED = (ValueError, TypeError)


def layer_of(form, dtype=np.float32):
    cell, projected, both = form
    kind = _native.LayerF32 if dtype == np.float32 else _native.LayerF64
    return kind(cell, [weights(cell, projected, dtype)] * (2 if both else 1))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_good_arguments_run_and_any_one_made_worse_is_refused(form):
    for dtype in (np.float32, np.float64):
        layer, good = layer_of(form, dtype), call(*form, dtype)
        layer.run(**good)
        for name, array in good.items():
            for how in HOW:
                if array is None:
                    bad = np.zeros((1, N, H), dtype)
                elif how == "none" and name == "lengths":
                    continue
                else:
                    bad = worse(array, how)
                # Length-one axes make some of these layouts good ones; x may have any stride of N.
                if same_layout(array, bad):
                    continue
                with pytest.raises(REFUSED):
                    layer.run(**{**good, name: bad})


def same_layout(array, bad):
    return (
        isinstance(bad, np.ndarray)
        and array is not None
        and (bad.shape, bad.dtype, bad.flags.c_contiguous)
        == (array.shape, array.dtype, array.flags.c_contiguous)
    )


@pytest.mark.parametrize("length", [-1, T + 1, -(2**63), 2**63 - 1])
def test_a_length_out_of_range_is_named(length):
    form = ("gru_after", False, False)
    good = call(*form)
    good["lengths"] = np.array([T, length], np.int64)
    with pytest.raises(ValueError, match=rf"lengths\[1\] is {length}, expected 0 to 3"):
        layer_of(form).run(**good)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_weights_that_do_not_fit_are_refused(form):
    cell, projected, both = form
    directions = 2 if both else 1
    for place in range(5):
        for how in HOW:
            good = weights(cell, projected)
            if good[place] is None:
                bad = np.zeros((P, H), np.float32)
            elif how == "none" and place in (2, 3):
                continue
            elif place == 0 and not both and how in ("wider", "narrower"):
                continue  # a good layer of another I
            else:
                bad = worse(good[place], how)
            if same_layout(good[place], bad):
                continue
            wrong = [*good[:place], bad, *good[place + 1 :]]
            with pytest.raises(REFUSED):
                _native.LayerF32(cell, [good] * (directions - 1) + [tuple(wrong)])
    for count in (0, 3):
        with pytest.raises(REFUSED):
            _native.LayerF32(cell, [weights(cell, projected)] * count)
    for name in ("", "LSTM", "lstm\0", "x" * 100_000, 3, None):
        with pytest.raises(REFUSED):
            _native.LayerF32(name, [weights(cell, projected)])


def test_sizes_are_told_in_the_message():
    form = ("lstm", True, True)
    for name, says in {
        "y": r"y must be \[2, 3, 4\]",
        "h": r"h must be \[2, 2, 2\]",
        "c_n": r"c_n must be \[2, 2, 5\]",
        "lengths": r"lengths must be \[2\]",
    }.items():
        good = call(*form)
        good[name] = np.concatenate([good[name], good[name][..., -1:]], axis=-1)
        with pytest.raises(ValueError, match=says):
            layer_of(form).run(**good)


# The functions of a training step take addresses, which cannot be checked; sizes and strides can.


def step(cell, projected, both):
    """Return good arguments of `layer_forward_f32` and `layer_backward_f32`, and their arrays."""
    directions, outputs = 2 if both else 1, P if projected else H
    width = directions * outputs
    own = [w for _ in range(directions) for w in weights(cell, projected)]
    kept = [*own]

    def address(*shape):
        kept.append(np.zeros(shape, np.float32))
        return kept[-1].ctypes.data

    def strided(size):
        return (address(T, N, size), N * size, size)

    parameters = [0 if w is None else w.ctypes.data for w in own]
    lengths = np.array([T, 0], np.int64)
    kept.append(lengths)
    state, cells = address(directions, N, outputs), address(directions, N, H)
    tape = address(directions, T, N, 6 * H)
    sizes = (cell, T, N, I, H, outputs, directions)
    x, y = strided(I), strided(width)
    c = cells if cell == "lstm" else 0
    forward = [sizes, lengths.ctypes.data, x, parameters, state, c, 0, y]
    forward += [address(directions, N, outputs), address(directions, N, H), (0, 0, 0), tape]
    gradients = [0 if w is None else address(*w.shape) for w in own]
    backward = [sizes, lengths.ctypes.data, x, parameters, state, c, 0, y, tape, strided(width)]
    backward += [0, 0, (0, 0, 0), strided(I), gradients, address(directions, N, outputs)]
    backward += [address(directions, N, H), address(directions, T, N, 2)]
    return forward, backward, kept


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_addresses_of_a_good_step_run(form):
    forward, backward, _ = step(*form)
    _native.layer_forward_f32(*forward)
    _native.layer_backward_f32(*backward)


@given(
    form=st.sampled_from(FORMS),
    place=st.integers(1, 6),
    size=st.sampled_from(OVERFLOWING) | st.integers(-(2**63), -1) | st.integers(2**63, 2**70),
    backward=st.booleans(),
)
def test_sizes_that_overflow_or_are_negative_are_refused(form, place, size, backward):
    arguments = list(step(*form)[backward])
    sizes = list(arguments[0])
    assume(form[0] == "lstm" or place != 5)
    sizes[place] = size
    if place == 4 and form[0] != "lstm":
        sizes[5] = size
    run = _native.layer_backward_f32 if backward else _native.layer_forward_f32
    with pytest.raises(REFUSED):
        run(tuple(sizes), *arguments[1:])


@given(
    form=st.sampled_from(FORMS),
    backward=st.booleans(),
    place=st.sampled_from([2, 7, 9]),
    stride=st.sampled_from([1, 2]),
    size=st.sampled_from([*OVERFLOWING, -(2**62), -(2**63), 2**64]),
)
def test_strides_that_overflow_are_refused(form, backward, place, stride, size):
    arguments = list(step(*form)[backward])
    assume(isinstance(arguments[place], tuple))
    wrong = list(arguments[place])
    wrong[stride] = size
    arguments[place] = tuple(wrong)
    run = _native.layer_backward_f32 if backward else _native.layer_forward_f32
    with pytest.raises(REFUSED):
        run(*arguments)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_what_must_not_be_null_is_named(form):
    cell, projected, _ = form
    forward, backward, _ = step(*form)
    for arguments, run, needed in [
        (forward, _native.layer_forward_f32, {2: "x", 7: "y", 8: "h_n", 9: "c_n"}),
        (backward, _native.layer_backward_f32, {2: "x", 7: "y", 8: "tape", 9: "dy"}),
    ]:
        for place, name in needed.items():
            if (name == "c_n" and cell != "lstm") or (name == "tape" and "rnn" in cell):
                continue
            wrong = copy.copy(arguments)
            wrong[place] = (0, 1, 1) if isinstance(wrong[place], tuple) else 0
            with pytest.raises(ValueError, match=f"{name} is missing"):
                run(*wrong)
        for place, says in [(0, "weight_ih or weight_hh"), (1, "weight_ih or weight_hh")]:
            wrong = copy.copy(arguments)
            wrong[3] = [*wrong[3][:place], 0, *wrong[3][place + 1 :]]
            with pytest.raises(ValueError, match=says):
                run(*wrong)
        wrong = copy.copy(arguments)
        wrong[3] = wrong[3][:-1]
        with pytest.raises(ValueError, match="five weights per direction"):
            run(*wrong)
        wrong[3] = [*arguments[3][:4], 0 if projected else arguments[3][0], *arguments[3][5:]]
        with pytest.raises(ValueError, match="weight_hr goes with a projection"):
            run(*wrong)


@given(
    cell=st.sampled_from([*CELLS, "", "gru", "LSTM"]),
    hidden=st.integers(-(2**63), 2**63 - 1) | st.sampled_from(BIG),
    outputs=st.integers(-(2**63), 2**63 - 1) | st.sampled_from(BIG),
)
def test_the_width_of_the_tape_is_a_number_or_an_error(cell, hidden, outputs):
    try:
        assert 0 <= _native.tape_width(cell, hidden, outputs) <= 6 * hidden
    except REFUSED:
        assert (
            cell not in CELLS
            or min(hidden, outputs) < 1
            or max(hidden, outputs) > 2**25
            or (hidden != outputs and cell != "lstm")
        )


@pytest.mark.parametrize("how", HOW)
def test_elementwise_refuses_what_is_not_two_equal_arrays(how):
    good = np.zeros(6, np.float32)
    bad = worse(good, how)
    if not same_layout(good, bad):
        with pytest.raises(REFUSED):
            _native.elementwise("tanh", bad, good)
        with pytest.raises(REFUSED):
            _native.elementwise("tanh", good, bad)
    frozen = good.copy()
    frozen.flags.writeable = False
    with pytest.raises(TypeError):
        _native.elementwise("tanh", good, frozen)
    with pytest.raises(ValueError, match="function 'sine': expected exp, tanh, sigmoid, elu"):
        _native.elementwise("sine", good, good)


@pytest.mark.parametrize("count", [0, -1, 257, 2**31 - 1, -(2**31), 2**31, 2**70, 1.5, "2", None])
def test_a_wrong_number_of_threads_is_refused(count):
    before = _native.num_threads()
    with pytest.raises(REFUSED):
        _native.set_num_threads(count)
    assert _native.num_threads() == before
