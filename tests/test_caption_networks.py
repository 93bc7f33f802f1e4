"""The captioner's two sides together, and its spec's checks."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

import captioning
from tolerances import close
from unrolled.config import VocabularySpec
from unrolled.data.vocab import Vocabulary
from unrolled.errors import ConfigError, ModelError
from unrolled.nn.build import build as build_torch
from unrolled.runtime import SessionState, decode
from unrolled.runtime.build import build
from unrolled.runtime.writing import WritingSession
from unrolled.validation import check_network

SPECS = captioning.specs()
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def both(spec, dtype):
    torch.manual_seed(0)
    module = build_torch(spec).to(dtype).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    if spec.inputs != "attributes":
        module.feature_mean.normal_()
        module.feature_scale.uniform_(0.5, 2)
    return module, build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})


def inputs(spec, dtype):
    source, *rest = captioning.batch(spec.inputs)
    return [source if source.dtype == np.int64 else source.astype(dtype), *rest]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECS)
def test_teacher_forced_log_probabilities_agree(name, dtype):
    spec = SPECS[name]
    module, network = both(spec, DTYPES[dtype])
    batch = inputs(spec, dtype)
    found, alignments = network.teacher_forced(*batch)
    assert found.dtype == dtype
    inside = np.arange(found.shape[1]) < batch[3][:, None]
    tensors = [torch.from_numpy(array) for array in batch]
    for stepwise in (False, True):
        with torch.no_grad():
            expected = torch.log_softmax(module(*tensors, stepwise=stepwise), -1).numpy()
        assert close(found[inside], expected[inside], "forward")
    assert (alignments is not None) == (spec.condition == "attend")
    if alignments is not None:
        np.testing.assert_allclose(alignments[inside].sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_a_gradient_reaches_every_parameter(name):
    spec = SPECS[name]
    module, _ = both(spec, torch.float64)
    tensors = [torch.from_numpy(array) for array in inputs(spec, "float64")]
    module.packed_logits(*tensors)[0].square().mean().backward()
    idle = {name for name, p in module.named_parameters() if not p.grad.abs().sum()}
    assert all(k.startswith("attention.") for k in idle)
    assert not idle or spec.inputs == "vector"


@pytest.mark.parametrize("name", ["regions-attend", "vector-every", "positions"])
def test_padding_and_company_change_nothing(name):
    spec = SPECS[name]
    _, network = both(spec, torch.float64)
    source, lengths, *target = inputs(spec, "float64")
    together = network.teacher_forced(source, lengths, *target).log_probs
    for row, length in enumerate(lengths):
        alone = network.teacher_forced(
            source[row : row + 1, :length],
            lengths[row : row + 1],
            *(part[row : row + 1] for part in target),
        ).log_probs
        np.testing.assert_allclose(alone[0], together[row], atol=1e-12)


def test_scheduled_sampling_reads_what_is_fed_at_every_step():
    module, _ = both(SPECS["vector-every"], torch.float64)
    tensors = [torch.from_numpy(a) for a in inputs(SPECS["vector-every"], "float64")]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        true = module(*tensors)
        sampled = module(*tensors, teacher_forcing=0.0, generator=generator)
    assert torch.allclose(true[:, 0], sampled[:, 0])
    assert not torch.allclose(true[:, 2:], sampled[:, 2:])


@pytest.mark.parametrize("name", ["regions-attend", "vector-every", "attributes-first"])
def test_a_beam_of_everything_finds_the_likeliest_text(name):
    spec = SPECS[name]
    _, network = both(spec, torch.float64)
    source, lengths, *_ = inputs(spec, "float64")
    greedy = decode.greedy(network, source, lengths, 4)
    wide = decode.beam(network, source, lengths, beam=400, max_length=3, length_penalty=0, n_best=2)
    for row, answers in enumerate(wide):
        assert answers[0].log_prob >= answers[1].log_prob
        text = np.array([[2, *answers[0].tokens]])
        told = network.log_probs(
            source[row : row + 1], lengths[row : row + 1], text, np.array([text.shape[1]])
        )[0]
        wanted = [*answers[0].tokens, 3]
        assert answers[0].log_prob == pytest.approx(told[np.arange(len(wanted)), wanted].sum())
        if answers[0].alignment is not None:
            assert answers[0].alignment.shape == (len(answers[0].tokens), lengths[row])
        assert len(greedy[row]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_size": 0}, "feature_size is 0, expected 1 or more"),
        ({"memory_size": 0}, "memory_size is 0, expected 1 or more"),
        ({"condition": "every"}, "condition is 'every' and attention is given"),
        ({"attention": None}, "condition is 'attend' and attention is not given"),
        ({"positions": -1}, "positions is -1"),
        ({"inputs": "attributes", "positions": 3}, "positions is 3: only regions have an order"),
        ({"memory_size": 5}, "attention.key_size is 6, expected 5"),
        ({"input_feeding": True}, "input_feeding needs attention 'dot'"),
        ({"target_embedding_size": 4}, "decoder.input_size is 9, expected 10"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_do_not_fit_are_told(change, message):
    with pytest.raises(ConfigError, match=message):
        check_network(msgspec.structs.replace(captioning.spec(), **change))


def test_a_missing_weight_is_named():
    module = build_torch(captioning.spec())
    weights = {k: v.detach().numpy() for k, v in module.state_dict().items()}
    del weights["feature_scale"]
    with pytest.raises(ModelError, match=r"weight 'feature_scale' is missing; .* \[4\]"):
        build(captioning.spec(), weights)


@pytest.mark.parametrize("name", SPECS)
def test_a_session_writes_what_greedy_search_finds_and_goes_on_from_a_saved_state(name):
    spec = SPECS[name]
    _, network = both(spec, torch.float64)
    vocabulary = Vocabulary.build(
        ["abcdefghijklmn"[: spec.target_vocab_size - 4]], VocabularySpec(tokens="char")
    )
    source, lengths = inputs(spec, "float64")[:2]
    row = source[:1, : lengths[0]]
    ((found,),) = decode.greedy(network, row, lengths[:1], 6)

    def session():
        memory = network.encode(row, lengths[:1])
        return WritingSession(network, vocabulary, memory, 6)

    whole = session()
    whole.step()
    saved = whole.state.to_bytes()
    list(whole)
    assert tuple(whole.tokens) == found.tokens
    assert whole.log_prob == pytest.approx(found.log_prob)
    other = session()
    other.state = SessionState.from_bytes(saved)
    list(other)
    assert (other.tokens, other.log_prob) == (whole.tokens, whole.log_prob)
