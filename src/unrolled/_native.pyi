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

def num_threads() -> int:
    """Threads that one call may use."""

def set_num_threads(count: int) -> None:
    """Set how many threads one call may use, from 1 to 256."""

def available_cores() -> int:
    """Cores that this process may use, by affinity and cgroup quota."""

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

    def __init__(self, cell: str, directions: Sequence[_Parameters]) -> None: ...
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

def crf_log_partition(
    emissions: _Floats,
    transitions: _Floats,
    start: _Floats,
    end: _Floats,
    lengths: NDArray[np.int64],
    log_z: NDArray[np.float64],
    alphas: NDArray[np.float64] | None,
) -> None:
    """Write log Z [N] of chains over emissions [N, T, K], and forward scores [N, T, K]."""

def crf_gradient(
    emissions: _Floats,
    transitions: _Floats,
    start: _Floats,
    end: _Floats,
    lengths: NDArray[np.int64],
    log_z: NDArray[np.float64],
    alphas: NDArray[np.float64],
    weights: NDArray[np.float64],
    d_emissions: _Floats,
    d_transitions: _Floats,
    d_start: _Floats,
    d_end: _Floats,
) -> None:
    """Write the gradient of sum_n weights[n] log Z[n] by each of the scores."""

def crf_viterbi(
    emissions: _Floats,
    transitions: _Floats,
    start: _Floats,
    end: _Floats,
    lengths: NDArray[np.int64],
    paths: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    """Write the best tag sequences of each row, paths [N, best, T], and their scores [N, best]."""
