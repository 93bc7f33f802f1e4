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
    """Write a function of the 1-d array `x` into `out`.

    `exp`, `tanh`, `sigmoid`, `elu` (alpha 1), `softplus` or `softsign`.
    """

def poison_scratch(on: bool) -> None:
    """Fill scratch memory with NaN before each use, so that tests see a read of the unwritten."""

def share_always(on: bool) -> None:
    """Share also the work that is not worth it, so that tests of threads can be small."""

_Floats = NDArray[np.floating[Any]]
_Parameters = tuple[_Floats, _Floats, _Floats | None, _Floats | None, _Floats | None]

class LayerF32:
    """One recurrent layer with float32 weights packed for the kernels; immutable.

    For each direction `activations` holds f, g, h as (ONNX name, alpha, beta), and `peepholes` an
    array [3, H] in the order i f o.
    """

    def __init__(
        self,
        cell: str,
        directions: Sequence[_Parameters],
        activations: Sequence[Sequence[tuple[str, float, float]]] | None = None,
        clip: float | None = None,
        input_forget: bool = False,
        peepholes: Sequence[_Floats] | None = None,
        precision: str = ...,
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

_Found = tuple[tuple[int, ...], float, float, NDArray[Any] | None]

class DecoderF32:
    """A decoder that writes tokens, its matrices packed for the kernels; immutable.

    `arrays` are C-contiguous, of this type: `embedding` [V, G*H + R], or [V, E] with `embedded`
    [E, G*H + R] and `embedded_bias`; `recurrent.l` [H, G*H] with `recurrent.l_bias`, beside the top
    one's the query of additive attention; from the second layer on `input.l` with `input.l_bias`;
    `source` [M, A + what reads the context] with `source_bias`, without the columns of keys where
    they are the memory; `score` [A]; `query` of concat; `feed` [R, G*H]; `read` [H, R]; `output`
    [R, V] with `output_bias`.
    """

    def __init__(
        self,
        cell: str,
        scorer: str,
        hidden: Sequence[int],
        feeding: bool,
        arrays: dict[str, NDArray[Any]],
    ) -> None: ...
    @property
    def source_width(self) -> int:
        """W, the width of what `project` makes of a step of the memory."""

    def project(self, memory: NDArray[Any], lengths: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write P [N, S, W] of a memory [N, S, M]."""

    def step(
        self,
        tokens: NDArray[np.int64],
        h: Sequence[NDArray[Any]],
        c: Sequence[NDArray[Any]],
        feed: NDArray[Any] | None,
        memory: NDArray[Any] | None,
        lengths: NDArray[np.int64],
        fed: NDArray[Any] | None,
        log_probs: NDArray[Any],
        weights: NDArray[Any] | None,
    ) -> None:
        """Advance tokens [N, K]; h, c [N*K, H] a layer and feed [N*K, R] are replaced in place."""

    def search(
        self,
        h: Sequence[NDArray[Any]],
        c: Sequence[NDArray[Any]],
        memory: NDArray[Any] | None,
        lengths: NDArray[np.int64],
        fed: NDArray[Any] | None,
        limits: NDArray[np.int64],
        beam: int,
        best: int,
        length_penalty: float,
        special: Sequence[int],
    ) -> list[list[_Found]]:
        """Return tokens, score, log-probability and alignment of the best hypotheses of each row.

        `special` are `<pad>`, `<s>` and `</s>`.
        """

class DecoderF64(DecoderF32):
    """The same in float64."""
