"""Forecasters as ONNX: a caller with a pandas frame and the file alone gets what `predict` says."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from onnx_forecasts import (
    ALL_CYCLES,
    HORIZON,
    READERS,
    WINDOW,
    frames,
    metadata,
    model_of,
    runs,
    same,
    windows,
)
from unrolled.data.frequency import calendar
from unrolled.errors import InteropError
from unrolled.interop.onnx import export, load
from unrolled.interop.onnx.export_calendar import calendar_numbers
from unrolled.interop.onnx.graph import GraphBuilder

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


def test_a_step_that_is_left_out_is_one_without_numbers(tmp_path: Path) -> None:
    model, path = model_of("mlp", "point"), tmp_path / "next.onnx"
    export(model, path)
    data, later = frames()
    left_out = [25, 26, 42]
    with pytest.warns(UserWarning, match="3 stamps at a step of h are left out in 2 series"):
        answer = model.predict(data.drop(index=left_out), future=later)
    data.loc[left_out, ["y", "load", "rain", "promo"]] = np.nan
    for run in runs(path):
        assert same(run(windows(path, data, later))["loc"], answer["y_hat"])


def test_a_time_with_an_offset_is_that_of_utc(tmp_path: Path) -> None:
    model, path = model_of("mlp", "point"), tmp_path / "next.onnx"
    export(model, path)
    data, later = (each.assign(ds=each["ds"].dt.tz_localize("Asia/Seoul")) for each in frames())
    answer = model.predict(data, future=later)
    for run in runs(path):
        assert same(run(windows(path, data, later))["loc"], answer["y_hat"])


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
