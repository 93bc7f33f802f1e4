"""The networks of `unrolled.nn`: fast ways against the plain loop, and what their options mean."""

from __future__ import annotations

import msgspec
import networks
import numpy as np
import pytest
import torch
from tolerances import close
from torch import nn

from unrolled.errors import ConfigError
from unrolled.nn.build import build

TRANSLATORS = networks.translators()


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


def seeded(spec, dtype=torch.float64):
    torch.manual_seed(0)
    return build(spec).to(dtype)


def gradients(module, logits, lengths):
    """Gradients by name of a fixed random weighting of the logits within their rows' lengths."""
    generator = torch.Generator().manual_seed(1)
    weighting = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    inside = torch.arange(logits.shape[1]) < lengths[:, None]
    module.zero_grad()
    (logits * weighting * inside[:, :, None]).sum().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize("name", TRANSLATORS)
def test_fast_decoder_equals_the_plain_loop_in_logits_and_gradients(name):
    module = seeded(TRANSLATORS[name])
    batch = tensors(networks.pairs())
    fast = module(*batch)
    plain = module(*batch, stepwise=True)
    assert fast.shape == (5, 4, 8)
    assert close(fast, plain, "forward")
    expected = gradients(module, plain, batch[3])
    for key, found in gradients(module, fast, batch[3]).items():
        assert found.abs().max() > 0, key
        assert close(found, expected[key], "gradient"), key
