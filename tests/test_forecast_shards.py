"""Series in files that are read one at a time: the plan, an epoch, validation, errors."""

from __future__ import annotations

import json
import signal
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import forecasting
import unrolled
from commands import Command
from forecasting import Data, reads, specs
from training_runs import at, log, same_run, stopped
from unrolled.artifact import Artifact
from unrolled.data.panel import Panel
from unrolled.data.shards import Whole
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks.base import Run
from unrolled.tasks.calibrate import calibration
from unrolled.tasks.evaluate import read_examples
from unrolled.tasks.forecast import make_plan, train
from unrolled.tasks.forecast_data import PanelShards, epoch_of, material_of, shares
from unrolled.tasks.forecast_evaluate import beside, measured
from unrolled.tasks.forecast_survey import surveyed

NAMES = "abcdef"
CUTS = ("ab", "c", "def")
COVARIATES = {
    "promo": lambda k, t: float((t + k) % 3 == 0),
    "load": lambda k, t: 0.1 * t + k if t % 5 else None,
    "size": lambda k, t: 3 + k,
    "kind": lambda k, t: "vwxyzv"[k],
}
READS = {"future": "promo", "past": "load", "static": "size,kind,unique_id"}


def rows(keep: Callable[[Any], bool], data: Data) -> Data:
    """The rows of the series that are kept."""
    chosen = [i for i, name in enumerate(data["unique_id"]) if keep(name)]
    return {column: [values[i] for i in chosen] for column, values in data.items()}


def whole(steps: int = 60) -> Data:
    """Six series with missing values; the second is longest, the last too short to learn from."""
    data = forecasting.frame(NAMES, steps, **COVARIATES)
    data["y"] = [None if t % 7 == 3 else y for t, y in enumerate(data["y"])]
    lengths = dict(zip(NAMES, (40, steps, 50, 45, 30, 7), strict=True))
    seen = dict.fromkeys(NAMES, 0)
    kept = []
    for i, name in enumerate(data["unique_id"]):
        seen[name] += 1
        if seen[name] <= lengths[name]:
            kept.append(i)
    return {column: [values[i] for i in kept] for column, values in data.items()}


def parts(data: Data) -> dict[str, Data]:
    return {names: rows(lambda name, names=names: name in names, data) for names in CUTS}


def shards(data: Data, alive: list[list[weakref.ref]] | None = None, **choices: Any) -> PanelShards:
    """The series of a frame in three files, which are only names here."""
    files = parts(data)

    def read(name: str) -> Panel:
        panel = forecasting.panel(files[name], **choices)
        if alive is not None:
            alive.append([weakref.ref(each.y) for each in panel.series])
        return panel

    return PanelShards("parts", list(files), read)


def materials(data: Data, **choices: Any) -> list[Any]:
    """The plan and the material of one panel, and of the same series in shards."""
    options, training = specs(**choices)
    panel = forecasting.panel(data, **reads(choices))
    found = []
    for source in (Whole(panel), shards(data, **reads(choices))):
        survey = surveyed(source, options, training)
        plan = make_plan(survey, options, training)
        found.append((plan, material_of(source, survey.windows, survey.held, plan, None)))
    return found


def test_the_plan_of_shards_is_that_of_one_file() -> None:
    (alone, first), (plan, material) = materials(whole(400), **READS, output="normal")
    one, many = alone.data.forecasting, plan.data.forecasting
    assert one.calendar == many.calendar == ("hour", "weekday")
    assert one.categories == many.categories
    assert many.categories["kind"] == tuple("vwxyz")
    assert list(many.statistics) == list(one.statistics) == ["load", "promo", "size"]
    for name, measures in one.statistics.items():
        assert many.statistics[name] == pytest.approx(measures, rel=1e-12)
    assert (many.freq, many.season, many.window) == ("h", 24, 12)
    assert plan.network == alone.network
    assert [sum(material.windows)] == first.windows
    assert plan.data_hash != alone.data_hash


def test_statistics_are_those_of_numpy_over_what_is_learned() -> None:
    options, training = specs(**READS)
    data = whole()
    survey = surveyed(shards(data, **READS), options, training)
    learned = [each.head(len(each) - max(4, round(0.1 * len(each)))).past[:, 0]
               for each in forecasting.panel(data, **READS).series]  # fmt: skip
    values = np.concatenate(learned)
    expected = np.nanmean(values), np.nanstd(values)
    assert survey.statistics["load"] == pytest.approx(expected, rel=1e-12)
    assert survey.statistics["size"] == pytest.approx((5.5, np.std(np.arange(6))), rel=1e-12)


def test_a_steady_covariate_has_the_scale_1() -> None:
    options, training = specs(past="load")
    data = forecasting.frame(NAMES, load=lambda k, t: 0.1)
    assert surveyed(shards(data, past="load"), options, training).statistics["load"] == (
        pytest.approx(0.1),
        1.0,
    )


@pytest.mark.parametrize(
    "choices",
    [
        {"output": "normal"},
        {"output": "quantiles", "scale_by": "series", "scaling": "robust", "validation_limit": 9},
        {"output": "normal", "scale_by": "series", "decoder": "autoregressive", "samples": 5},
        {"output": "point", "residual": "season", "season": 12, **READS},
    ],
    ids=["window", "series", "drawn", "covariates"],
)
def test_validation_is_on_the_windows_of_one_file_with_its_numbers(
    choices: dict[str, Any],
) -> None:
    (plan, one), (_, many) = materials(whole(), validation_fraction=0.3, **choices)
    fitted = Artifact(plan.config(), _weights(plan), {}, {}, Path())
    model = ForecastModel.from_artifact(fitted)
    limit = choices.get("validation_limit", len(one.held))
    assert 9 < len(one.held) == len(many.held)
    assert len(one.scored) == len(many.scored) == limit
    for first, second in ((one.held, many.held), (one.scored, many.scored)):
        np.testing.assert_array_equal(second.y, first.y)
        np.testing.assert_array_equal(second.denominators, first.denominators)
        assert beside(second) == beside(first)
        told, said = measured(model, first), measured(model, second)
        assert said == pytest.approx(told, rel=1e-6)
        assert "seasonal_naive" not in said
    quantiles = (0.3, 0.5, 0.7)
    moved, wanted = (calibration(model, each.held, quantiles) for each in (many, one))
    np.testing.assert_allclose(moved.offsets, wanted.offsets, rtol=1e-5)


def _weights(plan: Any) -> dict[str, Any]:
    from unrolled.nn.build import build
    from unrolled.train.loop import seed_all

    seed_all(0)
    state = build(plan.network).state_dict()
    return {name: value.numpy() for name, value in state.items()}


def test_what_is_kept_for_validation_is_windows_with_memory_of_their_own() -> None:
    _, (_, material) = materials(whole(), validation_limit=6)
    assert len(material.held.series) == len(material.held) > 6 == len(material.scored)
    for each in material.held.series:
        assert len(each.y) <= 12 + 4
        assert each.y.base is each.past.base is each.known.base is None


def test_an_epoch_takes_each_window_once_shard_by_shard() -> None:
    (alone, one), (plan, material) = materials(whole(), batch_size=7)
    wanted = np.concatenate([each.location for each in epoch_of(one, alone, 7, 0)])
    orders, last = [], None
    for epoch in range(4):
        batches = epoch_of(material, plan, 7, epoch)
        found = [(batches[i], material.shelf.held[0]) for i in range(len(batches))]
        order = [k for _, k in found]
        assert sum(a != b for a, b in pairwise(order)) == 2
        counts = [sum(len(each) for each, k in found if k == shard) for shard in range(3)]
        assert counts == list(material.windows)
        locations = np.concatenate([each.location for each, _ in found])
        np.testing.assert_allclose(sorted(locations), sorted(wanted), rtol=1e-12)
        orders.append(order)
        last = found[-1][0]
    assert len({tuple(order) for order in orders}) > 1
    again = epoch_of(material, plan, 7, 3)
    np.testing.assert_array_equal(again[len(again) - 1].location, last.location)


def test_windows_per_epoch_are_shared_out_by_the_windows_of_a_shard() -> None:
    assert shares([50, 30, 20], 10) == [5, 3, 2]
    assert shares([3, 0, 4], 100) == [3, 0, 4]
    assert sum(shares([7, 7, 7, 1], 5)) == 5
    _, (plan, material) = materials(whole(), windows_per_epoch=20)
    total = sum(material.windows)
    for epoch in range(3):
        batches = epoch_of(material, plan, 8, epoch)
        taken = dict.fromkeys(range(3), 0)
        for i in range(len(batches)):
            size = len(batches[i])
            taken[material.shelf.held[0]] += size
        assert sum(taken.values()) == 20
        for k, count in taken.items():
            assert abs(count - 20 * material.windows[k] / total) < 1


def test_one_shard_is_in_memory_at_a_time() -> None:
    alive: list[list[weakref.ref]] = []
    most = 0

    class Watched(PanelShards):
        def load(self, k: int) -> Panel:
            nonlocal most
            most = max(most, sum(each() is not None for one in alive for each in one))
            return super().load(k)

    source = shards(whole(), alive)
    watched = Watched(source.name, source.paths, source.read)
    told: list[str] = []
    options, training = specs(epochs=3, calibrate=True, quantiles="0.3,0.5,0.7")
    train(watched, options, training, run=Run(notify=told.append))
    assert most == 0
    assert len(alive) >= 3 + 3 + 3 * 2
    (short,) = told
    assert short == (
        "parts: 1 of 6 series are too short to learn from: the first, data frame, row 76 in series "
        "'f', has 7 steps; expected 5 or more, what is held out apart; the others are learned"
    )


def fit(source: Any, where: Run | None = None, **choices: Any) -> Artifact:
    options, training = specs(**choices)
    quiet = Run(notify=lambda text: None) if where is None else where
    return train(source, options, training, run=quiet)


def test_a_seed_is_a_model_and_a_lone_shard_is_its_file() -> None:
    data = whole()
    first, again, other = (fit(shards(data), seed=seed) for seed in (1, 1, 2))
    panel = forecasting.panel(data)
    alone = fit(panel)
    lone = fit(PanelShards("parts", ["x"], lambda path: panel))
    assert lone.config == alone.config
    for name, value in first.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)
        np.testing.assert_array_equal(lone.weights[name], alone.weights[name])
    assert any((other.weights[name] != value).any() for name, value in first.weights.items())


@pytest.mark.parametrize("stop", [3, 9])
@pytest.mark.filterwarnings("ignore:parts")
def test_a_run_over_shards_resumes_bit_for_bit(stop: int, tmp_path: Path) -> None:
    chosen = {"windows_per_epoch": 50, "batch_size": 8, "epochs": 2}

    def learn(where: Run) -> Artifact:
        return fit(shards(whole()), where, **chosen)

    learn(Run(tmp_path / "whole"))
    stopped(learn, tmp_path / "cut", at("step", stop, signal.SIGTERM))
    learn(Run(tmp_path / "cut", resume=True))
    assert same_run(tmp_path / "whole", tmp_path / "cut")
    assert log(tmp_path / "cut")[-1]["step"] > 12


def test_a_validation_file_takes_the_place_of_what_is_held_out() -> None:
    options, training = specs(validation_limit=5)
    held = forecasting.panel(forecasting.frame(seed=1))
    source = shards(forecasting.frame(NAMES))
    fitted = train(source, options, training, validation=held)
    one = train(forecasting.panel(forecasting.frame(NAMES)), options, training, validation=held)
    for name in ("seasonal_naive", "drift"):
        assert fitted.metrics[name] == one.metrics[name]


def write(folder: Path) -> Path:
    folder.mkdir()
    for k, part in enumerate(parts(forecasting.frame(NAMES)).values()):
        polars.DataFrame(part).write_parquet(folder / f"part-{k}.parquet")
    return folder


@pytest.mark.parametrize("name", ["parts", "parts/*.parquet"])
def test_the_command_takes_a_folder_or_a_pattern(name: str, tmp_path: Path, run: Command) -> None:
    folder = write(tmp_path / "parts")
    one = tmp_path / "one.parquet"
    polars.DataFrame(forecasting.frame(NAMES)).write_parquet(one)
    flags = [*forecasting.FLAGS, "--output=normal"]
    told = ["train", "forecast", tmp_path / name, "--out", tmp_path / "model", *flags]
    done = run(*told)
    assert done.code == 0, done.err
    assert "seasonal naive on the same windows: MAE" in done.err
    for verb in (("evaluate", "--json"), ("cross-validate", "--windows", "2"), ("predict",)):
        many, alone = (
            run(verb[0], tmp_path / "model", data, *verb[1:]) for data in (tmp_path / name, one)
        )
        assert many.code == 0, many.err
        assert many.out == alone.out
    assert len(read_examples(unrolled.load(tmp_path / "model"), str(tmp_path / name))) == 6
    if name != "parts":
        return
    valid = run(*told, "--overwrite", "--quiet", "--valid", folder / "part-[12].parquet", "--json")
    assert json.loads(valid.out)["drift"]["mae"] > 0
    polars.DataFrame(forecasting.frame("b")).write_parquet(folder / "part-9.parquet")
    for command in (told[:-1], ["evaluate", tmp_path / "model", folder]):
        done = run(*command, *(["--overwrite"] if command[0] == "train" else []))
        assert done.code == 2
        assert "part-9.parquet, row 1: series 'b' is in" in done.err
        assert "part-0.parquet too; expected all its rows in one file" in done.err
