"""Forecasters that answer: predicting, cross-validating, streaming, and their errors."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

import forecasting
from forecasting import COUNTS, COVARIATES, ahead, fit, model_of
from unrolled.errors import ConfigError, DataError
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks.forecast_evaluate import evaluate_forecaster


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
    stamps = found.predict(dict(data), future=ahead(data, 0))["ds"]
    assert len(stamps) == 8
    values = [found.predict(data, future=ahead(data, promo))["y_hat"] for promo in (0, 1)]
    assert values[0] != values[1]
    with pytest.raises(DataError, match=r"series 'a': 'promo' is not known 1 steps after its last"):
        found.predict(data)
    new = {**data, "kind": ["c"] * 120}
    with pytest.raises(DataError, match="column 'kind': 'c' was not there in training"):
        found.predict(new, future=ahead(data, 0))


def test_what_is_known_ahead_changes_only_from_there_on() -> None:
    """With an autoregressive decoder step h reads what is known of steps up to h."""
    data = forecasting.frame("a", promo=COVARIATES["promo"])
    found = model_of(data, decoder="autoregressive", output="point", future="promo")
    answers = []
    for last in (0.0, 1.0):
        future = {k: v[:4] for k, v in ahead(data, 0.0).items()}
        future["promo"] = [0.0, 0.0, 0.0, last]
        answers.append(found.predict(data, future=future)["y_hat"])
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


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_stamps_in_a_zone_are_answered_in_it(kind: str, model: ForecastModel) -> None:
    data = forecasting.frame()
    plain = pl.DataFrame(data).with_columns(pl.col("ds").str.to_datetime())
    given = plain.with_columns(pl.col("ds").dt.replace_time_zone("Asia/Seoul"))
    found = model.predict(given.to_pandas() if kind == "pandas" else given)
    found = pl.from_pandas(found) if kind == "pandas" else found
    assert found.schema["ds"] == given.schema["ds"]
    expected = model.predict(plain)["ds"].to_list()
    assert found["ds"].dt.replace_time_zone(None).to_list() == expected


@pytest.mark.parametrize(
    ("level", "message"),
    [(80, "level is 80; expected a list of shares in %"), (["80"], "level '80': expected a share")],
)
def test_levels_are_a_list_of_numbers(level, message, model: ForecastModel) -> None:
    with pytest.raises(ConfigError, match=message):
        model.predict(forecasting.frame(), level=level)


def test_a_stream_begins_at_a_stamp_of_the_models_kind(model: ForecastModel) -> None:
    with pytest.raises(ConfigError, match="start is 0, but the stamps of this model are times, a"):
        model.stream()


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
