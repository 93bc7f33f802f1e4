"""The conditional random field in training: log Z with the native gradient, and a plain torch loop.

    log p(y | x) = score(y) - log Z
    d log Z / d emissions[t, k] = p(y_t = k | x),  d log Z / d transitions = expected counts

(Lafferty et al. 2001; Collobert et al. 2011, section 3.3.2). Shapes: emissions [N, T, K],
transitions [K, K] from the row's tag to the column's, start and end [K], lengths [N] in 1..T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled import _native
from unrolled.errors import EngineError
from unrolled.ops.native import DTYPES
from unrolled.spec import Engine


def log_likelihood(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    tags: Tensor,
    lengths: Tensor,
    *,
    engine: Engine = "auto",
) -> Tensor:
    """Return log p(tags | x) of each row, [N]; tags [N, T] int64, read inside each length."""
    score = sequence_score(emissions, transitions, start, end, tags, lengths)
    return score - log_partition(emissions, transitions, start, end, lengths, engine=engine)


def sequence_score(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    tags: Tensor,
    lengths: Tensor,
) -> Tensor:
    """Return the score of the tags [N, T] of each row, [N]."""
    lengths = lengths.to(emissions.device)
    inside = torch.arange(tags.shape[1], device=emissions.device) < lengths[:, None]
    each = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)
    pairs = transitions[tags[:, :-1], tags[:, 1:]]
    last = tags.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
    score: Tensor = each.masked_fill(~inside, 0).sum(1) + start[tags[:, 0]] + end[last]
    return score + pairs.masked_fill(~inside[:, 1:], 0).sum(1)


def log_partition(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    *,
    engine: Engine = "auto",
) -> Tensor:
    """Return log Z of each row, [N].

    `auto` takes the native kernels for float32 and float64 on the CPU and the plain loop elsewhere;
    `native` raises EngineError where they cannot compute it; `torch` and `reference` are the plain
    loop. The native gradient is differentiable once, the plain loop's any number of times.
    """
    fits = emissions.device.type == "cpu" and emissions.dtype in DTYPES
    if engine == "native" and not fits:
        raise EngineError(
            f"engine 'native' computes a CRF on float32 or float64 CPU tensors, got "
            f"{emissions.dtype} on {emissions.device.type}"
        )
    if fits and engine in ("auto", "native"):
        chain = (emissions, transitions, start, end, lengths)
        found: Tensor = _LogPartition.apply(*chain)  # type: ignore[no-untyped-call]
        return found
    return reference(emissions, transitions, start, end, lengths)


def reference(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> Tensor:
    """Return log Z of each row by the forward recursion in torch operations."""
    lengths = lengths.to(emissions.device)
    alpha = start + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
        ahead = torch.logsumexp(alpha.unsqueeze(2) + transitions, dim=1) + emissions[:, t]
        alpha = torch.where((t < lengths).unsqueeze(1), ahead, alpha)
    return torch.logsumexp(alpha + end, dim=1)


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        e, a, start, end, lengths = _arrays(arguments)
        log_z, alphas = np.empty(len(e)), np.empty(e.shape)
        _native.crf_log_partition(e, a, start, end, lengths, log_z, alphas)
        ctx.save_for_backward(*arguments)
        ctx.log_z, ctx.alphas = log_z, alphas
        return torch.from_numpy(log_z).to(arguments[0].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        e, a, start, end, lengths = _arrays(ctx.saved_tensors)
        weights = upstream.to(torch.float64).contiguous().numpy()
        de, da, ds, dn = (np.empty_like(each) for each in (e, a, start, end))
        _native.crf_gradient(
            e, a, start, end, lengths, ctx.log_z, ctx.alphas, weights, de, da, ds, dn
        )
        return (*map(torch.from_numpy, (de, da, ds, dn)), None)


def _arrays(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    return [each.detach().contiguous().numpy() for each in tensors]
