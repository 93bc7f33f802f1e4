"""How long a recurrent stack remembers: the norm of d h_T / d x_t over the lag T - t. Needs torch.

A norm that falls with the lag is a past that fades, whatever the answer makes of it; one that
vanishes is also a gradient that training never saw (Pascanu et al. 2013, section 2).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unrolled.explain.gradients import need_torch
from unrolled.explain.results import Memory, numbers
from unrolled.explain.subject import Array, How, Subject, scores
from unrolled.runtime.recurrent import Recurrent

EXACT_UP_TO = 256
PROBES = 64
# Values of x, over all rows, that one backward pass holds.
VALUES_AT_ONCE = 1 << 22


def jacobian_norms(
    layer: Recurrent,
    x: Any,
    *,
    exact: bool | None = None,
    probes: int = PROBES,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Return |d h_T / d x_t| over lags T - t, 0 first, and their standard errors, both [T].

    h_T [P] is the last state of the top layer's forward direction, |.| the Frobenius norm. Exact:
    one vector-Jacobian product a unit, all in one batch, in float64, by the engines of training.
    Otherwise the square is estimated by the mean of |v J|^2 over `probes` random vectors v of
    signs (Hutchinson 1990), by default where P is above 256. x [T, I]. Raises ConfigError without
    torch.
    """
    need_torch("the memory of a model")
    import torch

    spec = layer.spec
    read = np.asarray(x, np.float64)
    width = spec.state_size(spec.num_layers - 1)
    if exact is None:
        exact = width <= EXACT_UP_TO
    module = _twin(layer)
    given = np.eye(width)
    if not exact:
        given = np.random.default_rng(seed).choice([-1.0, 1.0], size=(probes, width))
    rows = max(1, VALUES_AT_ONCE // (len(read) * max(spec.input_size, 4 * max(spec.hidden_sizes))))
    squares = []
    for at in range(0, len(given), rows):
        directions = torch.from_numpy(given[at : at + rows])
        repeated = torch.from_numpy(np.repeat(read[None], len(directions), axis=0))
        repeated.requires_grad_()
        _, state = module(repeated)
        last = _top(state[0] if spec.cell == "lstm" else state, spec.num_directions)
        (slope,) = torch.autograd.grad((last * directions).sum(), repeated)
        squares.append(slope.square().sum(dim=2).numpy()[:, ::-1])
    each = np.concatenate(squares)
    if exact:
        return np.sqrt(each.sum(axis=0)), np.zeros(len(read))
    norms = np.sqrt(each.mean(axis=0))
    spread = each.std(axis=0, ddof=1) / math.sqrt(probes)
    # The error of a root is that of its square over twice the root.
    return norms, np.divide(spread, 2 * norms, out=np.zeros_like(norms), where=norms > 0)


def _twin(layer: Recurrent) -> Any:
    import torch

    from unrolled.nn.rnn import recurrent

    module = recurrent(layer.spec, batch_first=True).double()
    weights = {name: torch.from_numpy(np.array(w)) for name, w in layer.weights.items()}
    module.load_state_dict(weights)
    return module.eval().requires_grad_(False)


def _top(h: Any, directions: int) -> Any:
    return h[-1][0] if isinstance(h, tuple) else h[-directions]


def effective_length(norms: Array, share: float) -> int | None:
    """Return the first lag after the largest norm's at which it is below `share` of the largest."""
    top = int(np.argmax(norms))
    below = np.flatnonzero(norms[top:] < share * norms[top])
    return top + int(below[0]) if len(below) else None


def memory_of(subject: Subject, how: How, *, seed: int = 0) -> Memory:
    """Return the memory curve of the stack on this input, and the answer's own beside it."""
    assert subject.stack is not None
    steps = len(subject.steps)
    norms, errors = (
        part[:steps] for part in jacobian_norms(subject.stack, subject.whole, seed=seed)
    )
    keep = np.concatenate([np.ones((1, steps), bool), ~np.eye(steps, dtype=bool)[::-1]])
    found = scores(subject, keep, how)
    length_e, length_1 = effective_length(norms, 1 / math.e), effective_length(norms, 0.01)
    return Memory(
        norms=numbers(norms),
        errors=numbers(errors),
        exact=not errors.any(),
        length_e=length_e,
        length_1=length_1,
        deletion=numbers(np.abs(found[1:] - found[0])),
        sentence=_sentence(steps, length_e, length_1),
    )


def _sentence(steps: int, length_e: int | None, length_1: int | None) -> str:
    within = f"does not within the {steps} steps of this input"
    first = f"does so at lag {length_e}" if length_e is not None else within
    second = f"at lag {length_1}" if length_1 is not None else "does not within them"
    if length_e is None:
        second = "nor below 1 %" if length_1 is None else f"below 1 % {second}"
        return f"What the stack keeps of a step falling below 1/e of its most {first}, {second}."
    ending = f"below 1 % {second}" if length_1 is not None else f"to below 1 % it {second}"
    return f"The norm falls below 1/e of its largest at lag {length_e}, {ending}."


def memory(model: Any, x: Any, *, target: str | None = None, seed: int = 0) -> Memory:
    """Return how long the stack of `model` remembers on input `x`.

    Raises ConfigError without torch, else as `model.explain`.
    """
    from unrolled.explain.subjects import subject_of

    subject = subject_of(model, x, target)
    return memory_of(subject, subject.how, seed=seed)
