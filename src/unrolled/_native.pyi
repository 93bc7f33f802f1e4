"""The compiled engine: which instruction set runs, how many threads, and the kernels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def isa() -> str:
    """Name of the instruction set in use: forced by `UNROLLED_ISA`, else the best of this CPU."""

def available_isas() -> list[str]:
    """Names of the compiled instruction sets that this CPU runs, best first."""

def set_isa(name: str) -> None:
    """Force an instruction set by name; an empty name returns to the default choice."""

def int8_instructions() -> str:
    """What multiplies 8-bit integers in the set in use: "avx512-vnni", "pairs" or "plain"."""

def num_threads() -> int:
    """Threads that one call may use."""

def set_num_threads(count: int) -> None:
    """Set how many threads one call may use, from 1 to 256."""

def available_cores() -> int:
    """Cores that this process may use, by affinity and cgroup quota."""

def borrow_openmp(folder: str) -> str:
    """Run on the threads of the OpenMP runtime loaded from `folder`, else of the only one loaded.

    Returns its path, or an empty string where there is none.
    """

def openmp_path() -> str:
    """Path of the borrowed OpenMP runtime; empty where calls run on the package's own threads."""

def elementwise(
    function: str, x: NDArray[np.floating[Any]], out: NDArray[np.floating[Any]]
) -> None:
    """Write `exp`, `tanh` or `sigmoid` of the 1-d array `x` into `out`."""

def poison_scratch(on: bool) -> None:
    """Fill scratch memory with NaN before each use, so that tests see a read of the unwritten."""

_Floats = NDArray[np.floating[Any]]
_Parameters = tuple[_Floats, _Floats, _Floats | None, _Floats | None, _Floats | None]

class LayerF32:
    """One recurrent layer with float32 weights packed for the kernels; immutable."""

    def __init__(
        self, cell: str, directions: Sequence[_Parameters], precision: str = ...
    ) -> None: ...
    def run(
        self,
        x: _Floats,
        h: _Floats,
        c: _Floats | None,
        lengths: NDArray[np.int64] | None,
        y: _Floats,
        h_n: _Floats,
        c_n: _Floats | None,
    ) -> None:
        """Run x [N, T, I] from h [D, N, P], c [D, N, H]; write y [N, T, D*P], h_n and c_n."""

class LayerF64(LayerF32):
    """The same in float64."""

class StepperF32:
    """A stack of float32 layers in one direction, advanced one time step a call; immutable."""

    def __init__(
        self,
        layers: Sequence[LayerF32],
        residual: bool,
        first_h: Sequence[_Floats],
        first_c: Sequence[_Floats],
    ) -> None: ...
    def step(self, x: Any, state: Any, out: Any) -> tuple[Any, Any] | None:
        """Return y and the new state; None where an argument is no plain array that fits."""

    def advance(
        self, x: Any, block: _Floats, index: NDArray[np.int64] | None, out: Any
    ) -> _Floats | None:
        """Advance the rows `index` of the states `block` [K, S] in place and return y; or None."""

    @property
    def state_width(self) -> int:
        """S, the values of one row's state: h and then c, layer after layer."""

class StepperF64(StepperF32):
    """The same in float64."""

_Sizes = tuple[str, int, int, int, int, int, int]
_Strided = tuple[int, int, int]

def layer_forward_f32(
    sizes: _Sizes,
    lengths: int,
    x: _Strided,
    weights: Sequence[int],
    h0: int,
    c0: int,
    mask: int,
    y: _Strided,
    h_n: int,
    c_n: int,
    cells: _Strided,
    tape: int,
) -> None:
    """Run one layer on float32 arrays given by address and strides (time, batch); 0 is none."""

def layer_backward_f32(
    sizes: _Sizes,
    lengths: int,
    x: _Strided,
    weights: Sequence[int],
    h0: int,
    c0: int,
    mask: int,
    y: _Strided,
    tape: int,
    dy: _Strided,
    dh_n: int,
    dc_n: int,
    dcells: _Strided,
    dx: _Strided,
    gradients: Sequence[int],
    dh0: int,
    dc0: int,
    flow: int,
) -> None:
    """Run one layer's backward pass on float32 arrays given by address; 0 is not wanted."""

layer_forward_f64 = layer_forward_f32
layer_backward_f64 = layer_backward_f32

def tape_width(cell: str, hidden: int, outputs: int) -> int:
    """Values that a training step's tape keeps per token and direction."""
