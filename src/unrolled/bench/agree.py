"""Whether a side computes the right thing, asked before it is timed."""

from __future__ import annotations

import numpy as np

from unrolled.bench.problem import Outputs
from unrolled.spec import Precision

# Of float32: outputs and states in absolute terms (relative where they exceed 1); gradients
# relative to the largest of the same array.
FORWARD, GRADIENT = 1e-5, 1e-4
# Of fewer bits, relative to the largest of the same array.
LOW: dict[Precision, float] = {"bf16": 2e-2, "int8": 6e-2}


def disagreement(
    found: Outputs, expected: Outputs, precision: Precision = "float32"
) -> tuple[float, str]:
    """Return the worst error as a share of what is allowed, and what is wrong, or an empty string.

    Only what a side gives is compared. Above 1 is wrong, and so is a value that is not finite.
    """
    worst, complaint = 0.0, ""
    for name, value in found.items():
        right = expected[name]
        if value.shape != right.shape:
            return np.inf, f"{name} has shape {list(value.shape)}, expected {list(right.shape)}"
        largest = float(np.abs(right).max(initial=0.0))
        allowed = GRADIENT * largest if name.startswith("d.") else FORWARD * max(1.0, largest)
        if precision in LOW:
            allowed = LOW[precision] * largest
        error = float(np.abs(value.astype(np.float64) - right).max(initial=0.0))
        share = error / allowed if allowed else (0.0 if error == 0.0 else np.inf)
        if not share <= worst:
            worst = share
            wrong = not share <= 1.0
            complaint = f"{name} is off by {error:.2g}, allowed {allowed:.2g}" if wrong else ""
            if np.isnan(share):
                return np.inf, f"{name} has values that are not numbers"
    return worst, complaint
