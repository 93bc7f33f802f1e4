"""Memory of training, each case and side in turn in a process of its own.

`held` is exact: the bytes that autograd keeps between forward and backward, without inputs and
weights. `peak` is what the process grew by over forward and backward (Linux), outputs and gradients
included; small cases drown in pages there.
"""

from __future__ import annotations

import ctypes
import gc
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from unrolled.bench.cases import Case
from unrolled.bench.problem import problem
from unrolled.spec import Engine, Struct

STATUS = Path("/proc/self/status")
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes of one side at one case; `peak` is nan where the system cannot tell."""

    side: str
    held: int
    peak: float


class Request(Struct, frozen=True, kw_only=True):
    """What the process is asked."""

    cases: list[Case]
    engine: Engine


def measure(cases: Sequence[Case], engine: Engine) -> dict[str, list[Memory]]:
    """Return the memory of each training case by its name, measured in another process."""
    request = msgspec.json.encode(Request(cases=list(cases), engine=engine))
    command = [sys.executable, "-m", "unrolled.bench.memory"]
    done = subprocess.run(command, input=request, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring memory failed: {done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=dict[str, list[Memory]])


def saved_bytes(run: Callable[[], object], without: frozenset[int]) -> int:
    """Return the bytes of all storages that autograd saves in `run`, but those at `without`."""
    import torch

    kept: dict[int, tuple[int, Any]] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in without:
            # Held here too, so that no address is used twice.
            kept[storage.data_ptr()] = (storage.nbytes(), storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(size for size, _ in kept.values())


def peak_growth(run: Callable[[], object]) -> float:
    """Return by how many bytes the process grew at most while `run` ran."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        run()
        return float(_status("VmHWM") - before)
    except (OSError, AttributeError):
        return math.nan


def _status(field: str) -> int:
    line = next(one for one in STATUS.read_text().splitlines() if one.startswith(field))
    return int(line.split()[1]) * 1024


def _answer(request: Request) -> dict[str, list[Memory]]:
    import torch

    from unrolled import set_num_threads
    from unrolled.bench import torch_sides

    found: dict[str, list[Memory]] = {}
    for case in request.cases:
        torch.set_num_threads(case.threads)
        set_num_threads(case.threads)
        p = problem(case)
        found[case.name] = []
        for side in (
            torch_sides.ours_in_torch(p, request.engine)[0],
            torch_sides.torch_sides(p)[0],
        ):
            side.run()
            held = saved_bytes(side.run, side.given)
            memory = Memory(side=side.name, held=held, peak=peak_growth(side.run))
            found[case.name].append(memory)
    return found


def _own_memory_per_block() -> None:
    """Make every larger block its own mapping, so that what is freed leaves the process."""
    try:
        tune = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    tune(MMAP_THRESHOLD, 1 << 16)
    tune(TRIM_THRESHOLD, 0)


if __name__ == "__main__":
    _own_memory_per_block()
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.json.encode(_answer(asked)))
