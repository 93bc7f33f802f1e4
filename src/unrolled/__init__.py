"""Recurrent sequence models: train them from files, see what they learned, run them anywhere.

`unrolled.load(folder)` runs a trained model without the training framework; `unrolled.tasks` holds
the estimators; `unrolled.nn` the layers for your own torch code. Names are imported when they are
first used, so that `import unrolled` costs next to nothing and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unrolled import errors, nn, runtime, tasks
    from unrolled._native import num_threads, set_num_threads
    from unrolled.runtime.model import load
    from unrolled.runtime.recurrent import Recurrent

_HOMES = {
    "Recurrent": "unrolled.runtime.recurrent",
    "load": "unrolled.runtime.model",
    "num_threads": "unrolled._native",
    "set_num_threads": "unrolled._native",
}
_ROOMS = ("errors", "nn", "runtime", "tasks")

__all__ = [
    "Recurrent",
    "__version__",
    "errors",
    "load",
    "nn",
    "num_threads",
    "runtime",
    "set_num_threads",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"unrolled.{name}")
    raise AttributeError(f"module 'unrolled' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
