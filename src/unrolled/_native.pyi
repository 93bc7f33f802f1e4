"""The compiled engine: which instruction set runs, how many threads, and the kernels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def isa() -> str:
    """Name of the instruction set in use: forced by `UNROLLED_ISA`, else the best of this CPU."""

def available_isas() -> list[str]:
    """Names of the compiled instruction sets that this CPU runs, best first."""

def set_isa(name: str) -> None:
    """Force an instruction set by name; an empty name returns to the default choice."""

def num_threads() -> int:
    """Threads that one call may use."""

def set_num_threads(count: int) -> None:
    """Set how many threads one call may use, from 1 to 256."""

def available_cores() -> int:
    """Cores that this process may use, by affinity and cgroup quota."""

def elementwise(function: str, x: NDArray[np.floating[Any]], out: NDArray[np.floating[Any]]) -> None:
    """Write `exp`, `tanh` or `sigmoid` of the 1-d array `x` into `out`."""
