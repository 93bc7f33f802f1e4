"""The demo of forecasts, on a few years of the record."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.demo import forecast
from unrolled.errors import ConfigError


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'unrolled\[demo\]'"):
        forecast.load_record()


def test_the_demo_writes_model_data_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("statsmodels")
    assert cli.run(["demo", "forecast", "--out", str(tmp_path), "--epochs", "1", "--words", "640",
                    "--quiet"]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "seasonal naive" in said
    assert "52 weeks from 40 origins" in said
    assert "of the validation years the intervals held " in said
    with (tmp_path / "data" / "whole.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 640
    assert rows[-1] == {"week": "2001-12-29", "co2": "371.5"}
    model = unrolled.load(tmp_path / "model")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    answer = model.predict(columns, level=[80])
    assert answer["week"][0] == "2002-01-05"
    assert len(answer["y_hat"]) == 52
    assert "co2 [ppm]" in (tmp_path / "report.html").read_text()


def test_the_whole_record_is_weekly_with_gaps() -> None:
    pytest.importorskip("statsmodels")
    table = forecast.load_record()
    assert len(table) == 2284
    assert table.columns["week"][0] == "1958-03-29"
    assert sum(not value for value in table.columns["co2"]) == 59
