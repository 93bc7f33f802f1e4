"""The lab: statistics, problems, verdicts on results that are known, a run, a report."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cli
from unrolled.errors import ConfigError
from unrolled.lab import problems, report, runner, statistics, training, translation
from unrolled.lab.catalogue import EXPERIMENTS
from unrolled.lab.experiment import Results
from unrolled.lab.text import corpus

# The least of each experiment's settings at which it still does all that it does.
SMALL: dict[str, dict[str, Any]] = {
    "memory": {"lags": (3, 5), "lengths": (6, 8), "hidden": 4, "steps": 2},
    "gradients": {"lags": (1, 5, 10), "hidden": 8, "steps": 3, "lag": 5},
    "gru-or-lstm": {"hidden": 8, "steps": 2, "words": 100, "tested": 20},
    "directions": {"words": 100, "tested": 20, "hidden": 8, "steps": 2},
    "depth": {"depths": (1, 2), "hidden": 8, "length": 6, "steps": 2},
    "context-vector": {"lengths": (2, 3), "symbols": 3, "hidden": 8, "steps": 2},
    "scorers": {"lengths": (2, 3), "symbols": 3, "hidden": 8, "looks": (1, 2)},
    "attention-matters": {"length": 5, "hidden": 8, "steps": 2},
    "capacity": {"widths": (4, 8), "lengths": (1, 2), "steps": 2},
    "shared-parameters": {"lengths": (2, 3), "symbols": 3, "hidden": 8, "steps": 2},
    "teacher-forcing": {
        "trained": (2, 3),
        "lengths": (3, 4),
        "symbols": 3,
        "hidden": 8,
        "steps": 2,
    },
    "choices": {"lags": (3, 5), "hidden": 8, "steps": 2},
    "transformer": {"shares": (0.1,), "model": 8, "layers": 1, "steps": 2},
}


# Statistics


def test_the_interval_is_students() -> None:
    values = [1.0, 2.5, 4.0, 3.0]
    found = statistics.estimate(values)
    assert found.mean == pytest.approx(np.mean(values))
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert found.half == pytest.approx(statistics.T_QUANTILES[2] * error)


@pytest.mark.parametrize("freedom", range(1, 11))
def test_the_quantiles_leave_a_fortieth_above(freedom: int) -> None:
    """By the integral of the density of Student's t, with x = tan(u) to reach infinity."""
    u = np.linspace(math.atan(statistics.T_QUANTILES[freedom - 1]), math.pi / 2, 200_001)[:-1]
    x = np.tan(u)
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2) * (1 + x**2)
    assert float(density.sum() * (u[1] - u[0])) == pytest.approx(0.025, abs=2e-5)


def test_one_seed_proves_nothing() -> None:
    found = statistics.estimate([3.0])
    assert found.low < -1e9
    assert found.high > 1e9
    assert str(found) == "3 (one seed)"


def test_differences_are_paired_by_seed() -> None:
    rows = [
        {"seed": s, "cell": c, "error": s + (0.5 if c == "b" else 0.0)}
        for s in range(3)
        for c in "ab"
    ]
    found = Results(rows).difference("error", {"cell": "b"}, {"cell": "a"})
    assert (found.mean, found.half) == pytest.approx((0.5, 0.0))
    with pytest.raises(ValueError, match="no row has 'error'"):
        Results(rows).mean("error", cell="c")


# Problems


def test_the_problems_are_what_they_say() -> None:
    random = torch.Generator().manual_seed(0)
    x, symbol = problems.recall(20, 7, 8, random)
    assert x.shape == (20, 8, 9)
    assert (x[:, 0, :8].argmax(-1) == symbol).all()
    assert (x[:, 1:, :8] == 0).all()
    x, total = problems.adding(20, 9, random)
    torch.testing.assert_close((x[..., 0] * x[..., 1]).sum(1), total)
    assert (x[:, :4, 1].sum(1) == 1).all()
    tokens, symbols = problems.memorise(5, 3, 8, random)
    assert (tokens[:, :3] == symbols).all()
    assert (tokens[:, 3:] == 8).all()
    pairs = translation.reversal(30, (1, 6), 5, random)
    for source, length, target in zip(
        pairs.source.tolist(), pairs.source_lengths.tolist(), pairs.target.tolist(), strict=True
    ):
        assert target[: length + 1] == [*source[:length][::-1], 3]
        assert not any(target[length + 1 :])
    text = corpus(0.5)
    assert text.batch(3, 10, random).shape == (3, 11)
    assert len(text.held_out) == 20_000


def test_equal_parameters_are_nearly_equal() -> None:
    for cell in ("rnn", "gru", "lstm"):
        hidden = training.width(cell, 32, 50_000)
        layer = training.recurrent(cell, 32, hidden)
        assert training.size(layer) == pytest.approx(50_000, rel=0.02)


def test_training_stops_where_it_diverges() -> None:
    weight = torch.nn.Parameter(torch.tensor(1e30))
    history = training.fit([weight], lambda: weight**2, 5, clip=0.0)
    assert history.diverged
    assert len(history.losses) == 1


# Experiments


def test_every_experiment_has_a_small_one_here() -> None:
    assert set(SMALL) == set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_judges_and_draws(name: str) -> None:
    experiment = EXPERIMENTS[name]
    settings = dataclasses.replace(experiment.quick, **SMALL[name])
    rows = [{"seed": s, **row} for s in range(2) for row in experiment.run(s, settings)]
    results = Results(rows)
    json.dumps(rows)
    finding = report.Finding(experiment, results, quick=True, seconds=1.0)
    assert finding.verdict.answer in ("holds", "does not hold", "depends")
    header, lines = report.table(finding)
    assert len({tuple(line[: len(experiment.columns)]) for line in lines}) == len(lines)
    assert len(header) == len(lines[0])
    again = experiment.run(0, settings)
    clocked = {"seconds", "ms_a_step", "ms_an_answer"}
    if name != "transformer":
        for first, second in zip(rows, again, strict=False):
            assert {k: v for k, v in second.items() if k not in clocked} == {
                k: first[k] for k in second if k not in clocked
            }
    page = report.html([finding])
    assert experiment.claim.split("'")[0] in page
    assert "<svg" in page
    assert "src=" not in page
    assert 'href="http' not in page


def test_a_verdict_needs_its_evidence() -> None:
    """What the judge of the fixed context vector says of results that are made up."""
    judge = EXPERIMENTS["context-vector"].judge

    def rows(none: float, dot: float, spread: float) -> Results:
        return Results(
            [
                {"seed": s, "attention": a, "length": n, "right": value + spread * (s - 1)}
                for s in range(3)
                for a, n, value in (
                    ("none", 2, 1.0),
                    ("none", 9, none),
                    ("dot", 2, 1.0),
                    ("dot", 9, dot + 2 * spread * (s - 1)),
                )
            ]
        )

    assert judge(rows(0.1, 0.9, 0.0)).answer == "holds"
    assert judge(rows(1.0, 1.0, 0.0)).answer == "does not hold"
    assert judge(rows(0.1, 0.2, 0.3)).answer == "does not hold"


def test_a_verdict_on_joined_directions_needs_both_halves_of_the_claim() -> None:
    judge = EXPERIMENTS["directions"].judge

    def rows(both: float, total: float) -> Results:
        shares = {
            ("first", "concat"): both,
            ("first", "sum"): total,
            ("first", "forward, wider"): 0.5,
            ("last", "concat"): 0.9,
            ("last", "sum"): 0.9,
            ("last", "forward, wider"): 0.9,
        }
        return Results(
            [
                {"seed": s, "letter": end, "variant": v, "accuracy": share + 0.001 * s}
                for s in range(3)
                for (end, v), share in shares.items()
            ]
        )

    assert judge(rows(0.9, 0.9)).answer == "holds"
    assert judge(rows(0.9, 0.8)).answer == "depends"
    assert judge(rows(0.5, 0.5)).answer == "does not hold"


# Runs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> str:
    experiment = EXPERIMENTS["capacity"]
    quick = dataclasses.replace(experiment.quick, **SMALL["capacity"])
    full = dataclasses.replace(quick, steps=quick.steps + 1)
    other = dataclasses.replace(experiment, quick=quick, full=full)
    monkeypatch.setitem(EXPERIMENTS, "capacity", other)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", _Here)
    return "capacity"


class _Here:
    """A pool of this process, where the small settings are."""

    def __init__(self, workers: int, context: object, **initialisation: object) -> None:
        assert 1 <= workers <= 2

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, function: Any, *arguments: Any) -> Any:
        from concurrent.futures import Future

        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


def test_the_command_runs_keeps_and_reports(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--quick", "--out", str(tmp_path)]
    assert cli.run(["lab", "run", small, *flags]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("capacity: The hidden size limits")
    assert said.err.count("capacity, seed") == 3
    assert cli.run(["lab", "run", small, *flags, "--json", "--seeds", "4"]) == 0
    said = capsys.readouterr()
    assert said.err.count("capacity, seed") == 1
    (found,) = json.loads(said.out)
    assert {row["seed"] for row in found["rows"]} == {0, 1, 2, 3}
    docs = tmp_path / "docs"
    assert cli.run(["lab", "report", *flags, "--docs", str(docs)]) == 0
    page = (docs / "capacity.md").read_text()
    assert page.startswith("# How much can a state hold?")
    assert "def judge(results: Results) -> Verdict:" in page
    for marked in ("reasons", "numbers"):
        _, part = page.split(f"<!-- {marked} -->")
        assert part.split(f"<!-- end of {marked} -->")[0].strip()
    assert "(capacity.md)" in (docs / "index.md").read_text()
    assert (docs / "capacity-0.svg").read_text().startswith("<svg")
    assert (tmp_path / "report.html").exists()


def test_a_report_shows_the_full_run_where_there_is_one(small: str, tmp_path: Path) -> None:
    out, docs = ["--out", str(tmp_path), "--quiet"], tmp_path / "docs"
    for run, asked, shown in (
        (["--quick"], [], "quick"),
        ([], [], "full"),
        (["--quick"], ["--quick"], "quick"),
    ):
        assert cli.run(["lab", "run", small, *run, *out]) == 0
        assert cli.run(["lab", "report", *asked, *out, "--docs", str(docs)]) == 0
        assert f"3 seeds, {shown} settings" in (docs / "capacity.md").read_text()


def test_results_of_other_settings_are_not_taken_over(small: str, tmp_path: Path) -> None:
    experiment = EXPERIMENTS[small]
    runner.run(experiment, range(1), tmp_path, quick=True, notify=lambda message: None)
    other = dataclasses.replace(experiment, quick=dataclasses.replace(experiment.quick, steps=3))
    with pytest.raises(ConfigError, match="no results of seed 0 with the settings of now"):
        runner.read(other, tmp_path, quick=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "memry"], "no experiment 'memry'. Did you mean 'memory'?"),
        (["report", "--quick"], "holds no results of quick runs"),
        (["run", "memory", "--seeds", "2"], "is not in the range x>=3"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["lab", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["lab", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
