"""What the numbers were measured on: the processor, versions, how idle it was, and its peak."""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path

from unrolled import __version__
from unrolled.spec import Struct

PACKAGES = ("numpy", "torch", "onnxruntime", "openvino", "onnx")
# Above this many cores used by others the machine is not idle, and numbers are noise.
IDLE = 0.1
PEAK_SIZES = (256, 512, 1024, 2048)
PEAK_SECONDS = 0.6
FEWEST_PRODUCTS = 5


class Machine(Struct, frozen=True, kw_only=True):
    """Facts of the machine and of what ran on it.

    `load` is the load average; `others` counts the cores taken at the start, `stolen` of them by
    the host of a virtual machine.
    """

    processor: str
    cores: int
    isa: str
    isas: list[str]
    system: str
    versions: dict[str, str]
    load: list[float]
    others: float
    stolen: float


class Busy:
    """Watches how many cores are taken from this process, from now on.

    Both numbers are nan where the system cannot say.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._before, self._own = _system_seconds(), _own_seconds()

    def others(self) -> float:
        """Return the mean number of cores that other processes used or the host took."""
        busy, stolen = self._since()
        own = (_own_seconds() - self._own) / (time.perf_counter() - self._start)
        return max(0.0, busy + stolen - own)

    def stolen(self) -> float:
        """Return the mean number of cores that the host of a virtual machine took."""
        return self._since()[1]

    def _since(self) -> tuple[float, float]:
        elapsed = time.perf_counter() - self._start
        busy, stolen = _system_seconds()
        return (busy - self._before[0]) / elapsed, (stolen - self._before[1]) / elapsed


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _system_seconds() -> tuple[float, float]:
    """Return the seconds since start that all cores were busy, and that the host took (Linux)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return math.nan, math.nan
    user, nice, system, _, _, interrupt, soft, stolen = map(int, fields[:8])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + interrupt + soft) / tick, stolen / tick


def cores() -> int:
    """Return the cores that this process may use."""
    from unrolled import _native

    return _native.available_cores()


def describe() -> Machine:
    """Return the facts, watching for a moment how idle the machine is."""
    from unrolled import _native

    busy = Busy()
    time.sleep(0.5)
    versions = {"unrolled": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Machine(
        processor=_processor(),
        cores=cores(),
        isa=_native.isa(),
        isas=_native.available_isas(),
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
        load=[round(value, 2) for value in os.getloadavg()],
        others=busy.others(),
        stolen=busy.stolen(),
    )


def warning(machine: Machine) -> str:
    """Return a sentence where the machine is not idle, else an empty string."""
    if not machine.others > IDLE:
        return ""
    return (
        f"the machine is not idle: others use {machine.others:.1f} of {machine.cores} cores, "
        f"{machine.stolen:.1f} of it the host (load {machine.load[0]:.1f}); expect noise"
    )


def blas_warning(threads: int) -> str:
    """Return a sentence where numpy's matrix products are not held to `threads`, else nothing."""
    info = import_module("threadpoolctl").threadpool_info()
    found = {each["num_threads"] for each in info if each["user_api"] == "blas"}
    if found == {threads}:
        return ""
    what = ", ".join(map(str, sorted(found))) or "an unknown number of"
    return f"numpy's matrix products have {what} threads where the other sides have {threads}"


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def matrix_peak() -> tuple[float, int]:
    """Return the GFLOP/s of a square float32 matrix product in the median, and its best size.

    torch's threads are used as they are set.
    """
    found: list[tuple[float, int]] = []
    for n in PEAK_SIZES:
        run = matrix_product(n)
        times: list[float] = []
        while sum(times) < PEAK_SECONDS / len(PEAK_SIZES) or len(times) < FEWEST_PRODUCTS:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        found.append((product_rate(n, statistics.median(times)), n))
    return max(found)


def matrix_product(n: int) -> Callable[[], object]:
    """Return what multiplies two float32 matrices of n x n, by torch."""
    import torch

    a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    return lambda: torch.mm(a, b, out=out)


def product_rate(n: int, seconds: float) -> float:
    """Return the GFLOP/s of a product of n x n matrices."""
    return 2e-9 * n**3 / seconds
