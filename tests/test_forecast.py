"""Forecasters whole: training, predicting, cross-validating, streaming, and their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

import forecasting
import tiny
import unrolled
from unrolled.artifact import Artifact
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.options import split
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks import Forecaster
from unrolled.tasks.base import Run
from unrolled.tasks.forecast import train
from unrolled.tasks.forecast_evaluate import evaluate_forecaster

FAST = {**forecasting.SIZES, **tiny.TRAINING}
COUNTS = {"y": lambda k, t: float((t * (k + 3)) % 7)}


def fit(data: Any = None, *, run: Run | None = None, **choices: Any) -> Artifact:
    task, training = split("forecast", {**FAST, **choices}, where="test")
    given = forecasting.frame() if data is None else data
    return train(forecasting.panel(given, **_task(choices)), task, training, run=run)


def _task(choices: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in choices.items() if k in forecasting.options().__struct_fields__}


def model_of(data: Any = None, **choices: Any) -> ForecastModel:
    return ForecastModel.from_artifact(fit(data, **choices))


@pytest.fixture(scope="module")
def model() -> ForecastModel:
    return model_of(output="normal")


@pytest.mark.parametrize("decoder", ["linear", "mlp", "rnn", "autoregressive"])
def test_every_decoder_learns_a_wave(decoder: str) -> None:
    found = model_of(
        decoder=decoder, output="normal", epochs=12, lr=0.03, hidden_size=16, dropout=0.0,
        window=24, season=24,
    )  # fmt: skip
    metrics = evaluate_forecaster(found, forecasting.panel(), level=[80])
    assert metrics["mae"] < 0.5 * metrics["drift"]["mae"]
    assert set(metrics) >= {"mae", "rmse", "smape", "mase", "crps", "coverage_80"}
    assert metrics["crps"] < metrics["mae"]


@pytest.mark.parametrize(
    "choices",
    [
        {"output": "point", "loss": "huber"},
        {"output": "quantiles", "residual": "season", "window": 24},
        {"output": "student_t", "scaling": "robust", "cell": "lstm", "layers": 2},
        {"output": "normal", "scaling": "none", "scale_by": "series", "residual": "none"},
        {"output": "normal", "scale_by": "series", "cell": "rnn", "bidirectional": True},
        {"output": "student_t", "decoder": "autoregressive", "cell": "lstm", "samples": 20},
    ],
)
def test_choices_train_and_answer(choices: dict[str, Any]) -> None:
    found = model_of(**choices)
    level = [] if choices["output"] == "point" else [50, 80]
    answer = found.predict(forecasting.frame(), level=level)
    assert all(np.isfinite(answer["y_hat"]))
    for share in level:
        low, high = (np.array(answer[f"y_hat-{end}-{share}"]) for end in ("lo", "hi"))
        assert (low < high).all()


@pytest.mark.parametrize("decoder", ["mlp", "autoregressive"])
def test_counts_are_forecast_as_counts(decoder: str) -> None:
    data = forecasting.frame(**COUNTS)
    found = model_of(data, output="negative_binomial", decoder=decoder, samples=30)
    answer = found.predict(data, level=[80])
    assert min(answer["y_hat"]) > 0
    assert min(answer["y_hat-lo-80"]) >= 0
    if decoder == "mlp":
        assert all(value == int(value) for value in answer["y_hat-hi-80"])
    with pytest.raises(DataError, match=r"is for counts, but a series .* holds"):
        fit(output="negative_binomial")


def test_a_frame_comes_back_as_its_own_kind(model: ForecastModel) -> None:
    data = forecasting.frame()
    wanted = model.predict(data, level=[80, 95])
    assert list(wanted) == [
        "unique_id", "ds", "y_hat", "y_hat-lo-80", "y_hat-hi-80", "y_hat-lo-95", "y_hat-hi-95",
    ]  # fmt: skip
    assert wanted["unique_id"] == ["a"] * 4 + ["b"] * 4
    assert wanted["ds"][0] == "2024-01-03 12:00:00"
    for kind in (pd.DataFrame, pl.DataFrame, lambda d: pl.DataFrame(d).to_arrow()):
        given = kind(data)
        found = model.predict(given, level=[80, 95])
        assert type(found) is type(given)
        assert nw.from_native(found).to_dict(as_series=False) == wanted


def test_each_series_is_forecast_for_itself_whatever_the_order_of_rows(
    model: ForecastModel,
) -> None:
    data = forecasting.frame()
    wanted = model.predict(data)
    alone = {k: v[:60] for k, v in data.items()}
    assert model.predict(alone)["y_hat"] == pytest.approx(wanted["y_hat"][:4], rel=1e-5)
    backwards = {k: v[::-1] for k, v in data.items()}
    with pytest.warns(UserWarning, match="the rows of 2 series were not in order"):
        found = model.predict(backwards)
    assert found["y_hat"] == pytest.approx(wanted["y_hat"][4:] + wanted["y_hat"][:4], rel=1e-5)


def test_scaling_is_undone() -> None:
    """Scaled by its window a series ten times as large has answers ten times as large."""
    data = forecasting.frame()
    found = model_of(data, output="normal")
    grown = {**data, "y": [1000 + 10 * y for y in data["y"]]}
    first, second = (found.predict(each, level=[80]) for each in (data, grown))
    for name in ("y_hat", "y_hat-lo-80", "y_hat-hi-80"):
        np.testing.assert_allclose(second[name], 1000 + 10 * np.array(first[name]), rtol=1e-4)


def test_missing_values_are_masked_and_never_filled() -> None:
    data = forecasting.frame()
    found = model_of(data, output="point")
    holes = {**data, "y": [None if t % 60 in (50, 51) else y for t, y in enumerate(data["y"])]}
    left_out = {k: [v for t, v in enumerate(column) if t % 60 not in (50, 51)]
                for k, column in data.items()}  # fmt: skip
    with pytest.warns(UserWarning, match="4 stamps at a step of h are left out in 2 series"):
        gaps = found.predict(left_out)
    assert found.predict(holes) == gaps
    assert gaps["y_hat"] != found.predict(data)["y_hat"]
    panel = forecasting.panel(holes)
    series = found.ready(panel, 4)
    windows = found.batch(series, [(0, 60)], 4)
    assert not windows.y[0, 2:4].any()
    assert not windows.observed[0, 2:4].any()
    metrics = evaluate_forecaster(found, panel, windows=3)
    assert metrics["count"] == 2 * 3 * 4 - 2 * 2


def test_training_masks_what_is_missing_in_the_loss() -> None:
    data = forecasting.frame()
    holes = {**data, "y": [None if t % 5 == 0 else y for t, y in enumerate(data["y"])]}
    assert np.isfinite(fit(holes).metrics["train_loss"])
    assert np.isfinite(fit(holes, decoder="autoregressive", output="normal").metrics["train_loss"])


COVARIATES = {
    "promo": lambda k, t: float(t % 3 == 0),
    "load": lambda k, t: float(t % 5),
    "size": lambda k, t: 3 + k,
    "kind": lambda k, t: "ab"[k],
}


@pytest.mark.parametrize("decoder", ["linear", "mlp", "rnn"])
def test_covariates_of_every_kind(decoder: str) -> None:
    data = forecasting.frame(**COVARIATES)
    found = model_of(
        data, decoder=decoder, future="promo", past="load", static="size, kind, unique_id"
    )
    spec = found.forecasting
    assert spec.categories == {"kind": ("a", "b"), "unique_id": ("a", "b")}
    assert set(spec.statistics) == {"promo", "load", "size"}
    assert found.network.spec.static_size == 5
    stamps = found.predict(dict(data), future=_ahead(data, 0))["ds"]
    assert len(stamps) == 8
    values = [found.predict(data, future=_ahead(data, promo))["y_hat"] for promo in (0, 1)]
    assert values[0] != values[1]
    with pytest.raises(DataError, match=r"series 'a': 'promo' is not known 1 steps after its last"):
        found.predict(data)
    new = {**data, "kind": ["c"] * 120}
    with pytest.raises(DataError, match="column 'kind': 'c' was not there in training"):
        found.predict(new, future=_ahead(data, 0))


def _ahead(data: dict[str, list[Any]], promo: float) -> dict[str, list[Any]]:
    hours = [f"2024-01-03 {h}:00:00" for h in range(12, 16)]
    return {"unique_id": ["a"] * 4 + ["b"] * 4, "ds": hours * 2, "promo": [promo] * 8}


def test_what_is_known_ahead_changes_only_from_there_on() -> None:
    """With an autoregressive decoder step h reads what is known of steps up to h."""
    data = forecasting.frame("a", promo=COVARIATES["promo"])
    found = model_of(data, decoder="autoregressive", output="point", future="promo")
    answers = []
    for last in (0.0, 1.0):
        ahead = {k: v[:4] for k, v in _ahead(data, 0.0).items()}
        ahead["promo"] = [0.0, 0.0, 0.0, last]
        answers.append(found.predict(data, future=ahead)["y_hat"])
    assert answers[0][:3] == answers[1][:3]
    assert answers[0][3] != answers[1][3]


@pytest.mark.parametrize("decoder", ["mlp", "autoregressive"])
def test_a_stream_says_what_a_frame_does(decoder: str) -> None:
    data = forecasting.frame("a")
    found = model_of(data, decoder=decoder, output="normal", samples=20)
    session = found.stream(start=data["ds"][0], name="a")
    for t, y in enumerate(data["y"][:40], start=1):
        session.step(y)
        if t in (1, 5, 12, 13, 40):
            part = {name: values[:t] for name, values in data.items()}
            if t == 1:
                continue
            assert session.forecast(level=[80]) == found.predict(part, level=[80])
    assert session.next_stamp == data["ds"][40]
    other = session.fork()
    other.step(None)
    assert other.steps_read == session.steps_read + 1
    part = {name: values[:41] for name, values in data.items()}
    part["y"] = [*part["y"][:40], None]
    assert other.forecast() == found.predict(part)
    assert session.forecast()["ds"][0] == data["ds"][40]


def test_a_stream_with_covariates_and_its_errors() -> None:
    data = forecasting.frame("a", **COVARIATES)
    found = model_of(data, future="promo", past="load", static="size,unique_id")
    session = found.stream(start=data["ds"][0], name="a", static={"size": 3})
    with pytest.raises(DataError, match="the series is empty so far"):
        session.forecast()
    for t in range(30):
        session.step(
            data["y"][t], past={"load": data["load"][t]}, future={"promo": data["promo"][t]}
        )
    part = {name: values[:30] for name, values in data.items()}
    ahead = {name: values[30:34] for name, values in data.items()}
    rows = [{"promo": value} for value in ahead["promo"]]
    assert session.forecast(future=rows) == found.predict(part, future=ahead)
    with pytest.raises(DataError, match="the past covariate 'load' is missing"):
        session.step(1.0)
    with pytest.raises(DataError, match="the static covariate 'size' is missing"):
        found.stream(start=data["ds"][0])
    with pytest.raises(DataError, match="'promo' is not known 1 steps after its last"):
        session.forecast()


def test_cross_validation_rolls_the_origin(model: ForecastModel) -> None:
    data = forecasting.frame()
    found = model.cross_validate(data, windows=3, stride=2, level=[80])
    assert list(found) == [
        "unique_id", "ds", "cutoff", "y", "y_hat", "y_hat-lo-80", "y_hat-hi-80",
    ]  # fmt: skip
    assert len(found["ds"]) == 2 * 3 * 4
    assert found["cutoff"][0] == data["ds"][60 - 4 - 2 * 2 - 1]
    assert found["y"][:4] == data["y"][52:56]
    cut = {name: values[:52] for name, values in data.items()}
    assert found["y_hat"][:4] == pytest.approx(model.predict(cut)["y_hat"], rel=1e-5)
    every = model.cross_validate(data, windows=0, stride=1)
    assert len(every["ds"]) == 2 * (60 - 4 - 12 + 1) * 4
    assert every["cutoff"][0] == data["ds"][11]


def test_one_step_of_the_horizon_is_measured_alone(model: ForecastModel) -> None:
    panel = forecasting.panel()
    found = evaluate_forecaster(model, panel, windows=5, stride=1, step=4)
    rows = model.cross_validate(forecasting.frame(), windows=5, stride=1)
    apart = np.abs(np.array(rows["y"]) - np.array(rows["y_hat"])).reshape(-1, 4)[:, 3]
    assert found["mae"] == pytest.approx(apart.mean())
    assert found["count"] == 10
    with pytest.raises(ConfigError, match="step is 5; the model's horizon has steps 1 to 4"):
        evaluate_forecaster(model, panel, step=5)


def test_drawn_paths_depend_on_the_seed_and_the_name_alone() -> None:
    found = model_of(decoder="autoregressive", output="normal", samples=10)
    data = forecasting.frame()
    first = found.predict(data, seed=1)
    assert found.predict(data, seed=1) == first
    assert found.predict(data, seed=2)["y_hat"] != first["y_hat"]
    only = {name: values[60:] for name, values in data.items()}
    assert found.predict(only, seed=1)["y_hat"] == pytest.approx(first["y_hat"][4:], rel=1e-5)


def test_horizons_of_other_lengths() -> None:
    data = forecasting.frame()
    direct = model_of(output="point")
    assert len(direct.predict(data, horizon=2)["ds"]) == 4
    with pytest.raises(ConfigError, match="horizon is 9, but this model tells 4 steps"):
        direct.predict(data, horizon=9)
    goes_on = model_of(output="point", decoder="autoregressive")
    answer = goes_on.predict(data, horizon=9)
    assert len(answer["ds"]) == 18
    assert answer["y_hat"][:4] == pytest.approx(goes_on.predict(data)["y_hat"][:4])


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


def test_values_may_be_of_any_size() -> None:
    data = forecasting.frame()
    found = model_of(output="normal")
    plain = np.array(found.predict(data)["y_hat"])
    for factor in (1e-12, 1e9):
        grown = {**data, "y": [factor * y for y in data["y"]]}
        np.testing.assert_allclose(found.predict(grown)["y_hat"], factor * plain, rtol=1e-4)


def test_a_series_without_a_value_cannot_be_forecast(model: ForecastModel) -> None:
    data = forecasting.frame()
    data["y"][45:60] = [None] * 15
    with pytest.raises(DataError, match=r"series 'a': no value in the 12 steps before step 61"):
        model.predict(data)


def test_points_have_no_intervals_and_levels_are_shares(model: ForecastModel) -> None:
    with pytest.raises(ConfigError, match="knows no intervals"):
        model_of(output="point").predict(forecasting.frame(), level=[80])
    with pytest.raises(ConfigError, match="level 100: expected a share in %"):
        model.predict(forecasting.frame(), level=[100])


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


def test_beside_a_model_that_says_the_season_again_the_baseline_is_even() -> None:
    """With outputs of zero a model with residual 'season' is the seasonal naive forecast."""
    fitted = fit(output="point", residual="season", season=12)
    zero = {k: np.zeros_like(v) for k, v in fitted.weights.items()}
    found = ForecastModel.from_artifact(Artifact(fitted.config, zero, {}, {}, Path()))
    metrics = evaluate_forecaster(found, forecasting.panel(), windows=4)
    for name in ("mae", "rmse", "mase", "smape"):
        assert metrics[name] == pytest.approx(metrics["seasonal_naive"][name], rel=1e-5)
