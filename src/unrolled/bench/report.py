"""A run as text: tables for a terminal, and the same as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unrolled.bench import machine
from unrolled.bench.bars import Verdict, verdicts
from unrolled.bench.cases import CELLS, PRECISIONS, SEQUENCES, TASKS
from unrolled.bench.measure import geometric_mean
from unrolled.bench.results import (
    BATCH,
    DENSE,
    FLOAT32,
    OURS,
    STEP_MANY,
    CaseResult,
    Report,
)

TITLES = {
    "infer": "Inference, useful GFLOP/s",
    "train": "Training (forward and backward), useful GFLOP/s",
    "ragged-infer": "Ragged inference, useful GFLOP/s",
    "ragged-train": "Ragged training, useful GFLOP/s",
    "step": "One step, microseconds",
    "session": "Sessions: one step of N, microseconds",
    "decode": "Decoding ids, words a second",
    "words": "Decoding a list of words from text to text, words a second",
}
# Order of the columns; those that no case of a task has are left out.
COLUMNS = (
    OURS,
    FLOAT32,
    STEP_MANY,
    BATCH,
    DENSE,
    "torch",
    "torch-cell",
    "torch-packed",
    "torch-padded",
    "torch-compile",
    "onnxruntime",
    "openvino",
    "numpy",
)
# The last column, of tasks that have one.
SHARES = dict.fromkeys((*SEQUENCES, "step"), "peak") | {"session": "of batch"}
NOISY = "~"
NOT_FASTER = "not faster than float32"
WORDS = ("side", "best peer", "cell", "such as", "what", "bar, and what misses it", NOT_FASTER)

Table = tuple[str, list[str], list[list[str]]]


def tables(report: Report) -> list[Table]:
    """Return a title, a header and rows for each task, then means, memory and verdicts."""
    found = []
    for task in TASKS:
        results = [result for result in report.results if result.case.task == task]
        if results:
            found.append(_task_table(report, task, results))
    if low := [result for result in report.results if result.case.precision != "float32"]:
        found.append(_precision(low))
    found.append(_means(report))
    if any(result.memory for result in report.results):
        found.append(_memory(report))
    if problems := _problems(report):
        found.append(("Not timed, or not compared", ["side", "cases", "such as", "what"], problems))
    found.append(_verdicts(verdicts(report)))
    return found


def _task_table(report: Report, task: str, results: Sequence[CaseResult]) -> Table:
    present = {side.name for result in results for side in result.sides if side.timing}
    columns = [name for name in COLUMNS if name in present]
    named = [n.removeprefix(f"{OURS}-") if task == "session" else n for n in columns]
    header = ["case", *named, "spread", "best peer", "ratio"]
    if task in SHARES:
        header.append(SHARES[task])
    rows = []
    for result in results:
        ratio = result.ratio(result.best_peer)
        rows.append(
            [
                result.case.name.replace(f"-{task}", "")
                + (NOISY if result.others > machine.IDLE else ""),
                *(_value(result, name) for name in columns),
                _spread(result),
                result.best_peer or "",
                f"{ratio:.2f}x" if ratio else "",
                *([_share(result)] if task in SHARES else []),
            ]
        )
    return TITLES[task], header, rows


def _share(result: CaseResult) -> str:
    """Return the share of the peak or, of sessions, of a plain batch's throughput."""
    rate = result.rate(OURS)
    share = rate / result.peak if rate else None
    if result.case.task == "session":
        share = result.ratio(BATCH)
    return f"{share:.0%}" if share else ""


def _value(result: CaseResult, name: str) -> str:
    seconds = result.seconds(name)
    if seconds is None:
        side = result.side(name)
        return side.status if side else ""
    if result.case.decodes:
        return f"{result.case.N / seconds:,.0f}"
    if result.case.steps:
        return f"{seconds * 1e6:.2f}"
    rate = result.rate(name) or 0.0
    return f"{rate:.1f}" if rate < 100 else f"{rate:.0f}"


def _precision(results: Sequence[CaseResult]) -> Table:
    """Return how many times as fast as float32 fewer bits are, and where they are not faster."""
    low = PRECISIONS[1:]
    grouped: dict[str, dict[str, float]] = {}
    for result in results:
        name = result.case.name.replace(f"-{result.case.precision}", "")
        if ratio := result.ratio(FLOAT32):
            grouped.setdefault(name, {})[result.case.precision] = ratio
    rows = []
    for name, ratios in grouped.items():
        values = [f"{ratios[each]:.2f}x" if each in ratios else "" for each in low]
        rows.append([name, *values, ", ".join(k for k, ratio in ratios.items() if not ratio > 1)])
    return "Low precision over float32", ["case", *low, NOT_FASTER], rows


def _spread(result: CaseResult) -> str:
    """Return half the distance of our quartiles as a share of the median."""
    side = result.side(OURS)
    if not side or not side.timing:
        return ""
    timing = side.timing
    return f"±{(timing.upper - timing.lower) / 2 / timing.median:.0%}"


def means(results: Iterable[CaseResult]) -> dict[tuple[str, str], tuple[int, float, float]]:
    """Return per task and cell: the cases, and geometric means over the best peer and torch.

    Only what computes in float32, as the peers do.
    """
    grouped: dict[tuple[str, str], list[CaseResult]] = {}
    for result in results:
        if result.case.precision != "float32":
            continue
        grouped.setdefault((result.case.task, result.case.cell), []).append(result)
    found = {}
    for key, group in grouped.items():
        best = [value for r in group if (value := r.ratio(r.best_peer))]
        eager = [
            value for r in group if (value := r.ratio("torch-packed" if r.case.ragged else "torch"))
        ]
        found[key] = (len(group), geometric_mean(best), geometric_mean(eager))
    return found


def _means(report: Report) -> Table:
    found = means(report.results)
    rows = [
        [task, cell, str(count), f"{best:.2f}x", f"{eager:.2f}x"]
        for task in TASKS
        for cell in CELLS
        if (task, cell) in found
        for count, best, eager in [found[task, cell]]
    ]
    header = ["task", "cell", "cases", "over the best peer", "over torch (packed where ragged)"]
    return "Geometric means of ratios, float32", header, rows


def _memory(report: Report) -> Table:
    rows = []
    for result in report.results:
        for memory in result.memory:
            held = f"{memory.held / 1e6:.2f}"
            rows.append([result.case.name, memory.side, held, f"{memory.peak / 1e6:.2f}"])
    return "Memory of training, MB", ["case", "side", "held for backward", "growth"], rows


def _problems(report: Report) -> list[list[str]]:
    """Return what was not timed or not compared, alike cases in one row."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for result in report.results:
        for side in result.sides:
            if side.status != "timed" or (side.note and side.name != DENSE):
                what = side.note if side.status == "timed" else f"{side.status}: {side.note}"
                grouped.setdefault((side.name, what), []).append(result.case.name)
    return [[name, str(len(cases)), cases[0], what] for (name, what), cases in grouped.items()]


def _verdicts(found: Sequence[Verdict]) -> Table:
    words = {True: "pass", False: "miss", None: "not measured"}
    rows = []
    for verdict in found:
        reached = f"{verdict.reached} of {verdict.measured}" if verdict.measured else ""
        rows.append([words[verdict.passed], verdict.bar, reached])
        rows += [["", miss, ""] for miss in verdict.misses]
    return "Bars", ["", "bar, and what misses it", "reached"], rows


def facts(report: Report) -> list[str]:
    """Return what the numbers were measured on, a line each."""
    about = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    threads = sorted({result.case.threads for result in report.results})
    peaks = ", ".join(f"{report.peak(k):.0f} GFLOP/s at {k}" for k in threads)
    noise = machine.warning(about) or "the machine was idle at the start"
    peak = "; peak is the share of the best seen in the case, a square matrix product among them "
    peak += "that took its turn"
    with_peak = any(SHARES.get(result.case.task) == "peak" for result in report.results)
    return [
        f"{about.processor}, {about.cores} cores, {about.system}; instruction set {about.isa}",
        versions,
        f"float32 peak seen, by threads: {peaks}",
        f"{report.when}, {len(report.results)} cases in {report.seconds:.0f} s; {noise}",
        f"{NOISY} marks cases while others used more than {machine.IDLE} cores; "
        f"± is half the distance of the quartiles{peak * with_peak}",
    ]


def markdown(report: Report) -> str:
    """Return the run as a Markdown page."""
    parts = ["# Benchmark", *(f"- {line}" for line in facts(report))]
    for title, header, rows in tables(report):
        parts += ["", f"## {title}", ""]
        parts.append("| " + " | ".join(header) + " |")
        parts.append("| " + " | ".join("---" for _ in header) + " |")
        parts += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(parts) + "\n"


def show(report: Report) -> None:
    """Print the run to stdout, as wide as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console(width=None if Console().is_terminal else 160, highlight=False)
    for line in facts(report):
        console.print(line, markup=False)
    for title, header, rows in tables(report):
        grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for k, name in enumerate(header):
            left = k == 0 or name in WORDS
            grid.add_column(name, justify="left" if left else "right", no_wrap=name != "what")
        for row in rows:
            grid.add_row(*row, style="bold" if row[0] in ("pass", "miss") else "")
        console.print(grid)
