"""The options of ONNX's operators against the plain loop in float64, on every instruction set."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks import flat
from tolerances import close
from unrolled import _native
from unrolled.runtime import Activation, CellOptions, Recurrent, reference
from unrolled.runtime.operator import FUNCTIONS, onnx_activations
from unrolled.shapes import parameter_shapes, suffixes
from unrolled.spec import RecurrentSpec

CELLS = {
    "rnn": {"cell": "rnn"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "gru-before": {"cell": "gru", "reset": "before"},
}
ACTIVATIONS = [
    Activation("Affine", 0.4, 0.1),
    Activation("Elu", 0.7),
    Activation("HardSigmoid"),
    Activation("HardSigmoid", 1 / 6, 0.5),
    Activation("LeakyRelu", 0.1),
    Activation("Relu"),
    Activation("ScaledTanh", 1.2, 0.6),
    Activation("Sigmoid"),
    Activation("Softplus"),
    Activation("Softsign"),
    Activation("Tanh"),
    Activation("ThresholdedRelu", 0.2),
]


@pytest.fixture(params=_native.available_isas())
def isa(request):
    _native.set_isa(request.param)
    _native.poison_scratch(True)
    yield request.param
    _native.poison_scratch(False)
    _native.set_isa("")


def layer_of(spec, options, *, peepholes=False, dtype=np.float64, seed=0):
    """Return a layer of random weights."""
    generator = np.random.default_rng(seed)
    shapes = parameter_shapes(spec)
    for k, hidden in enumerate(spec.hidden_sizes if peepholes else ()):
        for suffix in suffixes(spec, k):
            shapes["weight_peephole" + suffix] = (3, hidden)
    weights = {
        name: (generator.standard_normal(shape) * shape[-1] ** -0.5).astype(dtype)
        for name, shape in shapes.items()
    }
    return Recurrent(spec, weights, options)


def arguments(spec, rows, steps, *, states=True, ragged=True, dtype=np.float64, seed=1):
    """Return x [N, T, I], h [D, N, H] and c of the one layer, or None, and lengths or None."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, steps, spec.input_size)).astype(dtype)
    shape = (spec.num_directions, rows, spec.hidden_sizes[0])
    h, c = (generator.standard_normal(shape).astype(dtype) * states for _ in range(2))
    state = (h, c) if spec.cell == "lstm" else h
    lengths = generator.integers(0, steps + 1, rows) if ragged else None
    return x, state if states else None, lengths


def plain(layer, x, state, lengths):
    """Return y and the last states of a layer of one level, row by row in float64."""
    spec = layer.spec
    weights = {name: value.astype(np.float64) for name, value in layer.weights.items()}
    rows, steps, _ = x.shape
    y = np.zeros((rows, steps, spec.output_size))
    shape = (spec.num_directions, rows, spec.hidden_sizes[0])
    last = [np.zeros(shape) for _ in range(2 if spec.cell == "lstm" else 1)]
    first = last if state is None else flat(state)
    for row in range(rows):
        end = steps if lengths is None else lengths[row]
        parts = [[part[:, row].astype(np.float64)] for part in first]
        out, *hs = reference.sequence(
            spec, weights, x[row, :end].astype(np.float64), *parts, options=layer.options
        )
        y[row, :end] = out
        for to, (found,) in zip(last, (part for part in hs if part), strict=True):
            to[:, row] = found
    return y, last


def agrees(layer, call):
    y, state = layer(*call)
    expected, last = plain(layer, *call)
    close(y, expected, "forward")
    for mine, theirs in zip(flat(state), last, strict=True):
        close(mine, theirs, "forward")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_every_activation_equals_the_plain_loop(isa, cell, dtype):
    spec = RecurrentSpec(input_size=3, hidden_sizes=(19,), **CELLS[cell])
    for activation in ACTIVATIONS:
        options = CellOptions(activations=((activation,) * FUNCTIONS[spec.cell],))
        agrees(layer_of(spec, options, dtype=dtype), arguments(spec, 3, 4, dtype=dtype))


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("clip", [None, 0.3])
def test_peepholes_coupled_gates_and_clip_equal_the_plain_loop(isa, peepholes, coupled, clip, rows):
    spec = RecurrentSpec(cell="lstm", input_size=3, hidden_sizes=(21,), bidirectional=True)
    options = CellOptions(clip=clip, input_forget=coupled)
    agrees(layer_of(spec, options, peepholes=peepholes), arguments(spec, rows, 3))


@pytest.mark.parametrize("cell", CELLS)
def test_clip_equals_the_plain_loop_and_a_wide_one_changes_nothing(isa, cell):
    spec = RecurrentSpec(input_size=3, hidden_sizes=(9,), bidirectional=True, **CELLS[cell])
    call = arguments(spec, 20, 3)
    agrees(layer_of(spec, CellOptions(clip=0.2)), call)
    standard, wide = layer_of(spec, None)(*call), layer_of(spec, CellOptions(clip=1e6))(*call)
    for mine, theirs in zip(flat(wide), flat(standard), strict=True):
        close(mine, theirs, "forward")


@st.composite
def problems(draw):
    """Any layer that ONNX's operators can describe, and a call of it."""
    both = draw(st.booleans())
    spec = RecurrentSpec(
        input_size=draw(st.integers(1, 5)),
        hidden_sizes=(draw(st.integers(1, 40)),),
        bidirectional=both,
        bias=draw(st.booleans()),
        **CELLS[draw(st.sampled_from(list(CELLS)))],
    )
    lstm, count = spec.cell == "lstm", FUNCTIONS[spec.cell]
    functions = st.tuples(*[st.sampled_from(ACTIVATIONS)] * count)
    activations = draw(st.just(()) | st.tuples(*[functions] * spec.num_directions))
    options = CellOptions(
        activations=activations,
        clip=draw(st.none() | st.floats(0.05, 3.0)),
        input_forget=lstm and draw(st.booleans()),
    )
    jumps = any(each.name == "ThresholdedRelu" for part in activations for each in part)
    # Rounding may put a sum on the other side of a jump; in float64 practically never.
    dtype = np.float64 if jumps else draw(st.sampled_from([np.float32, np.float64]))
    seed = draw(st.integers(0, 2**32 - 1))
    peepholes = lstm and draw(st.booleans())
    rows, steps = draw(st.sampled_from([1, 3, 18])), draw(st.integers(1, 4))
    flags = {"states": draw(st.booleans()), "ragged": draw(st.booleans())}
    isa = draw(st.sampled_from(_native.available_isas()))
    call = arguments(spec, rows, steps, dtype=dtype, seed=seed, **flags)
    return isa, spec, options, {"peepholes": peepholes, "dtype": dtype, "seed": seed}, call


@settings(max_examples=100)
@given(problems())
def test_any_combination_equals_the_plain_loop(problem):
    isa, spec, options, more, call = problem
    _native.set_isa(isa)
    try:
        agrees(layer_of(spec, options, **more), call)
    finally:
        _native.set_isa("")


@pytest.mark.parametrize("cell", CELLS)
def test_results_do_not_depend_on_the_number_of_threads(cell):
    """Work is large enough to be shared: by rows for many, by panels for one."""
    spec = RecurrentSpec(input_size=32, hidden_sizes=(160,), bidirectional=True, **CELLS[cell])
    lstm, before = spec.cell == "lstm", _native.num_threads()
    layer = layer_of(spec, CellOptions(clip=2.0, input_forget=lstm), peepholes=lstm)
    try:
        for rows, steps in [(40, 6), (1, 20)]:
            call, found = arguments(spec, rows, steps), []
            for count in (1, 2, 3, 4):
                _native.set_num_threads(count)
                found.append(flat(layer(*call)))
            for other in found[1:]:
                assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
    finally:
        _native.set_num_threads(before)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_with_options_steps_as_it_runs(cell):
    spec = RecurrentSpec(input_size=3, hidden_sizes=(7, 5), **CELLS[cell])
    functions = (Activation("HardSigmoid"), Activation("Softsign"), Activation("Elu"))
    options = CellOptions(activations=(functions[-FUNCTIONS[spec.cell] :],), clip=1.5)
    layer = layer_of(spec, options, peepholes=spec.cell == "lstm")
    x, state = arguments(spec, 4, 6)[0], None
    y, last = layer(x)
    for t in range(6):
        out, state = layer.step(x[:, t], state)
        close(out, y[:, t], "forward")
    for mine, theirs in zip(flat(state), flat(last), strict=True):
        close(mine, theirs, "forward")


def test_options_that_spell_out_the_standard_cell_change_nothing():
    for cell, names in {"rnn": ["Tanh"], "gru": ["Sigmoid", "Tanh"]}.items():
        spec = RecurrentSpec(input_size=3, hidden_sizes=(5,), **CELLS[cell])
        same = CellOptions(activations=onnx_activations(cell, 1, names))
        call = arguments(spec, 4, 5)
        close(layer_of(spec, same)(*call)[0], layer_of(spec, None)(*call)[0], "forward")


def test_peepholes_come_with_a_state_dict():
    spec = RecurrentSpec(cell="lstm", input_size=3, hidden_sizes=(5,))
    layer = layer_of(spec, CellOptions(clip=0.5), peepholes=True)
    again = Recurrent.from_state_dict(layer.weights, options=layer.options)
    x = arguments(spec, 2, 3)[0]
    assert again.spec == spec
    assert np.array_equal(again(x)[0], layer(x)[0])


def test_defaults_are_those_of_onnx():
    found = {name: Activation(name) for name in ("Affine", "Elu", "HardSigmoid", "LeakyRelu")}
    numbers = {name: (each.alpha, each.beta) for name, each in found.items()}
    assert numbers == {
        "Affine": (1.0, 0.0),
        "Elu": (1.0, None),
        "HardSigmoid": (0.2, 0.5),
        "LeakyRelu": (0.01, None),
    }
    assert Activation("ThresholdedRelu") == Activation("ThresholdedRelu", 1.0)


def test_alphas_and_betas_are_consumed_in_order_by_the_functions_that_take_them():
    names = ["Sigmoid", "HardSigmoid", "Elu", "LeakyRelu", "Tanh", "HardSigmoid"]
    found = onnx_activations("lstm", 2, names, [0.3, 0.7], [0.4, 0.6])
    assert found == (
        (Activation("Sigmoid"), Activation("HardSigmoid", 0.3, 0.4), Activation("Elu", 0.7)),
        (Activation("LeakyRelu", 0.01), Activation("Tanh"), Activation("HardSigmoid", 0.2, 0.6)),
    )
    assert onnx_activations("gru", 2) == ()


def test_options_survive_json():
    options = CellOptions(activations=((Activation("Elu"),),), clip=0.5)
    assert msgspec.json.decode(msgspec.json.encode(options), type=CellOptions) == options


def function_of(activation, values, dtype=np.float64):
    """Return the function as an RNN of one unit computes it, each value a row of its own."""
    spec = RecurrentSpec(cell="rnn", input_size=1, hidden_sizes=(1,), bias=False)
    weights = {"weight_ih_l0": np.ones((1, 1), dtype), "weight_hh_l0": np.zeros((1, 1), dtype)}
    layer = Recurrent(spec, weights, CellOptions(activations=((activation,),)))
    return layer(np.array(values, dtype).reshape(-1, 1, 1))[0].ravel()


def test_a_jump_lies_where_onnx_puts_it():
    """ThresholdedRelu keeps x where x >= alpha, in the words of the RNN operator."""
    found = function_of(Activation("ThresholdedRelu", 0.5), [0.4, 0.5, 0.6])
    np.testing.assert_array_equal(found, [0.0, 0.5, 0.6])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_passes_through_and_large_values_stay_finite(isa, dtype):
    for activation in ACTIVATIONS:
        found = function_of(activation, [np.nan, 1e6, -1e6], dtype)
        expected = reference.activate(activation, np.array([np.nan, 1e6, -1e6]))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-37)
