"""How long a recurrent stack remembers: the norm of d h_T / d x_t over the lag T - t. Needs torch.

A norm that falls with the lag is a past that fades, whatever the answer makes of it; one that
vanishes is also a gradient that training never saw (Pascanu et al. 2013, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unrolled.explain.gradients import need_torch
from unrolled.explain.results import Memory, numbers
from unrolled.explain.subject import Array, How, Recalled, Stack, Subject, scores
from unrolled.runtime.recurrent import Recurrent
from unrolled.spec import RecurrentSpec

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
    spec, module = layer.spec, _twin(layer)

    def last(read: Any) -> Any:
        _, state = module(read)
        return _top(state[0] if spec.cell == "lstm" else state, spec.num_directions)

    return _norms(last, spec, np.asarray(x, np.float64), exact, probes, seed)


def _norms(
    last: Callable[[Any], Any],
    spec: RecurrentSpec,
    read: Array,
    exact: bool | None,
    probes: int,
    seed: int,
) -> tuple[Array, Array]:
    """Return what `jacobian_norms` does, of `last`, which maps tensors [N, T, I] to h_T [N, P]."""
    import torch

    width = spec.state_size(spec.num_layers - 1)
    if exact is None:
        exact = width <= EXACT_UP_TO
    given = np.eye(width)
    if not exact:
        given = np.random.default_rng(seed).choice([-1.0, 1.0], size=(probes, width))
    rows = max(1, VALUES_AT_ONCE // (len(read) * max(spec.input_size, 4 * max(spec.hidden_sizes))))
    squares = []
    for at in range(0, len(given), rows):
        directions = torch.from_numpy(given[at : at + rows])
        repeated = torch.from_numpy(np.repeat(read[None], len(directions), axis=0))
        repeated.requires_grad_()
        (slope,) = torch.autograd.grad((last(repeated) * directions).sum(), repeated)
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
    """Return the memory curve of the stack on this input, and the answer's own beside it.

    Of a stack that reads what it wrote the steps are the units read, by every way in which they
    reach the last state; one that is gone is read as a unit that says nothing. Raises ConfigError
    without torch.
    """
    need_torch("the memory of a model")
    assert subject.stack is not None
    if subject.recalled is not None:
        steps, norms, errors, found = _of_writing(subject.stack.spec, subject.recalled(), seed)
    else:
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


def _of_writing(spec: RecurrentSpec, given: Recalled, seed: int) -> tuple[int, Array, Array, Array]:
    """Return T, the norms and their errors by lag, and the score whole and without each unit."""
    import torch

    norms, errors = _norms(lambda x: given.last(x)[0], spec, given.x, None, PROBES, seed)
    steps = len(given.x)
    gone = np.repeat(given.x[None], steps + 1, axis=0)
    places = np.arange(steps)
    gone[1 + places, steps - 1 - places] = given.nothing[steps - 1 - places]
    with torch.no_grad():
        found: Array = given.last(torch.from_numpy(gone))[1].numpy()
    return steps, norms, errors, found


def _sentence(steps: int, length_e: int | None, length_1: int | None) -> str:
    if length_e is None:
        return f"The norm stays above 1/e of its largest over all {steps} steps of this input."
    second = "at no lag" if length_1 is None else f"at lag {length_1}"
    return f"The norm falls below 1/e of its largest at lag {length_e}, below 1 % {second}."


def memory(
    model: Any, x: Any, *, target: str | None = None, seed: int = 0, stack: Stack | None = None
) -> Memory:
    """Return how long the stack of `model` remembers on input `x`; of a translator, that `stack`.

    Raises ConfigError without torch, else as `model.explain`.
    """
    from unrolled.explain.subjects import subject_of

    subject = subject_of(model, x, target, stack)
    return memory_of(subject, subject.how, seed=seed)
