"""`unrolled bench`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from unrolled.cli.common import say
from unrolled.errors import ConfigError, UnrolledError

if TYPE_CHECKING:
    from unrolled.bench.results import Report

DEFAULT_CHART = "docs/bench.svg"


@click.command(name="bench")
@click.option(
    "--grid",
    type=click.Choice(["core", "full", "sessions", "decode"]),
    default="core",
    show_default=True,
    help="The cases: layers in minutes (`core`) or most of an hour (`full`), `sessions` in every "
    "precision, or whole answers of a translator (`decode`).",
)
@click.option("--cases", metavar="PATTERN", help="Only cases whose name has it, as lstm-*-N32.")
@click.option("--threads", metavar="K,..", help="Run every case at each of these numbers.")
@click.option(
    "--peers",
    metavar="NAME,..",
    help="torch, torch-compile, onnxruntime, openvino, numpy  [default: those of the grid]",
)
@click.option("--quick", is_flag=True, help="Measure for a moment only: rough numbers.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "native", "torch", "reference"]),
    default="auto",
    show_default=True,
    help="What computes our side.",
)
@click.option("--isa", metavar="NAME", help="Force an instruction set of the native engine.")
@click.option(
    "--out", type=click.Path(), default="bench-out", show_default=True, help="Where files go."
)
@click.option(
    "--svg",
    metavar="[FILE]",
    is_flag=False,
    flag_value=DEFAULT_CHART,
    help=f"Write the chart here too; alone it means {DEFAULT_CHART}.",
)
@click.option("--from", "earlier", type=click.Path(), help="Show an earlier run's JSON; run none.")
@click.option("--list", "only_list", is_flag=True, help="Print the names of the cases and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(svg: str | None, earlier: str | None, only_list: bool, **options: Any) -> None:
    """Time our layers and their peers, turn about, with equal threads; agreement comes first.

    Writes bench.json and bench.md to OUT, and bench.svg where the grid has a chart (core, full).
    Needs the extra `bench`. Exits with 1 where our own side fails or disagrees; no time is a
    failure.
    """
    if options["isa"]:
        _force_isa(options["isa"])
    if only_list:
        for case in _cases(options):
            click.echo(case.name)
        return
    from unrolled.bench import chart, report, results

    kept = results.decode(_content(earlier), earlier) if earlier else None
    if svg:
        chart.check(kept.grid if kept else options["grid"])
    found = kept or _run(options)
    if not earlier:
        _write(found, Path(options["out"]), quiet=options["quiet"])
    if svg:
        Path(svg).parent.mkdir(parents=True, exist_ok=True)
        Path(svg).write_text(chart.draw(found))
        say(f"wrote {svg}", quiet=options["quiet"])
    if options["as_json"]:
        click.echo(results.encode(found).decode(), nl=False)
    else:
        report.show(found)
    wrong = [r.case.name for r in found.results if not r.seconds(results.OURS)]
    if wrong:
        raise UnrolledError(f"our side failed or disagreed in {len(wrong)} cases: {wrong[0]}")


def _write(found: Report, folder: Path, *, quiet: bool) -> None:
    from unrolled.bench import chart, report, results

    contents = {"bench.json": results.encode(found), "bench.md": report.markdown(found).encode()}
    if found.grid in chart.GRIDS:
        contents["bench.svg"] = chart.draw(found).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    say(f"wrote {', '.join(contents)} to {folder}", quiet=quiet)


def _cases(options: dict[str, Any]) -> Any:
    from unrolled.bench import cases, machine

    threads = _numbers(options["threads"])
    return cases.select(
        options["grid"], cores=machine.cores(), pattern=options["cases"], threads=threads
    )


def _run(options: dict[str, Any]) -> Any:
    from unrolled.bench import measure, run

    peers = run.IN_GRID[options["grid"]]
    if options["peers"] is not None:
        peers = tuple(name.strip() for name in options["peers"].split(",") if name.strip())
    plan = run.Plan(
        cases=_cases(options),
        grid=options["grid"],
        peers=peers,
        effort=measure.QUICK if options["quick"] else measure.Effort(),
        quick=options["quick"],
        engine=options["engine"],
    )
    return run.run(plan, lambda text: say(text, quiet=options["quiet"]))


def _numbers(text: str | None) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ConfigError(f"--threads {text}: expected numbers such as 1,2") from None
    if any(number < 1 for number in found):
        raise ConfigError(f"--threads {text}: at least 1")
    return found


def _force_isa(name: str) -> None:
    from unrolled import _native

    known = _native.available_isas()
    if name not in known:
        raise ConfigError(f"--isa {name}: this CPU runs {', '.join(known)}")
    _native.set_isa(name)
    # The process that measures memory reads it there.
    os.environ["UNROLLED_ISA"] = name


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({cast(str, error.strerror)})") from None
