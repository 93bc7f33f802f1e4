"""A comparison of settings: as a table for a terminal, and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unrolled.explain import page
from unrolled.explain.labels import text, width

if TYPE_CHECKING:
    from unrolled.tasks.compare import Comparison, Setting

HEADER = (
    "setting", "H", "parameters", "quality", "train [s]", "{}/s", "answer [ms]", "memory [steps]",
)  # fmt: skip
READING = (
    "A dot is a run, the bar the mean of a setting's runs and one standard deviation to each side."
    " Settings whose bars overlap much are hard to tell apart."
)
NOTES = (
    "Quality is measured on data that no run saw or chose by. Memory is the lag from which less"
    " than a tenth is left of a pull at the last state, in the last epoch of training; >= where"
    " more is left everywhere. Speeds are of this machine as it was during the comparison."
)


def _row(setting: Setting) -> tuple[str, ...]:
    spread = "" if setting.deviation is None else f" ± {setting.deviation:.4f}"
    memory = f">= {setting.longest}" if setting.memory is None else f"{setting.memory:.0f}"
    return (
        setting.name,
        str(setting.hidden_size),
        f"{setting.parameters:,}",
        f"{setting.quality:.4f}{spread}",
        f"{setting.train_seconds:.1f}",
        f"{setting.sequences_a_second:,.0f}",
        f"{setting.predict_ms:.3f}",
        memory,
    )


def as_text(found: Comparison) -> str:
    """Return the table and the recommendation as lines of text, the best setting first."""
    better = "higher" if found.more_is_better else "lower"
    header = tuple(name.format(found.counted) for name in HEADER)
    rows = [header, *(_row(setting) for setting in found.settings)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.ljust(widths[k]) if k == 0 else cell.rjust(widths[k]) for k, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
    head = f"quality: {found.metric}, {better} is better; equal {found.equal}"
    return "\n".join([head, "", *lines, "", *found.recommendation]) + "\n"


def comparison_report(title: str, found: Comparison) -> str:
    """Return the HTML page of a comparison."""
    better = "higher" if found.more_is_better else "lower"
    *why, lead = found.recommendation
    counts = (
        f"{found.train_size:,} {found.counted} to train on, {found.test_size:,} to measure on,"
        f" equal {found.equal}, {len(found.settings[0].trials)} seeds each."
    )
    said = ", ".join(f"{s.name} {s.quality:.4f}" for s in found.settings)
    axis = f"{found.metric}, {better} is better"
    told = "".join(page.paragraph(part) for part in (*why, counts))
    body = told + page.figure(
        f"{found.metric} of each run", dot_plot(found.settings, axis, f"{axis}: {said}"), READING,
        scrolls=True,
    )  # fmt: skip
    report = page.Report(f"Compared: {title}", lead).add("Quality", body)
    speed = f"{found.counted.capitalize()} a second"
    header = ("Setting", "H", "Parameters", f"{found.metric} (mean ± sd)", "Training [s]", speed,
              "An answer [ms]", "Memory [steps]")  # fmt: skip
    table = page.table(
        "One row a setting, the best first", header, [_row(s) for s in found.settings]
    )
    runs = [
        (s.name, str(t.seed), f"{t.quality:.4f}", str(t.epochs), f"{t.train_seconds:.1f}",
         f"{100 * t.clipped_share:.0f} %")
        for s in found.settings
        for t in s.trials
    ]  # fmt: skip
    names = ("Setting", "Seed", found.metric, "Epochs", "Training [s]", "Clipped steps")
    every = page.details("Every run", page.table("One row a run", names, runs))
    return report.add("Side by side", table + page.paragraph(NOTES, kind="soft") + every).html()


def dot_plot(settings: Sequence[Setting], axis: str, description: str) -> str:
    """Draw a row a setting: a dot a run, a bar of one standard deviation around the mean."""
    values = [t.quality for s in settings for t in s.trials]
    values += [s.quality + k * (s.deviation or 0.0) for s in settings for k in (-1, 1)]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - room, high + room
    left = max(width(s.name) for s in settings) * 13 + 16
    right, top, step = left + 420.0, 40.0, 30.0

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    bottom = top + step * len(settings)
    parts = [f'<text class="axis" x="{left:.0f}" y="16">{text(axis)}</text>']
    for k in range(5):
        value = low + (high - low) * k / 4
        x = f"{at(value):.1f}"
        parts.append(f'<line class="rule" x1="{x}" x2="{x}" y1="{top - 12}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x}" y="{bottom + 16}" text-anchor="middle">{value:.3g}</text>'
        )
    for row, s in enumerate(settings):
        y = top + step * row + 8
        name = f'<text x="{left - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{text(s.name)}</text>'
        spread = s.deviation or 0.0
        x0, x1 = at(s.quality - spread), at(s.quality + spread)
        bar = (
            f'<rect x="{x0:.1f}" y="{y - 7:.1f}" width="{max(x1 - x0, 2):.1f}" height="14" rx="3"'
            f' fill="var(--accent)" fill-opacity="0.25"/>'
            f'<line class="line s0" x1="{at(s.quality):.1f}" x2="{at(s.quality):.1f}"'
            f' y1="{y - 9:.1f}" y2="{y + 9:.1f}"/>'
        )
        dots = "".join(
            f'<circle class="dot s1" cx="{at(t.quality):.1f}" cy="{y:.1f}" r="4">'
            f"<title>{text(f'{s.name}, seed {t.seed}: {t.quality:.4f}')}</title></circle>"
            for t in s.trials
        )
        parts += [name, bar, dots]
    w, h = right + 30, bottom + 26
    return (
        f'<svg class="plot" role="img" aria-label="{text(description)}" width="{w:.0f}"'
        f' style="max-width:{w:.0f}px" height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}">'
        f"{''.join(parts)}</svg>"
    )
