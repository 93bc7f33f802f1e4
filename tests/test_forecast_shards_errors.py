"""Files of series that cannot be learned together, and what is told of those that can."""

from __future__ import annotations

from typing import Any

import pytest

import forecasting
from forecasting import Data, reads, specs
from unrolled.data.panel import Panel, read_panel, to_table
from unrolled.errors import ConfigError, DataError
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.tasks.base import Run
from unrolled.tasks.forecast import columns_of, train
from unrolled.tasks.forecast_data import PanelShards
from unrolled.tasks.forecast_survey import surveyed


def paneled(*files: Data, **choices: Any) -> PanelShards:
    named = {f"file {k}": each for k, each in enumerate(files)}
    return PanelShards("parts", list(named), lambda name: _read(named[name], name, choices))


def _read(data: Data, name: str, choices: dict[str, Any]) -> Panel:
    options = forecasting.options(**reads(choices))
    return read_panel(to_table(data, name=name), columns_of(options), options.freq)


def daily(data: Data) -> Data:
    return {**data, "ds": [f"2024-{1 + t // 28:02d}-{1 + t % 28:02d}" for t in range(28)]}


def renamed(data: Data, name: Any) -> Data:
    return {**data, "unique_id": [name] * 28}


A, B = (forecasting.frame(name, 28) for name in "ab")
C = {**B, "ds": [f"{stamp}+09:00" for stamp in B["ds"]]}


@pytest.mark.parametrize(
    ("files", "choices", "message"),
    [
        ((A, daily(B)), {}, "file 1: a step is D, but in file 0 it is h; expected one frequency in "
         "all files (freq names it)"),
        ((A, B, A), {}, "file 2, row 1: series 'a' is in file 0 too; expected all its rows in one "
         "file"),
        ((renamed(A, 7.0), renamed(B, "7")), {},
         "file 1, row 1: series '7' is in file 0 too; expected all its rows in one file"),
        ((A, C), {}, "file 1: its times cannot be set beside those of file 0: they have an offset "
         "from UTC in file 1 and none in file 0"),
        ((A, {k: v for k, v in B.items() if k != "unique_id"}), {},
         "file 1: no column 'unique_id' names its series; beside file 0 it needs one, and a series "
         "lies whole in one file"),
        (({k: v for k, v in A.items() if k != "unique_id"}, B), {},
         "file 0: no column 'unique_id' names its series; beside file 1 it needs one, and a series "
         "lies whole in one file"),
        (({**A, "load": A["y"]}, B), {"past": "load"}, "file 1: no column 'load'; the columns are: "
         "unique_id, ds, y."),
        (({**A, "y": [1.0] * 28}, B), {"output": "negative_binomial"},
         "file 1: output 'negative_binomial' is for counts, but a series (file 1, row 1) holds "),
        (({k: v[:8] for k, v in A.items()}, {k: v[:6] for k, v in B.items()}), {},
         "parts: 2 of 2 series are too short to learn from: the first, file 0, row 1 in series "
         "'a', has 8 steps; expected 5 or more, what is held out apart"),
        (({**A, "y": [None] * 28}, {**B, "y": [None] * 28}), {},
         "parts: every value of 'y' is missing"),
    ],
    ids=["freq", "twice", "number", "offset", "no id", "no id first", "column", "counts", "short",
         "missing"],
)  # fmt: skip
def test_files_that_cannot_be_learned_are_named(
    files: tuple[Data, ...], choices: dict[str, Any], message: str
) -> None:
    options, training = specs(**choices)
    with pytest.raises(DataError) as caught:
        train(paneled(*files, **choices), options, training)
    assert str(caught.value).startswith(message)


def test_what_is_validated_on_and_what_is_known_ahead_have_the_offsets_of_the_data() -> None:
    (aware,), (plain,) = (
        [forecasting.panel({**data, "promo": data["y"]}, future="promo")] for data in (C, A)
    )
    options, training = specs(epochs=1, future="promo")
    for data, other in ((plain, aware), (aware, plain)):
        with pytest.raises(DataError, match="data frame: its times cannot be set beside those of"):
            train(data, options, training, validation=other)
    fitted = ForecastModel.from_artifact(train(plain, options, training))
    with pytest.raises(DataError, match="data frame: its times cannot be set beside those of"):
        fitted.ready(plain, 4, aware)


def test_what_is_validated_on_are_counts_where_counts_are_learned() -> None:
    counts, (options, training) = {**A, "y": [1.0] * 28}, specs(output="negative_binomial")
    with pytest.raises(DataError, match="data frame: output 'negative_binomial' is for counts"):
        train(paneled(counts), options, training, validation=forecasting.panel(B))


def test_of_a_series_that_is_too_short_no_covariate_is_measured() -> None:
    short = {k: v[:3] for k, v in forecasting.frame("c", load=lambda k, t: 1e6).items()}
    long = forecasting.frame("ab", load=lambda k, t: float(t % 2))
    options, training = specs(past="load")
    found = surveyed(paneled(long, short, past="load"), options, training)
    assert found.statistics == {"load": (0.5, 0.5)}


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"residual": "season", "season": 24}, "needs a window of a season, 24 steps"),
        ({"decoder": "autoregressive"}, "draws each step from a distribution"),
    ],
)
def test_options_that_contradict_each_other_are_told_after_one_file(
    choices: dict[str, Any], message: str
) -> None:
    options, training = specs(**choices)
    names: list[str] = []
    source = paneled(A, B)
    told = PanelShards("parts", source.paths, lambda path: names.append(path) or source.read(path))
    with pytest.raises(ConfigError, match=message):
        train(told, options, training)
    assert names == ["file 0"]


def test_what_is_constant_or_was_put_right_is_counted_over_all_files() -> None:
    flat = {**A, "y": [2.0] * 28}
    gap = {k: v[:20] + v[23:] for k, v in B.items()}
    back = {k: v[::-1] for k, v in forecasting.frame("c", 28).items()}
    more = {k: v[:10] + v[11:] for k, v in forecasting.frame("d", 28).items()}
    level = {**forecasting.frame("e", 28), "y": [3.0] * 28}
    told: list[str] = []
    options, training = specs(epochs=1)
    run = Run(notify=told.append)
    train(paneled(flat, gap, back, more, level), options, training, run=run)
    assert told == [
        "parts: the rows of 1 series were not in order of time and were sorted; the first is "
        "file 2, row 2",
        "parts: 4 stamps at a step of h are left out in 2 series and count as missing values; the "
        "first follow file 1, row 20",
        "parts: 2 of 5 series are constant, the first file 0, row 1 in series 'a'; they are scaled "
        "by 1 and left out of MASE",
    ]
