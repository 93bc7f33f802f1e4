"""ONNX models that several tests read, and the error that one gives."""

from __future__ import annotations

import os

import pytest

import onnx_writer as write
from test_onnx_run import normal, recurrent_model
from unrolled.errors import InteropError
from unrolled.interop.onnx import load

X, Y = write.value("x", (None,)), write.value("y", (None,))
IDENTITY = write.node("Identity", ["x"], ["y"], name="copy")


def lstm_model() -> bytes:
    weights = {"W": normal(1, 1, 8, 3), "R": normal(2, 1, 8, 2), "B": normal(3, 1, 16)}
    return recurrent_model("lstm", weights, hidden_size=2)


def message(content: bytes | str | os.PathLike[str], **options) -> str:
    with pytest.raises(InteropError) as caught:
        load(content, **options)
    return str(caught.value)


def deep(levels: int) -> bytes:
    """If inside If inside If."""
    branch = write.graph([write.node("Not", ["c"], ["o"])], [], [write.value("o", (), "b1")])
    for level in range(levels):
        node = write.node("If", ["c"], ["o"], then_branch=branch)
        inputs = [write.value("c", (), "b1")] if level == levels - 1 else []
        branch = write.graph([node], inputs, [write.value("o", (), "b1")])
    return write.wrap(branch)
