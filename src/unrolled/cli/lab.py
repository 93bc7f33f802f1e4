"""`unrolled lab list`, `run` and `report`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from unrolled.cli.common import say, write_json


@click.group(name="lab")
def command() -> None:
    """Put what textbooks say about recurrent networks to the test.

    Example: unrolled lab run memory --quick
    """


_OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("lab-out"),
    show_default=True,
    help="Folder of the results.",
)


@command.command(name="list")
def list_() -> None:
    """Print the experiments and their claims."""
    from unrolled.lab.catalogue import EXPERIMENTS

    widest = max(map(len, EXPERIMENTS))
    for name, experiment in EXPERIMENTS.items():
        sys.stdout.write(f"{name:{widest}}  {experiment.claim}\n")


@command.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Small settings: a minute or two each.")
@click.option("--seeds", type=click.IntRange(3), default=3, show_default=True, help="How many.")
@_OUT
@click.option("--json", "as_json", is_flag=True, help="Print verdicts and all rows as JSON.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def run(
    names: tuple[str, ...], quick: bool, seeds: int, out: Path, as_json: bool, quiet: bool
) -> None:
    """Run the experiments NAMES, or all, and print what became of their claims.

    What OUT holds already is not run again.
    """
    from unrolled.errors import ConfigError, did_you_mean
    from unrolled.lab.catalogue import EXPERIMENTS
    from unrolled.lab.runner import run as run_seeds

    for name in names:
        if name not in EXPERIMENTS:
            raise ConfigError(f"no experiment {name!r}.{did_you_mean(name, EXPERIMENTS)}")
    found = []
    for name in names or EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        results = run_seeds(
            experiment,
            range(seeds),
            out,
            quick=quick,
            notify=lambda message: say(message, quiet=quiet),
        )
        verdict = experiment.judge(results)
        found.append(
            {
                "name": name,
                "claim": experiment.claim,
                "verdict": verdict.answer,
                "words": verdict.words,
                "rows": list(results.rows),
            }
        )
        if not as_json:
            sys.stdout.write(f"{name}: {experiment.claim}\n  {verdict.answer}: {verdict.words}\n")
            sys.stdout.flush()
    if as_json:
        write_json(found)


@command.command()
@_OUT
@click.option("--quick", is_flag=True, help="Of quick runs only.")
@click.option("--docs", type=click.Path(path_type=Path), help="Write pages of Markdown here too.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def report(out: Path, quick: bool, docs: Path | None, quiet: bool) -> None:
    """Write what the runs in OUT found as OUT/report.html.

    Of an experiment that has both, the full run is shown.
    """
    from unrolled.artifact import write_files
    from unrolled.errors import ConfigError
    from unrolled.explain.report import write_report
    from unrolled.lab.catalogue import EXPERIMENTS
    from unrolled.lab.report import Finding, html, pages
    from unrolled.lab.runner import folder_of, read, seconds_of

    findings = []
    for experiment in EXPERIMENTS.values():
        for kind in (True,) if quick else (False, True):
            if folder_of(out, experiment, quick=kind).exists():
                results = read(experiment, out, quick=kind)
                seconds = seconds_of(experiment, out, quick=kind)
                findings.append(Finding(experiment, results, kind, seconds))
                break
    if not findings:
        found = "quick runs" if quick else "runs"
        raise ConfigError(f"{out}: holds no results of {found}; `unrolled lab run` makes them")
    write_report(out / "report.html", html(findings))
    say(f"the report is in {out / 'report.html'}", quiet=quiet)
    if docs is not None:
        write_files(docs, pages(findings))
        say(f"{len(findings)} pages are in {docs}", quiet=quiet)
