"""What leaves the encoder: its memory, and a bridge from its last states to the decoder's first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unrolled.spec import RecurrentSpec


def final_states(spec: RecurrentSpec, hx: Any) -> tuple[Tensor, Tensor | None]:
    """Return the last layer's final (h, c), directions side by side: [N, D * H]; c for LSTM.

    `hx` is what a recurrent layer returns: h_n or (h_n, c_n), each [L * D, N, H] or, where widths
    differ by layer, a tuple of [D, N, H_l].
    """
    h_n, c_n = hx if spec.cell == "lstm" else (hx, None)
    return _last_layer(spec, h_n), None if c_n is None else _last_layer(spec, c_n)


def _last_layer(spec: RecurrentSpec, states: Any) -> Tensor:
    last = states[-1] if isinstance(states, tuple) else states[-spec.num_directions :]
    return torch.cat(tuple(last), dim=-1)


class Bridge(nn.Module):
    """The decoder's first states from the encoder's last (Bahdanau et al. 2015, A.2.2).

    h_l = tanh(W_h s + b_h) for every decoder layer l at once, s [N, D * H] being the encoder's last
    layer's final states, directions concatenated. For an LSTM decoder c_l = W_c s_c + b_c as well,
    with s_c the encoder's cell states where it has them and s where it has none.
    """

    def __init__(self, h_size: int, c_size: int, decoder: RecurrentSpec) -> None:
        super().__init__()
        self.h_sizes = [decoder.state_size(layer) for layer in range(decoder.num_layers)]
        self.c_sizes = list(decoder.hidden_sizes)
        self.h = nn.Linear(h_size, sum(self.h_sizes))
        self.c: nn.Linear | None = None
        if decoder.cell == "lstm":
            self.c = nn.Linear(c_size, sum(self.c_sizes))

    def forward(
        self, h: Tensor, c: Tensor | None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
        """Map final states h [N, D * H] (and c) to one h [N, H_l] (and c) per decoder layer."""
        first_h = torch.split(torch.tanh(self.h(h)), self.h_sizes, dim=-1)
        if self.c is None:
            return first_h, None
        return first_h, torch.split(self.c(h if c is None else c), self.c_sizes, dim=-1)
