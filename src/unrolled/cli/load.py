"""Loading a model for a verb, and saying what it did to inputs that were too long."""

from __future__ import annotations

from typing import Any


def load_model(folder: str) -> Any:
    """Return the runtime model in `folder`; no training framework is imported."""
    from unrolled.runtime.model import load

    return load(folder)
