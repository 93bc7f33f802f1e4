"""Greedy and beam search against enumeration, against each other and against their own scores."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import networks
from unrolled.errors import ConfigError
from unrolled.runtime import decode
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.spec import TranslatorSpec

EOS = 3
KINDS = ("additive", "general", None)


def random_weights(spec, seed=0, scale=1.5):
    """Normal weights in float64, large enough that a network's choices differ by input."""
    torch = pytest.importorskip("torch")
    from unrolled.nn.build import build

    generator = np.random.default_rng(seed)
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in build(spec).state_dict().items()}
    return {name: scale * generator.standard_normal(shape) for name, shape in shapes.items()}


def random_network(spec: TranslatorSpec, seed=0) -> TranslatorNetwork:
    return TranslatorNetwork(spec, random_weights(spec, seed))


def sources(rows=6, longest=5, seed=3):
    return networks.ragged_tokens(np.random.default_rng(seed), rows, 9, longest)


def rescored(network, source, lengths, row, tokens):
    """log p(tokens, </s> | source) by teacher forcing."""
    target_in = np.array([[2, *tokens]])
    log_probs = network.log_probs(
        source[row : row + 1, : lengths[row]],
        lengths[row : row + 1],
        target_in,
        np.array([len(tokens) + 1]),
    )[0]
    return sum(log_probs[t, token] for t, token in enumerate([*tokens, EOS]))


@pytest.mark.parametrize("kind", KINDS)
def test_beam_wide_enough_finds_what_enumeration_finds(kind):
    network = random_network(networks.translator(kind, vocab=(9, 6)))
    source, lengths = sources(rows=3)
    longest, penalty = 3, 0.8
    found = decode.beam(
        network, source, lengths, beam=200, max_length=longest, length_penalty=penalty, n_best=7
    )
    writable = (1, 4, 5)
    for row, hypotheses in enumerate(found):
        every = []
        for n in range(longest + 1):
            for tokens in product(writable, repeat=n):
                log_prob = rescored(network, source, lengths, row, tokens)
                every.append((log_prob / ((5 + n + 1) / 6) ** penalty, tokens))
        every.sort(reverse=True)
        assert [h.tokens for h in hypotheses] == [tokens for _, tokens in every[:7]]
        np.testing.assert_allclose([h.score for h in hypotheses], [s for s, _ in every[:7]])


@pytest.mark.parametrize("kind", networks.ATTENTIONS)
@pytest.mark.parametrize("cell", networks.CELLS)
def test_greedy_is_beam_of_one(kind, cell):
    network = random_network(networks.translator(kind, cell, decoder_hidden=(6, 6)))
    source, lengths = sources()
    one = decode.greedy(network, source, lengths, 9)
    other = decode.beam(network, source, lengths, beam=1, max_length=9)
    for (a,), (b,) in zip(one, other, strict=True):
        assert a.tokens == b.tokens
        assert a.score == pytest.approx(b.score, rel=1e-12)
        assert (a.alignment is None) == (kind is None)
        if kind is not None:
            np.testing.assert_allclose(a.alignment, b.alignment)


def test_greedy_writes_the_likeliest_token_at_every_step():
    network = random_network(networks.translator("general", input_feeding=True))
    source, lengths = sources()
    for row, (hypothesis,) in enumerate(decode.greedy(network, source, lengths, 9)):
        tokens = hypothesis.tokens
        log_probs = network.log_probs(
            source[row : row + 1, : lengths[row]],
            lengths[row : row + 1],
            np.array([[2, *tokens]]),
            np.array([len(tokens) + 1]),
        )[0]
        log_probs[:, [0, 2]] = -np.inf
        expected = (*tokens, EOS)[:9]
        assert tuple(log_probs.argmax(1)[:9]) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_n_best_is_sorted_distinct_and_scored_as_teacher_forcing_scores_it(kind, penalty):
    network = random_network(networks.translator(kind, "lstm"), seed=1)
    source, lengths = sources()
    found = decode.beam(
        network, source, lengths, beam=4, max_length=8, length_penalty=penalty, n_best=4
    )
    for row, hypotheses in enumerate(found):
        assert len(hypotheses) == 4
        assert len({h.tokens for h in hypotheses}) == 4
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        for h in hypotheses:
            assert len(h.tokens) <= 8
            assert not {0, 2, EOS} & set(h.tokens)
            assert h.log_prob == pytest.approx(
                rescored(network, source, lengths, row, h.tokens), rel=1e-9
            )
            norm = ((5 + len(h.tokens) + 1) / 6) ** penalty
            assert h.score == pytest.approx(h.log_prob / norm, rel=1e-12)


@pytest.mark.parametrize("width", [1, 3])
def test_a_row_alone_is_written_as_in_a_batch(width):
    network = random_network(networks.translator("additive"))
    source, lengths = sources(rows=8)
    together = decode.beam(network, source, lengths, beam=width, max_length=7, n_best=width)
    for row, expected in enumerate(together):
        alone = decode.beam(
            network,
            source[row : row + 1, : lengths[row]],
            lengths[row : row + 1],
            beam=width,
            max_length=7,
            n_best=width,
        )[0]
        assert [h.tokens for h in alone] == [h.tokens for h in expected]
        for a, b in zip(alone, expected, strict=True):
            assert a.score == pytest.approx(b.score, rel=1e-9)
            np.testing.assert_allclose(a.alignment, b.alignment, atol=1e-9)


@pytest.mark.parametrize("width", [1, 3])
def test_alignments_have_a_row_per_token_over_the_rows_own_source(width):
    network = random_network(networks.translator("concat"))
    source, lengths = sources()
    found = decode.beam(network, source, lengths, beam=width, max_length=7, n_best=width)
    assert any(len(h.tokens) > 1 for hypotheses in found for h in hypotheses)
    for row, hypotheses in enumerate(found):
        for h in hypotheses:
            assert h.alignment.shape == (len(h.tokens), lengths[row])
            np.testing.assert_allclose(h.alignment.sum(axis=1), 1)
            forced = network.teacher_forced(
                source[row : row + 1],
                lengths[row : row + 1],
                np.array([[2, *h.tokens]]),
                np.array([len(h.tokens) + 1]),
            ).alignments[0]
            np.testing.assert_allclose(h.alignment, forced[:-1, : lengths[row]], atol=1e-9)


class Counting:
    """A network that notes how many rows each decoder step is given."""

    fast = None

    def __init__(self, network):
        self.network = network
        self.rows = []

    def encode(self, source, lengths):
        return self.network.encode(source, lengths)

    def step(self, tokens, state, memory):
        self.rows.append(len(tokens))
        return self.network.step(tokens, state, memory)


@pytest.mark.parametrize("width", [1, 3])
def test_rows_that_have_ended_leave_the_batch(width):
    counting = Counting(random_network(networks.translator("additive")))
    source, lengths = sources(rows=8)
    limits = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    found = decode.beam(counting, source, lengths, beam=width, max_length=limits)
    assert counting.rows[0] == 8
    assert counting.rows == sorted(counting.rows, reverse=True)
    assert counting.rows[-1] < 8
    assert all(len(h[0].tokens) <= limit for h, limit in zip(found, limits, strict=True))
    if width == 1:
        steps = [len(h[0].tokens) + 1 for h in found]
        assert counting.rows == [sum(n > t for n in steps) for t in range(max(steps))]


def test_max_length_forces_the_end_and_counts_its_log_probability():
    network = random_network(networks.translator("dot"))
    source, lengths = sources()
    for row, (h,) in enumerate(decode.greedy(network, source, lengths, 2)):
        assert len(h.tokens) <= 2
        assert h.log_prob == pytest.approx(rescored(network, source, lengths, row, h.tokens))


def test_length_norm_is_that_of_wu_et_al():
    assert decode.length_norm(1.0, 0.6) == 1.0
    assert decode.length_norm(7.0, 1.0) == 2.0
    assert decode.length_norm(7.0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"beam": 0}, "beam is 0, expected 1 or more"),
        ({"beam": 2, "n_best": 3}, r"n_best is 3, expected 1 to beam \(2\)"),
        ({"beam": 2, "length_penalty": -1.0}, "length_penalty is -1.0, expected 0 or more"),
        ({"beam": 2, "max_length": 0}, "max_length is 0, expected 1 or more"),
    ],
)
def test_a_search_that_cannot_be_is_refused(choices, message):
    network = random_network(networks.translator())
    source, lengths = sources()
    with pytest.raises(ConfigError, match=message):
        decode.beam(network, source, lengths, **({"max_length": 5} | choices))
