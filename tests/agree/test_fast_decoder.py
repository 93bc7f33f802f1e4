"""The engine's decoder against the plain steps and the plain searches, and against wrong arrays."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import captioning
import networks
from tolerances import close
from unrolled import _native
from unrolled.errors import ModelError
from unrolled.nn.build import build as build_torch
from unrolled.precision import restore, store
from unrolled.runtime import decode, fast_decoder
from unrolled.runtime.build import build
from unrolled.runtime.networks import TranslatorNetwork

SPECS = {**networks.translators(), **captioning.specs()}
PLAIN = {"additive-residual", "additive-reset-before", "additive-projection"}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def both(spec, dtype="float64", std=0.5):
    """A network by the engine's decoder and, from the same weights, one by plain steps."""
    torch.manual_seed(0)
    module = build_torch(spec).to(DTYPES[dtype]).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    fast = build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})
    plain = copy.copy(fast)
    plain.fast = None
    return fast, plain


def batch(spec, dtype="float64", rows=5):
    if hasattr(spec, "inputs"):
        source, lengths = captioning.batch(spec.inputs)[:2]
        return source if source.dtype == np.int64 else source.astype(dtype), lengths
    return networks.pairs(rows=rows)[:2]


@pytest.fixture(params=[True, False], ids=["table", "embedding"])
def table(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(fast_decoder, "LARGEST_TABLE", 1)


def same(found, expected):
    """The same hypotheses; a tie of sums in another order does not occur in these."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert [h.tokens for h in ours] == [h.tokens for h in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert (a.score, a.log_prob) == pytest.approx((b.score, b.log_prob), rel=1e-9)
            assert (a.alignment is None) == (b.alignment is None)
            if a.alignment is not None:
                assert a.alignment.shape == b.alignment.shape
                np.testing.assert_allclose(a.alignment, b.alignment, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(set(SPECS) - PLAIN))
@pytest.mark.usefixtures("table")
def test_a_step_is_the_plain_one(name, dtype):
    fast, plain = both(SPECS[name], dtype)
    source, lengths = batch(SPECS[name], dtype)
    ours, theirs = fast.encode(source, lengths), plain.encode(source, lengths)
    if theirs.keys is not None:
        assert close(ours.keys, theirs.keys, "forward")
    twice = np.repeat(np.arange(len(lengths)), 2)
    a, b = ours.first.take(twice), theirs.first.take(twice)
    before = copy.deepcopy(vars(a))
    for tokens in ([4, 5], [6, 4], [3, 7]):
        given = np.array([tokens] * len(lengths))
        found, expected = fast.step(given, a, ours), plain.step(given, b, theirs)
        np.testing.assert_equal(vars(a), before)
        a, b = found.state, expected.state
        before = copy.deepcopy(vars(a))
        assert found.log_probs.dtype == dtype
        assert close(found.log_probs, expected.log_probs, "forward")
        for ours_, theirs_ in ((a.readout, b.readout), (found.weights, expected.weights)):
            assert (ours_ is None) == (theirs_ is None)
            assert ours_ is None or close(ours_, theirs_, "forward")


@pytest.mark.parametrize("name", sorted(set(SPECS) - PLAIN))
@pytest.mark.parametrize(("width", "n_best"), [(1, 1), (3, 1), (5, 5)])
def test_a_search_finds_what_the_plain_one_finds(name, width, n_best):
    fast, plain = both(SPECS[name], std=1.5)
    source, lengths = batch(SPECS[name])
    limits = np.arange(len(lengths)) + 2
    given = {"beam": width, "max_length": limits, "n_best": n_best}
    same(decode.beam(fast, source, lengths, **given), decode.beam(plain, source, lengths, **given))


@pytest.mark.parametrize("isa", _native.available_isas())
def test_searches_agree_on_every_instruction_set(isa):
    _native.set_isa(isa)
    try:
        fast, plain = both(networks.translator("additive", "lstm"), std=1.5)
        source, lengths = batch(fast.spec, rows=30)
        given = {"beam": 4, "max_length": 9, "n_best": 3, "length_penalty": 1.0}
        same(
            decode.beam(fast, source, lengths, **given),
            decode.beam(plain, source, lengths, **given),
        )
    finally:
        _native.set_isa("")


def test_threads_and_company_do_not_change_an_answer():
    fast, _ = both(networks.translator("general", "gru"), "float32", std=1.5)
    source, lengths = networks.pairs(rows=300)[:2]
    given = {"beam": 5, "max_length": 7, "n_best": 2}
    threads, found = _native.num_threads(), []
    try:
        for count in (1, 3):
            _native.set_num_threads(count)
            found.append(decode.beam(fast, source, lengths, **given))
    finally:
        _native.set_num_threads(threads)
    for one, three in zip(*found, strict=True):
        for a, b in zip(one, three, strict=True):
            assert (a.tokens, a.score, a.log_prob) == (b.tokens, b.score, b.log_prob)
    for n in range(20):
        (alone,) = decode.beam(fast, source[[n]], lengths[[n]], **given)
        for a, b in zip(alone, found[0][n], strict=True):
            assert a.tokens == b.tokens
            assert a.log_prob == pytest.approx(b.log_prob, rel=1e-5)


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_what_the_engine_has_no_decoder_of_takes_plain_steps(name):
    assert both(SPECS[name])[0].fast is None


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_weights_of_fewer_bits_are_rounded_once(precision):
    torch.manual_seed(0)
    spec = networks.translator("additive", "gru")
    weights = {k: v.detach().numpy() for k, v in build_torch(spec).state_dict().items()}
    rounded = restore(store(weights, precision), "here")
    low, full = TranslatorNetwork(spec, weights, precision=precision), build(spec, weights)
    source, lengths = batch(spec)
    memory = low.encode(source, lengths)
    tokens = np.full((len(lengths), 1), 4)
    found = low.step(tokens, memory.first, memory).log_probs
    # The same memory, so that only the decoder differs.
    other = TranslatorNetwork(spec, rounded)
    again = other.remember(memory.values, lengths, memory.first)
    assert close(found, other.step(tokens, memory.first, again).log_probs, "forward")
    again = full.remember(memory.values, lengths, memory.first)
    assert np.abs(found - full.step(tokens, memory.first, again).log_probs).max() > 1e-5


def test_probabilities_that_are_not_numbers_are_told():
    fast, _ = both(networks.translator("additive"))
    memory = fast.encode(*batch(fast.spec))
    memory.projected[1, 0] = np.nan
    fast.encode = lambda source, lengths: memory
    with pytest.raises(ModelError, match="row 1: the probabilities of the next token are not num"):
        decode.greedy(fast, *batch(fast.spec), 4)


def arrays(fast):
    """Arguments of a step that fit."""
    memory = fast.encode(*batch(fast.spec))
    rows = len(memory.lengths)
    return {
        "tokens": np.full((rows, 1), 4),
        "h": [np.array(layer) for layer in memory.first.recurrent],
        "c": [],
        "feed": None,
        "memory": memory.projected,
        "lengths": memory.lengths,
        "fed": None,
        "log_probs": np.empty((rows, 1, fast.spec.target_vocab_size)),
        "weights": np.empty((rows, 1, memory.projected.shape[1])),
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokens", np.full((5, 1), 8), r"token 8 is outside 0\.\.7"),
        ("tokens", np.full((5, 1), -1), r"token -1 is outside 0\.\.7"),
        ("tokens", np.full(5, 1), r"tokens must be \[N, K\]"),
        ("lengths", np.array([1, 2, 3, 4, 7]), r"row 4: length 7 is outside 1\.\.6"),
        ("lengths", np.array([1, 0, 3, 4, 5]), r"row 1: length 0 is outside 1\.\.6"),
        ("lengths", np.array([1]), r"lengths must be \[5\]"),
        ("h", [np.zeros((5, 7))], r"h must be \[5, 6\]"),
        ("h", [], "a state has h, and for an LSTM c, of each layer"),
        ("memory", None, "weights go with a memory|a memory goes with attention"),
        ("memory", np.zeros((5, 6, 3)), r"memory must be \[5, 6, \d+\]"),
        ("weights", np.zeros((5, 1, 5)), r"weights must be \[5, 1, 6\]"),
        ("log_probs", np.zeros((5, 1, 9)), r"log_probs must be \[5, 1, 8\]"),
        ("feed", np.zeros((5, 7)), "feed goes with a decoder that is fed"),
        ("fed", np.zeros((5, 2)), r"fed must be \[5, \d+\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name, value, message):
    fast, _ = both(networks.translator("additive"))
    given = arrays(fast)
    fast.fast.native.step(**given)
    with pytest.raises(ValueError, match=message):
        fast.fast.native.step(**{**given, name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recurrent.0": np.zeros((6, 3))}, r"recurrent.0 must be \[6, \d+\]"),
        ({"recurrent.0": None}, "a decoder of these sizes needs 'recurrent.0'"),
        ({"output": np.zeros(4)}, r"output must be \[R, V\]"),
        ({"source": np.zeros((10, 3))}, "source has too few columns"),
        ({"score": np.zeros(4)}, r"score must be \[5\]"),
        ({"embedding": np.zeros((8, 3))}, r"embedding must be \[8, \d+\]"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change, message, monkeypatch):
    fast, _ = both(networks.translator("additive"))
    kept = {}
    bind = fast_decoder.FastDecoder._bind
    monkeypatch.setattr(
        fast_decoder.FastDecoder, "_bind", lambda self, a, b: kept.update(a) or bind(self, a, b)
    )
    both(networks.translator("additive"))
    given = {k: np.ascontiguousarray(v) for k, v in {**kept, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        _native.DecoderF64("gru_after", "additive", [6], False, given)
    assert fast.fast is not None
