"""First values of a recurrent stack's parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unrolled.spec import RecurrentSpec


@torch.no_grad()
def initialise(spec: RecurrentSpec, parameters: dict[str, Tensor]) -> None:
    """Fill `parameters` in place as `spec.init` says; learned initial states begin at zero.

    `torch`: U(-1/sqrt(H), 1/sqrt(H)) everywhere, drawn in torch.nn's order. `orthogonal`: each
    gate's recurrent block orthogonal (Saxe et al. 2014), its input block Glorot uniform, biases 0
    but LSTM's forget gate 1 (Gers et al. 2000; Jozefowicz et al. 2015).
    """
    for name, value in parameters.items():
        if name.startswith(("h0", "c0")):
            value.zero_()
            continue
        hidden = spec.hidden_sizes[int(name.split("_l")[1].removesuffix("_reverse"))]
        if spec.init == "torch":
            bound = 1.0 / math.sqrt(hidden)
            value.uniform_(-bound, bound)
        elif name.startswith("bias"):
            value.zero_()
            if spec.cell == "lstm" and name.startswith("bias_ih"):
                value[hidden : 2 * hidden] = 1.0
        elif name.startswith("weight_hr"):
            _orthogonal(value)
        else:
            for block in value.chunk(spec.gates):
                if name.startswith("weight_hh"):
                    _orthogonal(block)
                else:
                    nn.init.xavier_uniform_(block)


def _orthogonal(block: Tensor) -> None:
    """Fill `block` in place; the decomposition runs in float32 where the dtype has none."""
    dtype = torch.float64 if block.dtype == torch.float64 else torch.float32
    block.copy_(nn.init.orthogonal_(torch.empty_like(block, dtype=dtype)))
