"""bf16 and int8 kernels, each instruction set by name, against the plain numpy loop."""

from __future__ import annotations

import numpy as np
import pytest

from stacks import CELLS
from tolerances import close
from unrolled import Recurrent, _native
from unrolled.errors import ModelError
from unrolled.runtime import reference, reference_low
from unrolled.runtime.operator import CellOptions
from unrolled.runtime.session import SessionPool
from unrolled.shapes import parameter_shapes
from unrolled.spec import RecurrentSpec

LOW = [cell for cell in CELLS if cell != "projected"]
# T, I, H: one step, odd sizes, whole and broken panels, more inputs than units.
SIZES = [(1, 1, 5), (4, 3, 16), (3, 7, 19), (3, 6, 70), (3, 65, 150)]


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


def problem(cell, inputs, sizes, seed=0, **more):
    """Return a spec and float32 weights of a stack."""
    spec = RecurrentSpec(input_size=inputs, hidden_sizes=sizes, **CELLS[cell], **more)
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        for name, shape in parameter_shapes(spec).items()
    }
    return spec, weights


def frames(rows, steps, inputs, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, steps, inputs)).astype(np.float32)


def expected(spec, weights, x, precision, y):
    """Return what the plain loop makes of x, going on at each step from the h that y holds.

    A last bit of h can move one of its codes, so the two must round the same h.
    """
    outs = np.zeros_like(y)
    for row in range(len(x)):
        h = np.zeros(spec.hidden_sizes[0], np.float32)
        c = h if spec.cell == "lstm" else None
        for t in range(x.shape[1]):
            state = (h, c)
            outs[row, t], c = reference_low.step(spec, weights, "_l0", x[row, t], state, precision)
            h = y[row, t]
    return outs


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cell", LOW)
def test_the_kernels_compute_what_the_plain_loop_does(isa, cell, size, precision):
    steps, inputs, hidden = size
    spec, weights = problem(cell, inputs, (hidden,))
    for rows in (1, 7):
        x = frames(rows, steps, inputs)
        y, _ = Recurrent(spec, weights, precision=precision)(x)
        close(y, expected(spec, weights, x, precision, y), "forward")


def test_the_path_without_the_vector_extension_gives_the_same_integers(isa):
    spec, weights = problem("lstm", 33, (70,))
    parts = [(*(weights[name] for name in list(weights)[:4]), None)]
    x = frames(9, 5, 33)
    results = []
    for precision in ("int8", "int8-without-vnni"):
        layer = _native.LayerF32("lstm", parts, precision=precision)
        zeros, y = np.zeros((1, 9, 70), np.float32), np.empty((9, 5, 70), np.float32)
        layer.run(x, zeros, zeros, None, y, np.empty_like(zeros), np.empty_like(zeros))
        results.append(y)
    np.testing.assert_array_equal(*results)
    close(y, expected(spec, weights, x, "int8", y), "forward")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("cell", LOW)
def test_ragged_rows_in_both_directions_and_depth(isa, cell, precision):
    spec, weights = problem(cell, 5, (9, 9), bidirectional=True, initial_state="learned")
    layer = Recurrent(spec, weights, precision=precision)
    lengths = [3, 0, 5, 1, 5]
    x = frames(len(lengths), 5, 5)
    y, _ = layer(x, lengths=lengths)
    for row, length in enumerate(lengths):
        assert not y[row, length:].any()
        if length:
            alone = reference_low.sequence(spec, weights, x[row, :length], precision)
            close(y[row, :length], alone, "forward")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("cell", LOW)
def test_steps_sessions_and_sequences_give_the_same_bits(isa, cell, precision):
    spec, weights = problem(cell, 19, (19, 19), residual=True)
    layer = Recurrent(spec, weights, precision=precision)
    x = frames(6, 4, 19)
    y, last = layer(x)
    state = None
    for t in range(4):
        out, state = layer.step(x[:, t], state)
        np.testing.assert_array_equal(out, y[:, t])
    for found, wanted in zip(np.atleast_1d(state), np.atleast_1d(last), strict=True):
        np.testing.assert_array_equal(found, wanted)
    pool = SessionPool(layer)
    sessions = [pool.open() for _ in range(6)]
    for t in range(4):
        rows = pool.rows(sessions[::-1])
        np.testing.assert_array_equal(pool.step(x[::-1, t].copy(), rows), y[::-1, t])
    one = layer.stream()
    np.testing.assert_array_equal(one.run(x[2]), y[2])


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("cell", ["lstm", "gru-before"])
def test_threads_change_no_bit(threads, cell, precision):
    spec, weights = problem(cell, 260, (260,), bidirectional=False)
    layer = Recurrent(spec, weights, precision=precision)
    results = []
    for count in (1, 2, 3):
        threads(count)
        few, many = layer(frames(1, 30, 260))[0], layer(frames(40, 5, 260))[0]
        step = layer.step(frames(1, 30, 260)[:, 0])[0]
        results.append(np.concatenate([few.ravel(), many.ravel(), step.ravel()]))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_rows_of_zeros_and_tiny_weights_are_zero_and_what_is_not_finite_shows(isa):
    spec, weights = problem("tanh", 4, (6,))
    weights["weight_ih_l0"][2] = 0
    weights["weight_ih_l0"][3] = 1e-38
    x = frames(3, 1, 4)
    x[1] = 0
    layer = Recurrent(spec, weights, precision="int8")
    y, _ = layer(x)
    close(y, expected(spec, weights, x, "int8", y), "forward")
    for bad in (np.nan, np.inf):
        x[2, 0, 1] = bad
        y, _ = layer(x)
        assert np.isnan(y[2]).all()
        assert np.isfinite(y[:2]).all()


@pytest.mark.parametrize(("precision", "allowed"), [("bf16", 0.02), ("int8", 0.06)])
@pytest.mark.parametrize("cell", LOW)
def test_what_is_lost_against_float32_is_bounded(cell, precision, allowed):
    spec, weights = problem(cell, 40, (64,))
    x = frames(4, 20, 40)
    zeros = np.zeros((1, 64), np.float32)
    full = np.stack(
        [
            reference.sequence(spec, weights, row, [zeros], [zeros] if cell == "lstm" else None)[0]
            for row in x
        ]
    )
    y, _ = Recurrent(spec, weights, precision=precision)(x)
    off = np.abs(y - full).max() / max(1.0, np.abs(full).max())
    assert 0 < off < allowed


def test_what_has_no_low_precision_says_so():
    spec, weights = problem("projected", 3, (5,))
    with pytest.raises(ValueError, match="projection runs in float32 only"):
        Recurrent(spec, weights, precision="int8")
    spec, weights = problem("lstm", 3, (5,))
    with pytest.raises(ValueError, match="expected float32, bf16 or int8"):
        Recurrent(spec, weights, precision="int4")
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    with pytest.raises(ValueError, match="float32 weights, these are float64"):
        Recurrent(spec, wide, precision="bf16")
    ones = np.ones((4, 1), np.float32)
    with pytest.raises(ValueError, match="projection has no low precision"):
        _native.LayerF32("lstm", [(ones, ones, None, None, ones[:1])], precision="int8")


def test_options_and_peepholes_have_no_low_precision():
    spec, weights = problem("lstm", 3, (5,))
    options = CellOptions(clip=1.0)
    with pytest.raises(ValueError, match="options or peepholes runs in float32 only"):
        Recurrent(spec, weights, options, precision="int8")
    with pytest.raises(ValueError, match="options or peepholes runs in float32 only"):
        Recurrent.from_state_dict(weights, options=options, precision="bf16")
    peepholes = {**weights, "weight_peephole_l0": np.zeros((3, 5), np.float32)}
    with pytest.raises(ValueError, match="options or peepholes runs in float32 only"):
        Recurrent(spec, peepholes, precision="bf16")
    ones = np.ones((4, 1), np.float32)
    with pytest.raises(ValueError, match="options or peepholes has no low precision"):
        _native.LayerF32("lstm", [(ones, ones, None, None, None)], clip=1.0, precision="int8")
    assert Recurrent(spec, weights, options).fingerprint != Recurrent(spec, weights).fingerprint
    low = Recurrent(spec, weights, precision="int8")
    assert low.fingerprint == Recurrent(spec, weights).fingerprint


def test_a_saved_layer_takes_its_precision_when_it_is_loaded(tmp_path):
    spec, weights = problem("lstm", 3, (5,))
    low = Recurrent(spec, weights, precision="int8")
    low.save(tmp_path / "layer")
    x = frames(2, 3, 3)
    again = Recurrent.load(tmp_path / "layer", precision="int8")
    np.testing.assert_array_equal(again(x)[0], low(x)[0])
    full = Recurrent.load(tmp_path / "layer")
    np.testing.assert_array_equal(full(x)[0], Recurrent(spec, weights)(x)[0])
    Recurrent(spec, weights, CellOptions(clip=1.0)).save(tmp_path / "clipped")
    with pytest.raises(ModelError, match=r"clipped: .*runs in float32 only"):
        Recurrent.load(tmp_path / "clipped", precision="int8")


def test_the_set_in_use_tells_how_it_multiplies_integers(isa):
    found = _native.int8_instructions()
    assert found in {"x86-64-v4": ("avx512-vnni", "pairs"), "generic": ("plain",)}.get(
        isa, ("pairs",)
    )
