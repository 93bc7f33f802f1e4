"""What the tests of recurrent stacks share: named specs, flat states, gradients of everything."""

from __future__ import annotations

import torch

from unrolled.spec import RecurrentSpec

RAGGED = [4, 0, 6, 1]
N, T, I = len(RAGGED), 6, 3  # noqa: E741

CELLS = {
    "tanh": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "projected": {"cell": "lstm", "proj_size": 2},
    "gru": {"cell": "gru"},
    "gru-before": {"cell": "gru", "reset": "before"},
}
STACKS = {
    "one": {"hidden_sizes": (5,)},
    "both-ways": {"hidden_sizes": (5,), "bidirectional": True},
    "deep": {"hidden_sizes": (5, 5), "bidirectional": True},
    "widths": {"hidden_sizes": (5, 7, 3)},
    "sum": {"hidden_sizes": (5, 4), "bidirectional": True, "merge": "sum"},
    "mean": {"hidden_sizes": (5, 5), "bidirectional": True, "merge": "mean", "residual": True},
    "mul": {"hidden_sizes": (4, 5), "bidirectional": True, "merge": "mul", "bias": False},
    "residual": {"hidden_sizes": (5, 5, 5), "residual": True},
    "learned": {"hidden_sizes": (5, 4), "bidirectional": True, "initial_state": "learned"},
}


def spec(cell: str, stack: str, **more) -> RecurrentSpec:
    return RecurrentSpec(input_size=I, **{**CELLS[cell], **STACKS[stack], **more})


def flat(*values):
    """Return every tensor or array inside nested tuples, lists and dicts, in order."""
    found = []
    for value in values:
        if isinstance(value, dict):
            found += flat(*value.values())
        elif isinstance(value, (tuple, list)):
            found += flat(*value)
        else:
            found.append(value)
    return found


def randomise(layer):
    """Draw every parameter anew, learned initial states too, which begin at zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4
            )
    return layer


def random(*shape, dtype=torch.float64, seed=0):
    """Return the same normal numbers for any dtype."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def gradients(outputs, inputs):
    """Return the gradients, by each of `inputs`, of a fixed random weighting of `outputs`."""
    loss = sum(
        (out * random(*out.shape, dtype=out.dtype, seed=k)).sum() for k, out in enumerate(outputs)
    )
    return torch.autograd.grad(loss, inputs)
