"""A run as one SVG picture that stands alone and reads on a light page and on a dark one.

A bar is ours, a mark is a peer; further to the right is faster. It paints its own background,
because a page may be dark where the reader's system is light.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from unrolled.bench.cases import TABLE, Grid
from unrolled.bench.results import OURS, OWN, CaseResult, Report
from unrolled.errors import ConfigError
from unrolled.spec import Struct

# The grids that it shows: those of layers.
GRIDS: tuple[Grid, ...] = ("core", "full")

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-size: 14px; font-weight: 600; }
.soft { fill: #59636e; font-size: 11px; }
.page { fill: #ffffff; stroke: #d1d9e0; }
.rule { stroke: #d1d9e0; }
.ours { fill: #54aeff; }
.mark { fill: #ffffff; stroke-width: 2; }
.torch { stroke: #bc4c00; } .onnxruntime { stroke: #1a7f37; }
.openvino { stroke: #8250df; } .other { stroke: #59636e; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .soft { fill: #9198a1; }
  .page { fill: #0d1117; stroke: #3d444d; } .rule { stroke: #3d444d; }
  .ours { fill: #1f6feb; } .mark { fill: #0d1117; }
  .torch { stroke: #f0883e; } .onnxruntime { stroke: #3fb950; }
  .openvino { stroke: #a371f7; } .other { stroke: #9198a1; }
}
"""
PEERS = {
    "torch": ("torch", "circle"),
    "torch-packed": ("torch", "circle"),
    "torch-padded": ("torch", "triangle"),
    "torch-cell": ("torch", "triangle"),
    "onnxruntime": ("onnxruntime", "square"),
    "openvino": ("openvino", "diamond"),
    "numpy": ("other", "cross"),
}
ROW, LABEL, VALUE, PLOT, GAP, MARGIN = 18, 138, 58, 232, 24, 16
PANEL = LABEL + PLOT + VALUE
TOP, HEAD, FOOT = 92, 40, 30
MOST_ROWS = 15


class Row(Struct, frozen=True):
    """A case of a panel: its label, our value, a text beside the bar, and the peers' values."""

    label: str
    ours: float
    text: str
    peers: dict[str, float]


class Panel(Struct, frozen=True):
    """A task: bars up to `most`, whose ticks are written with `unit`."""

    title: str
    unit: str
    most: float
    rows: list[Row]

    @property
    def height(self) -> int:
        """Pixels from title to ticks."""
        return HEAD + ROW * len(self.rows) + FOOT


def check(grid: Grid) -> None:
    """Raise ConfigError for a grid that has no chart."""
    if grid not in GRIDS:
        raise ConfigError(f"the chart shows the grids {' and '.join(GRIDS)}, not {grid}")


def draw(report: Report) -> str:
    """Return the picture of a run: inference, training, one step and ragged training."""
    found = [panel for panel in _panels(report) if panel.rows]
    pairs = [found[k : k + 2] for k in range(0, len(found), 2)]
    width = 2 * MARGIN + 2 * PANEL + GAP
    parts, y = [*_heading(report, found)], TOP
    for pair in pairs:
        for k, panel in enumerate(pair):
            parts += _panel(panel, MARGIN + k * (PANEL + GAP), y)
        y += max(panel.height for panel in pair) + 8
    name = "Speed of recurrent layers on the CPU, unrolled and its peers"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" '
        f'height="{y}" role="img" aria-label="{name}">\n<style>{STYLE}</style>\n'
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{y - 1}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panels(report: Report) -> Iterable[Panel]:
    threads = max(result.case.threads for result in report.results)
    for task, title in (("infer", "Inference"), ("train", "Training, forward and backward")):
        rows = [
            _row(result, result.peak / 100)
            for result in _plain(report, task)
            if result.case.threads == threads and result.rate(OURS)
        ]
        yield Panel(title, "% of the machine's peak", 100.0, rows[:MOST_ROWS])
    scales = {"step": ("One step, N 1", 1e3), "ragged-train": ("Ragged training, both ways", 1e3)}
    units = {"step": "thousand steps a second", "ragged-train": "thousand tokens a second"}
    for task, (title, scale) in scales.items():
        rows = [_speed(r, scale) for r in _plain(report, task) if r.seconds(OURS)][:MOST_ROWS]
        most = max((max([row.ours, *row.peers.values()]) for row in rows), default=1.0)
        yield Panel(title, units[task], _round_up(most), rows)


def _plain(report: Report, task: str) -> list[CaseResult]:
    """Return the cases of the table where there are any, else those of one layer as they come."""
    both = 2 if task == "ragged-train" else 1
    found = [
        result
        for result in report.results
        if result.case.task == task
        and result.case.layers == 1
        and result.case.directions == both
        and (task != "step" or result.case.N == 1)
    ]
    table = [r for r in found if (r.case.N, r.case.T, r.case.H) in TABLE]
    return table or found


def _label(result: CaseResult) -> str:
    case = result.case
    sizes = f"H{case.H}" if case.task == "step" else f"N{case.N} T{case.T} H{case.H}"
    return f"{case.cell.upper()} {sizes}"


def _peers(result: CaseResult) -> list[str]:
    return [s.name for s in result.sides if s.timing and s.name not in OWN]


def _row(result: CaseResult, unit: float) -> Row:
    rates = {name: (result.rate(name) or 0.0) / unit for name in _peers(result)}
    ratio = result.ratio(result.best_peer)
    text = f"{ratio:.2f}x" if ratio else ""
    return Row(_label(result), (result.rate(OURS) or 0.0) / unit, text, rates)


def _speed(result: CaseResult, scale: float) -> Row:
    def speed(name: str) -> float:
        seconds = result.seconds(name)
        return result.case.tokens / seconds / scale if seconds else 0.0

    seconds = result.seconds(OURS) or 0.0
    ratio = result.ratio(result.best_peer)
    text = f"{seconds * 1e6:.1f} µs" if result.case.task == "step" else f"{ratio or 0.0:.2f}x"
    return Row(_label(result), speed(OURS), text, {name: speed(name) for name in _peers(result)})


def _round_up(value: float) -> float:
    """Return 1, 2, 4, 5 or 8 times a power of ten, at least `value`."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(k * power for k in (1, 2, 4, 5, 8, 10) if k * power >= value)


def _text(content: str, x: float, y: float, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(content)}</text>"
    )


def _heading(report: Report, panels: Sequence[Panel]) -> list[str]:
    about = report.machine
    threads = max(result.case.threads for result in report.results)
    versions = ", ".join(
        f"{name} {version}"
        for name, version in about.versions.items()
        if name in ("torch", "onnxruntime", "openvino")
    )
    line = f"{about.processor}, {threads} threads, {about.isa}, float32; {versions}"
    parts = [
        _text("Recurrent layers on the CPU: further right is faster", MARGIN, 28, "title"),
        _text(f"{line}; x: over the best peer", MARGIN, 46, "soft"),
        f'<rect class="ours" x="{MARGIN}" y="59" width="26" height="12" rx="2"/>',
        _text("unrolled", MARGIN + 32, 69),
    ]
    x = MARGIN + 100.0
    present = {peer for panel in panels for row in panel.rows for peer in row.peers}
    for peer in PEERS:
        if peer in present:
            parts += [_mark(peer, x, 65, ""), _text(peer, x + 10, 69)]
            x += 28 + 7 * len(peer)
    return parts


def _panel(panel: Panel, x: float, y: float) -> list[str]:
    start, bottom = x + LABEL, y + HEAD + ROW * len(panel.rows)
    parts = [_text(panel.title, x, y + 14, "title"), _text(panel.unit, start, y + 30, "soft")]
    for k in range(5):
        at = start + PLOT * k / 4
        ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{y + HEAD - 4}" y2="{bottom + 4}"'
        parts.append(f'<line class="rule" {ends}/>')
        parts.append(_text(f"{panel.most * k / 4:g}", at, bottom + 18, "soft", "middle"))
    for k, row in enumerate(panel.rows):
        middle = y + HEAD + ROW * (k + 0.5)
        parts.append(_text(row.label, start - 8, middle + 4, anchor="end"))
        wide = PLOT * min(row.ours / panel.most, 1.0)
        tip = f"<title>{escape(f'{row.label}, unrolled: {row.ours:.3g} {panel.unit}')}</title>"
        parts.append(
            f'<rect class="ours" x="{start}" y="{middle - 6:.1f}" width="{wide:.1f}" '
            f'height="12" rx="2">{tip}</rect>'
        )
        for peer, value in row.peers.items():
            at = start + PLOT * min(value / panel.most, 1.0)
            parts.append(_mark(peer, at, middle, f"{peer}: {value:.3g} {panel.unit}"))
        parts.append(_text(row.text, start + PLOT + VALUE - 2, middle + 4, anchor="end"))
    return parts


def _mark(peer: str, x: float, y: float, tip: str) -> str:
    colour, shape = PEERS.get(peer, ("other", "cross"))
    title = f"<title>{escape(tip)}</title>" if tip else ""
    kind = f'class="mark {colour}"'
    if shape == "circle":
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'
    corners = {
        "square": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "triangle": ((0, -5), (4.5, 3.5), (-4.5, 3.5)),
        "cross": ((-4, -4), (0, 0), (4, -4), (0, 0), (4, 4), (0, 0), (-4, 4), (0, 0)),
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon {kind} points="{points}">{title}</polygon>'
