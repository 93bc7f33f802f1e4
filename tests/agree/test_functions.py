"""The vector functions against wider numbers, over dense sweeps, on every instruction set."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from unrolled import _native

LIMITS = {np.float32: 3e-7, np.float64: 1e-15}
DOMAIN = {
    np.float32: {
        "exp": (-87.0, 88.7),
        "tanh": (-15.0, 15.0),
        "sigmoid": (-87.3365, 90.0),
        "elu": (-100.0, 100.0),
        "softplus": (-87.0, 200.0),
        "softsign": (-3e38, 3e38),
    },
    np.float64: {
        "exp": (-707.0, 709.0),
        "tanh": (-30.0, 30.0),
        "sigmoid": (-708.396, 720.0),
        "elu": (-800.0, 800.0),
        "softplus": (-707.0, 800.0),
        "softsign": (-8e307, 8e307),
    },
}
EXACT = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x >= 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "softsign": lambda x: x / (1 + np.abs(x)),
}


@pytest.fixture(params=_native.available_isas())
def isa(request):
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa("")


def evaluate(function, x):
    out = np.empty_like(x)
    _native.elementwise(function, x, out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", list(EXACT))
def test_relative_error_over_a_dense_sweep(isa, function, dtype):
    low, high = DOMAIN[dtype][function]
    tiny = np.logspace(-37, np.log10(high), 200_001)
    x = np.concatenate([np.linspace(low, high, 1_000_001), tiny, -tiny]).astype(dtype)
    x = x[(x >= low) & (x <= high)]
    wanted = EXACT[function](x.astype(WIDER[dtype]))
    error = np.abs((evaluate(function, x) - wanted) / np.where(wanted == 0, 1, wanted))
    assert float(error.max()) <= LIMITS[dtype]


# A dtype with digits to spare.
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
BITS = {np.float32: np.uint32, np.float64: np.uint64}


@cache
def patterns(dtype):
    """Return 2^20 numbers spread evenly over all bit patterns: every exponent, subnormals, NaN."""
    step = (1 << 8 * np.dtype(dtype).itemsize) // 2**20 - 1
    return (np.arange(2**20, dtype=BITS[dtype]) * BITS[dtype](step)).view(dtype)


@cache
def every(low, high):
    """Return every float32 from low to high, both of one sign."""
    ends = np.sort(np.array([low, high], np.float32).view(np.uint32))
    return np.arange(ends[0], ends[1] + 1, dtype=np.uint32).view(np.float32)


@cache
def exact(function, x):
    """Return the function of `patterns(x)` or `every(*x)`, with more digits than its dtype has."""
    values = every(*x) if isinstance(x, tuple) else patterns(x)
    with np.errstate(all="ignore"):
        return EXACT[function](values.astype(WIDER[values.dtype.type]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", ["exp", "tanh", "sigmoid"])
def test_error_over_all_bit_patterns(isa, function, dtype):
    x, wanted = patterns(dtype), exact(function, dtype)
    found, limits = evaluate(function, x), np.finfo(dtype)
    assert np.array_equal(np.isnan(found), np.isnan(x))
    huge = wanted > limits.max
    assert (found[huge] == np.inf).all()
    number = ~np.isnan(x) & ~huge
    error = np.abs(found[number] - wanted[number])
    size = np.abs(wanted[number])
    normal = size >= limits.tiny
    assert (error[normal] <= LIMITS[dtype] * size[normal]).all()
    # Below, numbers are whole multiples of the smallest. Sigmoid stays at the smallest normal one.
    floor = limits.tiny * (1 + 1e-5) if function == "sigmoid" else 1.5 * limits.smallest_subnormal
    assert (error[~normal] <= floor).all()


# Where the reduction by ln 2 changes over, where tanh and sigmoid saturate, next to zero, between.
RANGES = {
    "exp": [(0.3465, 0.3467), (-0.3467, -0.3465), (87.9, 88.72), (-87.3, -87), (1, 1.03)],
    "tanh": [(0.1732, 0.1734), (8.9, 10.1), (1e-38, 1.02e-38), (-0.5, -0.49), (1e-4, 1.01e-4)],
    "sigmoid": [(0.3465, 0.3467), (16, 17.5), (-87.33654, -86.5), (1e-4, 1.01e-4), (-1.02, -1)],
}


@pytest.mark.parametrize("function", RANGES)
def test_relative_error_of_every_float_in_some_ranges(isa, function):
    for ends in RANGES[function]:
        wanted = exact(function, ends)
        error = np.abs(evaluate(function, every(*ends)) - wanted) / np.abs(wanted)
        assert float(error.max()) <= LIMITS[np.float32]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_of_subnormal_numbers_is_the_number(isa, dtype):
    x = np.arange(1, 5000, dtype=BITS[dtype]).view(dtype)
    x = np.concatenate([x, -x])
    np.testing.assert_array_equal(evaluate("tanh", x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_nan_and_signed_zero(isa, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(evaluate("exp", x), np.array([np.nan, np.inf, 0, 1, 1], dtype))
    tanh = evaluate("tanh", x)
    np.testing.assert_array_equal(tanh, np.array([np.nan, 1, -1, 0, 0], dtype))
    assert np.signbit(tanh[4])
    sigmoid = evaluate("sigmoid", x)
    np.testing.assert_allclose(sigmoid, np.array([np.nan, 1, 0, 0.5, 0.5]), atol=2e-38, rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits_of_the_functions_of_onnx(isa, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    log2 = np.log(dtype(2))
    for function, limits in {
        "elu": [np.nan, np.inf, -1, 0, 0],
        "softplus": [np.nan, np.inf, 0, log2, log2],
        "softsign": [np.nan, 1, -1, 0, 0],
    }.items():
        found = evaluate(function, x)
        np.testing.assert_allclose(found, np.array(limits, dtype), rtol=LIMITS[dtype])
        assert np.signbit(found[4]) == (function != "softplus")


def test_an_unknown_function_is_an_error():
    with pytest.raises(ValueError, match="'gelu': expected exp, tanh, sigmoid, elu, softplus or"):
        evaluate("gelu", np.zeros(1))


@pytest.mark.parametrize("length", [0, 1, 3, 7, 15, 16, 17, 33])
def test_tails_match_whole_registers(isa, length):
    x = np.linspace(-3, 3, 64).astype(np.float32)
    np.testing.assert_array_equal(evaluate("tanh", x[:length].copy()), evaluate("tanh", x)[:length])


def run_with(value):
    code = "from unrolled import _native; print(_native.isa())"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "UNROLLED_ISA": value},
    )


def test_environment_forces_the_instruction_set():
    for name in _native.available_isas():
        assert run_with(name).stdout.strip() == name


def test_unknown_instruction_set_is_an_error():
    result = run_with("z80")
    assert result.returncode != 0
    assert "unknown instruction set; expected one of" in result.stderr
