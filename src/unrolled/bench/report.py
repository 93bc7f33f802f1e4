"""A run as text: tables for a terminal, and the same as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unrolled.bench import machine
from unrolled.bench.bars import Verdict, verdicts
from unrolled.bench.cases import CELLS, TASKS
from unrolled.bench.measure import geometric_mean
from unrolled.bench.results import DENSE, OURS, CaseResult, Report

TITLES = {
    "infer": "Inference, useful GFLOP/s",
    "train": "Training (forward and backward), useful GFLOP/s",
    "ragged-infer": "Ragged inference, useful GFLOP/s",
    "ragged-train": "Ragged training, useful GFLOP/s",
    "step": "One step, microseconds",
}
# Order of the columns; those that no case of a task has are left out.
COLUMNS = (
    OURS,
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
NOISY = "~"
WORDS = ("side", "best peer", "cell", "such as", "what", "bar, and what misses it")

Table = tuple[str, list[str], list[list[str]]]


def tables(report: Report) -> list[Table]:
    """Return a title, a header and rows for each task, then means, memory and verdicts."""
    found = []
    for task in TASKS:
        results = [result for result in report.results if result.case.task == task]
        if results:
            found.append(_task_table(report, task, results))
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
    header = ["case", *columns, "spread", "best peer", "ratio", "peak"]
    rows = []
    for result in results:
        ratio, rate = result.ratio(result.best_peer), result.rate(OURS)
        share = rate / result.peak if rate else None
        rows.append(
            [
                result.case.name.replace(f"-{task}", "")
                + (NOISY if result.others > machine.IDLE else ""),
                *(_value(result, name) for name in columns),
                _spread(result),
                result.best_peer or "",
                f"{ratio:.2f}x" if ratio else "",
                f"{share:.0%}" if share else "",
            ]
        )
    return TITLES[task], header, rows


def _value(result: CaseResult, name: str) -> str:
    seconds, rate = result.seconds(name), result.rate(name)
    if seconds is None or rate is None:
        side = result.side(name)
        return side.status if side else ""
    if result.case.task == "step":
        return f"{seconds * 1e6:.2f}"
    return f"{rate:.1f}" if rate < 100 else f"{rate:.0f}"


def _spread(result: CaseResult) -> str:
    """Return half the distance of our quartiles as a share of the median."""
    side = result.side(OURS)
    if not side or not side.timing:
        return ""
    timing = side.timing
    return f"±{(timing.upper - timing.lower) / 2 / timing.median:.0%}"


def means(results: Iterable[CaseResult]) -> dict[tuple[str, str], tuple[int, float, float]]:
    """Return per task and cell: the cases, and geometric means over the best peer and torch."""
    grouped: dict[tuple[str, str], list[CaseResult]] = {}
    for result in results:
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
    return "Geometric means of ratios", header, rows


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
    return [
        f"{about.processor}, {about.cores} cores, {about.system}; instruction set {about.isa}",
        versions,
        f"float32 peak seen, by threads: {peaks}",
        f"{report.when}, {len(report.results)} cases in {report.seconds:.0f} s; {noise}",
        f"{NOISY} marks cases while others used more than {machine.IDLE} cores; "
        "± is half the distance of the quartiles; peak is the share of the best seen in the case, "
        "a square matrix product among them that took its turn",
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
