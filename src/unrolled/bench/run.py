"""A run: every case built, checked, timed and let go, one after the other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from unrolled.bench import agree, machine, measure, memory
from unrolled.bench.cases import Case, Grid
from unrolled.bench.measure import Effort
from unrolled.bench.problem import Outputs, Problem, Side, problem
from unrolled.bench.results import OURS, CaseResult, Report, SideResult
from unrolled.errors import ConfigError, did_you_mean
from unrolled.spec import Engine, Struct

if TYPE_CHECKING:
    from unrolled.bench.decode_sides import DecodeProblem

# A peer as it is chosen, and the packages it needs.
PEERS: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torch-compile": ("torch",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "numpy": (),
}
NEEDED = ("torch", "rich", "threadpoolctl")
IN_CORE = tuple(name for name in PEERS if name != "torch-compile")
# Who takes part where nobody chooses.
IN_GRID: dict[Grid, tuple[str, ...]] = {
    "core": IN_CORE,
    "full": tuple(PEERS),
    "sessions": ("torch", "onnxruntime"),
    "decode": ("torch",),
}

Builder = Callable[[], list[Side]]


class Plan(Struct, frozen=True, kw_only=True):
    """What to run and against whom."""

    cases: tuple[Case, ...]
    grid: Grid = "core"
    peers: tuple[str, ...] = IN_CORE
    effort: Effort = Effort()
    quick: bool = False
    engine: Engine = "auto"


def check_peers(peers: Sequence[str]) -> None:
    """Raise ConfigError for a peer that does not exist or whose packages are not installed."""
    for peer in peers:
        if peer not in PEERS:
            raise ConfigError(f"no peer {peer!r}.{did_you_mean(peer, PEERS)}")
    wanted = [*NEEDED, *(package for peer in peers for package in PEERS[peer])]
    missing = [name for name in dict.fromkeys(wanted) if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the benchmark needs {', '.join(missing)}, not installed here: "
            "pip install 'unrolled[bench]', or choose with --peers"
        )


def run(plan: Plan, tell: Callable[[str], None]) -> Report:
    """Run the plan and return what was found; `tell` hears how it goes on."""
    check_peers(plan.peers)
    start = time.perf_counter()
    facts = machine.describe()
    if text := machine.warning(facts):
        tell(f"warning: {text}")
    peaks: dict[int, tuple[float, int]] = {}
    results: list[CaseResult] = []
    for number, case in enumerate(plan.cases, 1):
        with _threads(case.threads):
            if case.threads not in peaks:
                peaks[case.threads] = machine.matrix_peak()
                if text := machine.blas_warning(case.threads):
                    tell(f"warning: {text}")
            results.append(run_case(case, plan, peaks[case.threads][1]))
        tell(f"{number}/{len(plan.cases)}  {_told(results[-1])}")
    trained = [case for case in plan.cases if case.trains]
    if trained and "torch" in plan.peers:
        tell(f"memory of {len(trained)} training cases")
        found = memory.measure(trained, plan.engine)
        results = [_with_memory(result, found) for result in results]
    for threads, before in peaks.items():
        with _threads(threads):
            peaks[threads] = max(before, machine.matrix_peak())
    return Report(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        grid=plan.grid,
        quick=plan.quick,
        engine=plan.engine,
        machine=facts,
        seconds=time.perf_counter() - start,
        peaks={str(threads): peak for threads, (peak, _) in peaks.items()},
        results=results,
    )


def _threads(count: int) -> ExitStack:
    """Give every library `count` threads; those of sessions are set where these are made."""
    import torch

    from unrolled import num_threads, set_num_threads

    stack = ExitStack()
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    stack.callback(set_num_threads, num_threads())
    torch.set_num_threads(count)
    set_num_threads(count)
    limits = import_module("threadpoolctl").threadpool_limits
    stack.enter_context(limits(limits=count, user_api="blas"))
    return stack


def builders(p: Problem, plan: Plan) -> dict[str, Builder]:
    """Return what makes the sides of a case: ours first, then each peer that has the task."""
    from unrolled.bench import numpy_sides, onnx_sides, session_sides, torch_sides

    case = p.case

    def ours() -> list[Side]:
        if case.task == "session":
            return session_sides.session_sides(p)
        if case.trains or (plan.engine != "auto" and not case.steps):
            return torch_sides.ours_in_torch(p, plan.engine)
        return [numpy_sides.runtime_side(p)]

    found: dict[str, Builder] = {
        OURS: ours,
        "torch": lambda: torch_sides.torch_sides(p),
        "torch-compile": lambda: [torch_sides.compiled_side(p)],
    }
    if not case.trains:
        found["onnxruntime"] = lambda: [onnx_sides.onnxruntime_side(p)]
        found["openvino"] = lambda: [onnx_sides.openvino_side(p)]
    if case.steps:
        found["numpy"] = lambda: [numpy_sides.numpy_step(p)]
    return _taking_part(found, plan)


def decoders(p: DecodeProblem, plan: Plan) -> dict[str, Builder]:
    """Return what makes the sides of a decode: ours, and the same weights in a loop of torch."""
    from unrolled.bench import decode_sides

    found: dict[str, Builder] = {
        OURS: lambda: [decode_sides.our_side(p)],
        "torch": lambda: [decode_sides.torch_side(p)],
    }
    return _taking_part(found, plan)


def _taking_part(found: dict[str, Builder], plan: Plan) -> dict[str, Builder]:
    return {name: make for name, make in found.items() if name in (OURS, *plan.peers)}


def _prepared(case: Case, plan: Plan) -> tuple[Outputs, dict[str, Builder]]:
    """Return what is right, and what makes the sides."""
    from unrolled.bench import decode_sides, torch_sides

    if case.decodes:
        words = decode_sides.decode_problem(case)
        return decode_sides.expected(words), decoders(words, plan)
    p = problem(case)
    return torch_sides.expected(p), builders(p, plan)


def run_case(case: Case, plan: Plan, product: int) -> CaseResult:
    """Build the sides of a case, time those that agree, and report the others.

    A matrix product of that size takes its turn too: the machine's peak of the moment, for the
    clock and the neighbours of a processor change from minute to minute.
    """
    expected, makers = _prepared(case, plan)
    told: dict[str, SideResult] = {}
    sides: list[Side] = []
    for name, make in makers.items():
        try:
            built = make()
        except Exception as error:
            told[name] = SideResult(name=name, status="failed", note=_short(error))
            continue
        for side in built:
            told[side.name] = _check(side, expected)
            if told[side.name].status == "timed":
                sides.append(side)
    peak = Side(name="", run=machine.matrix_product(product), outputs=dict)
    (peak_timing, *timings), others = measure.turn_about([peak, *sides], plan.effort)
    for side, timing in zip(sides, timings, strict=True):
        checked = told[side.name]
        told[side.name] = SideResult(
            name=side.name,
            status="timed",
            note=checked.note,
            error=checked.error,
            timing=timing,
        )
    del sides
    gc.collect()
    return CaseResult(
        case=case,
        sides=list(told.values()),
        others=others,
        product=machine.product_rate(product, peak_timing.median),
    )


def _check(side: Side, expected: Outputs) -> SideResult:
    try:
        found = side.outputs()
    except Exception as error:
        return SideResult(name=side.name, status="failed", note=_short(error))
    if not found:
        return SideResult(name=side.name, status="timed", note=side.note)
    worst, complaint = agree.disagreement(found, expected, side.precision)
    return SideResult(
        name=side.name,
        status="differs" if complaint else "timed",
        note=complaint or side.note,
        error=min(worst, 1e9),
    )


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def _with_memory(result: CaseResult, found: dict[str, list[memory.Memory]]) -> CaseResult:
    return CaseResult(
        case=result.case,
        sides=result.sides,
        others=result.others,
        product=result.product,
        memory=tuple(found.get(result.case.name, [])),
    )


def _told(result: CaseResult) -> str:
    mine, best = result.speed(OURS), result.best_peer
    ratio = result.ratio(best)
    if not mine:
        side = result.side(OURS)
        return f"{result.case.name}: {side.status}, {side.note}" if side else result.case.name
    against = f", {ratio:.2f}x {best}" if ratio else ""
    return f"{result.case.name}: {mine}{against}"
