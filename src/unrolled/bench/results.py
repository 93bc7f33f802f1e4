"""What a run found: plain structs that go to JSON and come back."""

from __future__ import annotations

from typing import Literal

import msgspec

from unrolled.bench.cases import Case, Grid
from unrolled.bench.machine import Machine
from unrolled.bench.measure import Timing
from unrolled.bench.memory import Memory
from unrolled.errors import ConfigError
from unrolled.spec import Engine, Struct

FORMAT = 2
OURS, DENSE = "unrolled", "unrolled-dense"
# Ours in float32 where the case has fewer bits; a list of sessions each call; a plain batch.
FLOAT32, STEP_MANY, BATCH = "unrolled-float32", "unrolled-step-many", "unrolled-batch"
OWN = (OURS, DENSE, FLOAT32, STEP_MANY, BATCH)

Status = Literal["timed", "differs", "failed"]


class SideResult(Struct, frozen=True, kw_only=True):
    """A library at a case; `error` is its worst error as a share of what is allowed."""

    name: str
    status: Status
    note: str = ""
    error: float | None = None
    timing: Timing | None = None


class CaseResult(Struct, frozen=True, kw_only=True):
    """Every side of a case.

    `others` is how many cores other processes used meanwhile, `product` the GFLOP/s of a square
    matrix product timed turn about with the sides (0 where there was none).
    """

    case: Case
    sides: list[SideResult]
    others: float = 0.0
    product: float = 0.0
    memory: tuple[Memory, ...] = ()

    def side(self, name: str) -> SideResult | None:
        """Return the side of that name, or None where it did not take part."""
        return next((side for side in self.sides if side.name == name), None)

    def seconds(self, name: str) -> float | None:
        """Return the median seconds of a call, or None where the side was not timed."""
        side = self.side(name)
        return side.timing.median if side and side.timing else None

    def rate(self, name: str) -> float | None:
        """Return useful GFLOP/s, or None where the side was not timed or none are counted."""
        seconds, operations = self.seconds(name), self.case.operations
        return operations / seconds / 1e9 if seconds and operations else None

    def speed(self, name: str) -> str:
        """Return how fast a side was, with its unit; an empty string where it was not timed."""
        seconds = self.seconds(name)
        if seconds is None:
            return ""
        if self.case.decodes:
            return f"{self.case.N / seconds:,.0f} words/s"
        if self.case.steps:
            return f"{seconds * 1e6:.2f} us"
        return f"{self.rate(name):.1f} GFLOP/s"

    @property
    def best_peer(self) -> str | None:
        """The fastest of the peers that agree, or None."""
        peers = {
            side.name: side.timing.median
            for side in self.sides
            if side.timing and side.name not in OWN
        }
        return min(peers, key=lambda name: peers[name]) if peers else None

    @property
    def peak(self) -> float:
        """The best GFLOP/s meanwhile in float32: of the matrix product or of any side."""
        low = self.case.precision != "float32"
        without = (OURS, STEP_MANY, BATCH) if low else (DENSE,)
        rates = [
            rate
            for side in self.sides
            if side.name not in without and (rate := self.rate(side.name))
        ]
        return max([self.product, *rates], default=0.0)

    def ratio(self, peer: str | None) -> float | None:
        """Return how many times faster ours is than `peer`."""
        return self.ratio_of(OURS, peer)

    def ratio_of(self, name: str, peer: str | None) -> float | None:
        """Return how many times faster one side is than another; None where one was not timed."""
        mine, theirs = self.seconds(name), self.seconds(peer) if peer else None
        return theirs / mine if mine and theirs else None


class Report(Struct, frozen=True, kw_only=True):
    """A whole run. `peaks` has the machine's best GFLOP/s by threads (as text, for JSON)."""

    format: int = FORMAT
    when: str
    grid: Grid
    quick: bool
    engine: Engine
    machine: Machine
    seconds: float
    peaks: dict[str, float]
    results: list[CaseResult]

    def peak(self, threads: int) -> float:
        """Return the best GFLOP/s of `threads`: of a matrix product or of any side seen."""
        seen = [result.peak for result in self.results if result.case.threads == threads]
        return max([self.peaks.get(str(threads), 0.0), *seen])


def encode(report: Report) -> bytes:
    """Return the run as JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def decode(content: bytes, where: str) -> Report:
    """Return the run in a file; raises ConfigError where it is not one."""
    try:
        return msgspec.json.decode(content, type=Report)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{where}: not a benchmark's result ({error})") from None
