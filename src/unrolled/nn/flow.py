"""How strongly the loss pulls at each time step: the norms of dL/dh[t] and dL/dc[t]."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from unrolled.nn.recurrent import Recurrent


class GradientFlow:
    """What `gradient_flow` records of the last call of a layer.

    `h` has a tensor [D, T] for each of the L layers, `c` the same for an LSTM and nothing for other
    cells. Both are empty before the first call, and zero until its backward pass. Time steps are
    the input's: flow.h[l][1, 0] is where the backward direction ends. Padding counts nothing.
    `h_rows` and `c_rows` have the same of every row by itself, [D, T, N].
    """

    def __init__(self, *, has_c: bool) -> None:
        self._has_c = has_c
        self._layers: list[Tensor] = []

    @property
    def h(self) -> list[Tensor]:
        """|dL/dh[t]|, the Euclidean norm over rows and units, [D, T] for each layer."""
        return [norms.norm(dim=-1) for norms in self.h_rows]

    @property
    def c(self) -> list[Tensor]:
        """|dL/dc[t]| of an LSTM's cell state, [D, T] for each layer; empty for other cells."""
        return [norms.norm(dim=-1) for norms in self.c_rows]

    @property
    def h_rows(self) -> list[Tensor]:
        """|dL/dh[t]| of each row, over units, [D, T, N] for each layer; 0 past a row's end."""
        return [norms[..., 0] for norms in self._layers]

    @property
    def c_rows(self) -> list[Tensor]:
        """|dL/dc[t]| of each row of an LSTM, [D, T, N] for each layer; empty for other cells."""
        return [norms[..., 1] for norms in self._layers] if self._has_c else []

    def _begin(self) -> list[Tensor]:
        self._layers = []
        return self._layers


@contextmanager
def gradient_flow(layer: Recurrent) -> Iterator[GradientFlow]:
    """Record, for calls of `layer` in this block, how the loss's gradient flows back through time.

    flow_h[d, t] = |dL/dh[t]| and flow_c[d, t] = |dL/dc[t]|, of the whole gradient: what enters
    through y[t], the last state and step t + 1. A flow that falls with t vanishes, one that grows
    explodes (Pascanu et al. 2013, section 2)::

        with gradient_flow(layer) as flow:
            y, _ = layer(x)
            loss(y).backward()
        flow.h[0]  # [D, T] of the first layer

    The call of the layer has to be in the block; its backward pass may come later. The native
    engine finds the norms on its way, the reference engine asks autograd. Raises EngineError at the
    call where engine="torch", and under torch.compile and torch.func.
    """
    flow = GradientFlow(has_c=layer.spec.cell == "lstm")

    def give(
        module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**kwargs, "flow": flow._begin()}

    handle = layer.register_forward_pre_hook(give, with_kwargs=True)
    try:
        yield flow
    finally:
        handle.remove()
