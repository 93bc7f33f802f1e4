"""ONNX files with damage drawn at random: an InteropError is the most that they may do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_models import deep, lstm_model
from test_onnx_hostile import HOSTILE
from test_onnx_run import looped
from unrolled.errors import InteropError
from unrolled.interop.onnx import load

SEEDS = [lstm_model(), looped(3), deep(2), HOSTILE["cycle"][0]]


def use(content: bytes) -> None:
    """Load and run a model that may be anything; an InteropError is the only way to fail."""
    try:
        model = load(content, max_bytes=1 << 20)
        inputs = {}
        for value in model.inputs:
            shape = [dim if isinstance(dim, int) else 2 for dim in value.shape or ()]
            if np.prod(shape, dtype=float) > 1 << 16:
                return
            inputs[value.name] = np.ones(shape, value.dtype)
        for _ in range(3):  # node by node twice, then as a program
            model.run(inputs)
    except InteropError:
        return


@settings(max_examples=500)
@given(st.sampled_from(SEEDS), st.data())
def test_flipped_bytes_never_do_more_than_raise(content: bytes, data) -> None:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    use(bytes(changed))


@settings(max_examples=200)
@given(st.sampled_from(SEEDS), st.data())
def test_files_cut_or_joined_never_do_more_than_raise(content: bytes, data) -> None:
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(0, len(content)))
    use(content[:end] + content[start:])


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_never_do_more_than_raise(content: bytes) -> None:
    use(content)
