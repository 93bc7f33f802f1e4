"""Rows that begin anew in the middle: each episode as a row of its own in one ragged call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.episodes import check_reset, cut, finals, sources
from unrolled.ops.layer import Ragged

States = dict[str, list[Tensor]]
Result = tuple[Tensor, States, list[dict[str, Tensor]]]
Stack = Callable[[Tensor, States, Ragged | None], Result]


def time_major(reset: Any, like: Tensor, *, batch_first: bool) -> np.ndarray:
    """Return a mask in the layout of `like`, the input, as a plain array [T, N].

    Raises ValueError where it is not of booleans or has another shape.
    """
    mask = reset if isinstance(reset, Tensor) else torch.as_tensor(np.asarray(reset))
    if mask.dtype != torch.bool:
        raise ValueError(f"reset must be of booleans, got {mask.dtype}")
    layout = "[T]" if like.dim() == 2 else "[N, T]" if batch_first else "[T, N]"
    check_reset(mask, tuple(like.shape[:-1]), layout)
    plain: np.ndarray = mask.detach().cpu().numpy()
    if plain.ndim == 1:
        return plain[:, None]
    return plain.T if batch_first else plain


def by_episodes(
    stack: Stack, x: Tensor, state: States, new: States, ends: Ragged | None, reset: np.ndarray
) -> Result:
    """Run `stack` over the episodes of time-major x [T, N, I]: outputs, last states, all states.

    `state` begins what goes on, [D, N, P] a layer, `new` [D, 1, P] what begins anew.
    """
    steps, rows, width = x.shape
    lengths = None if ends is None else ends.lengths.cpu().numpy()
    found = cut(reset, lengths)
    directions = state["h"][0].shape[0]
    begin = _begin(state, new, sources(found, directions), x.device)
    flat = x.reshape(steps * rows, width)
    results = [
        _run(stack, flat, begin, group.episodes, group.lengths, group.steps)
        for group in found.groups
    ]
    back, outside = (torch.from_numpy(part).to(x.device) for part in (found.back, found.outside))

    def joined(parts: list[Tensor]) -> Tensor:
        packed = torch.cat([part.flatten(0, 1) for part in parts])
        y = packed.index_select(0, back).reshape(steps, rows, *packed.shape[1:])
        if ends is None:
            return y
        return y.masked_fill(outside.reshape(steps, rows, *[1] * (y.dim() - 2)), 0)

    last = _last([result[1] for result in results], finals(found, directions), x.device)
    every = [
        {kind: joined([result[2][k][kind] for result in results]) for kind in one}
        for k, one in enumerate(results[0][2])
    ]
    return joined([result[0] for result in results]), last, every


def _run(
    stack: Stack, flat: Tensor, begin: States, episodes: Any, lengths: Any, steps: Any
) -> Result:
    longest, count = steps.shape
    index = torch.from_numpy(steps).to(flat.device)
    x = flat.index_select(0, index.reshape(-1)).reshape(longest, count, flat.shape[1])
    chosen = torch.from_numpy(episodes).to(flat.device)
    state = {
        kind: [part.index_select(1, chosen) for part in parts] for kind, parts in begin.items()
    }
    even = bool((lengths == longest).all())
    ends = None if even else Ragged(torch.from_numpy(lengths).to(flat.device), longest)
    return stack(x, state, ends)


def _begin(state: States, new: States, source: Any, device: torch.device) -> States:
    """Return the state that each of the M episodes begins from, [D, M, P] a layer."""
    index = torch.from_numpy(source).to(device)
    return {
        kind: [
            torch.stack([each.index_select(0, index[d]) for d, each in enumerate(both)])
            for both in (torch.cat(pair, dim=1) for pair in zip(parts, new[kind], strict=True))
        ]
        for kind, parts in state.items()
    }


def _last(parts: list[States], final: Any, device: torch.device) -> States:
    """Return each row's own last state from those of all groups' episodes."""
    index = torch.from_numpy(final).to(device)
    found: States = {}
    for kind in parts[0]:
        layers = [torch.cat(each, dim=1) for each in zip(*(p[kind] for p in parts), strict=True)]
        found[kind] = [
            torch.stack([each.index_select(0, index[d]) for d, each in enumerate(layer)])
            for layer in layers
        ]
    return found
