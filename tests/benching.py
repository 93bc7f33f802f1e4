"""Runs of the benchmark made up of given times, and what its tests share."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from unrolled.bench import machine, measure, results

TINY = measure.Effort(round_seconds=1e-4, case_seconds=0.0, fewest_rounds=2, most_rounds=2)


def needs(*packages):
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def timing(seconds):
    return measure.summarise([seconds * f for f in (0.9, 1.0, 1.1)], 1)


def side(name, seconds, **more):
    return results.SideResult(name=name, status="timed", timing=timing(seconds), **more)


def result(case, **seconds):
    sides = [side(name.replace("_", "-"), value) for name, value in seconds.items()]
    return results.CaseResult(case=case, sides=sides, product=100.0 * case.threads)


def whole(*found, grid="core"):
    return results.Report(
        when="2026-01-01T00:00:00+00:00",
        grid=grid,
        quick=False,
        engine="auto",
        machine=machine.Machine(
            processor="A <fast> one",
            cores=2,
            isa="x86-64-v4",
            isas=["x86-64-v4"],
            system="Linux x86_64",
            versions={"torch": "1"},
            load=[0.0, 0.0, 0.0],
            others=0.0,
            stolen=0.0,
        ),
        seconds=1.0,
        peaks={"1": 100.0, "2": 200.0},
        results=list(found),
    )
