"""Frames to series and windows: grids, calendars, scales, and every error with its place."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import forecasting
from unrolled.config import ForecastingSpec
from unrolled.data.frequency import (
    Frequency,
    calendar,
    calendar_cycles,
    default_season,
    infer,
    parse_frequency,
    positions,
    stamps_at,
)
from unrolled.data.panel import Columns, read_panel, to_table
from unrolled.data.read import read_table
from unrolled.data.windows import Ready, batch, origins, scales
from unrolled.errors import ConfigError, DataError

PANDAS = [
    ("s", "s"), ("5min", "5min"), ("h", "h"), ("6h", "6h"), ("D", "D"), ("B", "B"), ("W", "W"),
    ("MS", "M"), ("ME", "ME"), ("QS", "3M"), ("QE", "3ME"), ("YS", "12M"), ("YE", "12M"),
]  # fmt: skip


def stamps(freq: str, count: int = 40, start: str = "2023-11-06 13:00"):
    return pd.date_range(start, periods=count, freq=freq).to_numpy("datetime64[us]")


@pytest.mark.parametrize(("theirs", "ours"), PANDAS)
def test_frequencies_are_told_and_gone_along_as_pandas_does(theirs: str, ours: str) -> None:
    found = stamps(theirs)
    freq = infer([found])
    assert str(freq) == ours
    assert parse_frequency(ours) == freq
    np.testing.assert_array_equal(stamps_at(freq, found[0], np.arange(40)), found)
    places, on = positions(freq, found[0], found)
    np.testing.assert_array_equal(places, np.arange(40))
    assert on.all()


def test_gaps_do_not_hide_a_frequency() -> None:
    found = np.delete(stamps("D"), [3, 4, 11, 30])
    freq = infer([found])
    assert str(freq) == "D"
    places, on = positions(freq, found[0], found)
    assert on.all()
    assert places[3] == 5


def test_whole_numbers_and_aliases() -> None:
    assert infer([np.array([3, 5, 7, 11])]) == Frequency("step", 2)
    assert infer([np.array([3])]) is None
    assert [str(parse_frequency(t)) for t in ("H", "15T", "Q", "QE", "Y", "2")] == [
        "h", "15min", "3M", "3ME", "12M", "2",
    ]  # fmt: skip
    for wrong in ("hour", "", "0h", "-1", "1.5h"):
        with pytest.raises(ConfigError, match="expected s, min, h, D"):
            parse_frequency(wrong)


@pytest.mark.parametrize(
    ("text", "season"),
    [("h", 24), ("15min", 96), ("min", 60), ("D", 7), ("W", 52), ("B", 5), ("M", 12), ("3M", 4),
     ("12M", 1), ("1", 1), ("7h", 1)],
)  # fmt: skip
def test_seasons(text: str, season: int) -> None:
    assert default_season(parse_frequency(text)) == season


def test_the_calendar_has_the_phases_of_pandas() -> None:
    index = pd.date_range("2024-02-27 05:30", periods=500, freq="13h")
    cycles = ("hour", "weekday", "monthday", "yearday")
    found = calendar(index.to_numpy("datetime64[us]"), cycles)
    share = (index.hour + index.minute / 60) / 24
    wanted = {
        "hour": share,
        "weekday": (index.day_of_week + share) / 7,
        "monthday": (index.day - 1 + share) / index.days_in_month,
        "yearday": (index.day_of_year - 1 + share) / np.where(index.is_leap_year, 366, 365),
    }
    for k, name in enumerate(cycles):
        np.testing.assert_allclose(found[:, 2 * k], np.sin(2 * np.pi * wanted[name]), atol=1e-6)
        np.testing.assert_allclose(found[:, 2 * k + 1], np.cos(2 * np.pi * wanted[name]), atol=1e-6)


def test_cycles_are_read_where_two_of_them_were_seen() -> None:
    hours = parse_frequency("h")
    assert calendar_cycles(hours, 47) == ()
    assert calendar_cycles(hours, 48) == ("hour",)
    assert calendar_cycles(hours, 24 * 15) == ("hour", "weekday")
    assert calendar_cycles(parse_frequency("M"), 40) == ("yearday",)
    assert calendar_cycles(parse_frequency("1"), 999) == ()


COLUMNS = Columns("unique_id", "ds", "y")


def test_rows_in_any_order_with_gaps_become_a_grid_and_are_told() -> None:
    data = {
        "unique_id": ["b", "a", "a", "b", "a", "b"],
        "ds": ["2024-01-02", "2024-01-04", "2024-01-01", "2024-01-03", "2024-01-02", "2024-01-01"],
        "y": ["1", "4", "", "3", "2", "nan"],
    }
    panel = read_panel(to_table(data), COLUMNS)
    assert [series.id for series in panel.series] == ["b", "a"]
    np.testing.assert_array_equal(panel.series[0].y, [np.nan, 1, 3])
    np.testing.assert_array_equal(panel.series[1].y, [np.nan, 2, np.nan, 4])
    ordered, gaps = panel.notices
    assert "the rows of 2 series were not in order of time and were sorted" in ordered
    assert "the first is data frame, row 6" in ordered
    assert "1 stamps at a step of D are left out in 1 series" in gaps
    assert gaps.endswith("the first follow data frame, row 5")


def test_a_wide_file_is_one_series(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("date,HUFL,OT\n2016-07-01 00:00:00,5.8,30.5\n2016-07-01 01:00:00,5.6,27.7\n")
    panel = read_panel(read_table(path), Columns("unique_id", "date", "OT", past=("HUFL",)))
    assert (len(panel), panel.columns.id, str(panel.freq)) == (1, "", "h")
    np.testing.assert_array_equal(panel.series[0].past[:, 0], [5.8, 5.6])
    following = stamps_at(panel.freq, panel.series[0].origin, np.array([2]))
    assert panel.style.write(following) == ["2016-07-01 02:00:00"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "dates", "numbers", "months"])
def test_stamps_of_every_kind_are_written_as_they_were_read(kind: str) -> None:
    times = [dt.datetime(2024, 1, d) for d in (1, 2, 3)]
    data: object = {"ds": times, "y": [1.0, 2.0, None]}
    next_one: object = dt.datetime(2024, 1, 4)
    if kind == "pandas":
        data = pd.DataFrame(data)
    elif kind in ("polars", "pyarrow"):
        data = pl.DataFrame(data)
        data = data.to_arrow() if kind == "pyarrow" else data
    elif kind == "dates":
        data, next_one = {"ds": [t.date() for t in times], "y": [1, 2, 3]}, dt.date(2024, 1, 4)
    elif kind == "numbers":
        data, next_one = {"ds": [1, 2, 3], "y": [1, 2, 3]}, 4
    else:
        data, next_one = {"ds": ["2024-01", "2024-02", "2024-03"], "y": [1, 2, 3]}, "2024-04"
    panel = read_panel(to_table(data), COLUMNS)
    stamp = stamps_at(panel.freq, panel.series[0].origin, np.array([3]))
    assert panel.style.write(stamp) == [next_one]


def test_a_time_with_an_offset_becomes_utc() -> None:
    data = {"ds": ["2024-01-01T01:00+01:00", "2024-01-01T01:00Z"], "y": [1, 2]}
    panel = read_panel(to_table(data), COLUMNS)
    assert panel.series[0].origin == np.datetime64("2024-01-01T00:00")
    assert str(panel.freq) == "h"


def test_times_with_an_offset_do_not_stand_beside_times_without() -> None:
    mixed = {"ds": ["2024-01-01T01:00+01:00", "2024-01-01T01:00"], "y": [1, 2]}
    with pytest.raises(DataError) as caught:
        read_panel(to_table(mixed), COLUMNS)
    assert str(caught.value) == (
        "data frame, row 2, column 'ds': '2024-01-01T01:00' beside '2024-01-01T01:00+01:00'; "
        "expected an offset from UTC in all times or in none"
    )


HEAD = "unique_id,ds,y,price\n"
BAD = {
    "a,2024-01-01,1,1\na,2024-01-01,2,1\n": (
        "bad.csv, row 3, column 'ds': 2024-01-01 a second time in series 'a', first in row 2"
    ),
    "a,2024-01-01,1,1\na,2024-01-02,x,1\n": "bad.csv, row 3, column 'y': 'x', expected a number",
    "a,2024-01-01,1,1\na,2024-01-02,inf,1\n": "bad.csv, row 3, column 'y': 'inf' is not finite",
    "a,2024-01-01,1,1\na,2024-01-02,1,much\n": (
        "bad.csv, row 3, column 'price': 'much', expected a number"
    ),
    "a,2024-01-01,1,1\na,01/02/2024,1,1\n": (
        "bad.csv, row 3, column 'ds': '01/02/2024'; expected a time as 2024-05-31"
    ),
    "a,2024-01-01,1,1\na,,1,1\n": "bad.csv, row 3, column 'ds': the time stamp is missing",
    "a,2024-01-01,1,1\na,7,1,1\n": "bad.csv, row 3, column 'ds': '7' beside '2024-01-01'",
    ",2024-01-01,1,1\n": "bad.csv, row 2, column 'unique_id': the name of the series is missing",
    "a,2024-01-01,1,1\n": "bad.csv: no series has two rows, so its frequency cannot be told",
    "a,2024-01-01,1,1\na,2024-01-02,1,1\na,2024-01-03,1,1\na,2024-01-03 12:00,1,1\n": (
        "bad.csv, row 5, column 'ds': 2024-01-03 12:00 is no whole number of steps of D after "
        "2024-01-01"
    ),
}


@pytest.mark.parametrize("rows", BAD)
def test_bad_rows_are_named(rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text(HEAD + rows)
    with pytest.raises(DataError) as caught:
        read_panel(read_table("bad.csv"), COLUMNS._replace(future=("price",)))
    assert str(caught.value).startswith(BAD[rows])


def test_several_series_without_a_name_are_told_apart_by_a_hint() -> None:
    data = {"ds": [1, 2, 1], "y": [1, 2, 3]}
    with pytest.raises(DataError, match="first in row 1; where the table holds several series"):
        read_panel(to_table(data), COLUMNS)


def test_a_named_id_column_must_be_there() -> None:
    data = {"ds": [1, 2], "y": [1, 2]}
    with pytest.raises(DataError, match="no column 'shop'; the columns are: ds, y"):
        read_panel(to_table(data), COLUMNS._replace(id="shop"))


def test_a_mistyped_stamp_does_not_fill_the_memory() -> None:
    data = {"ds": ["2024-01-01 00:00:00", "2024-01-01 00:00:01", "2204-01-01"], "y": [1, 2, 3]}
    with pytest.raises(DataError, match=r"row 3, column 'ds': 2204-01-01 is \d+ steps of s after"):
        read_panel(to_table(data), COLUMNS)


def test_static_covariates_stay_the_same() -> None:
    data = {"ds": [1, 2], "y": [1, 2], "size": ["s", "m"]}
    with pytest.raises(DataError, match=r"row 2, column 'size': 'm', but series .* has 's' before"):
        read_panel(to_table(data), COLUMNS._replace(static=("size",)))


def test_a_frequency_of_the_other_kind_is_an_error() -> None:
    with pytest.raises(DataError, match="freq D is for stamps that are times; the first stamp is"):
        read_panel(to_table({"ds": [1, 2], "y": [1, 2]}), COLUMNS, "D")


def ready(y: list[float]) -> Ready:
    values = np.array(y, dtype=float)
    steps = np.arange(len(y) + 3, dtype=np.float32)[:, None]
    return Ready("a", values, steps[: len(y)], steps, np.array([7.0], np.float32))


def test_a_window_holds_what_was_before_its_origin_and_nothing_else() -> None:
    spec = ForecastingSpec(window=4, season=2, scaling="none")
    series = [ready([1, 2, np.nan, 4, 5, 6, 7, 8])]
    found = batch(series, [(0, 5), (0, 2)], spec, horizon=3, residual="season")
    np.testing.assert_array_equal(found.y, [[2, 0, 4, 5], [1, 2, 0, 0]])
    np.testing.assert_array_equal(found.observed, [[1, 0, 1, 1], [1, 1, 0, 0]])
    np.testing.assert_array_equal(found.known[..., 0], [[1, 2, 3, 4], [0, 1, 0, 0]])
    np.testing.assert_array_equal(found.lengths, [4, 2])
    np.testing.assert_array_equal(found.ahead[..., 0], [[5, 6, 7], [2, 3, 4]])
    np.testing.assert_array_equal(found.target, [[6, 7, 8], [np.nan, 4, 5]])
    np.testing.assert_array_equal(found.base, [[4, 5, 4], [1, 2, 1]])
    changed = [ready([1, 2, np.nan, 4, 5, 99, 99, 99])]
    other = batch(changed, [(0, 5)], spec, horizon=3, residual="season")
    np.testing.assert_array_equal(other.y, found.y[:1])


def test_a_teachers_window_spans_the_horizon_but_not_its_scale() -> None:
    spec = ForecastingSpec(window=4, scaling="standard")
    series = [ready([1, 2, np.nan, 3, 50, 60, 70])]
    found = batch(series, [(0, 4)], spec, horizon=3, residual="last", teacher=True)
    location, scale = 2.0, np.std([1, 2, 3])
    np.testing.assert_allclose(found.location, [location])
    np.testing.assert_allclose(found.scale, [scale])
    raw = np.array([1, 2, location, 3, 50, 60, 70])
    np.testing.assert_allclose(found.y[0], (raw - location) / scale, rtol=1e-6)
    before = np.array([location, 1, 2, 2, 3, 50, 60])
    np.testing.assert_allclose(found.base[0], (before - location) / scale, rtol=1e-6)
    assert found.lengths.tolist() == [7]


def test_scales_leave_missing_values_out() -> None:
    values = np.array([[1, 2, 3, np.nan, 10], [5, 5, np.nan, 5, 5], [np.nan] * 5])
    location, scale = scales(values, "standard")
    np.testing.assert_allclose(location, [4, 5, 0])
    np.testing.assert_allclose(scale, [np.std([1, 2, 3, 10]), 1, 1])
    location, scale = scales(values, "robust")
    low, middle, high = np.nanquantile(values[0], (0.25, 0.5, 0.75))
    np.testing.assert_allclose(location[:2], [middle, 5])
    np.testing.assert_allclose(scale, [(high - low) / 1.349, 1, 1])
    location, scale = scales(values, "standard", count_data=True)
    np.testing.assert_allclose(scale, [5, 6, 1])
    assert not location.any()


def test_the_scale_of_a_series_is_of_all_that_came_before() -> None:
    spec = ForecastingSpec(window=2, scaling="standard", scale_by="series")
    series = [ready([1, 2, 3, 4, 5, 6])]
    found = batch(series, [(0, 4)], spec, horizon=1, residual="none")
    np.testing.assert_allclose((found.location, found.scale), ([2.5], [np.std([1, 2, 3, 4])]))
    found = batch(series, [(0, 4)], spec, horizon=1, residual="none", ends=[2])
    np.testing.assert_allclose((found.location, found.scale), ([1.5], [0.5]))


def test_origins_keep_whole_windows_where_there_is_room() -> None:
    assert list(origins(10, window=4, horizon=3)) == [4, 5, 6, 7]
    assert list(origins(10, window=4, horizon=3, end=8)) == [4, 5]
    assert list(origins(5, window=4, horizon=3)) == [2]
    assert list(origins(3, window=4, horizon=3)) == []


def test_hours_of_the_frame_helper_are_regular() -> None:
    assert str(forecasting.panel().freq) == "h"
