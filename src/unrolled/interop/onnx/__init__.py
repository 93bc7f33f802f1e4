"""ONNX models without a framework: `load(path).run({input: array})`."""

from __future__ import annotations

from unrolled.interop.onnx.model import OnnxModel, load

__all__ = ["OnnxModel", "load"]
