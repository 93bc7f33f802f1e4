"""The numpy tagger against the torch one, from the same weights: scores, marginals, best tags."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch

import tagging
from tolerances import close
from unrolled.data.schemes import legal
from unrolled.errors import ConfigError, ModelError
from unrolled.nn.build import build as build_torch
from unrolled.ops import crf as torch_crf
from unrolled.runtime import crf_reference
from unrolled.runtime.build import build
from unrolled.runtime.crf import Scores

SPECS = tagging.taggers()
DTYPES = {"float32": torch.float32, "float64": torch.float64}
BIO = ("B-A", "B-B", "I-A", "I-B", "O")


def both(spec, dtype):
    torch.manual_seed(0)
    module = build_torch(spec).to(dtype).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for name, buffer in module.named_buffers():
        torch.nn.init.uniform_(buffer, 0.5, 1.5)
        assert name in ("frames.mean", "frames.scale")
    return module, build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})


def outputs(module, batch):
    arguments = [None if part is None else torch.from_numpy(part) for part in batch]
    with torch.no_grad():
        return module(*arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECS)
def test_log_probabilities_marginals_and_best_tags_agree(name, dtype):
    spec = SPECS[name]
    module, network = both(spec, DTYPES[dtype])
    batch = tagging.batch(spec, dtype)
    inside = np.arange(6) < batch.lengths[:, None]
    expected, intent = outputs(module, batch)
    found, log_intent = network.emissions(batch)
    assert found.dtype == dtype
    if spec.head == "softmax":
        expected = torch.log_softmax(expected, -1)
    assert close(found[inside], expected.numpy()[inside], "forward")
    assert (log_intent is None) == (intent is None) == (not spec.num_intents)
    if intent is not None:
        assert close(log_intent, torch.log_softmax(intent, -1), "forward")

    chain = [torch.zeros(5, 5, dtype=DTYPES[dtype]), *torch.zeros(2, 5, dtype=DTYPES[dtype])]
    if spec.head == "crf":
        chain = [module.crf.transitions, module.crf.start, module.crf.end]
    chain = [part.detach() for part in chain]
    lengths = torch.from_numpy(batch.lengths)
    emissions = expected.detach().requires_grad_()
    log_z = torch_crf.reference(emissions, *chain, lengths)
    (gradient,) = torch.autograd.grad(log_z.sum(), emissions)
    assert close(network.marginals(found, batch.lengths), gradient, "forward")
    if spec.head == "softmax":
        assert close(gradient.numpy()[inside], torch.exp(expected)[torch.tensor(inside)], "forward")

    paths, log_probs = network.best(found, batch.lengths, n_best=3)
    scores = Scores(*(part.numpy() for part in chain))
    plain, _ = crf_reference.viterbi(expected.numpy(), scores, batch.lengths, n_best=3)
    np.testing.assert_array_equal(paths, plain)
    for rank in range(3):
        tags = torch.from_numpy(np.where(inside, paths[:, rank], 0))
        likelihood = torch_crf.log_likelihood(expected, *chain, tags, lengths, engine="reference")
        assert close(log_probs[:, rank], likelihood, "forward")


@pytest.mark.parametrize("head", ["crf", "softmax"])
def test_answers_keep_to_the_scheme_and_marginals_are_given_that_they_do(head):
    spec = tagging.tagger(head=head)
    _, network = both(spec, torch.float64)
    batch = tagging.batch(spec, "float64")
    allowed = legal(BIO, "bio")
    emissions, _ = network.emissions(batch)
    paths, log_probs = network.best(emissions, batch.lengths, allowed)
    free, _ = network.best(emissions, batch.lengths)
    assert (paths != free).any()
    scores = network.scores.where(allowed)
    expected = crf_reference.marginals(emissions, scores, batch.lengths)
    assert close(network.marginals(emissions, batch.lengths, allowed), expected, "forward")
    assert (log_probs <= 0).all()
    for row, length in enumerate(batch.lengths):
        tags = paths[row, 0, :length]
        assert allowed.start[tags[0]]
        assert all(allowed.transitions[a, b] for a, b in pairwise(tags))


def test_padding_changes_nothing():
    spec = tagging.tagger(intents=2)
    _, network = both(spec, torch.float64)
    batch = tagging.batch(spec, "float64")
    together, intent = network.emissions(batch)
    for row, length in enumerate(batch.lengths):
        alone, own = network.emissions(
            batch._replace(
                values=batch.values[row : row + 1, :length],
                lengths=batch.lengths[row : row + 1],
                words=batch.words[row : row + 1, :length],
            )
        )
        assert close(together[row, :length], alone[0], "forward")
        assert close(intent[row], own[0], "forward")


def test_only_the_characters_of_used_words_learn():
    spec = tagging.tagger()
    module, _ = both(spec, torch.float64)
    batch = tagging.batch(spec, "float64")
    arguments = [torch.from_numpy(part) for part in batch]
    emissions, _ = module(*arguments)
    emissions[torch.from_numpy(np.arange(6) < batch.lengths[:, None])].sum().backward()
    weight = module.characters.embedding.weight.grad
    used = {int(k) for k in np.unique(batch.spellings[np.unique(batch.words)]) if k}
    assert {k for k in range(8) if weight[k].any()} <= used
    assert weight.any()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"num_tags": 1}, "num_tags is 1, expected 2 or more."),
        ({"num_intents": 1}, "num_intents is 1, expected 0, or 2 or more."),
        ({"dropout": 1.0}, "dropout is 1.0, expected 0 or more and less than 1."),
        (
            {"embedding_size": 3},
            "recurrent.input_size is 10, expected 9: the first layer reads "
            "the embedding and the spelling of a word, or a frame.",
        ),
        ({"vocab_size": 3}, "vocab_size is 0, expected 1 or more."),
        ({"frame_size": 2}, "embedding_size is 4, expected 0: the inputs are frames, not words."),
        (
            {"embedding_size": 0, "characters": None},
            "embedding_size and frame_size are 0 and characters is not given: nothing to read.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_told_by_both_sides(choices, message):
    spec = msgspec.structs.replace(tagging.tagger(), **choices)
    for make in (build_torch, lambda each: build(each, {})):
        with pytest.raises(ConfigError) as caught:
            make(spec)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embedding.weight", r"weight 'embedding.weight' is missing; expected shape \[9, 4\]"),
        ("crf.transitions", r"weight 'crf.transitions' is missing; expected shape \[5, 5\]"),
        ("characters.recurrent.weight_hh_l0", r"weights of 'characters.recurrent': missing"),
        ("intent.bias", r"weight 'intent.bias' is missing; expected shape \[3\]"),
    ],
)
def test_a_missing_weight_is_named(name, message):
    spec = tagging.tagger(intents=3)
    weights = {k: v.numpy() for k, v in build_torch(spec).state_dict().items() if k != name}
    with pytest.raises(ModelError, match=message):
        build(spec, weights)
