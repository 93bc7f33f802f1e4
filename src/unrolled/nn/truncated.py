"""Truncated back-propagation through time: a layer run in pieces, its state handed on detached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from unrolled.ops.layer import LayerFunction, LayerResult, LayerWeights, Ragged
from unrolled.spec import RecurrentSpec


class Work(NamedTuple):
    """What an engine is given of one layer; see `unrolled.ops.layer.LayerFunction`."""

    weights: tuple[LayerWeights, ...]
    x: Tensor
    h: Tensor
    c: Tensor | None
    ragged: Ragged | None
    mask: Tensor | None
    states: bool


def truncate(model: nn.Module, steps: int) -> None:
    """Let no gradient of `model` in training go back over more than `steps` steps (0: no limit).

    It is set on every recurrent stack of the model: see `unrolled.nn.Recurrent.truncate`.
    """
    from unrolled.nn.recurrent import Recurrent

    for module in model.modules():
        if isinstance(module, Recurrent):
            module.truncate = steps


def in_pieces(run: LayerFunction, spec: RecurrentSpec, work: Work, steps: int) -> LayerResult:
    """Run one layer over pieces of `steps` steps: the same numbers, shorter gradients.

    A piece begins at the state that the piece before ended with, detached from its graph, so that
    the gradient of an output at t reaches back to the first step of its piece, at most `steps`
    steps (truncated BPTT; Williams and Peng 1990, section 3). The first state h, c is not detached:
    the first piece's gradient reaches what made it. The backward direction's pieces are counted
    from each row's own end.
    """
    if work.h.shape[0] == 1:
        return _forwards(run, spec, work, steps)
    one = replace(spec, bidirectional=False)
    back = _reversal(work)
    found = []
    for d in range(2):
        part = work._replace(
            weights=work.weights[d : d + 1],
            x=work.x if d == 0 else _flipped(work.x, back),
            h=work.h[d : d + 1],
            c=None if work.c is None else work.c[d : d + 1],
            mask=None if work.mask is None else work.mask[d : d + 1],
        )
        result = _forwards(run, one, part, steps)
        if d:
            y = _flipped(result.y, back)
            cells = None if result.cells is None else _flipped(result.cells, back)
            result = result._replace(y=y, cells=cells)
        found.append(result)
    there, again = found
    return LayerResult(
        torch.cat([there.y, again.y], dim=2),
        torch.cat([there.h, again.h]),
        _joined(there.c, again.c, 0),
        _joined(there.cells, again.cells, 2),
    )


def _forwards(run: LayerFunction, spec: RecurrentSpec, work: Work, steps: int) -> LayerResult:
    h, c = work.h, work.c
    found: list[LayerResult] = []
    for begin, end, ragged in _pieces(work, steps):
        if begin:
            h, c = _cut(h, work.ragged, begin), None if c is None else _cut(c, work.ragged, begin)
        found.append(
            run(
                spec,
                work.weights,
                work.x[begin:end],
                h,
                c,
                ragged=ragged,
                mask=work.mask,
                states=work.states,
            )
        )
        h, c = found[-1].h, found[-1].c
    y = torch.cat([each.y for each in found])
    cells = [each.cells for each in found if each.cells is not None]
    # The last states belong to whoever goes on from them: cut them only between pieces.
    return LayerResult(y, h, c, torch.cat(cells) if cells else None)


def _cut(state: Tensor, ragged: Ragged | None, begin: int) -> Tensor:
    """Detach the state [1, N, H] of rows that go on at `begin`; of others it is the last."""
    if ragged is None:
        return state.detach()
    goes_on = (ragged.lengths > begin).to(state.device)[:, None]
    return torch.where(goes_on, state.detach(), state)


def _pieces(work: Work, steps: int) -> Iterator[tuple[int, int, Ragged | None]]:
    total = work.x.shape[0]
    for begin in range(0, total, steps):
        end = min(begin + steps, total)
        if work.ragged is None:
            yield begin, end, None
        else:
            inside = (work.ragged.lengths - begin).clamp(0, end - begin)
            yield begin, end, Ragged(inside, end - begin)


def _reversal(work: Work) -> Tensor:
    """Return for each step and row which step stands there when the row is read from its end.

    Steps past a row's end stay where they are; [T, N], its own inverse.
    """
    total, rows = work.x.shape[:2]
    time = torch.arange(total, device=work.x.device)[:, None].expand(total, rows)
    if work.ragged is None:
        return total - 1 - time
    lengths = work.ragged.lengths[None, :]
    return torch.where(time < lengths, lengths - 1 - time, time)


def _flipped(x: Tensor, back: Tensor) -> Tensor:
    return x.gather(0, back.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _joined(first: Tensor | None, second: Tensor | None, dim: int) -> Tensor | None:
    if first is None or second is None:
        return None
    return torch.cat([first, second], dim=dim)
