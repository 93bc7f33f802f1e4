"""Calibrated forecasters as ONNX: the intervals of a file are those of `predict`."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

import forecasting
import tiny
import unrolled
from onnx_forecasts import HORIZON, frames, metadata, model_of, offsets, pd, runs, same, windows
from unrolled import cli
from unrolled.errors import InteropError
from unrolled.interop.onnx import export
from unrolled.interop.onnx.export_said import student_polynomials
from unrolled.runtime.calibrated import calibrated
from unrolled.runtime.distributions import Samples
from unrolled.tasks.base import Run
from unrolled.tasks.forecast import train

CALIBRATED = [
    ("mlp", "quantiles", (0.1, 0.5, 0.9)),
    ("mlp", "quantiles", (0.1, 0.2, 0.45, 0.5, 0.7, 0.9)),
    ("linear", "point", (0.05, 0.1, 0.5, 0.9, 0.95)),
    ("rnn", "normal", (0.05, 0.25, 0.5, 0.75, 0.95)),
    ("linear", "student_t", (0.005, 0.1, 0.5, 0.9, 0.995)),
]


@pytest.mark.parametrize(("decoder", "output", "shares"), CALIBRATED)
def test_calibrated_intervals_are_those_of_predict(decoder, output, shares, tmp_path) -> None:
    by, path = offsets(np.random.default_rng(2), shares), tmp_path / "next.onnx"
    model = model_of(decoder, output, calibration=by)
    found = export(model, path)
    assert max(found.reader, found.onnxruntime or 0) < 1e-5
    data, later = frames()
    level = round(100 * (1 - 2 * shares[0]), 6)
    answer = model.predict(data, future=later, level=[level])
    assert json.loads(metadata(path)["quantiles"]) == list(shares)
    for run in runs(path):
        made = run(windows(path, data, later))
        assert list(made) == ["loc", "quantiles"]
        values = made["quantiles"]
        assert (np.diff(values, axis=-1) >= 0).all()
        assert same(made["loc"], answer["y_hat"])
        for k, end in ((0, "lo"), (-1, "hi")):
            column = answer[f"y_hat-{end}-{level:g}"]
            assert same(values[..., k], column)


def test_calibrated_quantiles_lie_between_those_of_the_network(tmp_path: Path) -> None:
    """Of other quantiles than the network's own, each is on the line between two of these."""
    by = offsets(np.random.default_rng(3), (0.15, 0.5, 0.7, 0.85))
    model, path = model_of("mlp", "quantiles", calibration=by), tmp_path / "next.onnx"
    export(model, path)
    data, later = frames()
    answer = model.predict(data, future=later, level=[70])
    for run in runs(path):
        made = run(windows(path, data, later))["quantiles"]
        assert same(made[..., 0], answer["y_hat-lo-70"])


@pytest.mark.parametrize("output", ["point", "normal"])
def test_a_caller_draws_the_paths_of_predict(output: str, tmp_path: Path) -> None:
    by = offsets(np.random.default_rng(4), (0.1, 0.5, 0.9))
    count = 20 if output == "normal" else 1
    model = model_of("autoregressive", output, samples=count, calibration=by)
    paths = export(model, tmp_path / "next.onnx").paths
    data, later = frames()
    answer = model.predict(data, future=later, level=[80], seed=3)
    feeds = windows(paths[0], data, later)
    steps = ["categories", "future", "stamp", "static", "y"]
    assert sorted(json.loads(metadata(paths[1])["inputs"])) == steps
    for begin, step, tell in zip(*map(runs, paths), strict=True):
        first = {name.removesuffix("_n"): value for name, value in begin(feeds).items()}
        first |= {name: feeds[name] for name in ("static", "categories")}
        # As many rows of each series as there are paths.
        held = {k: v.repeat(count, axis=int(k in ("h", "c"))) for k, v in first.items()}
        draws = [np.random.default_rng([3, zlib.crc32(f"s{k}".encode())]) for k in range(3)]
        drawn = []
        for t in range(HORIZON):
            ahead = {name: feeds[f"{name}_ahead"][:, t] for name in ("stamp", "future")}
            made = step(held | {k: v.repeat(count, axis=0) for k, v in ahead.items()})
            held |= {k.removesuffix("_n"): v for k, v in made.items() if k.endswith("_n")}
            noise = np.concatenate([draw.standard_normal(count) for draw in draws])
            held["y"] = made["loc"] + (made["scale"] * noise if output == "normal" else 0)
            drawn.append(held["y"].reshape(3, count))
        made = tell({"paths": np.stack(drawn, axis=2), "window_scale": first["window_scale"]})
        assert same(made["loc"], answer["y_hat"])
        for k, end in ((0, "lo"), (-1, "hi")):
            assert same(made["quantiles"][..., k], answer[f"y_hat-{end}-80"])


def test_drawn_paths_are_calibrated_by_a_file_of_their_own(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    by = offsets(draw, (0.1, 0.25, 0.5, 0.9))
    model = model_of("autoregressive", "normal", calibration=by)
    paths = export(model, tmp_path / "next.onnx").paths
    names = [f"next-{part}.onnx" for part in ("encoder", "decoder", "quantiles")]
    assert [path.name for path in paths] == names
    drawn, scale = draw.normal(size=(3, 50, HORIZON)), np.array([0.5, 1.0, 20.0])
    for steps in (HORIZON, 2):
        feeds = {"paths": drawn[..., :steps], "window_scale": scale}
        expected = calibrated(Samples(feeds["paths"]), by, scale)
        for run in runs(paths[2]):
            made = run(feeds)
            np.testing.assert_allclose(made["loc"], expected.mean, rtol=1e-12)
            np.testing.assert_allclose(made["quantiles"], expected.values, rtol=1e-12)
    beyond = {"paths": draw.normal(size=(3, 50, HORIZON + 1)), "window_scale": scale}
    for run in runs(paths[2]):
        with pytest.raises(Exception, match=r"inclusive range|out of range for"):
            run(beyond)


def test_calibrated_counts_are_refused(tmp_path: Path) -> None:
    by = offsets(np.random.default_rng(2), (0.1, 0.5, 0.9))
    model = model_of("mlp", "negative_binomial", calibration=by)
    with pytest.raises(InteropError, match="counts have no calibrated intervals"):
        export(model, tmp_path / "next.onnx")


def test_polynomials_meet_students_quantiles() -> None:
    stats = pytest.importorskip("scipy.stats")
    shares = (0.001, 0.025, 0.1, 0.5, 0.75, 0.99, 0.999)
    df = 2 + np.geomspace(1e-6, 1e5, 400)
    factors = student_polynomials(shares)
    powers = (4 / df[:, None] - 1) ** np.arange(len(factors))
    expected = stats.t.ppf(np.array(shares), df[:, None])
    np.testing.assert_allclose(powers @ factors, expected, rtol=1e-8, atol=1e-10)


def test_a_trained_folder_is_exported_raw_and_calibrated(tmp_path: Path, capsys) -> None:
    columns = forecasting.COVARIATES
    chosen = {
        "past": "load", "future": "promo", "static": "size,kind", "output": "quantiles",
        "window": 48, "calibrate": True,
    }  # fmt: skip
    data = forecasting.frame(steps=96, **columns)
    held = forecasting.panel(forecasting.frame(steps=90, seed=1, **columns), **chosen)
    train(
        forecasting.panel(data, **chosen), forecasting.options(**chosen), tiny.training(),
        validation=held, run=Run(tmp_path / "model"),
    )  # fmt: skip
    path = tmp_path / "next.onnx"
    assert cli.run(["export", str(tmp_path / "model"), "--out", str(path)]) == 0
    assert "ONNX Runtime's largest difference from our numbers is " in capsys.readouterr().err
    model = unrolled.load(tmp_path / "model")
    assert model.forecasting.calendar == ("hour",)
    assert model.forecasting.calibration is not None
    frame = pd.DataFrame(data).assign(ds=lambda found: pd.to_datetime(found["ds"]))
    last = frame["ds"].max()
    later = pd.DataFrame(
        [
            {"unique_id": name, "ds": last + pd.Timedelta(hours=t + 1), "promo": float(t == 2)}
            for name in "ab"
            for t in range(HORIZON)
        ]
    )
    answer = model.predict(frame, future=later, level=[80])
    shares = json.loads(metadata(path)["quantiles"])
    for run in runs(path):
        made = run(windows(path, frame, later))
        assert same(made["loc"], answer["y_hat"])
        for share, end in ((0.1, "lo"), (0.9, "hi")):
            values = made["quantiles"][..., shares.index(share)]
            assert same(values, answer[f"y_hat-{end}-80"])
