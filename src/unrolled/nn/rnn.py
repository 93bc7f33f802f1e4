"""RNN, LSTM and GRU: drop-ins for torch.nn's, with what those lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

from unrolled.nn.recurrent import Recurrent
from unrolled.shapes import check_choice
from unrolled.spec import Engine, RecurrentSpec


def _hidden_sizes(hidden_size: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Return a width per layer from torch's `hidden_size, num_layers` or from a sequence."""
    if isinstance(hidden_size, int):
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        return (hidden_size,) * num_layers
    sizes = tuple(hidden_size)
    if num_layers not in (1, len(sizes)):
        raise ValueError(f"num_layers={num_layers} but hidden_size has {len(sizes)} widths {sizes}")
    return sizes


class RNN(Recurrent):
    """A vanilla (Elman) RNN: h[t] = f(W_ih x[t] + b_ih + W_hh h[t-1] + b_hh), f tanh or relu.

    The positional arguments are torch.nn.RNN's, with the same parameters and `state_dict`.
    `hidden_size` may be a sequence, a width per layer. By keyword: `merge` of the directions
    (concat, sum, mean, mul), `residual`, `initial_state` (zeros, learned), `recurrent_dropout` (on
    h[t-1], one mask a sequence, Gal and Ghahramani 2016), `init` (torch, orthogonal) and `engine`
    (auto, reference, torch, native). Source: Elman 1990, Finding Structure in Time.
    """

    cell = "rnn"

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        engine: Engine = "auto",
        **choices: Any,
    ) -> None:
        spec = RecurrentSpec(
            cell="rnn",
            input_size=input_size,
            hidden_sizes=_hidden_sizes(hidden_size, num_layers),
            nonlinearity=cast(Any, nonlinearity),
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            **choices,
        )
        super().__init__(spec, batch_first=batch_first, engine=engine, device=device, dtype=dtype)

    @property
    def nonlinearity(self) -> str:
        """f: tanh or relu."""
        return self.spec.nonlinearity


class LSTM(Recurrent):
    """A long short-term memory with forget gate, and projection where `proj_size` is above 0.

    i, f, o = sigmoid(W x[t] + U h[t-1] + b), g = tanh(...); c[t] = f*c[t-1] + i*g;
    h[t] = o*tanh(c[t]), or W_hr (o*tanh(c[t])). The positional arguments are torch.nn.LSTM's; by
    keyword the same extras as `RNN`. Sources: Hochreiter and Schmidhuber 1997; Gers et al. 2000
    (forget gate); Sak et al. 2014 (projection).
    """

    cell = "lstm"

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        engine: Engine = "auto",
        **choices: Any,
    ) -> None:
        spec = RecurrentSpec(
            cell="lstm",
            input_size=input_size,
            hidden_sizes=_hidden_sizes(hidden_size, num_layers),
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            **choices,
        )
        super().__init__(spec, batch_first=batch_first, engine=engine, device=device, dtype=dtype)


class GRU(Recurrent):
    """A gated recurrent unit: h[t] = (1 - z)*n + z*h[t-1], with update gate z and reset gate r.

    `reset="after"` (torch's and cuDNN's): n = tanh(W x + b + r*(U h + d)); `reset="before"` (the
    paper's): n = tanh(W x + b + U (r*h) + d). The positional arguments are torch.nn.GRU's; by
    keyword `reset` and the same extras as `RNN`. Source: Cho et al. 2014, 2.3.
    """

    cell = "gru"

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        engine: Engine = "auto",
        **choices: Any,
    ) -> None:
        spec = RecurrentSpec(
            cell="gru",
            input_size=input_size,
            hidden_sizes=_hidden_sizes(hidden_size, num_layers),
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            **choices,
        )
        super().__init__(spec, batch_first=batch_first, engine=engine, device=device, dtype=dtype)


_CLASSES: dict[str, type[Recurrent]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def recurrent(
    spec: RecurrentSpec,
    *,
    batch_first: bool = True,
    engine: Engine = "auto",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Recurrent:
    """Return the RNN, LSTM or GRU that `spec` describes."""
    check_choice("cell", spec.cell, tuple(_CLASSES))
    return _CLASSES[spec.cell].from_spec(
        spec, batch_first=batch_first, engine=engine, device=device, dtype=dtype
    )
