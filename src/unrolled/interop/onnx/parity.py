"""Whether a model gives ONNX Runtime's numbers: both run on the same inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import InteropError
from unrolled.interop.onnx.proto import Value

if TYPE_CHECKING:
    from unrolled.interop.onnx.model import OnnxModel

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How far two runs of one model are apart: the largest difference, by output.

    Differences are absolute, relative where values exceed 1. `reason` says why nothing was
    compared.
    """

    source: str
    largest: float | None
    differences: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def compared(self) -> bool:
        """Whether both sides ran."""
        return self.largest is not None

    def __str__(self) -> str:
        if self.largest is None:
            return f"{self.source}: not compared: {self.reason}"
        return f"{self.source}: the largest difference from ONNX Runtime is {self.largest:.3g}"

    def insist(self) -> None:
        """Raise InteropError where the runs differ; warn where nothing was compared."""
        if self.largest is None:
            warnings.warn(str(self), stacklevel=3)
        elif not self.largest <= TOLERANCE:
            raise InteropError(f"{self}; expected at most {TOLERANCE:g}")


def compare(model: OnnxModel, inputs: Mapping[str, ArrayLike] | None, seed: int) -> Parity:
    """Run `model` here and in ONNX Runtime on the CPU, on random inputs where none are given."""
    try:
        runtime = import_module("onnxruntime")
    except ImportError:
        reason = "the package onnxruntime is not installed: pip install 'unrolled[bench]'"
        return Parity(model.source, None, reason=reason)
    values = random_inputs(model.inputs, seed) if inputs is None else inputs
    feeds = {v.name: np.asarray(values[v.name], v.dtype) for v in model.inputs if v.name in values}
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(
            model.content, options, providers=["CPUExecutionProvider"]
        )
        expected = session.run([value.name for value in model.outputs], feeds)
    except Exception as error:  # onnxruntime raises classes of its own, all made by its C++ code
        reason = f"ONNX Runtime does not run it on these inputs: {str(error).splitlines()[0]}"
        return Parity(model.source, None, reason=reason)
    # The third run of the same shapes is a program's, where there is one.
    first, _, third = (model.run(values) for _ in range(3))
    differences = {
        value.name: max(difference(found[value.name], right) for found in (first, third))
        for value, right in zip(model.outputs, expected, strict=True)
    }
    return Parity(model.source, max(differences.values(), default=0.0), differences)


def random_inputs(inputs: tuple[Value, ...], seed: int) -> dict[str, NDArray[Any]]:
    """Return an array for each input: normal numbers, ones, and sizes drawn for open dimensions."""
    generator = np.random.default_rng(seed)
    sizes: dict[str, int] = {}
    made: dict[str, NDArray[Any]] = {}
    for value in inputs:
        shape = [
            dim
            if isinstance(dim, int)
            else sizes.setdefault(dim or f"{value.name} {k}", int(generator.integers(1, 6)))
            for k, dim in enumerate(value.shape or ())
        ]
        if value.dtype.kind == "f":
            made[value.name] = generator.normal(size=shape).astype(value.dtype)
        else:
            made[value.name] = np.ones(shape, value.dtype)
    return made


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, relative where values exceed 1; infinite for other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    if not found.size:
        return 0.0
    left, right = found.astype(np.float64), expected.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    gap = np.where(same, 0.0, np.abs(left - right) / np.maximum(1.0, np.abs(right)))
    return float(np.where(np.isnan(gap), np.inf, gap).max())
