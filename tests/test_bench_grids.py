"""The benchmark's grids of sessions and of decoding: their cases, sides, bars and reports."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import msgspec
import numpy as np
import pytest
import torch

from benching import TINY, needs, result, whole
from unrolled.bench import agree, bars, cases, decode_sides, machine, measure, report, results, run
from unrolled.bench.cases import Case
from unrolled.bench.eager import Eager
from unrolled.cli import run as command
from unrolled.runtime import decode

SESSION = Case(cell="lstm", task="session", N=1, T=1, H=64, threads=1)
MANY = Case(cell="gru", task="session", N=1000, T=1, H=16, threads=1)
INT8 = Case(cell="lstm", task="session", N=1, T=1, H=512, threads=1, precision="int8")
DECODE = Case(cell="gru", task="decode", N=64, T=8, H=256, threads=1, beam=5)


def tiny(task, N, **more):
    sizes = {"T": 1, "H": 16} if task == "session" else {"cell": "gru", "T": 4, "H": 6}
    return Case(task=task, N=N, threads=1, **(sizes | more))


# Cases.


def test_the_grids_hold_every_cell_width_precision_and_search():
    sessions, decoded = cases.sessions(), cases.decode()
    assert {(c.cell, c.H, c.precision, c.N) for c in sessions} == {
        (cell, H, precision, N)
        for cell in ("lstm", "gru")
        for H in (16, 64, 128, 256, 512)
        for precision in ("float32", "bf16", "int8")
        for N in (1, 1000)
    }
    assert {(c.task, c.N, c.beam) for c in decoded if c.task == "decode"} == {
        ("decode", N, beam) for N in (1, 64) for beam in (1, 5)
    }
    assert {c.beam for c in decoded if c.task == "words"} == {1, 5}
    assert {c.threads for c in (*sessions, *decoded)} == {1}


def test_names_tell_precision_and_beam():
    assert INT8.name == "lstm-session-N1-T1-H512-int8-1t"
    assert DECODE.name == "gru-decode-N64-T8-H256-beam5-1t"
    assert DECODE.operations == 0


def test_every_grid_has_peers_and_bars():
    grids = set(get_args(cases.Grid))
    assert grids == set(cases.GRIDS) == set(run.IN_GRID) == set(bars.GRIDS)
    options = next(p for p in command_options() if p.name == "grid")
    assert set(options.type.choices) == grids


def command_options():
    from unrolled.cli.bench import command as verb

    return verb.params


# Agreement.


def test_fewer_bits_may_be_further_off():
    right = {"y": np.array([0.5, -0.25])}
    off = {"y": right["y"] + 0.02}
    assert agree.disagreement(off, right, "int8")[1] == ""
    assert "y is off by 0.02, allowed 0.01" in agree.disagreement(off, right, "bf16")[1]
    assert "y is off by 0.02, allowed 1e-05" in agree.disagreement(off, right)[1]


@needs("onnxruntime", "onnx")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("precision", cases.PRECISIONS)
@pytest.mark.parametrize("N", [1, 3])
def test_every_side_of_a_tiny_session_agrees_and_is_timed(cell, precision, N):
    case = tiny("session", N, cell=cell, precision=precision)
    plan = run.Plan(cases=(case,), effort=TINY, peers=run.IN_GRID["sessions"])
    found = run.run_case(case, plan, 64)
    sides = {results.OURS, "torch", "torch-cell", "onnxruntime"}
    sides |= {results.STEP_MANY, results.BATCH} if N > 1 else set()
    sides |= {results.FLOAT32} if precision != "float32" else set()
    assert {s.name: s.status for s in found.sides} == dict.fromkeys(sides, "timed")
    assert all(s.error is not None and s.error <= 1 for s in found.sides)


def test_float32_beside_fewer_bits_is_held_to_its_own_tolerance(monkeypatch):
    case, made = tiny("session", 3, cell="gru", precision="int8"), run.builders

    def move(side):
        def outputs():
            found = dict(side.outputs())
            return found | {"y": found["y"] + 0.01 * np.abs(found["y"]).max()}

        return replace(side, outputs=outputs)

    def moved(p, plan):
        ours = made(p, plan)[results.OURS]
        return {results.OURS: lambda: [move(side) for side in ours()]}

    monkeypatch.setattr(run, "builders", moved)
    found = run.run_case(case, run.Plan(cases=(case,), effort=TINY, peers=()), 64)
    told = {s.name: s.status for s in found.sides}
    assert told[results.FLOAT32] == "differs"
    assert told[results.OURS] == told[results.BATCH] == told[results.STEP_MANY] == "timed"


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize(("task", "N"), [("decode", 1), ("decode", 7), ("words", 9)])
def test_both_sides_of_a_tiny_decode_agree_and_are_timed(task, N, beam):
    case = tiny(task, N, beam=beam)
    found = run.run_case(case, run.Plan(cases=(case,), effort=TINY, peers=("torch",)), 64)
    assert {s.name: s.status for s in found.sides} == {"unrolled": "timed", "torch": "timed"}
    assert all(s.error is not None and s.error <= 1 for s in found.sides)


def test_words_and_ids_are_the_same_and_the_same_each_time():
    case = tiny("words", 9)
    one, two = decode_sides.decode_problem(case), decode_sides.decode_problem(case)
    assert one.words == two.words
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert [len(word) for word in one.words] == one.lengths.tolist()
    assert all(4 <= len(word) <= 11 for word in one.words)
    ids = [[decode_sides.LETTERS.index(letter) for letter in word] for word in one.words]
    assert ids == [row[:n].tolist() for row, n in zip(one.source, one.lengths, strict=True)]


def test_a_beam_as_wide_as_all_answers_finds_the_likeliest():
    p = decode_sides.decode_problem(tiny("decode", 2, T=1))
    eager = Eager(p.spec, p.weights).double()
    x, lengths = torch.from_numpy(p.source), torch.from_numpy(p.lengths)
    every = [(), *((k,) for k in range(1, len(decode_sides.PHONEMES)) if k not in (2, 3))]
    scores = torch.stack([eager.score_of(x, lengths, [answer] * 2) for answer in every])
    best = eager.search(x, lengths, 1, len(every))
    assert [tokens for tokens, _ in best] == [every[k] for k in scores.argmax(dim=0).tolist()]
    torch.testing.assert_close(
        torch.tensor([score for _, score in best], dtype=torch.float64), scores.max(dim=0).values
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"log_prob": -1.0}, "log_prob is off by"),
        ({"tokens": (5, 5, 5, 5)}, "log_prob of its tokens is off by"),
    ],
)
@needs("threadpoolctl", "rich")
def test_a_decode_that_answers_wrongly_is_refused(monkeypatch, capsys, tmp_path, change, complaint):
    search = decode.greedy

    def wrong(*given, **more):
        return [[replace(best[0], **change)] for best in search(*given, **more)]

    monkeypatch.setattr(decode, "greedy", wrong)
    assert grid_run(monkeypatch, tmp_path, "decode", tiny("decode", 3)) == 1
    shown = capsys.readouterr()
    assert complaint in shown.out
    assert "our side failed or disagreed in 1 cases: gru-decode-N3-T4-H6-1t" in shown.err


# Threads.


@needs("threadpoolctl")
def test_numpys_products_have_the_threads_of_the_case():
    with run._threads(1):
        assert torch.get_num_threads() == 1
        assert machine.blas_warning(1) == ""
        told = machine.blas_warning(3)
    assert told == "numpy's matrix products have 1 threads where the other sides have 3"


def test_products_that_cannot_be_held_are_told(monkeypatch):
    class Nothing:
        threadpool_info = staticmethod(list)

    monkeypatch.setattr(machine, "import_module", lambda name: Nothing)
    assert "an unknown number of threads" in machine.blas_warning(1)


# What a run says.


def sessions():
    low = msgspec.structs.replace(MANY, precision="bf16")
    return whole(
        result(SESSION, unrolled=2e-6, torch=30e-6, onnxruntime=7e-6),
        result(INT8, unrolled=10e-6, unrolled_float32=20e-6, onnxruntime=30e-6),
        result(MANY, unrolled=1e-3, unrolled_step_many=2e-3, unrolled_batch=0.8e-3, torch=3e-3),
        result(low, unrolled=1.1e-3, unrolled_float32=1e-3, unrolled_batch=1e-3),
        grid="sessions",
    )


def test_the_bars_of_sessions():
    one, many, int8 = bars.verdicts(sessions())
    assert one.bar == "one session at H 64: at least 4x onnxruntime"
    assert one.misses == [f"{SESSION.name} 3.5x, wanted 4x"]
    assert many.bar == "many sessions: at least 70 % of a plain batch's throughput"
    assert (many.reached, many.measured) == (2, 3)
    assert many.misses == [f"{MANY.name}, unrolled-step-many 40 %, wanted 70 %"]
    assert int8.bar == "one session of int8 at H 512: at least 1.8x float32"
    assert int8.passed


def test_the_bar_of_decoding():
    slow = result(DECODE, unrolled=2.0, torch=9.0)
    fast = result(msgspec.structs.replace(DECODE, task="words"), unrolled=2.0, torch=11.0)
    (verdict,) = bars.verdicts(whole(slow, fast, grid="decode"))
    assert verdict.bar == "whole decodes: every case at least 5x torch"
    assert verdict.misses == [f"{DECODE.name} 4.5x, wanted 5x"]
    assert bars.verdicts(whole(grid="decode"))[0].passed is None


def test_our_own_sides_are_no_peers_and_fewer_bits_no_peak():
    found = sessions().results
    assert [r.best_peer for r in found] == ["onnxruntime", "onnxruntime", "torch", None]
    quick = result(INT8, unrolled=1e-9, unrolled_float32=1.0)
    assert quick.peak == 100.0
    assert quick.ratio(results.FLOAT32) == pytest.approx(1e9)


def test_the_report_says_where_fewer_bits_are_not_faster(capsys):
    found = sessions()
    page = report.markdown(found)
    assert "| lstm-N1-T1-H64-1t | 2.00 |" in page
    assert "| case | bf16 | int8 | not faster than float32 |" in page
    assert "| lstm-session-N1-T1-H512-1t |  | 2.00x |  |" in page
    assert "| gru-session-N1000-T1-H16-1t | 0.91x |  | bf16 |" in page
    assert "| 80% |" in page
    assert "peak is the share" not in page
    report.show(found)
    shown = capsys.readouterr().out
    assert "step-many" in shown
    assert "…" not in shown


def test_the_report_of_decoding_is_in_words_a_second():
    found = result(DECODE, unrolled=0.016, torch=0.064)
    page = report.markdown(whole(found, grid="decode"))
    assert "| gru-N64-T8-H256-beam5-1t | 4,000 | 1,000 | ±5% | torch | 4.00x |" in page
    assert found.speed("unrolled") == "4,000 words/s"
    assert found.speed("onnxruntime") == ""
    assert sessions().results[0].speed("torch") == "30.00 us"


# End to end.


def grid_run(monkeypatch, folder, grid, *few, more=()):
    monkeypatch.setitem(cases.GRIDS, grid, lambda: few)
    monkeypatch.setattr(measure, "QUICK", TINY)
    monkeypatch.setattr(machine, "PEAK_SIZES", (64,))
    monkeypatch.setattr(machine, "PEAK_SECONDS", 0.01)
    options = ["--grid", grid, "--quick", "--out", str(folder), *more]
    return command(["bench", *options])


@needs("onnxruntime", "onnx", "threadpoolctl", "rich")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_verb_runs_the_grid_of_sessions(monkeypatch, tmp_path, capsys):
    few = [tiny("session", N, cell="gru", precision=p) for N in (1, 2) for p in ("float32", "bf16")]
    assert grid_run(monkeypatch, tmp_path, "sessions", *few) == 0
    shown = capsys.readouterr()
    assert "4/4  gru-session-N2-T1-H16-bf16-1t" in shown.err
    assert "wrote bench.json, bench.md to" in shown.err
    assert "Low precision over float32" in shown.out
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.md"}
    kept = results.decode((tmp_path / "bench.json").read_bytes(), "bench.json")
    assert [r.case for r in kept.results] == few
    assert kept.grid == "sessions"


@needs("threadpoolctl", "rich")
def test_the_verb_runs_the_grid_of_decoding(monkeypatch, tmp_path, capsys):
    few = [tiny("decode", 2), tiny("decode", 2, beam=2), tiny("words", 3)]
    assert grid_run(monkeypatch, tmp_path, "decode", *few) == 0
    shown = capsys.readouterr()
    assert "3/3  gru-words-N3-T4-H6-1t" in shown.err
    assert "words/s" in shown.err
    assert "from text to text" in shown.out
    assert command(["bench", "--from", str(tmp_path / "bench.json")]) == 0
    assert "whole decodes: every case at least 5x torch" in capsys.readouterr().out


def test_a_grid_without_a_chart_says_so_before_it_runs(monkeypatch, tmp_path, capsys):
    drawn = ["--svg", str(tmp_path / "bench.svg")]
    assert grid_run(monkeypatch, tmp_path / "out", "decode", tiny("decode", 1), more=drawn) == 2
    told = capsys.readouterr().err
    assert "the chart shows the grids core and full, not decode" in told
    assert not (tmp_path / "out").exists()
