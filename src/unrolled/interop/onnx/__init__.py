"""ONNX models without a framework: `load(path).run({input: array})`; and our models as ONNX.

What exports is imported when it is first used: a process that only runs a model does not load it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unrolled.interop.onnx.describe import describe
from unrolled.interop.onnx.model import OnnxModel, load

if TYPE_CHECKING:
    from unrolled.interop.onnx.exporting import Exported, export

__all__ = ["Exported", "OnnxModel", "describe", "export", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Exported", "export"):
        return getattr(importlib.import_module("unrolled.interop.onnx.exporting"), name)
    raise AttributeError(f"module 'unrolled.interop.onnx' has no attribute {name!r}")
