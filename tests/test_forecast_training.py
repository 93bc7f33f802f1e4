"""Forecasters that learn: what they learn from, their folders, the estimator, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import forecasting
import unrolled
from forecasting import FAST, fit
from unrolled.artifact import Artifact
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks import Forecaster
from unrolled.tasks.base import Run
from unrolled.tasks.forecast_evaluate import evaluate_forecaster


def test_training_masks_what_is_missing_in_the_loss() -> None:
    data = forecasting.frame()
    holes = {**data, "y": [None if t % 5 == 0 else y for t, y in enumerate(data["y"])]}
    assert np.isfinite(fit(holes).metrics["train_loss"])
    assert np.isfinite(fit(holes, decoder="autoregressive", output="normal").metrics["train_loss"])


def test_short_and_constant_series_are_told(recwarn: pytest.WarningsRecorder) -> None:
    told: list[str] = []
    data = forecasting.frame()
    data["unique_id"] += ["c"] * 3 + ["flat"] * 40
    data["ds"] += data["ds"][:3] + data["ds"][:40]
    data["y"] += [1.0, 2.0, 3.0, *[5.0] * 40]
    found = ForecastModel.from_artifact(fit(data, run=Run(notify=told.append)))
    assert "1 of 4 series are too short to learn from: the first, data frame, row 121" in told[0]
    assert "1 of 4 series are constant, the first data frame, row 124" in told[1]
    answer = found.predict(data)
    assert np.isfinite(answer["y_hat"]).all()
    assert answer["unique_id"].count("c") == 4


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"decoder": "autoregressive"}, "draws each step from a distribution"),
        ({"decoder": "autoregressive", "output": "point", "past": "y"}, "covariates of the past"),
        ({"residual": "season", "season": 24}, "needs a window of a season, 24 steps"),
        ({"quantiles": "0.1,0.9"}, "0.5 among them"),
        ({"quantiles": "0.1,half"}, "expected numbers with commas between"),
        ({"decoder": "autoregressive", "output": "point", "residual": "season", "window": 24,
          "season": 24}, "residual 'last' or 'none'"),
    ],
)  # fmt: skip
def test_choices_that_contradict_each_other(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(**choices)


@pytest.mark.parametrize(
    ("steps", "message"),
    [(4, "2 of 2 series are too short to learn from"), (8, "too short to learn from")],
)
def test_data_that_cannot_be_learned(steps: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(forecasting.frame(steps=steps))


def test_data_without_a_value_cannot_be_learned() -> None:
    data = forecasting.frame()
    with pytest.raises(DataError, match="data frame: every value of 'y' is missing"):
        fit({**data, "y": [None] * 120})


def test_a_folder_answers_as_the_model_in_memory(tmp_path: Path) -> None:
    fitted = fit(output="normal", run=Run(tmp_path / "model"))
    loaded = unrolled.load(tmp_path / "model")
    data = forecasting.frame()
    assert loaded.predict(data) == ForecastModel.from_artifact(fitted).predict(data)
    assert "reads the past of series" in (tmp_path / "model" / "README.md").read_text()
    low = unrolled.load(tmp_path / "model", precision="bf16").predict(data)
    np.testing.assert_allclose(low["y_hat"], loaded.predict(data)["y_hat"], rtol=0.05)


def test_a_run_that_is_resumed_is_the_run(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    class Watcher:
        def begin(self, epochs: int, counters: Any) -> None: ...
        def step(self, *arguments: Any) -> None: ...
        def end(self) -> None: ...

        def epoch(self, record: Any) -> None:
            if record["epoch"] == 1:
                raise StopError

    chosen = {"epochs": 3, "windows_per_epoch": 20, "decoder": "rnn"}
    whole = fit(run=Run(tmp_path / "a"), **chosen)
    with pytest.raises(StopError):
        fit(run=Run(tmp_path / "b", watchers=(Watcher(),)), **chosen)
    resumed = fit(run=Run(tmp_path / "b", resume=True), **chosen)
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], value)
    with pytest.raises(ModelError, match="belongs to a run with other options or data"):
        fit(run=Run(tmp_path / "b", resume=True), **{**chosen, "windows_per_epoch": 21})


def test_a_validation_frame_takes_the_place_of_what_is_held_out() -> None:
    data = forecasting.frame()
    estimator = Forecaster(**{**FAST, "output": "normal"})
    estimator.fit(data, validation=forecasting.frame(seed=1))
    assert estimator.artifact_.metrics["mase"] > 0
    assert estimator.score(data) == -estimator.evaluate(data)["mase"]
    assert len(estimator.predict(data, level=[80])["ds"]) == 8
    assert "cutoff" in estimator.cross_validate(data)


def test_the_estimator_takes_frames_and_refuses_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown parameter 'horizn'. Did you mean 'horizon'"):
        Forecaster(horizn=3)
    found = Forecaster(**FAST).fit(pl.DataFrame(forecasting.frame()))
    assert isinstance(found.predict(pl.DataFrame(forecasting.frame())), pl.DataFrame)


def test_names_and_quantiles_may_be_lists() -> None:
    data = forecasting.frame(load=lambda k, t: float(t % 5), promo=lambda k, t: float(t % 3 == 0))
    apart = {"past": ["load", "promo"], "quantiles": [0.1, 0.5, 0.9]}
    text = {"past": "load,promo", "quantiles": "0.1,0.5,0.9"}
    listed, written = (Forecaster(**FAST, **choices).fit(data) for choices in (apart, text))
    assert listed.artifact_.config == written.artifact_.config
    assert listed.predict(data) == written.predict(data)


def test_beside_a_model_that_says_the_season_again_the_baseline_is_even() -> None:
    """With outputs of zero a model with residual 'season' is the seasonal naive forecast."""
    fitted = fit(output="point", residual="season", season=12)
    zero = {k: np.zeros_like(v) for k, v in fitted.weights.items()}
    found = ForecastModel.from_artifact(Artifact(fitted.config, zero, {}, {}, Path()))
    metrics = evaluate_forecaster(found, forecasting.panel(), windows=4)
    for name in ("mae", "rmse", "mase", "smape"):
        assert metrics[name] == pytest.approx(metrics["seasonal_naive"][name], rel=1e-5)
