"""The benchmark: its cases, its counts and statistics, what it says, and one case end to end."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
import torch

from benching import TINY, needs, result, whole
from tolerances import TOLERANCES
from unrolled.bench import agree, bars, cases, chart, machine, measure, memory, report, results, run
from unrolled.bench.cases import Case
from unrolled.bench.problem import Side, problem
from unrolled.cli import run as command
from unrolled.errors import ConfigError

# Cases.


@pytest.mark.parametrize("grid", cases.GRIDS)
def test_names_of_a_grid_tell_its_cases_apart(grid):
    found = cases.GRIDS[grid]()
    assert len({case.name for case in found}) == len(found)


def test_the_core_grid_has_the_table_and_every_bar():
    core = set(cases.core())
    for task in ("infer", "train"):
        for cell in cases.CELLS:
            for N, T, H in cases.TABLE:
                assert Case(cell=cell, task=task, N=N, T=T, H=H, threads=2) in core
    assert {case.H for case in core if case.task == "step"} == set(bars.STEP_SECONDS)
    assert {case.directions for case in core if case.task == "ragged-train"} == {1, 2}


def test_the_full_grid_holds_the_core_and_no_endless_case():
    found = cases.full()
    assert set(cases.core()) <= set(found)
    assert max(case.operations for case in found) <= cases.MOST_OPERATIONS
    assert {case.threads for case in found} == {1, 2}


@pytest.mark.parametrize(
    ("case", "operations"),
    [
        # 2 * G * H * (I + H) a token, forward.
        (Case(cell="rnn", task="infer", N=1, T=1, H=1), 2 * 1 * 1 * 2),
        (Case(cell="lstm", task="infer", N=32, T=100, H=64), 3200 * 2 * 4 * 64 * 128),
        (Case(cell="gru", task="train", N=2, T=3, H=4), 6 * 2 * 3 * 4 * 8 * 3),
        # Two directions; the second layer reads both.
        (Case(cell="lstm", task="infer", N=1, T=1, H=2, directions=2), 2 * 2 * 4 * 2 * 4),
        (
            Case(cell="lstm", task="infer", N=1, T=1, H=2, directions=2, layers=2),
            2 * 2 * 4 * 2 * 4 + 2 * 2 * 4 * 2 * 6,
        ),
        # Only the 64 % of tokens that are there.
        (Case(cell="rnn", task="ragged-train", N=10, T=100, H=1), 640 * 2 * 1 * 1 * 2 * 3),
    ],
)
def test_useful_operations_by_hand(case, operations):
    assert case.operations == operations


def test_selecting_by_pattern_threads_and_cores():
    names = [c.name for c in cases.select("core", cores=2, pattern="gru-step, lstm-*-bi-2t")]
    assert names
    assert all(name.startswith(("gru-step", "lstm-")) for name in names)
    assert {c.threads for c in cases.select("core", cores=8, threads=[1, 4])} == {1, 4}
    assert {c.threads for c in cases.select("core", cores=1)} == {1}
    with pytest.raises(ConfigError, match=r"no case matches 'nothing'.*rnn-infer"):
        cases.select("core", cores=2, pattern="nothing")


@pytest.mark.parametrize("N", [1, 2, 32])
def test_ragged_lengths_have_as_many_tokens_as_the_dense_batch(N):
    case = Case(cell="rnn", task="ragged-infer", N=N, T=100, H=2)
    lengths = problem(case).lengths
    assert lengths.max() == 100
    assert lengths.min() >= 1
    if N > 1:
        assert lengths.sum() == case.tokens == N * 64


def test_a_problem_is_the_same_each_time():
    case = Case(cell="gru", task="ragged-train", N=3, T=5, H=2, directions=2)
    one, two = problem(case), problem(case)
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.lengths, two.lengths)
    assert all(np.array_equal(one.weights[name], two.weights[name]) for name in one.weights)


# Statistics.


def test_a_summary_has_the_median_and_quartiles():
    found = measure.summarise([5.0, 1.0, 2.0, 4.0, 3.0], 7)
    assert (found.least, found.lower, found.median, found.upper) == (1, 2, 3, 4)
    assert found.rounds == [5, 1, 2, 4, 3]
    assert measure.summarise([2.0], 1).median == 2.0


def test_the_geometric_mean_favours_no_side():
    assert measure.geometric_mean([2.0, 8.0]) == pytest.approx(4)
    ratios = [0.5, 3.0, 7.0]
    turned = [1 / ratio for ratio in ratios]
    assert measure.geometric_mean(ratios) * measure.geometric_mean(turned) == pytest.approx(1)
    assert math.isnan(measure.geometric_mean([]))


def test_sides_turn_about_and_another_begins_each_round():
    calls = []
    sides = [
        Side(name, lambda name=name: calls.append(name), dict) for name in ("one", "two", "three")
    ]
    effort = measure.Effort(round_seconds=1e-6, case_seconds=0.0, fewest_rounds=3, most_rounds=3)
    timings, others = measure.turn_about(sides, effort)
    assert [len(timing.rounds) for timing in timings] == [3, 3, 3]
    assert all(second > 0 for timing in timings for second in timing.rounds)
    assert not others < 0
    changes = [name for k, name in enumerate(calls) if k == 0 or calls[k - 1] != name]
    turns = ["one", "two", "three", "two", "three", "one", "three", "one", "two"]
    assert changes[-9:] == turns


def test_a_busy_machine_is_warned_about():
    idle = example().machine
    assert machine.warning(idle) == ""
    busy = msgspec.structs.replace(idle, others=1.5, stolen=0.7)
    assert "others use 1.5 of 2 cores, 0.7 of it the host" in machine.warning(busy)


# Agreement.


def test_the_tolerances_are_the_tests_own():
    assert TOLERANCES["float32", "forward"] == agree.FORWARD
    assert TOLERANCES["float32", "gradient"] == agree.GRADIENT


def test_a_wrong_value_shape_or_nan_is_told():
    right = {"y": np.ones((2, 2)), "d.x": np.array([100.0])}
    assert agree.disagreement({"y": np.ones((2, 2)) + 5e-6}, right)[1] == ""
    assert "y is off by 0.1" in agree.disagreement({"y": np.ones((2, 2)) + 0.1}, right)[1]
    assert agree.disagreement({"d.x": np.array([100.005])}, right)[1] == ""
    assert "d.x is off" in agree.disagreement({"d.x": np.array([100.05])}, right)[1]
    assert "shape [1]" in agree.disagreement({"y": np.ones(1)}, right)[1]
    nan = {"y": np.full((2, 2), np.nan)}
    assert "not numbers" in agree.disagreement(nan, right)[1]


# What a run says.


TABLE_CASE = Case(cell="lstm", task="infer", N=32, T=100, H=256)
STEP = Case(cell="lstm", task="step", N=1, T=1, H=64, threads=1)
TRAINED = Case(cell="gru", task="train", N=32, T=100, H=256)
RAGGED = Case(cell="lstm", task="ragged-train", N=32, T=100, H=128, directions=2)
SECONDS = TABLE_CASE.operations / 1e9


def example():
    return whole(
        result(TABLE_CASE, unrolled=SECONDS / 190, torch=SECONDS / 95, openvino=SECONDS / 180),
        result(STEP, unrolled=2e-6, torch=86e-6, onnxruntime=6e-6, numpy=30e-6),
        msgspec.structs.replace(
            result(TRAINED, unrolled=1.0, torch=3.0),
            memory=(
                memory.Memory(side="unrolled", held=10, peak=90.0),
                memory.Memory(side="torch", held=9, peak=100.0),
            ),
        ),
        result(RAGGED, unrolled=1.0, unrolled_dense=0.9, torch_packed=6.0, torch_padded=1.5),
    )


def test_ratios_rates_and_peak():
    found = example()
    first = found.results[0]
    assert first.best_peer == "openvino"
    assert first.ratio("openvino") == pytest.approx(190 / 180)
    assert first.rate("torch") == pytest.approx(95)
    assert found.peak(2) == 200.0
    assert first.peak == 200.0
    faster = whole(result(TABLE_CASE, unrolled=SECONDS / 250))
    assert faster.results[0].peak == faster.peak(2) == pytest.approx(250)
    assert found.results[3].best_peer == "torch-padded"


def test_verdicts_say_by_how_much_a_bar_is_missed():
    by_bar = {verdict.bar: verdict for verdict in bars.verdicts(example())}

    def of(start):
        return next(verdict for bar, verdict in by_bar.items() if bar.startswith(start))

    assert of("inference: every case").passed
    assert of("inference: geometric mean").misses == ["mean 1.06x, wanted 1.5x"]
    assert of("one step of LSTM").passed
    assert of("one step at H 64: at least 4x").misses == [f"{STEP.name} 3x, wanted 4x"]
    assert of("one step at H 64: at least 20x").passed
    assert of("training: every case").passed
    assert of("training, gru").misses == ["mean 3x, wanted 4x"]
    assert of("training, rnn").passed is None
    assert of("ragged training: at least 5x").passed
    assert of("ragged training: at least 2x").misses == [f"{RAGGED.name} 1.5x, wanted 2x"]
    assert of("ragged training: within 15 %").passed
    assert of("inference, H >= 256").passed
    assert not of("training, H >= 256").passed
    assert not of("memory of training, held").passed
    assert of("memory of training, growth").passed


def test_near_the_peak_a_draw_counts():
    near = whole(result(TABLE_CASE, unrolled=SECONDS / 190, openvino=SECONDS / 193))
    far = whole(result(TABLE_CASE, unrolled=SECONDS / 90, openvino=SECONDS / 92))
    assert bars.verdicts(near)[0].passed
    assert not bars.verdicts(far)[0].passed


def test_a_run_survives_json_and_other_files_are_refused():
    found = example()
    assert results.decode(results.encode(found), "here") == found
    with pytest.raises(ConfigError, match=r"bench\.json: not a benchmark's result"):
        results.decode(b'{"format": 1}', "bench.json")


def test_the_report_shows_every_task_and_what_was_not_timed(capsys):
    found = example()
    wrong = results.SideResult(name="openvino", status="differs", note="y is off by 0.1")
    found.results[1].sides.append(wrong)
    report.show(found)
    shown = capsys.readouterr().out
    for words in (
        "Inference",
        "One step",
        "Ragged training",
        "openvino",
        "1.06x",
        "y is off by 0.1",
    ):
        assert words in shown
    page = report.markdown(found)
    assert "| lstm-N32-T100-H256-2t | 190 | 95.0 | 180 |" in page
    assert "| miss | training, gru: geometric mean over torch at least 4x | 0 of 1 |" in page
    assert "differs: y is off by 0.1" in page


def test_the_chart_is_one_svg_for_light_and_dark():
    picture = chart.draw(example())
    tree = ElementTree.fromstring(picture)
    words = "".join(tree.itertext())
    assert "prefers-color-scheme: dark" in words
    assert "LSTM N32 T100 H256" in words
    assert "A <fast> one" in words
    rects = [e for e in tree.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") == "ours"]
    assert len(rects) == 1 + 4
    first = float(rects[1].get("width"))
    assert first == pytest.approx(chart.PLOT * 0.95, abs=0.1)


# End to end.


@needs("onnxruntime", "openvino", "onnx", "threadpoolctl", "rich")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("cell", cases.CELLS)
@pytest.mark.parametrize(
    ("task", "sides"),
    [
        ("infer", ["unrolled", "torch", "onnxruntime", "openvino"]),
        ("ragged-infer", ["unrolled", "torch-packed", "torch-padded", "onnxruntime", "openvino"]),
        ("train", ["unrolled", "torch"]),
        ("ragged-train", ["unrolled", "unrolled-dense", "torch-packed", "torch-padded"]),
        ("step", ["unrolled", "torch", "torch-cell", "onnxruntime", "openvino", "numpy"]),
    ],
)
def test_every_side_of_a_tiny_case_agrees_and_is_timed(cell, task, sides):
    case = Case(cell=cell, task=task, N=3, T=1 if task == "step" else 5, H=6, threads=1)
    found = run.run_case(case, run.Plan(cases=(case,), effort=TINY), 64)
    assert {s.name: s.status for s in found.sides} == dict.fromkeys(sides, "timed")
    assert all(s.error is not None for s in found.sides if s.name != "unrolled-dense")


@needs("onnxruntime", "openvino", "onnx")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_stacks_in_both_directions_agree_too():
    case = Case(cell="gru", task="ragged-infer", N=3, T=5, H=4, threads=1, directions=2, layers=2)
    found = run.run_case(case, run.Plan(cases=(case,), effort=TINY), 64)
    errors = {s.name: s.error for s in found.sides}
    assert errors.pop("torch-padded") is None
    assert all(error is not None and error <= 1 for error in errors.values())


def test_a_side_that_disagrees_or_breaks_is_told_and_not_timed(monkeypatch):
    case = Case(cell="rnn", task="infer", N=2, T=3, H=4, threads=1)
    made = run.builders

    def break_it(p, plan):
        def fail():
            raise RuntimeError("no such operator")

        found = made(p, plan)
        ours = found["unrolled"]()[0]
        found["torch"] = lambda: [
            Side("torch", ours.run, lambda: {**ours.outputs(), "y": ours.outputs()["y"] + 1})
        ]
        return found | {"openvino": fail}

    monkeypatch.setattr(run, "builders", break_it)
    found = run.run_case(case, run.Plan(cases=(case,), effort=TINY, peers=("torch",)), 64)
    assert {s.name: s.status for s in found.sides} == {
        "unrolled": "timed",
        "torch": "differs",
        "openvino": "failed",
    }
    assert found.side("openvino").note == "RuntimeError: no such operator"
    assert found.best_peer is None


def test_memory_held_is_counted_once_without_inputs_and_weights():
    x = torch.ones(100, requires_grad=True)

    def forward():
        y = x.exp()
        return y * y

    held = memory.saved_bytes(forward, frozenset({x.untyped_storage().data_ptr()}))
    assert held == 400


def test_missing_peers_are_named_with_the_extra(monkeypatch):
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == "openvino" else object())
    with pytest.raises(ConfigError, match=r"needs openvino, .*unrolled\[bench\]"):
        run.check_peers(run.PEERS)
    run.check_peers(["torch"])
    with pytest.raises(ConfigError, match=r"no peer 'openvin'\. Did you mean 'openvino'"):
        run.check_peers(["openvin"])


@needs("threadpoolctl", "rich")
def test_the_verb_writes_files_and_shows_them_again(tmp_path, capsys):
    out, drawn = tmp_path / "out", tmp_path / "docs" / "chart.svg"
    options = ["--cases", "gru-train-N1-T100-H64-1t", "--quick", "--peers", "torch"]
    assert command(["bench", *options, "--out", str(out), "--svg", str(drawn)]) == 0
    shown = capsys.readouterr()
    assert "1/1  gru-train-N1-T100-H64-1t" in shown.err
    assert "Memory of training" in shown.out
    content = (out / "bench.json").read_bytes()
    kept = results.decode(content, "bench.json")
    assert [m.side for m in kept.results[0].memory] == ["unrolled", "torch"]
    assert kept.results[0].memory[0].held > 0
    assert drawn.read_text() == (out / "bench.svg").read_text()
    assert "gru-N1-T100-H64-1t" in (out / "bench.md").read_text()
    assert command(["bench", "--from", str(out / "bench.json"), "--json"]) == 0
    assert capsys.readouterr().out.encode() == content


def test_the_verb_lists_cases_and_refuses_what_it_does_not_know(capsys):
    assert command(["bench", "--list", "--cases", "step"]) == 0
    assert "lstm-step-N1-T1-H64-1t" in capsys.readouterr().out.split()
    assert command(["bench", "--list", "--threads", "two"]) == 2
    assert command(["bench", "--isa", "z80"]) == 2
    assert "this CPU runs" in capsys.readouterr().err
