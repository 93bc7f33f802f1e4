"""Distributions, scores and metrics against scipy, scikit-learn and numerical integrals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special, stats
from sklearn.metrics import mean_absolute_error, mean_squared_error

from unrolled.errors import ConfigError
from unrolled.runtime import special as ours
from unrolled.runtime.distributions import (
    NegativeBinomial,
    Normal,
    Point,
    Quantiles,
    Samples,
    StudentT,
)
from unrolled.train.forecast_metrics import (
    coverage,
    drift,
    forecast_metrics,
    naive_errors,
    seasonal_naive,
)

SHARES = (0.001, 0.025, 0.1, 0.5, 0.8, 0.975, 0.9999)


def test_log_gamma_is_scipys() -> None:
    x = np.concatenate([np.geomspace(1e-6, 1e6, 500), [0.5, 1.0, 2.0]])
    np.testing.assert_allclose(ours.log_gamma(x), special.gammaln(x), rtol=1e-11, atol=1e-11)


def test_the_incomplete_beta_is_scipys() -> None:
    a, b, x = np.meshgrid(
        np.geomspace(0.05, 2e3, 12), np.geomspace(0.05, 2e3, 12), np.linspace(0, 1, 21)
    )
    np.testing.assert_allclose(
        ours.beta_cdf(a, b, x), special.betainc(a, b, x), rtol=1e-8, atol=1e-12
    )


def test_normal_and_student_are_scipys() -> None:
    z, df = np.meshgrid(np.linspace(-9, 9, 61), np.array([2.0, 2.5, 5.0, 30.0, 500.0]))
    np.testing.assert_allclose(ours.normal_cdf(z), stats.norm.cdf(z), rtol=1e-11)
    np.testing.assert_allclose(ours.normal_density(z), stats.norm.pdf(z), rtol=1e-11)
    np.testing.assert_allclose(ours.student_cdf(z, df), stats.t.cdf(z, df), rtol=1e-9)
    np.testing.assert_allclose(ours.student_density(z, df), stats.t.pdf(z, df), rtol=1e-9)


@pytest.mark.parametrize("share", SHARES)
def test_quantiles_are_scipys(share: float) -> None:
    draw = np.random.default_rng(0)
    loc, scale = draw.normal(size=(4, 3)), draw.random((4, 3)) + 0.1
    df, mean, alpha = 2 + 20 * draw.random((4, 3)), 30 * scale, 2 * draw.random((4, 3)) + 0.01
    normal = Normal(loc, scale).quantile(share)
    np.testing.assert_allclose(normal, stats.norm.ppf(share, loc, scale), rtol=1e-9, atol=1e-12)
    student = StudentT(df, loc, scale).quantile(share)
    np.testing.assert_allclose(student, stats.t.ppf(share, df, loc, scale), rtol=1e-8, atol=1e-9)
    counts, r = NegativeBinomial(mean, alpha), 1 / alpha
    wanted = stats.nbinom.ppf(share, r, r / (r + mean))
    np.testing.assert_array_equal(counts.quantile(share), wanted)


def integral(cdf, y: float, low: float, high: float) -> float:
    """The CRPS by its definition."""
    below = integrate.quad(lambda x: cdf(x) ** 2, low, y, limit=200)[0]
    above = integrate.quad(lambda x: (cdf(x) - 1) ** 2, y, high, limit=200)[0]
    return below + above


@pytest.mark.parametrize("y", [-3.0, 0.4, 6.0])
def test_crps_of_continuous_distributions_is_the_integral(y: float) -> None:
    loc, scale, df = np.array([[0.5]]), np.array([[1.7]]), np.array([[3.5]])
    found = Normal(loc, scale).crps(np.array([[y]]))[0, 0]
    wanted = integral(lambda x: stats.norm.cdf(x, 0.5, 1.7), y, -40, 40)
    assert found == pytest.approx(wanted, rel=1e-7)
    found = StudentT(df, loc, scale).crps(np.array([[y]]))[0, 0]
    wanted = integral(lambda x: stats.t.cdf(x, 3.5, 0.5, 1.7), y, -3000, 3000)
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("mean", [0.3, 7.0, 90.0])
def test_crps_of_counts_is_the_sum(mean: float) -> None:
    alpha = np.array([[0.4, 0.4, 0.4]])
    y = np.array([[0.0, round(mean), round(3 * mean) + 1]])
    counts = np.arange(20_000)
    cdf = stats.nbinom.cdf(counts, 2.5, 2.5 / (2.5 + mean))
    wanted = [((cdf - (counts >= value)) ** 2).sum() for value in y[0]]
    found = NegativeBinomial(np.full((1, 3), mean), alpha).crps(y)
    np.testing.assert_allclose(found[0], wanted, rtol=2e-2 if mean > 60 else 1e-5)


def test_crps_of_samples_is_the_mean_of_differences() -> None:
    draw = np.random.default_rng(3)
    values, y = draw.normal(size=(2, 50, 3)), draw.normal(size=(2, 3))
    found = Samples(values).crps(y)
    pairs = np.abs(values[:, :, None] - values[:, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(found, np.abs(values - y[:, None]).mean(axis=1) - pairs / 2)


def test_many_quantiles_approach_the_integral() -> None:
    shares = (np.arange(999) + 1) / 1000
    values = stats.norm.ppf(shares)[None, None]
    found = Quantiles(values, shares).crps(np.array([[0.7]]))[0, 0]
    assert found == pytest.approx(Normal(np.zeros((1, 1)), np.ones((1, 1))).crps(0.7)[0, 0], 2e-3)


def test_a_quantile_between_two_lies_between_and_beyond_is_an_error() -> None:
    said = Quantiles(np.array([[[1.0, 2.0, 4.0]]]), np.array([0.1, 0.5, 0.9]))
    assert said.quantile(0.3)[0, 0] == pytest.approx(1.5)
    assert said.quantile(0.9)[0, 0] == 4.0
    with pytest.raises(ConfigError, match=r"quantile 0.975 lies outside .* widest level is 80"):
        said.quantile(0.975)
    with pytest.raises(ConfigError, match="points and knows no intervals"):
        Point(np.zeros((1, 1))).quantile(0.1)


def test_metrics_are_scikit_learns_and_their_definitions() -> None:
    draw = np.random.default_rng(4)
    y, forecast = draw.normal(size=(5, 6)) + 3, draw.normal(size=(5, 6)) + 3
    y[2, 3] = np.nan
    there = np.isfinite(y)
    by = np.array([1.0, 2.0, 0.5, 0.0, 4.0])
    found = forecast_metrics(y, forecast, None, by)
    truth, told = y[there], forecast[there]
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, told))
    assert found["mse"] == pytest.approx(mean_squared_error(truth, told))
    assert found["rmse"] == pytest.approx(mean_squared_error(truth, told) ** 0.5)
    assert found["rse"] == pytest.approx(
        np.sqrt(((truth - told) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    )
    assert found["smape"] == pytest.approx(
        np.mean(200 * abs(truth - told) / (abs(truth) + abs(told)))
    )
    fit = by > 0
    relative = np.abs(y - forecast)[fit] / by[fit, None]
    assert found["mase"] == pytest.approx(relative[there[fit]].mean())
    assert found["crps"] == found["mae"]


def test_perfect_forecasts_of_zeros_have_no_relative_error() -> None:
    found = forecast_metrics(np.zeros((1, 2)), np.zeros((1, 2)), None, np.ones(1))
    assert (found["smape"], found["mae"]) == (0.0, 0.0)
    assert np.isnan(found["rse"])


def test_baselines_by_hand() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0, np.nan, 6.0])
    np.testing.assert_array_equal(seasonal_naive(y, 3, 5), [4.0, 2.0, 6.0, 4.0, 2.0])
    np.testing.assert_array_equal(drift(y, 2), [7.0, 8.0])
    np.testing.assert_array_equal(drift(y[:5], 2), [5.0 + 1.0, 5.0 + 2.0])
    np.testing.assert_array_equal(seasonal_naive(y, 10, 2), [6.0, 6.0])
    assert np.isnan(naive_errors(y, 3)[:4]).all()
    np.testing.assert_array_equal(naive_errors(y, 3)[4:], [3.0, 3.0, 3.0])
    np.testing.assert_allclose(naive_errors(y, 1), [np.nan, np.nan, 1, 1, 1, 1, 1])


def test_coverage_counts_the_ends() -> None:
    y = np.array([[0.0, 1.0, 2.0, np.nan]])
    assert coverage(y, np.zeros((1, 4)), np.full((1, 4), 1.0)) == pytest.approx(2 / 3)
