"""ONNX models without a framework: `load(path).run({input: array})`; and our models as ONNX."""

from __future__ import annotations

from unrolled.interop.onnx.describe import describe
from unrolled.interop.onnx.export import Exported, export
from unrolled.interop.onnx.model import OnnxModel, load

__all__ = ["Exported", "OnnxModel", "describe", "export", "load"]
