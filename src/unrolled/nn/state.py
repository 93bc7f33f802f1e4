"""The shapes that go into and come out of a recurrent layer: input, lengths, states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from unrolled.ops.layer import Ragged
from unrolled.spec import RecurrentSpec

Stacked: TypeAlias = Tensor | tuple[Tensor, ...]
State: TypeAlias = Stacked | tuple[Stacked, Stacked]
Lengths: TypeAlias = Tensor | Sequence[int] | np.ndarray


def check_input(spec: RecurrentSpec, x: Tensor, weight: Tensor, *, batch_first: bool) -> None:
    """Raise ValueError unless x is [T, I] or batched, of the weights' dtype and device."""
    layout = "[N, T, I]" if batch_first else "[T, N, I]"
    if x.dim() not in (2, 3):
        raise ValueError(
            f"the input must be {layout}, or [T, I] for one sequence; got shape {list(x.shape)}"
        )
    if x.shape[-1] != spec.input_size:
        raise ValueError(
            f"the input's last size must be input_size {spec.input_size}, got {list(x.shape)}"
        )
    if x.shape[1 if batch_first and x.dim() == 3 else 0] == 0:
        raise ValueError(f"the input must have at least one time step, got {list(x.shape)}")
    if x.device != weight.device:
        raise ValueError(f"the input is on {x.device} but the weights are on {weight.device}")
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(f"the input is {x.dtype} but the weights are {weight.dtype}")


def check_lengths(lengths: Lengths, *, rows: int, steps: int, device: torch.device) -> Tensor:
    """Return `lengths` as int64 [N] on `device`; raise ValueError unless whole and in [0, T]."""
    value = torch.as_tensor(lengths, device=device)
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"lengths must be integers, got {value.dtype}")
    if value.shape != (rows,):
        raise ValueError(f"lengths must be [N] = [{rows}], got {list(value.shape)}")
    if torch.compiler.is_compiling():
        # Values are not known while tracing: the check becomes part of the graph.
        torch._assert_async(
            ((value >= 0) & (value <= steps)).all(),
            f"lengths must lie in 0..{steps} (T of the input)",
        )
        return value.to(torch.int64)
    if torch._C._functorch.is_batchedtensor(value):
        raise ValueError(
            "lengths cannot be mapped over by vmap: give the same lengths to every call"
        )
    if rows:
        shortest, longest = (int(bound) for bound in torch.aminmax(value))
        if shortest < 0 or longest > steps:
            wrong = int(((value < 0) | (value > steps)).nonzero()[0, 0])
            raise ValueError(
                f"lengths must lie in 0..{steps} (T of the input), "
                f"got {int(value[wrong])} in row {wrong}"
            )
    return value.to(torch.int64)


def ragged(
    lengths: Lengths | None, *, rows: int, steps: int, device: torch.device
) -> Ragged | None:
    """Return checked lengths, or None where every row has all T steps."""
    if lengths is None:
        return None
    value = check_lengths(lengths, rows=rows, steps=steps, device=device)
    if torch.compiler.is_compiling():
        return Ragged(value, steps)
    return None if bool((value == steps).all()) else Ragged(value, steps)


def widths(spec: RecurrentSpec, kind: str) -> tuple[int, ...]:
    """Return the width of state `kind` ("h" or "c") at each layer."""
    if kind == "c":
        return spec.hidden_sizes
    return tuple(spec.state_size(layer) for layer in range(spec.num_layers))


def split_state(
    spec: RecurrentSpec, hx: State, like: Tensor, *, batched: bool
) -> dict[str, list[Tensor]]:
    """Return the states per layer, {"h": [[D, N, P], ...], "c": ...}, from torch's hx.

    Takes [L*D, N, H] or, as it must be where widths differ, a tuple of [D, N, H_l]; without N for
    one sequence. Raises ValueError saying the shape that was expected.
    """
    if spec.cell != "lstm":
        return {"h": _split(spec, "h", hx, like, batched)}
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise ValueError("LSTM takes hx as a pair (h, c)")
    return {
        "h": _split(spec, "h", hx[0], like, batched),
        "c": _split(spec, "c", hx[1], like, batched),
    }


def _split(
    spec: RecurrentSpec, kind: str, value: object, like: Tensor, batched: bool
) -> list[Tensor]:
    directions, layers, sizes = spec.num_directions, spec.num_layers, widths(spec, kind)
    rows = (like.shape[1],) if batched else ()
    if isinstance(value, Tensor):
        expected = [layers * directions, *rows, sizes[0]]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"layers have widths {sizes}: {kind} of hx must be a tuple of {layers} tensors "
                f"[D, N, H], got one of shape {list(value.shape)}"
            )
        if list(value.shape) != expected:
            raise ValueError(f"{kind} of hx must have shape {expected}, got {list(value.shape)}")
        parts = list(value.chunk(layers))
    elif isinstance(value, (tuple, list)):
        parts = list(value)
        shapes = [[directions, *rows, size] for size in sizes]
        if [list(part.shape) for part in parts] != shapes:
            raise ValueError(
                f"{kind} of hx must have one tensor per layer of shapes {shapes}, "
                f"got {[list(part.shape) for part in parts]}"
            )
    else:
        raise ValueError(f"{kind} of hx must be a tensor, got {type(value).__name__}")
    for part in parts:
        if part.dtype != like.dtype or part.device != like.device:
            raise ValueError(
                f"{kind} of hx is {part.dtype} on {part.device} "
                f"but the input is {like.dtype} on {like.device}"
            )
    return parts if batched else [part.unsqueeze(1) for part in parts]


def join_state(spec: RecurrentSpec, state: dict[str, list[Tensor]], *, batched: bool) -> State:
    """Return torch's hx from the states per layer: the inverse of `split_state`."""
    joined = tuple(_join(spec, kind, parts, batched) for kind, parts in state.items())
    return joined[0] if len(joined) == 1 else (joined[0], joined[1])


def _join(spec: RecurrentSpec, kind: str, parts: list[Tensor], batched: bool) -> Stacked:
    if not batched:
        parts = [part.squeeze(1) for part in parts]
    if len(set(widths(spec, kind))) > 1:
        return tuple(parts)
    return parts[0] if len(parts) == 1 else torch.cat(parts)
