"""Intervals calibrated on validation windows: their coverage, their numbers, their errors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import forecasting
import unrolled
from commands import Command
from unrolled.artifact import Artifact
from unrolled.config import CalibrationSpec
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.options import split
from unrolled.runtime.calibrated import calibrated, values_at
from unrolled.runtime.distributions import Normal, Point, Quantiles
from unrolled.runtime.forecaster_model import ForecastModel, rolling
from unrolled.tasks.calibrate import _offsets, calibration, needed
from unrolled.tasks.forecast import train
from unrolled.tasks.forecast_evaluate import evaluate_forecaster, origins_of, truth

SHARES = (0.1, 0.5, 0.9)
FAST = {**forecasting.FAST, "quantiles": "0.1,0.25,0.5,0.75,0.9"}


def noisy(seed: int, series: int = 150, steps: int = 28) -> dict[str, list[Any]]:
    """Series around a level of their own, each with a noise of its own, wider towards above."""
    draw = np.random.default_rng(seed)
    names = [f"{seed}-{k}" for k in range(series)]
    found = forecasting.frame("x" * series, steps)
    found["unique_id"] = [name for name in names for _ in range(steps)]
    widths = np.repeat(10 ** draw.uniform(-1, 1, series), steps)
    found["y"] = (widths * (draw.exponential(size=series * steps) + 5)).tolist()
    return found


def fit(out: Path | None = None, **choices: Any) -> Artifact:
    from unrolled.tasks.base import Run

    options, training = split("forecast", {**FAST, **choices}, where="test")
    learned, held = forecasting.panel(), forecasting.panel(noisy(1))
    return train(learned, options, training, validation=held, run=Run(out=out))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibrated") / "model"
    fit(out, output="quantiles", calibrate=True)
    return out


@pytest.mark.parametrize(
    "choices",
    [
        {"output": "quantiles"},
        {"output": "normal", "scaling": "robust"},
        {"output": "point", "residual": "none"},
        {"output": "student_t", "decoder": "autoregressive", "samples": 20, "scale_by": "series"},
    ],
    ids=lambda choices: choices["output"],
)
def test_coverage_on_new_series_is_what_was_asked_for(choices: dict[str, Any]) -> None:
    """What was learned are smooth waves, so that its own intervals are too narrow for noise."""
    test = forecasting.panel(noisy(2, series=100))
    plain, moved = (
        ForecastModel.from_artifact(fit(epochs=1, calibrate=on, **choices)) for on in (False, True)
    )
    level = [] if choices["output"] == "point" else [50, 80]
    before = evaluate_forecaster(plain, test, windows=0, stride=1, level=level)
    after = evaluate_forecaster(moved, test, windows=0, stride=1, level=[50, 80])
    assert after["mae"] == before["mae"]
    assert after["coverage_50"] == pytest.approx(0.5, abs=0.04)
    assert after["coverage_80"] == pytest.approx(0.8, abs=0.03)
    if level:
        assert before["coverage_80"] < 0.7
    places = rolling(test, 12, 4, 0, 1)
    y = truth(moved.ready(test, 4), places, 4)
    said = moved.forecast(moved.ready(test, 4), places)
    for q in (0.1, 0.25, 0.75, 0.9):
        assert (y <= said.quantile(q)).mean(axis=0) == pytest.approx([q] * 4, abs=0.05)


@pytest.mark.parametrize("share", [0.025, 0.3, 0.8, 0.975])
def test_an_offset_is_the_order_statistic_that_the_theorem_names(share: float) -> None:
    """A new value lies within with probability k / (n + 1), whatever its distribution."""
    n, draws = 39, 20_000
    values = np.random.default_rng(0).standard_cauchy((n + 1, draws))
    moved = _offsets(values[:n], share)
    k = math.ceil((n + 1) * max(share, 1 - share) - 1e-9)
    inside = (values[n] <= moved if share > 0.5 else values[n] >= moved).mean()
    assert inside == pytest.approx(k / (n + 1), abs=4 * math.sqrt(0.25 / draws))
    assert k / (n + 1) >= max(share, 1 - share)


def test_offsets_by_hand_leave_out_what_is_not_known() -> None:
    apart = np.array([[1.0, 5.0], [np.nan, 4.0], [3.0, 3.0], [2.0, 2.0], [np.nan, 1.0]])
    assert _offsets(apart, 0.75).tolist() == [3.0, 5.0]
    assert _offsets(apart, 0.25).tolist() == [1.0, 1.0]
    assert _offsets(apart, 0.6).tolist() == [3.0, 4.0]
    assert not _offsets(apart, 0.5).any()
    assert [needed(shares) for shares in [(0.1, 0.5, 0.9), (0.025, 0.5), (0.5, 0.6)]] == [9, 39, 2]


def test_quantiles_are_moved_in_scales_and_never_cross() -> None:
    said = Quantiles(np.array([[[-1.0, 0.0, 1.0]], [[8.0, 10.0, 11.0]]]), np.array(SHARES))
    by = CalibrationSpec(shares=SHARES, offsets=((-1.0, 0.0, 0.5),), windows=9)
    scale = np.array([1.0, 4.0])
    moved = calibrated(said, by, scale)
    assert moved.values.tolist() == [[[-2.0, 0.0, 1.5]], [[4.0, 10.0, 13.0]]]
    assert moved.mean.tolist() == said.mean.tolist() == [[0.0], [10.0]]
    inwards = msgspec.structs.replace(by, offsets=((2.0, 0.0, -2.0),))
    assert calibrated(said, inwards, scale).values.tolist() == [[[0.0] * 3], [[10.0] * 3]]
    point = Point(np.array([[3.0]]))
    assert calibrated(point, by, np.ones(1)).quantile(0.1).tolist() == [[2.0]]
    normal = Normal(np.zeros((1, 1)), np.ones((1, 1)))
    assert values_at(normal, np.array(SHARES))[0, 0] == pytest.approx([-1.2815516, 0, 1.2815516])


def test_a_folder_holds_its_calibration_and_answers_by_it(folder: Path) -> None:
    model = unrolled.load(folder)
    stored = model.forecasting.calibration
    held = forecasting.panel(noisy(1))
    places = rolling(held, 12, 4, 0, 1)
    assert stored.windows == len(places) == 150 * 13
    plain = _without(model)
    at = origins_of(plain.ready(held, 4), places, 4, season=1)
    assert calibration(plain, at, stored.shares) == stored
    answer = model.predict(noisy(3, 2), level=[80])
    raw = plain.predict(noisy(3, 2), level=[80])
    assert answer["y_hat"] == raw["y_hat"]
    assert answer["y_hat-hi-80"] != raw["y_hat-hi-80"]
    session = model.stream(start="2024-01-01 00:00", name="3-0")
    for y in noisy(3, 2)["y"][:28]:
        session.step(y)
    first = [y for y, name in zip(answer["y_hat-hi-80"], answer["unique_id"], strict=True)
             if name == "3-0"]  # fmt: skip
    assert session.forecast(level=[80])["y_hat-hi-80"] == pytest.approx(first, rel=1e-6)


def _without(model: ForecastModel) -> ForecastModel:
    reading = msgspec.structs.replace(model.forecasting, calibration=None)
    data = msgspec.structs.replace(model.config.data, forecasting=reading)
    return ForecastModel(msgspec.structs.replace(model.config, data=data), model.network)


def test_a_run_that_ended_is_resumed_with_its_calibration(folder: Path) -> None:
    from unrolled.tasks.base import Run

    options, training = split(
        "forecast", {**FAST, "output": "quantiles", "calibrate": True}, where="test"
    )
    learned, held = forecasting.panel(), forecasting.panel(noisy(1))
    before = unrolled.load(folder).forecasting
    again = train(learned, options, training, validation=held, run=Run(out=folder, resume=True))
    assert again.config.data.forecasting == before == unrolled.load(folder).forecasting


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"output": "negative_binomial"}, ConfigError, "negative_binomial has counts"),
        ({"output": "normal", "quantiles": "0.1,0.9"}, ConfigError, "0.5 and others"),
        ({"output": "point", "quantiles": "0.5,1.5"}, ConfigError, "numbers between 0 and 1"),
        (
            {"output": "normal", "quantiles": "0.0005,0.5"},
            DataError,
            r"step 1 of the horizon is known in 1950 of 1950 validation windows, and quantiles of "
            r"0\.0005 to 0\.5 take 1999; hold out more",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_said_before_training(
    choices: dict[str, Any], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.tasks.forecast.execute", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(error, match=message):
        fit(calibrate=True, **choices)


def test_a_calibrated_model_does_not_go_on_and_knows_its_widest_level(folder: Path) -> None:
    model = unrolled.load(folder)
    with pytest.raises(ConfigError, match="its widest level is 80"):
        model.predict(noisy(3, 2), level=[95])
    autoregressive = ForecastModel.from_artifact(
        fit(output="normal", decoder="autoregressive", samples=5, epochs=1, calibrate=True)
    )
    assert len(autoregressive.predict(noisy(3, 1), horizon=2, level=[80])["y_hat"]) == 2
    with pytest.raises(ConfigError, match=r"horizon is 9, .* calibrated for 4 steps"):
        autoregressive.predict(noisy(3, 1), horizon=9)


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": ((0.0,) * 5,) * 3},
        {"offsets": ((0.0,) * 5, (0.0,) * 5, (0.0,) * 5, (0.0,) * 4)},
        {"shares": (0.1, 0.25, 0.6, 0.75, 0.9)},
        {"shares": (0.9, 0.75, 0.5, 0.25, 0.1)},
    ],
)
def test_a_damaged_calibration_is_named(folder: Path, tmp_path: Path, change: dict) -> None:
    model = unrolled.load(folder)
    moved = msgspec.structs.replace(model.forecasting.calibration, **change)
    reading = msgspec.structs.replace(model.forecasting, calibration=moved)
    data = msgspec.structs.replace(model.config.data, forecasting=reading)
    config = msgspec.structs.replace(model.config, data=data)
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(config))
    for name in ("model.safetensors", "vocab.json", "metrics.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ModelError, match="calibration: expected offsets of 4 steps for each"):
        unrolled.load(tmp_path)


def test_the_command_calibrates_points_and_shows_their_intervals(run: Command) -> None:
    data = forecasting.write(Path("noisy.csv"), noisy(0, 20))
    said = run("train", "forecast", data, "--out", "m", "--output", "point", "--calibrate",
               "--quantiles", "0.1,0.5,0.9", "--quiet", *forecasting.FLAGS)  # fmt: skip
    assert said.code == 0, said.err
    assert "coverage_80" in run("evaluate", "m", data, "--level", "80").out
    assert "intervals calibrated on 20 validation windows" in run("inspect", "m").out
    assert run("explain", "m", data, "--out", "page.html").code == 0
    assert "in the interval of 80" in Path("page.html").read_text()
