"""The one table of tolerances: how far two ways of computing the same thing may be apart."""

from __future__ import annotations

import numpy as np

# Of outputs and states in absolute terms (relative where they exceed 1); of gradients relative to
# the largest of the same tensor.
TOLERANCES = {
    ("float32", "forward"): 1e-5,
    ("float32", "gradient"): 1e-4,
    ("float64", "forward"): 1e-11,
    ("float64", "gradient"): 1e-11,
}


def close(found, expected, kind: str) -> bool:
    """Return True, or raise AssertionError saying by how much `found` is off.

    Takes arrays or tensors of equal shape; the narrower of the two dtypes sets the tolerance.
    """
    found, expected = _array(found), _array(expected)
    assert found.shape == expected.shape, f"shape {found.shape}, expected {expected.shape}"
    dtype = "float32" if np.float32 in (found.dtype, expected.dtype) else "float64"
    largest = float(np.abs(expected).max(initial=0.0))
    scale = max(1.0, largest) if kind == "forward" else largest
    allowed = TOLERANCES[dtype, kind] * scale
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    worst = float(error.max(initial=0.0))
    where = np.unravel_index(int(error.argmax()), error.shape) if error.size else ()
    assert worst <= allowed, (
        f"{kind} {dtype} off by {worst:.3g} at {tuple(map(int, where))}, allowed {allowed:.3g}"
    )
    return True


def _array(value) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)
