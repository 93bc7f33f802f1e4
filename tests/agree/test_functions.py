"""The vector functions against long double, over dense sweeps, on every instruction set."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from unrolled import _native

LIMITS = {np.float32: 3e-7, np.float64: 1e-15}
DOMAIN = {
    np.float32: {"exp": (-87.0, 88.7), "tanh": (-15.0, 15.0), "sigmoid": (-86.0, 86.0)},
    np.float64: {"exp": (-707.0, 709.0), "tanh": (-30.0, 30.0), "sigmoid": (-707.0, 707.0)},
}
EXACT = {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


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
@pytest.mark.parametrize("function", ["exp", "tanh", "sigmoid"])
def test_relative_error_over_a_dense_sweep(isa, function, dtype):
    low, high = DOMAIN[dtype][function]
    tiny = np.logspace(-37, np.log10(high), 200_001)
    x = np.concatenate([np.linspace(low, high, 1_000_001), tiny, -tiny]).astype(dtype)
    x = x[(x >= low) & (x <= high)]
    exact = EXACT[function](x.astype(np.longdouble))
    error = np.abs((evaluate(function, x) - exact) / np.where(exact == 0, 1, exact))
    assert float(error.max()) <= LIMITS[dtype]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_nan_and_signed_zero(isa, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(evaluate("exp", x), np.array([np.nan, np.inf, 0, 1, 1], dtype))
    tanh = evaluate("tanh", x)
    np.testing.assert_array_equal(tanh, np.array([np.nan, 1, -1, 0, 0], dtype))
    assert np.signbit(tanh[4])
    sigmoid = evaluate("sigmoid", x)
    np.testing.assert_allclose(sigmoid, np.array([np.nan, 1, 0, 0.5, 0.5]), atol=2e-38, rtol=0)


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
