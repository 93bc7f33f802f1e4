"""Gradients of an answer's score to what its recurrent stack reads, by the torch twin of a network.

The one module of this room that needs torch; it imports it when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from unrolled.errors import ConfigError
from unrolled.explain.subject import Array, Differentiable
from unrolled.spec import NetworkSpec


def need_torch(what: str) -> None:
    """Raise ConfigError, naming the extra to install, where torch is missing."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"{what} needs the package torch: pip install 'unrolled[train]'"
        ) from None


def twin(spec: NetworkSpec, weights: Mapping[str, Array]) -> Any:
    """Return the torch module of a network with these weights: float64, in evaluation mode."""
    import torch

    from unrolled.nn.build import build

    module = build(spec).double()
    module.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in weights.items()})
    return module.eval().requires_grad_(False)


def differentiable(
    stack: Any, x: Array, baseline: Array, answer: Callable[[int], Any], before: Array | None = None
) -> Differentiable:
    """Return the score as a function of what `stack` reads, in the place of its own input.

    `stack` is the torch layer that reads the steps, `x` and `baseline` [S, I], after `before`
    [B, I]. `answer(n)` runs the whole module on n copies of the input and returns their scores [n].
    """
    import torch

    def found(read: Any) -> Any:
        whole = read
        if before is not None:
            first = torch.from_numpy(np.repeat(before[None].astype(np.float64), len(read), axis=0))
            whole = torch.cat([first, read], dim=1)
        hook = stack.register_forward_pre_hook(lambda _, inputs: (whole, *inputs[1:]))
        try:
            return answer(len(read))
        finally:
            hook.remove()

    return slope_of(x, baseline, found)


def slope_of(x: Array, baseline: Array, answer: Callable[[Any], Any]) -> Differentiable:
    """Return the scores that `answer` gives for tensors [N, S, I], as a function with a slope."""
    import torch

    def gradient(given: Array) -> tuple[Array, Array]:
        read = torch.from_numpy(np.ascontiguousarray(given, np.float64)).requires_grad_()
        found = answer(read)
        (slope,) = torch.autograd.grad(found.sum(), read)
        return found.detach().numpy(), slope.numpy()

    return Differentiable(x.astype(np.float64), baseline.astype(np.float64), gradient)
