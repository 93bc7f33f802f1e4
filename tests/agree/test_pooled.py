"""Networks of frames and of numbers: training, the runtime and ONNX say the same."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

import networks
from tolerances import close
from unrolled.errors import ConfigError
from unrolled.interop.onnx import export
from unrolled.nn.build import build as build_torch
from unrolled.runtime.build import build
from unrolled.spec import ClassifierSpec, RegressorSpec
from unrolled.validation import check_network

POOLINGS = ("last", "mean", "max", "attention")


def trunk(pooling, cell, frame_size=0, mask=False):
    base = networks.classifier(pooling, cell, input_size=(frame_size * (1 + mask)) or 4)
    sizes = {"frame_size": frame_size, "mask_missing": mask}
    if not frame_size:
        sizes = {"vocab_size": 9, "embedding_size": 4}
    kept = {"recurrent": base.recurrent, "pooling": pooling, "attention": base.attention}
    return {**sizes, **kept}


SPECS = {
    f"{task}-{pooling}-{cell}-{size}{'-mask' * mask}": spec
    for pooling, cell, (size, mask) in product(
        POOLINGS, ("rnn", "lstm", "gru"), ((0, False), (3, False), (3, True))
    )
    for task, spec in {
        "several": ClassifierSpec(
            **trunk(pooling, cell, size, mask), num_classes=3, multi_label=True
        ),
        "regress": RegressorSpec(**trunk(pooling, cell, size, mask), num_targets=2),
        "classes": ClassifierSpec(**trunk(pooling, cell, size, mask), num_classes=3),
    }.items()
}


def both(spec):
    torch.manual_seed(0)
    module = build_torch(spec).eval()
    for name, value in module.state_dict().items():
        scale = name.endswith("scale")
        value.copy_(torch.rand(value.shape) + 0.5 if scale else torch.randn(value.shape) * 0.5)
    return module, build(spec, {k: v.numpy() for k, v in module.state_dict().items()})


def batch(spec, rows=5, steps=7):
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, steps + 1, rows)
    if not spec.frame_size:
        return draw.integers(4, 9, (rows, steps)), lengths
    frames = draw.normal(size=(rows, steps, spec.frame_size)).astype(np.float32)
    if spec.mask_missing:
        frames[draw.random(frames.shape) < 0.3] = np.nan
    return frames, lengths


@pytest.mark.parametrize("name", SPECS)
def test_training_and_the_runtime_agree(name):
    spec = SPECS[name]
    module, network = both(spec)
    values, lengths = batch(spec)
    with torch.no_grad():
        expected = module(torch.from_numpy(values), torch.from_numpy(lengths))
    close(network.outputs(values, lengths)[0], expected, "forward")
    if isinstance(spec, RegressorSpec):
        close(network.predict(values, lengths), module.targets.undo(expected), "forward")
    else:
        shares = expected.sigmoid() if spec.multi_label else expected.softmax(dim=1)
        close(network.probabilities(values, lengths), shares, "forward")


@pytest.mark.parametrize("name", [n for n in SPECS if "gru" in n or "last-lstm" in n])
def test_the_exported_file_says_the_same(name, tmp_path):
    pytest.importorskip("onnx")
    _, network = both(SPECS[name])
    done = export(network, tmp_path / "model.onnx")
    assert done.reader <= 1e-4
    assert (tmp_path / "model.onnx").stat().st_size > 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_size": 0, "embedding_size": 0}, "embedding_size is 0, expected 1 or more"),
        ({"embedding_size": 4}, "embedding_size is 4, expected 0: the inputs are frames"),
        ({"mask_missing": True}, "recurrent.input_size is 3, expected 6: the first layer reads"),
        ({"num_targets": 0}, "num_targets is 0, expected 1 or more"),
    ],
)
def test_sizes_that_do_not_fit_are_told(change, message):
    sizes = {**trunk("mean", "gru", 3), "num_targets": 1} | change
    with pytest.raises(ConfigError, match=message):
        check_network(RegressorSpec(**sizes))
