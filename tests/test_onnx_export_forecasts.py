"""Forecasters as ONNX: a caller with a pandas frame and the file alone gets what `predict` says."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import forecasting
import tiny
import unrolled
from tolerances import close
from unrolled import cli
from unrolled.config import CalibrationSpec, DataSpec, ForecastingSpec, ModelConfig, TrainSpec
from unrolled.data.frequency import CYCLES, calendar
from unrolled.errors import InteropError
from unrolled.interop.onnx import export, load
from unrolled.interop.onnx.export_calendar import calendar_numbers
from unrolled.interop.onnx.export_said import student_polynomials
from unrolled.interop.onnx.graph import GraphBuilder
from unrolled.nn.build import build as build_torch
from unrolled.runtime.build import build
from unrolled.runtime.calibrated import calibrated
from unrolled.runtime.distributions import Samples
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks.base import Run
from unrolled.tasks.forecast import train

pd = pytest.importorskip("pandas")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

HORIZON, WINDOW = 4, 9
ALL_CYCLES = tuple(CYCLES)
STATIC = ("kind", "size", "shop")
CATEGORIES = {"kind": ("a", "b", "c"), "shop": ("north", "south")}
STATISTICS = {"load": (210.0, 4.0), "rain": (0.1, 2.0), "promo": (0.5, 0.25), "size": (-3.0, 1e3)}


def session(content):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    made = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in made.get_outputs()]
    wanted = {value.name for value in made.get_inputs()}

    def run(feeds):
        known = {name: value for name, value in feeds.items() if name in wanted}
        return dict(zip(names, made.run(names, known), strict=True))

    return run


def ours(content):
    model = load(content)
    wanted = {value.name for value in model.inputs}
    return lambda feeds: model.run({k: v for k, v in feeds.items() if k in wanted})


READERS = {"onnxruntime": session, "our own reader": ours}


def runs(path: Path):
    return [make(path.read_bytes()) for make in READERS.values()]


def same(found, column) -> bool:
    """Whether a file's numbers are a column of `predict`, within what float32 tells."""
    return close(found.ravel(), np.asarray(column, np.float32), "forward")


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


def model_of(decoder: str, output: str, cell: str = "gru", **choices) -> ForecastModel:
    """A forecaster of random weights that reads covariates of every kind."""
    past = () if decoder == "autoregressive" else ("load", "rain")
    reads = ForecastingSpec(
        **{
            "freq": "h", "window": WINDOW, "past": past, "future": ("promo",), "static": STATIC,
            "statistics": STATISTICS, "categories": CATEGORIES, "calendar": ALL_CYCLES,
            **choices,
        }
    )  # fmt: skip
    spec = forecasting.forecaster(decoder, output, cell)
    known, static = 2 * (len(reads.calendar) + 1), 6
    stack = msgspec.structs.replace(spec.recurrent, input_size=2 + 2 * len(past) + known + static)
    changes = {"recurrent": stack, "known_size": known, "static_size": static}
    if spec.decoder_recurrent is not None:
        changes["decoder_recurrent"] = msgspec.structs.replace(
            spec.decoder_recurrent, input_size=1 + known + static
        )
    spec = msgspec.structs.replace(spec, past_size=2 * len(past), **changes)
    torch.manual_seed(0)
    module = build_torch(spec)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network = build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})
    config = ModelConfig(
        format_version=1, task="forecast", network=spec, training=TrainSpec(),
        data=DataSpec(target="y", forecasting=reads),
    )  # fmt: skip
    return ForecastModel(config, network)


def frames(freq: str = "h", start: str = "2023-12-19 20:15"):
    """Three series of which one is shorter than a window, a fifth of their numbers missing."""
    draw = np.random.default_rng(7)
    past, later = [], []
    for k, steps in enumerate((30, 5, 12)):
        total = steps + HORIZON
        stamps = pd.date_range(start, periods=total, freq=freq)
        found = pd.DataFrame({"unique_id": f"s{k}", "ds": stamps})
        for column, (mean, scale) in {**STATISTICS, "y": (20.0, 3.0)}.items():
            values = draw.normal(mean, scale, total)
            values[:steps][draw.random(steps) < 0.2] = np.nan
            found[column] = values
        found["size"] = 10.0 * k
        found["kind"], found["shop"] = "cab"[k], ("north", "south")[k % 2]
        found.loc[steps - 1, "y"] = 20.0 + k
        past.append(found[:steps])
        later.append(found[["unique_id", "ds", "promo"]][steps:])
    return pd.concat(past, ignore_index=True), pd.concat(later, ignore_index=True)


def arrays(about, rows, ending: str = ""):
    """The inputs that are made of the rows of a frame, by what the file says of them."""
    found = {}
    for name, note in about.items():
        stem = name.removesuffix("_ahead")
        if name.endswith("_ahead") != bool(ending) or name == "lengths":
            continue
        if stem == "stamp":
            assert note["unit"] == "seconds since 1970-01-01 00:00"
            column = rows[note["columns"][0]]
            found[name] = ((column - pd.Timestamp(0)) / pd.Timedelta(seconds=1)).to_numpy()
        elif stem == "y":
            found[name] = rows[note["columns"][0]].to_numpy(float)
        elif stem == "static":
            found[name] = rows[note["columns"]].iloc[-1].to_numpy(float)
        elif stem == "categories":
            last = rows.iloc[-1]
            found[name] = np.array([note["values"][c].index(last[c]) for c in note["columns"]])
        else:
            found[name] = rows[note["columns"]].to_numpy(float)
    return found


def windows(path: Path, data, later):
    """Windows as a caller makes them who has the frame, the file's metadata, numpy and pandas."""
    about = json.loads(metadata(path)["inputs"])
    most = about["lengths"]["most"]
    each = []
    for _, rows in data.groupby("unique_id", sort=False):
        each.append(arrays(about, rows.tail(most)))
    lengths = np.array([len(one["y"]) for one in each])
    feeds = {"lengths": lengths}
    for name in each[0]:
        parts = [one[name] for one in each]
        if name not in ("static", "categories"):
            # What lies behind a row's length is not read.
            parts = [
                np.concatenate(
                    [part, np.full((lengths.max() - len(part), *part.shape[1:]), np.nan)]
                )
                for part in parts
            ]
        feeds[name] = np.stack(parts)
    beside = {
        name: note
        for name, note in {**about, "stamp_ahead": about.get("stamp")}.items()
        if note is not None
    }
    beside["future_ahead"] = {"columns": ["promo"]}
    ahead = [arrays(beside, rows, "_ahead") for _, rows in later.groupby("unique_id", sort=False)]
    return feeds | {name: np.stack([one[name] for one in ahead]) for name in ahead[0]}


GRIDS = {
    "h": "2023-12-19 20:15",
    "7min": "2024-02-28 22:00:30",
    "D": "2000-02-20",
    "3W": "1969-01-05",
    "B": "2023-12-25",
    "MS": "1999-01-01",
    "ME": "2022-11-30",
    "QE": "1931-03-31",
}


@pytest.mark.parametrize("freq", GRIDS)
def test_raw_frames_are_forecast_as_predict_does(freq: str, tmp_path: Path) -> None:
    name = {"MS": "M", "QE": "3ME"}.get(freq, freq)
    model, path = model_of("mlp", "quantiles", freq=name), tmp_path / "next.onnx"
    export(model, path)
    data, later = frames(freq, GRIDS[freq])
    answer = model.predict(data, future=later, level=[80])
    feeds = windows(path, data, later)
    assert json.loads(metadata(path)["quantiles"]) == [0.1, 0.5, 0.9]
    for run in runs(path):
        found = run(feeds)["quantiles"]
        for k, column in enumerate(("y_hat-lo-80", "y_hat", "y_hat-hi-80")):
            assert same(found[..., k], answer[column])


@pytest.mark.parametrize(
    ("decoder", "output", "cell"),
    [("linear", "point", "lstm"), ("rnn", "normal", "gru"), ("rnn", "student_t", "lstm")],
)
def test_every_decoder_reads_raw_covariates(decoder, output, cell, tmp_path: Path) -> None:
    model, path = model_of(decoder, output, cell), tmp_path / "next.onnx"
    export(model, path)
    data, later = frames()
    answer = model.predict(data, future=later)
    for run in runs(path):
        made = run(windows(path, data, later))
        assert same(made["loc"], answer["y_hat"])


def test_a_file_says_what_lies_in_its_inputs(tmp_path: Path) -> None:
    path = tmp_path / "next.onnx"
    export(model_of("mlp", "point"), path)
    assert json.loads(metadata(path)["inputs"]) == {
        "y": {"columns": ["y"], "missing": "NaN"},
        "lengths": {"unit": "steps", "most": WINDOW},
        "past": {"columns": ["load", "rain"], "missing": "NaN"},
        "stamp": {"columns": ["ds"], "unit": "seconds since 1970-01-01 00:00", "freq": "h"},
        "future": {"columns": ["promo"], "missing": "NaN"},
        "static": {"columns": ["size"]},
        "categories": {
            "columns": ["kind", "shop"],
            "values": {"kind": ["a", "b", "c"], "shop": ["north", "south"]},
        },
        "stamp_ahead": {"columns": ["ds"], "unit": "seconds since 1970-01-01 00:00", "freq": "h"},
        "future_ahead": {"columns": ["promo"], "missing": "NaN"},
    }
    shapes = {value.name: value.shape for value in load(path).inputs}
    assert shapes["past"] == ("rows", "steps", 2)
    assert shapes["stamp_ahead"] == ("rows", HORIZON)
    assert shapes["categories"] == ("rows", 2)


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


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", [3, -1])
def test_a_category_that_there_is_not_is_an_error(reader, place: int, tmp_path: Path) -> None:
    path = tmp_path / "next.onnx"
    export(model_of("mlp", "point"), path)
    feeds = windows(path, *frames())
    feeds["categories"][1, 0] = place
    with pytest.raises(Exception, match=r"inclusive range|out of range for"):
        READERS[reader](path.read_bytes())(feeds)


def test_sizes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model = model_of("mlp", "point", future=(), calendar=("hour",))
    spec = msgspec.structs.replace(model.network.spec, known_size=6)
    model.network.spec = spec
    with pytest.raises(InteropError) as caught:
        export(model, tmp_path / "next.onnx")
    assert str(caught.value) == (
        "the forecaster's known_size is 6, but the covariates that it reads make 2 numbers"
    )


def test_the_calendar_of_a_graph_is_the_runtimes() -> None:
    draw = np.random.default_rng(0)
    stamps = draw.integers(-(10**16), 10**16, 4000).astype("datetime64[us]")
    edges = [
        np.datetime64(f"{year}-{day}").astype("datetime64[us]") + np.timedelta64(shift, "us")
        for year in (1600, 1899, 1900, 1904, 1970, 1999, 2000, 2023, 2024, 2100, 2400)
        for day in ("01-01", "01-31", "02-01", "02-28", "03-01", "07-04", "12-31")
        for shift in (0, 86_399_999_999)
    ]
    edges += [np.datetime64(f"{year}-02-29", "us") for year in (1600, 1904, 2000, 2024)]
    every = np.concatenate([stamps, edges])
    g = GraphBuilder("calendar")
    found = calendar_numbers(g, g.input("stamp", ["n"], "double"), ALL_CYCLES)
    g.output("numbers", found, ["n", 2 * len(ALL_CYCLES)])
    content = g.finish({})
    expected = calendar(every, ALL_CYCLES)
    for make in READERS.values():
        made = make(content)({"stamp": every.astype(np.int64) / 1e6})["numbers"]
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6)


def offsets(draw, shares) -> CalibrationSpec:
    """Offsets of which some make quantiles cross; the median's are 0, as they are measured."""
    found = draw.normal(0, 0.5, (HORIZON, len(shares)))
    found[:, shares.index(0.5)] = 0
    return CalibrationSpec(shares=shares, offsets=tuple(map(tuple, found.tolist())), windows=99)


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
