"""The command with a forecaster: train, predict, evaluate, explain, inspect, and their errors."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import polars
import pytest

import forecasting
import tiny
import unrolled
from commands import Command
from test_torch_free import BLOCK
from unrolled import cli
from unrolled.tasks import Forecaster
from unrolled.tasks.forecast_evaluate import score

TRAIN = ("train", "forecast")
LEARN = (*forecasting.FLAGS, "--output=normal", "--quiet")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that were trained by the command itself, and their data."""
    root = tmp_path_factory.mktemp("models")
    long = forecasting.write(root / "long.csv", forecasting.frame())
    promo = {"promo": lambda k, t: float(t % 3 == 0)}
    forecasting.write(root / "promo.csv", forecasting.frame(**promo))
    whole = forecasting.frame("a", 64, **promo)
    ahead = {k: v[60:] for k, v in whole.items() if k != "y"}
    forecasting.write(root / "ahead.csv", ahead)
    one = {k: v[:60] for k, v in whole.items()}
    forecasting.write(root / "one.csv", one)
    wide = {"date": one["ds"], "load": one["promo"], "OT": one["y"]}
    forecasting.write(root / "wide.csv", wide)
    for name, data, flags in (
        ("long", long, ()),
        ("promo", root / "promo.csv", ("--future", "promo")),
        ("wide", root / "wide.csv", ("--time", "date", "--target", "OT", "--past", "load")),
    ):
        given = [*TRAIN, data, "--out", root / name, *LEARN, *flags]
        assert cli.run(list(map(str, given))) == 0
    return root


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_help_names_every_key(run: Command) -> None:
    said = run("train", "forecast", "--help")
    for name in ("horizon", "window", "freq", "scaling", "decoder", "output", "quantiles", "past"):
        assert f"--{name} " in said.out


def test_training_tells_its_errors(run: Command, root: Path) -> None:
    said = run(*TRAIN, root / "long.csv", "--out", "model", *forecasting.FLAGS, "--json")
    assert said.code == 0
    assert "MAE" in said.err
    assert "CRPS" in said.err
    assert "seasonal naive on the same windows: MAE" in said.err
    assert "drift on the same windows: MAE" in said.err
    scores, found = {"mae", "rmse", "smape", "mase", "crps"}, json.loads(said.out)
    assert scores <= found.keys()
    assert scores <= found["seasonal_naive"].keys()
    assert found["drift"] == json.loads(Path("model/metrics.json").read_text())["drift"]
    card = Path("model/README.md").read_text()
    assert "| metric | value | seasonal naive | drift |" in card
    mase = [found["mase"], found["seasonal_naive"]["mase"], found["drift"]["mase"]]
    assert "| mase | " + " | ".join(f"{value:.4g}" for value in mase) + " |" in card
    assert "| epochs_run | 2 | | |" in card


def test_the_baselines_of_training_are_those_of_its_validation_windows(root: Path) -> None:
    model = unrolled.load(root / "long")
    told = json.loads((root / "long" / "metrics.json").read_text())
    panel = model.read(forecasting.frame())
    held = [len(series) - 6 for series in panel.series]
    places = [(k, begin + step) for k, begin in enumerate(held) for step in range(3)]
    found = score(model, model.ready(panel, 4), places)
    for name in ("seasonal_naive", "drift"):
        assert told[name]["mae"] == pytest.approx(found[name]["mae"])
        assert told[name]["mase"] == pytest.approx(found[name]["mase"])
    assert told["mae"] == pytest.approx(found["mae"])


def test_several_levels_after_one_flag(run: Command, root: Path) -> None:
    said = run("predict", root / "long", root / "long.csv", "--level", "80", "95")
    found = rows(said.out)
    assert list(found[0]) == [
        "unique_id", "ds", "y_hat", "y_hat-lo-80", "y_hat-hi-80", "y_hat-lo-95", "y_hat-hi-95",
    ]  # fmt: skip
    assert len(found) == 8
    for row in found:
        names = ("lo-95", "lo-80", "hi-80", "hi-95")
        ends = [float(row[f"y_hat-{name}"]) for name in names]
        assert ends == sorted(ends)
    other = run("predict", "--level", "80", "--level", "95", root / "long", root / "long.csv")
    assert other.out == said.out
    assert run("predict", root / "long", root / "long.csv", "--level").code == 2


def test_json_lines_and_jsonl_files(run: Command, root: Path) -> None:
    said = run("predict", root / "long", root / "long.csv", "--json", "--horizon", "2")
    found = [json.loads(line) for line in said.lines()]
    assert [each["unique_id"] for each in found] == ["a", "a", "b", "b"]
    data = forecasting.frame()
    lines = [
        json.dumps(dict(zip(data, row, strict=True))) for row in zip(*data.values(), strict=True)
    ]
    Path("data.jsonl").write_text("\n".join(lines))
    other = run("predict", root / "long", "data.jsonl", "--horizon", "2")
    assert other.out == said.out


def test_a_wide_file_is_answered_as_one_series(run: Command, root: Path) -> None:
    said = run("predict", root / "wide", root / "wide.csv")
    assert list(rows(said.out)[0]) == ["date", "y_hat"]
    assert rows(said.out)[0]["date"] == "2024-01-03 12:00:00"


def test_what_is_known_ahead_comes_in_a_file(run: Command, root: Path) -> None:
    said = run("predict", root / "promo", root / "one.csv", "--future", root / "ahead.csv")
    assert len(rows(said.out)) == 4
    said = run("predict", root / "promo", root / "one.csv")
    assert said.code == 2
    assert "'promo' is not known 1 steps after its last" in said.err
    assert "--future FILE" in said.err


def test_evaluate_stands_beside_the_baselines(run: Command, root: Path) -> None:
    said = run(
        "evaluate", root / "long", root / "long.csv", "--windows", "3", "--stride", "2",
        "--level", "80",
    )  # fmt: skip
    lines = said.lines()
    assert lines[0].split() == ["model", "seasonal", "naive", "drift"]
    assert [line.split()[0] for line in lines[1:6]] == ["mae", "rmse", "smape", "mase", "crps"]
    assert lines[-2].startswith("coverage_80")
    assert lines[-1].endswith("6 windows, 24 values")
    found = json.loads(run("evaluate", root / "long", root / "long.csv", "--json").out)
    assert found["seasonal_naive"]["mae"] > 0
    assert found["windows"] == 2


def test_the_page_shows_forecasts_beside_what_came(run: Command, root: Path) -> None:
    said = run("explain", root / "long", root / "long.csv", "--out", "page.html")
    assert "the report is in page.html" in said.err
    page = Path("page.html").read_text()
    assert page.count('<svg class="plot"') == 2
    assert "Over 4 steps the forecast was off by" in page
    assert "what came" in page
    assert "in the interval of 95" in page
    said = run("explain", root / "long", "some", "text")
    assert said.code == 2
    assert "a forecaster's page is of one file" in said.err


def test_a_forecast_is_explained_by_steps_and_covariates(run: Command, root: Path) -> None:
    data = ("--data", root / "one.csv")
    flags = ("--methods", "occlusion", "--json", "--quiet")
    (example,) = json.loads(run("explain", root / "promo", *data, *flags).out)
    assert len(example["explanation"]["steps"]) == 12
    names = example["covariates"]["steps"]
    assert names[0] == "y, its own past"
    assert "promo (known ahead)" in names
    (example,) = json.loads(
        run("explain", root / "promo", *data, *flags, "--target", "covariates:2").out
    )
    assert "covariates" not in example
    assert example["explanation"]["answer"] == "value of 2 steps ahead"
    found = json.loads(run("explain", root / "long", root / "long.csv", "--rows", "2", *flags).out)
    assert [each["name"] for each in found] == ["b"]
    assert found[0]["explanation"]["name"] == "b"


def test_a_forecast_is_drawn(run: Command, root: Path) -> None:
    pytest.importorskip("matplotlib")
    flags = ("--methods", "occlusion", "--figures", "drawn", "--png", "one.svg")
    said = run("explain", root / "promo", root / "promo.csv", *flags)
    assert "12 figures of 2 inputs are in drawn" in said.err
    names = ("attributions", "covariates", "forecast")
    assert {path.name for path in Path("drawn").iterdir()} == {
        f"{k}-{name}.{end}" for k in (1, 2) for name in names for end in ("png", "svg")
    }
    one = Path("one.svg").read_text()
    for part in ("a: y and its forecast", "95 %", "Occlusion, a: mean", "promo (known ahead)"):
        assert f"<!-- {part}" in one
    assert "<!-- b: y and its forecast" in Path("drawn/2-forecast.svg").read_text()


def test_inspect_draws_it(run: Command, root: Path) -> None:
    said = run("inspect", root / "promo")
    assert "forecast: 4 steps of h from the 12 before, a normal distribution each" in said.out
    assert "1 known covariate; calendar: hour" in said.out
    assert "y[T+1] ... y[T+4]" in said.out
    assert "head.context.weight" in said.out


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,2024-01-01,1\na,2024-01-01,1\n", "row 3, column 'ds': 2024-01-01 a second time"),
        ("a,2024-01-01,1\na,2024-01-02,high\n", "row 3, column 'y': 'high', expected a number"),
    ],
)
def test_bad_data_is_one_line(run: Command, rows: str, message: str) -> None:
    Path("bad.csv").write_text("unique_id,ds,y\n" + rows)
    said = run(*TRAIN, "bad.csv", "--out", "model", *forecasting.FLAGS)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_flags_of_forecasters_are_theirs(run: Command, root: Path, tmp_path: Path) -> None:
    data = tiny.write_reviews(tmp_path / "reviews.csv")
    assert run("train", "classify", data, "--out", "texts", *tiny.FLAGS, "--quiet").code == 0
    said = run("predict", "texts", data, "--level", "80")
    assert said.code == 2
    assert "--level does not apply to task 'classify'" in said.err


def test_a_lower_precision_is_measured_beside(run: Command, root: Path) -> None:
    said = run(
        "export", root / "long", "--precision", "bf16", "--check", root / "long.csv",
        "--out", "low",
    )  # fmt: skip
    assert said.code == 0
    assert "mae" in said.out


def test_it_is_exported(run: Command, root: Path) -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    assert run("export", root / "long", "--out", "model.onnx").code == 0
    assert list(Path().glob("model*.onnx"))


USE = """
import sys
import unrolled
from unrolled.cli import run

folder, data, out = sys.argv[1:]
model = unrolled.load(folder)
for arguments in (
    ["predict", folder, data, "--level", "80", "95"],
    ["evaluate", folder, data, "--json"],
    ["explain", folder, data, "--out", out, "--quiet"],
    ["inspect", folder],
):
    assert run(arguments) == 0, arguments
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("block", ["", BLOCK], ids=["torch there", "torch blocked"])
def test_every_use_of_a_forecaster_without_torch(block: str, root: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = tiny.python(block + USE, root / "long", root / "long.csv", page)
    assert found.stderr == ""
    assert found.returncode == 0
    assert page.stat().st_size > 1000


def test_cross_validate_writes_the_forecasts_of_every_origin(run: Command, root: Path) -> None:
    data = forecasting.frame()
    data["y"][57] = float("nan")
    forecasting.write(Path("holes.csv"), data)
    flags = ("--windows", "3", "--stride", "2", "--level", "80", "95")
    said = run("cross-validate", root / "long", "holes.csv", *flags)
    expected = unrolled.load(root / "long").cross_validate(
        data, windows=3, stride=2, level=[80, 95]
    )
    found = rows(said.out)
    assert list(found[0]) == list(expected)
    assert [row["cutoff"] for row in found] == expected["cutoff"]
    assert [float(row["y_hat"]) for row in found] == pytest.approx(expected["y_hat"])
    assert [row["y"] == "" for row in found] == [y != y for y in expected["y"]]
    lines = run("cross-validate", root / "long", "holes.csv", *flags, "--json").lines()
    told = [json.loads(line) for line in lines]
    assert [each["y"] is None for each in told] == [row["y"] == "" for row in found]
    assert sum(row["y"] == "" for row in found) == 2
    assert told[0]["y_hat-hi-95"] == float(found[0]["y_hat-hi-95"])


def test_cross_validate_trains_for_each_origin_where_asked(run: Command, root: Path) -> None:
    said = run("cross-validate", root / "long", root / "long.csv", "--windows", "2", "--refit")
    assert said.err.splitlines() == ["origin 1 of 2: 2 series", "origin 2 of 2: 2 series"]
    found = rows(said.out)
    data = forecasting.frame()
    before = {name: values[:52] + values[60:112] for name, values in data.items()}
    choices = {**forecasting.FAST, "output": "normal"}
    first = Forecaster(**choices).fit(before).predict(before)
    of_first = [row for row in found if row["cutoff"] == data["ds"][51]]
    assert [row["ds"] for row in of_first] == first["ds"]
    assert [float(row["y_hat"]) for row in of_first] == pytest.approx(first["y_hat"], rel=1e-5)
    rolled = Forecaster(**choices).cross_validate(data, windows=2, refit=True)
    assert rolled["y_hat"] == pytest.approx([float(row["y_hat"]) for row in found], rel=1e-5)
    whole = run("cross-validate", root / "long", root / "long.csv", "--windows", "2")
    assert [row["y"] for row in rows(whole.out)[:4]] == [row["y"] for row in found[:4]]
    assert rows(whole.out)[0]["y_hat"] != found[0]["y_hat"]
    none = run("cross-validate", root / "long", root / "long.csv", "--windows", "0", "--refit")
    assert (none.code, "to train for each origin give 1 or more" in none.err) == (2, True)


def test_a_series_too_short_for_the_first_origins_joins_the_later_ones() -> None:
    data = forecasting.frame(steps=40)
    data = {name: values[:40] + values[40:46] for name, values in data.items()}
    choices = {**forecasting.FAST, "epochs": 1, "horizon": 2}
    forecaster = Forecaster(**choices, output="normal", static="unique_id")
    with pytest.warns(UserWarning, match="1 of 2 series are too short to learn from"):
        found = forecaster.cross_validate(data, windows=4, refit=True)
    said = list(zip(found["unique_id"], found["cutoff"], found["ds"], strict=True))
    first = [row for row in said if row[1] == data["ds"][31]]
    assert [row[0] for row in first] == ["a", "a"]
    ends = {"a": 40, "b": 6}
    assert said[-4:] == [
        (name, data["ds"][ends[name] - 3], data["ds"][ends[name] - k])
        for name in "ab"
        for k in (2, 1)
    ]
    assert found["unique_id"].count("b") == 4
    assert found["y"][-2:] == data["y"][-2:]


def test_cross_validate_is_for_forecasters(run: Command) -> None:
    data = tiny.write_reviews(Path("reviews.csv"))
    assert run("train", "classify", data, "--out", "reviews", *tiny.FLAGS, "--quiet").code == 0
    said = run("cross-validate", "reviews", data)
    assert said.code == 2
    assert "cross-validate is for forecasters, this model is of task 'classify'" in said.err


def test_forecasts_are_written_to_files_of_every_kind(run: Command, root: Path) -> None:
    data = polars.read_csv(root / "long.csv", try_parse_dates=True)
    data.write_parquet("long.parquet")
    expected = unrolled.load(root / "long").predict(data, level=[80])
    asked = ("predict", root / "long", "long.parquet", "--level", "80")
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        said = run(*asked, "--out", f"said.{ending}")
        assert (said.code, said.out) == (0, "")
    found = polars.read_parquet("said.parquet")
    assert found.equals(expected)
    assert found.schema == expected.schema
    assert Path("said.csv").read_text() == run(*asked).out
    assert polars.read_csv("said.tsv", separator="\t").shape == found.shape
    assert polars.read_ndjson("said.jsonl")["y_hat-hi-80"].to_list() == pytest.approx(
        found["y_hat-hi-80"].to_list(), rel=1e-6
    )
    run("cross-validate", root / "long", "long.parquet", "--windows", "2", "--out", "cv.parquet")
    assert polars.read_parquet("cv.parquet")["cutoff"].n_unique() == 2


def test_missing_truths_are_null_in_parquet(run: Command, root: Path) -> None:
    data = forecasting.frame()
    data["y"][57] = float("nan")
    forecasting.write(Path("holes.csv"), data)
    said = run("cross-validate", root / "long", "holes.csv", "--out", "cv.parquet")
    assert said.code == 0
    found = polars.read_parquet("cv.parquet")
    assert found["y"].is_null().to_list() == [k == 1 for k in range(8)]
    assert found["y"].is_nan().any() is False
    assert found["y_hat"].null_count() == 0


@pytest.mark.parametrize(
    "verb", [("predict",), ("cross-validate",), ("cross-validate", "--refit")], ids=" ".join
)
def test_where_forecasts_go_is_checked_before_any_work(
    run: Command, root: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """The data are not there either: what is wrong with the file to write is told first."""
    asked = (*verb, root / "long", "none.csv", "--out")
    assert run.error(*asked, "said.xlsx") == (
        "--out said.xlsx: expected a file that ends in .csv, .tsv, .jsonl, .parquet"
    )
    assert run.error(*asked, "none/said.csv") == "--out none/said.csv: there is no folder none"
    monkeypatch.setitem(sys.modules, "polars", None)
    assert run.error(*asked, "said.parquet") == (
        "writing Parquet needs polars: pip install 'unrolled[train]'"
    )
    assert "none.csv" in run.error(*asked, "said.csv")


def test_drawn_paths_are_seeded(run: Command) -> None:
    data = forecasting.write(Path("data.csv"), forecasting.frame())
    flags = [*forecasting.FLAGS, "--decoder=autoregressive", "--output=normal", "--samples=10"]
    assert run(*TRAIN, data, "--out", "drawn", *flags, "--quiet").code == 0
    first, again, other = (
        run("predict", "drawn", data, "--level", "80", "--seed", seed).out for seed in (1, 1, 2)
    )
    assert first == again != other
