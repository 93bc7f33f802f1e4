"""What a model learned and why it answers as it does, in numbers, sentences and pictures.

`explain` and `memory` explain one answer of a model. The other modules are pure functions of
arrays. Only gradients and memory need torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled.explain.explaining import explain
    from unrolled.explain.remembering import memory
    from unrolled.explain.results import Explanation
    from unrolled.explain.states import nearest

_HOMES = {
    "Explanation": "results",
    "explain": "explaining",
    "memory": "remembering",
    "nearest": "states",
}

__all__ = ["Explanation", "explain", "memory", "nearest"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
