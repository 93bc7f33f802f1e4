"""The learning rate and the teacher's share as functions of how far the run has come."""

from __future__ import annotations

import math

from unrolled.config import TrainSpec


def learning_rate(spec: TrainSpec, share: float, plateau: float) -> float:
    """Learning rate when `share` (0 to 1) of the run is done and the plateau factor is `plateau`.

    lr * min(1, share / warmup) * f, where f falls from 1 after the warm-up to 0 at the end along a
    half cosine (Loshchilov and Hutter 2017) or a line, or is the plateau factor, or stays 1.
    """
    share = min(max(share, 0.0), 1.0)
    rise = min(1.0, share / spec.warmup) if spec.warmup > 0 else 1.0
    after = (share - spec.warmup) / (1.0 - spec.warmup) if share > spec.warmup else 0.0
    fall = {
        "cosine": 0.5 * (1.0 + math.cos(math.pi * after)),
        "linear": 1.0 - after,
        "plateau": plateau,
        "constant": 1.0,
    }[spec.schedule]
    return spec.lr * rise * fall


def teacher_forcing(spec: TrainSpec, share: float) -> float:
    """Share of decoder steps that read the true token: a line from start to end over the run."""
    start, end = spec.teacher_forcing, spec.teacher_forcing_end
    return start + (end - start) * min(max(share, 0.0), 1.0)
