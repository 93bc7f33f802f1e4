"""What the engine is meant to reach, and whether this run shows it.

A ratio is a peer's seconds over ours: above 1 ours is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from unrolled.bench.cases import CELLS, Grid
from unrolled.bench.measure import geometric_mean
from unrolled.bench.results import BATCH, DENSE, FLOAT32, OURS, STEP_MANY, CaseResult, Report
from unrolled.spec import Struct

NEAR_PEAK, NEAR_ENOUGH = 0.85, 0.97
INFERENCE_MEAN = 1.5
STEP_SECONDS = {64: 2.5e-6, 256: 20e-6}
STEP_OVER = {"onnxruntime": 4.0, "torch": 20.0}
TRAINING_MEAN = {"rnn": 4.0, "lstm": 1.5, "gru": 4.0}
RAGGED_OVER = {"torch-packed": 5.0, "torch-padded": 2.0}
RAGGED_COST = 1.15
# Growth is counted in pages, from a heap that is never quite the same.
PAGES = 0.01
LARGE_H, LARGE_N = 256, 32
LARGE_SHARE = {"infer": 0.85, "train": 0.80}
SESSION_H, SESSION_OVER = 64, 4.0
MANY_SHARE = 0.7
LOW_H, INT8_OVER = 512, 1.8
DECODE_OVER = 5.0


class Verdict(Struct, frozen=True, kw_only=True):
    """A bar, how many of its measurements reach it, and each miss with its distance."""

    bar: str
    reached: int
    measured: int
    misses: list[str]

    @property
    def passed(self) -> bool | None:
        """Whether every measurement reaches the bar; None where there is none."""
        return self.reached == self.measured if self.measured else None


def verdicts(report: Report) -> list[Verdict]:
    """Return every bar of the grid with what the run shows of it."""
    return GRIDS[report.grid](report.results)


def _layers(results: Sequence[CaseResult]) -> list[Verdict]:
    return [
        _inference(results),
        _mean("inference: geometric mean over the best peer", _best, INFERENCE_MEAN, results),
        *_steps(results),
        _training(results),
        *(
            _mean(
                f"training, {cell}: geometric mean over torch",
                lambda result: result.ratio("torch"),
                TRAINING_MEAN[cell],
                [result for result in results if result.case.cell == cell],
                task="train",
            )
            for cell in CELLS
        ),
        *_ragged(results),
        *(_large(results, task, share) for task, share in LARGE_SHARE.items()),
        *_memory(results),
    ]


def _judge(bar: str, found: Iterable[tuple[str, float, float, str]]) -> Verdict:
    """Return the verdict over (name, value, least value that passes, unit)."""
    measured = list(found)
    misses = [
        f"{name} {value:.3g}{unit}, wanted {least:.3g}{unit}"
        for name, value, least, unit in measured
        if value < least
    ]
    return Verdict(
        bar=bar, reached=len(measured) - len(misses), measured=len(measured), misses=misses
    )


def _of(results: Sequence[CaseResult], task: str) -> list[CaseResult]:
    return [result for result in results if result.case.task == task]


def _best(result: CaseResult) -> float | None:
    return result.ratio(result.best_peer)


def _inference(results: Sequence[CaseResult]) -> Verdict:
    found = []
    for result in _of(results, "infer"):
        ratio, best = _best(result), result.best_peer
        mine, theirs = result.rate(OURS), result.rate(best) if best else None
        if ratio is None or mine is None or theirs is None:
            continue
        both_near = min(mine, theirs) > NEAR_PEAK * result.peak
        name = f"{result.case.name} over {best}"
        found.append((name, ratio, NEAR_ENOUGH if both_near else 1.0, "x"))
    return _judge("inference: every case at least as fast as the best peer", found)


def _mean(
    bar: str,
    ratio: Callable[[CaseResult], float | None],
    least: float,
    results: Sequence[CaseResult],
    task: str = "infer",
) -> Verdict:
    ratios = [value for result in _of(results, task) if (value := ratio(result))]
    found = [("mean", geometric_mean(ratios), least, "x")] if ratios else []
    return _judge(f"{bar} at least {least:g}x", found)


def _steps(results: Sequence[CaseResult]) -> list[Verdict]:
    steps = [
        result
        for result in _of(results, "step")
        if result.case.N == 1 and result.case.threads == 1 and result.case.layers == 1
    ]
    times: list[str] = []
    measured = 0
    for result in steps:
        seconds, most = result.seconds(OURS), STEP_SECONDS.get(result.case.H)
        if result.case.cell != "lstm" or seconds is None or most is None:
            continue
        measured += 1
        if seconds > most:
            name = result.case.name
            times.append(f"{name} {seconds * 1e6:.2f} us, wanted at most {most * 1e6:g} us")
    bar = "one step of LSTM: H 64 in 2.5 us, H 256 in 20 us"
    found = [Verdict(bar=bar, reached=measured - len(times), measured=measured, misses=times)]
    for peer, least in STEP_OVER.items():
        ratios = [
            (result.case.name, value, least, "x")
            for result in steps
            if result.case.H == 64 and (value := result.ratio(peer))
        ]
        found.append(_judge(f"one step at H 64: at least {least:g}x {peer}", ratios))
    return found


def _training(results: Sequence[CaseResult]) -> Verdict:
    found = [
        (result.case.name, value, 1.0, "x")
        for result in _of(results, "train")
        if (value := result.ratio("torch"))
    ]
    return _judge("training: every case at least as fast as torch", found)


def _ragged(results: Sequence[CaseResult]) -> list[Verdict]:
    ragged = _of(results, "ragged-train")
    found = [
        _judge(
            f"ragged training: at least {least:g}x {peer}",
            [(r.case.name, value, least, "x") for r in ragged if (value := r.ratio(peer))],
        )
        for peer, least in RAGGED_OVER.items()
    ]
    dense = [
        (r.case.name, value, 1 / RAGGED_COST, "x") for r in ragged if (value := r.ratio(DENSE))
    ]
    found.append(_judge("ragged training: within 15 % of as many tokens not ragged", dense))
    return found


def _large(results: Sequence[CaseResult], task: str, share: float) -> Verdict:
    found = [
        (result.case.name, 100 * rate / result.peak, 100 * share, " %")
        for result in _of(results, task)
        if result.case.H >= LARGE_H and result.case.N >= LARGE_N and (rate := result.rate(OURS))
    ]
    name = {"infer": "inference", "train": "training"}[task]
    return _judge(f"{name}, H >= 256 and N >= 32: at least {100 * share:.0f} % of peak", found)


def _memory(results: Sequence[CaseResult]) -> list[Verdict]:
    held, peak = [], []
    for result in results:
        by_side = {memory.side: memory for memory in result.memory}
        mine = by_side.pop(OURS, None)
        for theirs in by_side.values():
            if mine is None:
                continue
            name = f"{result.case.name}, {theirs.side} over ours"
            held.append((name, theirs.held / max(1, mine.held), 1.0, "x"))
            if theirs.peak == theirs.peak and mine.peak == mine.peak:
                peak.append((name, theirs.peak / max(1.0, mine.peak), 1 - PAGES, "x"))
    return [
        _judge("memory of training, held for the backward pass: at most torch's", held),
        _judge("memory of training, growth of the process: at most torch's (1 % for pages)", peak),
    ]


def _sessions(results: Sequence[CaseResult]) -> list[Verdict]:
    found = _of(results, "session")
    one = [result for result in found if result.case.N == 1]
    peer = [
        (result.case.name, value, SESSION_OVER, "x")
        for result in one
        if result.case.H == SESSION_H
        and result.case.precision == "float32"
        and (value := result.ratio("onnxruntime"))
    ]
    shares = [
        (f"{result.case.name}, {name}", 100 * value, 100 * MANY_SHARE, " %")
        for result in found
        if result.case.N > 1
        for name in (OURS, STEP_MANY)
        if (value := result.ratio_of(name, BATCH))
    ]
    low = [
        (result.case.name, value, INT8_OVER, "x")
        for result in one
        if result.case.H == LOW_H
        and result.case.precision == "int8"
        and (value := result.ratio(FLOAT32))
    ]
    return [
        _judge(f"one session at H {SESSION_H}: at least {SESSION_OVER:g}x onnxruntime", peer),
        _judge(
            f"many sessions: at least {100 * MANY_SHARE:.0f} % of a plain batch's throughput",
            shares,
        ),
        _judge(f"one session of int8 at H {LOW_H}: at least {INT8_OVER:g}x float32", low),
    ]


def _decode(results: Sequence[CaseResult]) -> list[Verdict]:
    found = [
        (result.case.name, value, DECODE_OVER, "x")
        for result in results
        if result.case.decodes and (value := result.ratio("torch"))
    ]
    return [_judge(f"whole decodes: every case at least {DECODE_OVER:g}x torch", found)]


GRIDS: dict[Grid, Callable[[Sequence[CaseResult]], list[Verdict]]] = {
    "core": _layers,
    "full": _layers,
    "sessions": _sessions,
    "decode": _decode,
}
