"""The numpy networks against the torch ones, from the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import networks
from tolerances import close
from unrolled.errors import ModelError
from unrolled.nn.build import build as build_torch
from unrolled.runtime.build import build

TRANSLATORS = networks.translators()
CLASSIFIERS = networks.classifiers()
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def both(spec, dtype):
    torch.manual_seed(0)
    module = build_torch(spec).to(dtype).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module, build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TRANSLATORS)
def test_teacher_forced_log_probabilities_agree(name, dtype):
    module, network = both(TRANSLATORS[name], DTYPES[dtype])
    batch = networks.pairs()
    found, alignments = network.teacher_forced(*batch)
    assert found.dtype == dtype
    inside = np.arange(found.shape[1]) < batch[3][:, None]
    for stepwise in (False, True):
        with torch.no_grad():
            expected = torch.log_softmax(module(*tensors(batch), stepwise=stepwise), -1).numpy()
        assert close(found[inside], expected[inside], "forward")
    assert not found[~inside].any()
    assert (alignments is None) == (TRANSLATORS[name].attention is None)
    if alignments is not None:
        np.testing.assert_allclose(alignments[inside].sum(-1), 1, rtol=1e-5)
        past = np.arange(alignments.shape[2]) >= batch[1][:, None]
        assert not alignments[np.broadcast_to(past[:, None], alignments.shape)].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_and_pooling_weights_agree(name, dtype):
    module, network = both(CLASSIFIERS[name], DTYPES[dtype])
    batch = networks.pairs()[:2]
    with torch.no_grad():
        assert close(network.logits(*batch), module(*tensors(batch)), "forward")
    np.testing.assert_allclose(network.probabilities(*batch).sum(axis=1), 1, rtol=1e-6)
    if module.pooling is None:
        with pytest.raises(ValueError, match=r"pools by .* has no attention weights"):
            network.attention(*batch)
        return
    tokens, lengths = tensors(batch)
    with torch.no_grad():
        y, _ = module.recurrent(module.embedding(tokens), lengths=lengths)
        _, weights = module.pooling(y, lengths)
    assert close(network.attention(*batch), weights, "forward")


def test_steps_of_several_hypotheses_are_steps_of_each():
    for attention in networks.ATTENTIONS:
        _, network = both(networks.translator(attention, decoder_hidden=(4, 6)), torch.float64)
        source, lengths = networks.pairs()[:2]
        memory = network.encode(source, lengths)
        rows = np.arange(len(source))
        state = memory.first.take(np.repeat(rows, 3))
        tokens = np.array([[4, 5, 6]] * len(source))
        together = network.step(tokens, state, memory)
        for k in range(3):
            alone = network.step(tokens[:, k : k + 1], memory.first, memory)
            assert close(together.log_probs[:, k], alone.log_probs[:, 0], "forward")
            picked = together.state.take(rows * 3 + k)
            next_one = network.step(tokens[:, :1], picked, memory).log_probs
            other = network.step(tokens[:, :1], alone.state, memory).log_probs
            assert close(next_one, other, "forward")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("output.weight", r"weight 'output.weight' is missing; expected shape \[8, 7\]"),
        ("encoder.weight_hh_l0", r"weights of 'encoder': missing parameter 'weight_hh_l0'"),
        ("attention.key.bias", r"weights of 'attention': missing parameter 'attention.key.bias'"),
    ],
)
def test_a_missing_weight_is_named(name, message):
    spec = networks.translator("additive")
    weights = {k: v.numpy() for k, v in build_torch(spec).state_dict().items() if k != name}
    with pytest.raises(ModelError, match=message):
        build(spec, weights)


def test_a_misshapen_weight_is_named():
    spec = networks.classifier()
    weights = {k: v.numpy() for k, v in build_torch(spec).state_dict().items()}
    weights["embedding.weight"] = weights["embedding.weight"][:-1]
    with pytest.raises(ModelError, match=r"'embedding.weight' has shape \[8, 4\], expected \[9"):
        build(spec, weights)
