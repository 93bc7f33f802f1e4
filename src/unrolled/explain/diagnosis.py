"""A doctor's findings as text and as one HTML page: what, by which numbers, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unrolled.explain import page
from unrolled.explain.doctor import THRESHOLDS, Advice, Finding
from unrolled.explain.report import with_numbers
from unrolled.train.describe_flow import describe_flow

if TYPE_CHECKING:
    from unrolled.tasks.remedies import Remedy

UNWATCHED = (
    "The run was not watched: nothing is known of its gradients through time, gates and steps."
    " Train with --watch to have them judged."
)
WELL = "Nothing is beyond its threshold."


def as_text(
    findings: Sequence[Finding],
    tried: Sequence[Remedy],
    *,
    watched: bool,
    log: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the findings in lines, each advice with what trying it showed.

    Where there are none, what the last epoch of `log` measured stands in their place.
    """
    lines = [] if watched else [UNWATCHED, ""]
    if not findings:
        lines += [WELL, *measured(log)]
    for finding in findings:
        lines += [f"{finding.name}", f"  {finding.words}", "  Try:"]
        lines += [f"  - {each.words}: {verdict(each, tried)}" for each in finding.advice]
        lines.append("")
    if tried:
        lines.append(f"As it was, a short run reaches {_quality(tried[0])}.")
    return "\n".join(lines).rstrip() + "\n"


def measured(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the doctor looked at in the last epoch, a line each."""
    if not log:
        return []
    last = log[-1]
    lines = []
    if "clipped_share" in last:
        lines.append(f"{100 * last['clipped_share']:.0f} % of the steps were clipped")
    if "flow" in last:
        lines += describe_flow(last["flow"]).strip().removeprefix("flow: ").split("; ")
    return ["In the last epoch:", *(f"  {line}" for line in lines)] if lines else []


def verdict(advice: Advice, tried: Sequence[Remedy]) -> str:
    """Return whether this advice was tested and what came of it, in words."""
    if not advice.changes:
        return "not tested, no option of a short run"
    mine = [remedy for remedy in tried if remedy.words == advice.words]
    if not mine:
        return "not tested"
    (remedy,) = mine
    came = f"{_quality(remedy)}, {_memory(remedy)}"
    if remedy.deviation is None:
        return f"tested with one seed, {came}; as it was {_quality(tried[0])}; noise unknown"
    outcome = {True: "helped", False: "did harm", None: "no difference beyond noise"}
    return f"tested, {outcome[remedy.helped]}: {came}; as it was {_quality(tried[0])}"


def _quality(remedy: Remedy) -> str:
    spread = "" if remedy.deviation is None else f" ± {remedy.deviation:.4f}"
    return f"{remedy.metric.replace('_', ' ')} {remedy.quality:.4f}{spread}"


def _memory(remedy: Remedy) -> str:
    if remedy.memory is None:
        return f"a tenth of the gradient reaches beyond lag {remedy.longest - 1}"
    return f"a tenth of the gradient is left until lag {remedy.memory:.0f}"


def diagnosis_report(
    title: str,
    findings: Sequence[Finding],
    tried: Sequence[Remedy],
    log: Sequence[Mapping[str, Any]],
    *,
    watched: bool,
) -> str:
    """Return the HTML page: findings, what was tried, curves and gradients, the thresholds."""
    names = ", ".join(dict.fromkeys(finding.name for finding in findings))
    lead = f"Found: {names}." if findings else WELL
    report = page.Report(title, lead if watched else f"{lead} {UNWATCHED}")
    panels = [
        (
            finding.name,
            page.paragraph(finding.words)
            + page.bullets([f"{a.words}: {verdict(a, tried)}" for a in finding.advice]),
            False,
        )
        for finding in findings
    ]
    if panels:
        report = report.add("Findings", page.articles(panels))
    seen = measured(log)
    if not findings and seen:
        body = page.paragraph(seen[0]) + page.bullets([line.strip() for line in seen[1:]])
        report = report.add("What was looked at", body)
    if tried:
        rows = [
            (r.words, _quality(r), _memory(r), f"{100 * r.clipped_share:.0f} %", _helped(r, tried))
            for r in tried
        ]
        header = ("Change", "Quality", "Memory", "Clipped", "Helped")
        report = report.add("What was tried", page.table("A row a change", header, rows))
    report = with_numbers(report, log, None)
    bounds = [(name.replace("_", " "), float(v), what) for name, (v, what) in THRESHOLDS.items()]
    table = page.table("Beyond these the doctor speaks", ("Finding", "Bound", "Of what"), bounds)
    return report.add("Thresholds", table).html()


def _helped(remedy: Remedy, tried: Sequence[Remedy]) -> str:
    if remedy is tried[0]:
        return "–"
    return {True: "yes", False: "no, harm", None: "not beyond noise"}[remedy.helped]
