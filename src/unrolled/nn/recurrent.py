"""The stack under RNN, LSTM and GRU: inputs checked, one engine call a layer, merged, laid out.

Shapes: T steps, N rows, I input, H hidden, P = proj_size or H, D directions, L layers, G gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, get_args

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled.nn.episodes import by_episodes, time_major
from unrolled.nn.initialise import initialise
from unrolled.nn.state import Lengths, State, check_input, join_state, ragged, split_state
from unrolled.nn.truncated import Work, in_pieces
from unrolled.ops.choose import ENGINES, Choice, choose
from unrolled.ops.layer import LayerWeights, Ragged
from unrolled.shapes import check_choice, check_spec, parameter_shapes, suffixes
from unrolled.spec import Engine, RecurrentSpec

if TYPE_CHECKING:
    from unrolled.runtime.recurrent import Recurrent as RuntimeRecurrent


class Recurrent(nn.Module):
    """A stack of recurrent layers in one or two directions, built from a `RecurrentSpec`.

    For each layer l: x_{l+1} = merge(forward(x_l), backward(x_l)) (+ x_l where residual, l > 0),
    with dropout between layers. The module keeps nothing between calls.

    With the attribute `truncate` above 0 a training pass computes the same numbers, but its
    gradients stop at every `truncate`-th step while the state goes on (truncated BPTT).
    """

    def __init__(
        self,
        spec: RecurrentSpec,
        *,
        batch_first: bool = True,
        engine: Engine = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_spec(spec)
        check_choice("engine", engine, get_args(Engine))
        self.spec = spec
        self.batch_first = batch_first
        self.engine: Engine = engine
        # What language models add in training (Merity et al. 2018, section 4).
        self.locked_dropout = False
        self.weight_dropout = 0.0
        # In training the gradient goes back so many steps and no further (0: through all).
        self.truncate = 0
        for name, shape in parameter_shapes(spec).items():
            value = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(value))
        self.reset_parameters()
        self.flatten_parameters()

    @classmethod
    def from_spec(
        cls,
        spec: RecurrentSpec,
        *,
        batch_first: bool = True,
        engine: Engine = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Return the layer that `spec` describes; raises ValueError where it fits no network."""
        cell = getattr(cls, "cell", spec.cell)
        if cell != spec.cell:
            raise ValueError(f"{cls.__name__} needs a spec of cell {cell!r}, got {spec.cell!r}")
        layer = cls.__new__(cls)
        Recurrent.__init__(
            layer, spec, batch_first=batch_first, engine=engine, device=device, dtype=dtype
        )
        return layer

    def reset_parameters(self) -> None:
        """Draw new first values for every parameter, as `spec.init` says."""
        initialise(self.spec, dict(self.named_parameters()))

    def flatten_parameters(self) -> None:
        """Lay the weights of each layer out in one block, as cuDNN wants; elsewhere do nothing."""
        weights = [w for one in self.all_weights for w in one]
        if not all(type(w.data) is Tensor and w.is_cuda for w in weights):
            return
        if len({(w.dtype, w.device) for w in weights}) != 1:
            return
        # Weights that share their memory must go on sharing it.
        if len({w.data_ptr() for w in weights}) != len(weights):
            return
        if not cudnn.is_acceptable(weights[0]):  # type: ignore[no-untyped-call]
            return
        modes = {"lstm": 2, "gru": 3, "rnn": 1 if self.spec.nonlinearity == "tanh" else 0}
        spec = self.spec
        with torch.cuda.device(weights[0].device), torch.no_grad():
            for k, layer in enumerate(self._weights()):
                flat = [w for one in layer for w in one if w is not None]
                torch._cudnn_rnn_flatten_weight(
                    flat,
                    len(flat) // spec.num_directions,
                    spec.layer_input_size(k),
                    modes[spec.cell],
                    spec.hidden_sizes[k],
                    spec.proj_size,
                    1,
                    self.batch_first,
                    spec.bidirectional,
                )

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.flatten_parameters()
        return self

    def _weights(self) -> list[tuple[LayerWeights, ...]]:
        """Return the weights of each layer, one `LayerWeights` per direction."""
        return [
            tuple(self._direction(suffix) for suffix in suffixes(self.spec, layer))
            for layer in range(self.spec.num_layers)
        ]

    def _direction(self, suffix: str) -> LayerWeights:
        bias = self.spec.bias
        return LayerWeights(
            ih=getattr(self, "weight_ih" + suffix),
            hh=getattr(self, "weight_hh" + suffix),
            b_ih=getattr(self, "bias_ih" + suffix) if bias else None,
            b_hh=getattr(self, "bias_hh" + suffix) if bias else None,
            hr=getattr(self, "weight_hr" + suffix) if self.spec.proj_size else None,
        )

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights as torch.nn lists them: one list per layer and direction."""
        return [[w for w in one if w is not None] for layer in self._weights() for one in layer]

    def engine_for(
        self, x: Tensor | PackedSequence, *, return_states: bool = False, flow: bool = False
    ) -> Choice:
        """Return which engine would run on `x`, and why; raises EngineError where none by name."""
        data = x.data if isinstance(x, PackedSequence) else x
        return choose(
            self.spec,
            engine=self.engine,
            device=data.device,
            dtype=data.dtype,
            training=self.training,
            return_states=return_states,
            flow=flow,
        )

    def forward(
        self,
        x: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        lengths: Lengths | None = None,
        reset: Tensor | ArrayLike | None = None,
        return_states: bool = False,
        flow: list[Tensor] | None = None,
    ) -> Any:
        """Run the stack: (y, hx) or, with `return_states`, (y, hx, states).

        x is [N, T, I] where batch_first, else [T, N, I]; [T, I] for one sequence; or a
        PackedSequence, and then y is one too. `lengths` [N], in any order, end each row: y is zero
        past it, the backward direction begins there, and hx is each row's own last state (a row of
        length 0 keeps its first). hx is h [L*D, N, P], for LSTM the pair with c [L*D, N, H]; where
        widths differ a tuple of [D, N, H_l] in place of each. Left out, it is zero or learned.

        `reset`, booleans in the layout of x without I, cuts rows into episodes: where it is true
        the row begins anew before that step, from the state that is zero or learned. Each episode
        is a sequence of its own, also backwards; hx begins a row's first episode (backwards: its
        last), and what is returned is the state at the row's end (backwards: at its beginning).

        `states` has one dict a layer: "h" [N, T, D, P] and for LSTM "c" [N, T, D, H], in the
        layout of x; of a PackedSequence they come padded. `flow`, an empty list, receives a tensor
        [D, T, N, 2] a layer that the backward pass fills; `unrolled.nn.gradient_flow` explains it.

        Raises ValueError for shapes, dtypes or lengths that do not fit, EngineError where an engine
        chosen by name cannot compute this call.
        """
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError("a PackedSequence has its own lengths: leave lengths= out")
            if reset is not None:
                raise ValueError("a PackedSequence has no layout for reset=: give padded rows")
            return self._packed(x, hx, return_states, flow)
        spec, weights = self.spec, self._weights()
        check_input(spec, x, weights[0][0].ih, batch_first=self.batch_first)
        batched = x.dim() == 3
        if lengths is not None and not batched:
            raise ValueError(f"lengths= needs a batch of sequences, got one of {list(x.shape)}")
        time_first = x.unsqueeze(1) if not batched else x
        if batched and self.batch_first:
            time_first = x.transpose(0, 1)
        steps, rows, _ = time_first.shape
        state = (
            self._initial_state(rows, x)
            if hx is None
            else split_state(spec, hx, time_first, batched=batched)
        )
        ends = ragged(lengths, rows=rows, steps=steps, device=x.device)
        choice = self.engine_for(x, return_states=return_states, flow=flow is not None)

        def stack(x: Tensor, state: dict[str, list[Tensor]], ends: Ragged | None) -> Any:
            return self._stack(weights, x, state, ends, choice, return_states, flow)

        if reset is None:
            y, last, states = stack(time_first, state, ends)
        else:
            if flow is not None:
                raise ValueError("flow= is of whole rows: it cannot be told beside reset=")
            mask = time_major(reset, x, batch_first=self.batch_first)
            new = self._initial_state(1, x)
            y, last, states = by_episodes(stack, time_first, state, new, ends, mask)
        new_hx = join_state(spec, last, batched=batched)
        if not return_states:
            return self._layout(y, batched), new_hx
        laid = [{kind: self._layout(s, batched) for kind, s in one.items()} for one in states]
        return self._layout(y, batched), new_hx, laid

    def _layout(self, y: Tensor, batched: bool) -> Tensor:
        """Return time-major `y` in the layout of the input it came from."""
        if not batched:
            return y.squeeze(1)
        return y.transpose(0, 1) if self.batch_first else y

    def _initial_state(self, rows: int, x: Tensor) -> dict[str, list[Tensor]]:
        """Return zeros, or the learned states for every row: [D, N, P] and [D, N, H] per layer."""
        spec = self.spec
        state: dict[str, list[Tensor]] = {"h": []}
        if spec.cell == "lstm":
            state["c"] = []
        for layer in range(spec.num_layers):
            for kind, parts in state.items():
                width = spec.hidden_sizes[layer] if kind == "c" else spec.state_size(layer)
                if spec.initial_state == "zeros":
                    parts.append(x.new_zeros(spec.num_directions, rows, width))
                else:
                    each = [getattr(self, f"{kind}0{s}") for s in suffixes(spec, layer)]
                    parts.append(torch.stack(each).unsqueeze(1).expand(-1, rows, -1))
        return state

    def _stack(
        self,
        weights: list[tuple[LayerWeights, ...]],
        x: Tensor,
        state: dict[str, list[Tensor]],
        ragged: Ragged | None,
        choice: Choice,
        return_states: bool,
        flow: list[Tensor] | None,
    ) -> tuple[Tensor, dict[str, list[Tensor]], list[dict[str, Tensor]]]:
        """Run every layer on time-major x: y [T, N, out], last states, every state."""
        spec, run = self.spec, ENGINES[choice.name]
        last: dict[str, list[Tensor]] = {kind: [] for kind in state}
        every: list[dict[str, Tensor]] = []
        limit = self.truncate if self.training else 0
        limit = limit if limit and limit < len(x) else 0
        if limit and flow is not None:
            raise ValueError("flow= is of whole rows: it cannot be told where truncate cuts them")
        for k, h in enumerate(state["h"]):
            c = state["c"][k] if "c" in state else None
            mask = None
            if self.training and spec.recurrent_dropout:
                mask = dropout(torch.ones_like(h), spec.recurrent_dropout)
            if flow is not None:
                flow.append(x.new_zeros(spec.num_directions, *x.shape[:2], 2))
            dropped = self._dropped(weights[k])
            if limit:
                work = Work(dropped, x, h, c, ragged, mask, return_states)
                result = in_pieces(run, spec, work, limit)
            else:
                noted = None if flow is None else flow[k]
                result = run(
                    spec, dropped, x, h, c,
                    ragged=ragged, mask=mask, states=return_states, flow=noted,
                )  # fmt: skip
            y = merge(spec, result.y)
            if spec.residual and k:
                y = y + x
            if self.training and spec.dropout and k + 1 < spec.num_layers:
                y = locked(y, spec.dropout) if self.locked_dropout else dropout(y, spec.dropout)
            x = y
            last["h"].append(result.h)
            if result.c is not None:
                last["c"].append(result.c)
            if return_states:
                shape = (*result.y.shape[:2], spec.num_directions, -1)
                every.append({"h": result.y.reshape(shape)})
                if result.cells is not None:
                    every[k]["c"] = result.cells.reshape(shape)
        return x, last, every

    def _dropped(self, weights: tuple[LayerWeights, ...]) -> tuple[LayerWeights, ...]:
        """Drop single recurrent weights, the same ones for every step of this call."""
        if not (self.training and self.weight_dropout):
            return weights
        return tuple(one._replace(hh=dropout(one.hh, self.weight_dropout)) for one in weights)

    def _packed(
        self,
        x: PackedSequence,
        hx: State | None,
        return_states: bool,
        flow: list[Tensor] | None,
    ) -> Any:
        """Run on the padded rows of `x` and pack the output in the same order."""
        padded, lengths = pad_packed_sequence(x, batch_first=self.batch_first)
        y, *rest = self.forward(padded, hx, lengths=lengths, return_states=return_states, flow=flow)
        if x.sorted_indices is not None:
            y = y.index_select(0 if self.batch_first else 1, x.sorted_indices)
            lengths = lengths[x.sorted_indices.cpu()]
        data = pack_padded_sequence(y, lengths, batch_first=self.batch_first).data
        packed = PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        return packed, *rest

    def runtime(self) -> RuntimeRecurrent:
        """Return the torch-free layer with these weights (float32 unless they are float64)."""
        from unrolled.runtime.recurrent import Recurrent as RuntimeRecurrent

        weights = {}
        for name in parameter_shapes(self.spec):
            value = getattr(self, name).detach().cpu()
            weights[name] = (value if value.dtype == torch.float64 else value.float()).numpy()
        return RuntimeRecurrent(self.spec, weights)

    @property
    def input_size(self) -> int:
        """I, as torch.nn names it."""
        return self.spec.input_size

    @property
    def hidden_size(self) -> int | tuple[int, ...]:
        """H, or a width per layer where they differ."""
        sizes = self.spec.hidden_sizes
        return sizes[0] if len(set(sizes)) == 1 else sizes

    @property
    def num_layers(self) -> int:
        """L."""
        return self.spec.num_layers

    @property
    def bias(self) -> bool:
        """Whether there are biases."""
        return self.spec.bias

    @property
    def dropout(self) -> float:
        """The share of values dropped between layers in training."""
        return self.spec.dropout

    @property
    def bidirectional(self) -> bool:
        """Whether D is 2."""
        return self.spec.bidirectional

    @property
    def proj_size(self) -> int:
        """P of an LSTM with projection, else 0."""
        return self.spec.proj_size

    def extra_repr(self) -> str:
        """Return the choices that are not the default."""
        spec = self.spec
        default = RecurrentSpec(cell=spec.cell, input_size=1, hidden_sizes=(1,))
        said = [str(spec.input_size), str(self.hidden_size), f"num_layers={spec.num_layers}"]
        for field in RecurrentSpec.__struct_fields__[3:]:
            value = getattr(spec, field)
            if value != getattr(default, field):
                said.append(f"{field}={value!r}")
        return ", ".join([*said, f"batch_first={self.batch_first}", f"engine={self.engine!r}"])


def locked(x: Tensor, rate: float) -> Tensor:
    """Drop the same units of x [T, N, I] at every step (Gal and Ghahramani 2016, section 4)."""
    return x * dropout(torch.ones_like(x[:1]), rate)


def merge(spec: RecurrentSpec, y: Tensor) -> Tensor:
    """Return the directions of y [T, N, D*P] merged: [T, N, 2*P] for concat, else [T, N, P]."""
    if not spec.bidirectional or spec.merge == "concat":
        return y
    forward, backward = y.chunk(2, dim=-1)
    if spec.merge == "mul":
        return forward * backward
    total = forward + backward
    return total / 2 if spec.merge == "mean" else total
