"""What the experiments found: one HTML page, or pages for the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from unrolled.explain import page
from unrolled.explain.labels import text
from unrolled.lab.experiment import Experiment, Results, Verdict
from unrolled.lab.plots import draw

INTERVAL = (
    "Numbers are means over seeds ± half the width of the 95 % interval (Student's t). A "
    "verdict counts a "
    "difference only where its interval does not hold 0."
)


@dataclass(frozen=True)
class Finding:
    """An experiment with the rows of its seeds and what it took."""

    experiment: Experiment
    results: Results
    quick: bool
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """What became of the claim."""
        return self.experiment.judge(self.results)

    @property
    def effort(self) -> str:
        """How the numbers came about, in a sentence."""
        seeds = len(self.results.values("seed"))
        kind = "quick" if self.quick else "full"
        return f"{seeds} seeds, {kind} settings, {self.seconds / 60:.1f} minutes of processor time."


def table(finding: Finding) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of an experiment's table: a row for each set of conditions."""
    experiment, results = finding.experiment, finding.results
    keys = [tuple(row[c] for c in experiment.columns) for row in results.rows]
    numbers = [n for n in experiment.numbers if results.has(n)]
    rows = []
    for key in dict.fromkeys(keys):
        where = dict(zip(experiment.columns, key, strict=True))
        cells = [str(results.mean(n, **where)) if results.has(n, **where) else "–" for n in numbers]
        rows.append([*map(str, key), *cells])
    return [name.replace("_", " ") for name in (*experiment.columns, *numbers)], rows


def html(findings: Sequence[Finding]) -> str:
    """Return the page: verdicts first, then each experiment with its figures and numbers."""
    quick = any(finding.quick for finding in findings)
    lead = "Claims that textbooks make about recurrent networks, each run as an experiment. "
    if quick:
        lead += "Quick settings train for seconds: their verdicts are about little training."
    report = page.Report("The lab", lead)
    verdicts = [
        (f.experiment.claim, f.verdict.answer, str(len(f.results.values("seed")))) for f in findings
    ]
    body = page.table("One claim a row", ("Claim", "Verdict", "Seeds"), verdicts)
    report = report.add("Verdicts", body + page.paragraph(INTERVAL, kind="soft"))
    for finding in findings:
        report = report.add(finding.experiment.title, _section(finding))
    return report.html()


def _section(finding: Finding) -> str:
    experiment, verdict = finding.experiment, finding.verdict
    figures = "".join(
        page.figure(
            plot.title, _inline(draw(finding.results, plot), plot.title), plot.reading, scrolls=True
        )
        for plot in experiment.plots
    )
    header, rows = table(finding)
    return (
        page.paragraph(f"Claim: {experiment.claim}")
        + page.paragraph(f"Verdict: {verdict.answer}. {verdict.words}")
        + figures
        + page.details("In numbers", page.table(experiment.title, header, rows))
        + page.details("How it was run", page.preformatted(experiment.text))
        + page.paragraph(finding.effort, kind="soft")
    )


def _inline(svg: str, title: str) -> str:
    """Return an SVG for a page of any colour: a white ground, and a name for screen readers."""
    described = f'<svg role="img" aria-label="{text(title)}" style="background:#fff"'
    return svg.replace("<svg", described, 1)


def pages(findings: Sequence[Finding]) -> dict[str, bytes]:
    """Return the files of the documentation: an index, and a page and figures an experiment.

    Comments mark the reasons of a verdict and the table of numbers, for pages that include them.
    """
    files: dict[str, bytes] = {"index.md": _index(findings).encode()}
    for finding in findings:
        name = finding.experiment.name
        pictures = []
        for k, plot in enumerate(finding.experiment.plots):
            picture = f"{name}-{k}.svg"
            files[picture] = draw(finding.results, plot).encode()
            stop = "" if plot.title.endswith("?") else "."
            pictures.append(f"![{plot.title}]({picture})\n\n*{plot.title}{stop} {plot.reading}*\n")
        files[f"{name}.md"] = _page(finding, pictures).encode()
    return files


def _index(findings: Sequence[Finding]) -> str:
    lines = [
        "# The lab\n",
        "Claims that textbooks and lectures make about recurrent networks, each run as an "
        "experiment:",
        "`unrolled lab run NAME`. " + INTERVAL + "\n",
        "| claim | verdict | run |",
        "| --- | --- | --- |",
    ]
    for finding in findings:
        experiment = finding.experiment
        seeds = len(finding.results.values("seed"))
        kind = "quick" if finding.quick else "full"
        lines.append(
            f"| [{experiment.claim}]({experiment.name}.md) | {finding.verdict.answer} | "
            f"{kind}, {seeds} seeds |"
        )
    names = "\n".join(finding.experiment.name for finding in findings)
    lines.append(f"\n```{{toctree}}\n:maxdepth: 1\n:hidden:\n\n{names}\n```")
    return "\n".join(lines) + "\n"


def _page(finding: Finding, pictures: Sequence[str]) -> str:
    experiment, verdict = finding.experiment, finding.verdict
    header, rows = table(finding)
    numbers = (header, ["---"] * len(header), *rows)
    source = inspect.getsource(inspect.getmodule(experiment.run))  # type: ignore[arg-type]
    code = source[source.index("from __future__") :]
    lines = [
        f"# {experiment.title}\n",
        f"**Claim.** {experiment.claim}\n",
        f"**Verdict: {verdict.answer}.** {_marked('reasons', verdict.words)}\n",
        *pictures,
        "## What was run\n",
        _prose(experiment.text),
        f"{finding.effort}\n",
        "## The numbers\n",
        _marked("numbers", "\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in numbers) + "\n"),
        "\n## The experiment\n",
        "```python",
        code.rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _marked(name: str, text: str) -> str:
    return f"<!-- {name} -->{text}<!-- end of {name} -->"


def _prose(text: str) -> str:
    """Return a module's own text as Markdown: what it indents is code."""
    blocks = []
    for block in text.strip().split("\n\n"):
        if block.startswith("    "):
            inner = "\n".join(line.removeprefix("    ") for line in block.splitlines())
            blocks.append(f"```text\n{inner}\n```")
        else:
            blocks.append(block)
    return "\n\n".join(blocks) + "\n"
