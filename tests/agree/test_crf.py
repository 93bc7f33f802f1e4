"""The CRF: native kernels against plain numpy, autograd through a torch loop, and enumeration."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from tolerances import close
from unrolled import _native
from unrolled.data.schemes import legal
from unrolled.errors import EngineError
from unrolled.ops import crf as torch_crf
from unrolled.runtime import crf, crf_reference
from unrolled.runtime.crf import Scores

DTYPES = {"float32": np.float32, "float64": np.float64}
BIO = ("B-A", "B-B", "I-A", "I-B", "O")


def chain(rows=5, steps=6, tags=4, *, dtype=np.float64, seed=0, scale=1.0):
    """Emissions [N, T, K], scores and ragged lengths."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, steps + 1, rows)
    lengths[0] = steps

    def normal(*shape):
        return (scale * draw.normal(size=shape)).astype(dtype)

    scores = Scores(normal(tags, tags), normal(tags), normal(tags))
    return normal(rows, steps, tags), scores, lengths


def forbid(scores, seed=1, share=0.3):
    """Forbid some transitions, first and last tags, but never tag 0 anywhere."""
    draw = np.random.default_rng(seed)
    masks = [draw.random(part.shape) >= share for part in scores]
    for mask in masks:
        mask[..., 0] = True
    masks[0][0] = True
    return Scores(*(np.where(m, s, -np.inf).astype(s.dtype) for m, s in zip(masks, scores)))  # noqa: B905


def enumerate_row(emissions, scores, length):
    """Every tag sequence of a row with its score, best first; ties by the last differing tag."""
    found = []
    for path in product(range(len(scores.end)), repeat=int(length)):
        score = scores.start[path[0]] + scores.end[path[-1]]
        score += sum(emissions[t, tag] for t, tag in enumerate(path))
        score += sum(scores.transitions[a, b] for a, b in pairwise(path))
        found.append((float(score), path))
    return sorted(found, key=lambda each: (-each[0], each[1][::-1]))


CASES = {
    "one tag": {"tags": 1},
    "one step": {"steps": 1},
    "one row": {"rows": 1, "steps": 9},
    "small": {},
    "odd": {"rows": 17, "steps": 5, "tags": 7},
    "many tags": {"rows": 3, "steps": 4, "tags": 33},
    "steep": {"scale": 60.0, "steps": 8},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("forbidden", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_native_agrees_with_plain_numpy(case, forbidden, dtype):
    emissions, scores, lengths = chain(**CASES[case], dtype=DTYPES[dtype])
    if forbidden:
        scores = forbid(scores)
    wide = emissions.astype(np.float64), Scores(*(s.astype(np.float64) for s in scores)), lengths
    found = crf.log_partition(emissions, scores, lengths)
    assert close(found, crf_reference.log_partition(*wide), "forward")
    found = crf.marginals(emissions, scores, lengths)
    assert found.dtype == dtype
    assert close(found, crf_reference.marginals(*wide), "forward")
    for n_best in (1, 3):
        paths, best = crf.viterbi(emissions, scores, lengths, n_best=n_best)
        expected, expected_best = crf_reference.viterbi(*wide, n_best=n_best)
        np.testing.assert_array_equal(paths, expected)
        there = np.isfinite(expected_best)
        np.testing.assert_array_equal(np.isfinite(best), there)
        assert close(best[there], expected_best[there], "forward")


@pytest.mark.parametrize("forbidden", [False, True])
def test_enumeration_of_every_sequence(forbidden):
    emissions, scores, lengths = chain(rows=4, steps=4, tags=3, seed=2)
    if forbidden:
        scores = forbid(scores)
    log_z = crf.log_partition(emissions, scores, lengths)
    marginals = crf.marginals(emissions, scores, lengths)
    paths, best = crf.viterbi(emissions, scores, lengths, n_best=100)
    for row, length in enumerate(lengths):
        every = enumerate_row(emissions[row], scores, length)
        allowed = [each for each in every if each[0] > -np.inf]
        total = np.logaddexp.reduce([score for score, _ in allowed])
        assert log_z[row] == pytest.approx(total, abs=1e-11)
        expected = np.zeros(emissions.shape[1:])
        for score, path in allowed:
            for t, tag in enumerate(path):
                expected[t, tag] += np.exp(score - total)
        assert close(marginals[row], expected, "forward")
        assert [tuple(p[:length]) for p in paths[row, : len(allowed)]] == [p for _, p in allowed]
        assert close(best[row, : len(allowed)], np.array([s for s, _ in allowed]), "forward")
        assert (paths[row, len(allowed) :] == -1).all()
        assert (paths[row, :, length:] == -1).all()


def test_equal_scores_are_ordered_by_the_last_differing_tag():
    emissions, scores = np.zeros((1, 3, 2)), Scores(np.zeros((2, 2)), np.zeros(2), np.zeros(2))
    paths, _ = crf.viterbi(emissions, scores, np.array([3]), n_best=3)
    assert paths[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


def tensors(emissions, scores, dtype=torch.float64):
    made = [torch.tensor(part, dtype=dtype) for part in (emissions, *scores)]
    return [part.requires_grad_() for part in made]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_the_native_gradient_is_autograds(case, dtype):
    emissions, scores, lengths = chain(**CASES[case])
    ends, weights = torch.tensor(lengths), torch.linspace(-1, 2, len(lengths), dtype=dtype)
    found = tensors(emissions, scores, dtype)
    expected = tensors(*_as(emissions, scores, dtype))
    value = torch_crf.log_partition(*found, ends, engine="native")
    plain = torch_crf.log_partition(*expected, ends, engine="reference")
    assert value.dtype == dtype
    assert close(value, plain, "forward")
    (value * weights).sum().backward()
    (plain * weights.double()).sum().backward()
    for ours, theirs in zip(found, expected, strict=True):
        expected_grad = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        assert close(ours.grad, expected_grad, "gradient")


def _as(emissions, scores, dtype):
    """The same numbers as a narrower type holds them."""
    kind = np.float32 if dtype == torch.float32 else np.float64
    narrow = [part.astype(kind).astype(np.float64) for part in (emissions, *scores)]
    return narrow[0], Scores(*narrow[1:])


def test_expected_transitions_are_the_gradient():
    emissions, scores, lengths = chain(seed=5)
    found = tensors(emissions, scores)
    torch_crf.log_partition(*found, torch.tensor(lengths)).sum().backward()
    expected = crf_reference.expected_transitions(emissions, scores, lengths).sum(0)
    assert close(found[1].grad, expected, "gradient")


def test_gradients_with_forbidden_transitions_are_finite_and_zero_there():
    emissions, scores, lengths = chain(seed=6)
    scores = forbid(scores)
    found = tensors(emissions, scores)
    torch_crf.log_partition(*found, torch.tensor(lengths)).sum().backward()
    expected = crf_reference.expected_transitions(emissions, scores, lengths).sum(0)
    assert close(found[1].grad, expected, "gradient")
    assert not found[1].grad[np.isneginf(scores.transitions)].any()


def test_what_underflows_as_a_probability_still_counts():
    """The best way on leads through a state e^-2000 below the best at its own time."""
    emissions = np.array([[[0.0, -2000.0], [0.0, 0.0]]])
    transitions = np.array([[-np.inf, -5000.0], [1.0, -np.inf]])
    scores = Scores(transitions, np.zeros(2), np.zeros(2))
    lengths = np.array([2])
    assert crf.log_partition(emissions, scores, lengths)[0] == pytest.approx(-1999.0, abs=1e-9)
    assert close(
        crf.marginals(emissions, scores, lengths),
        crf_reference.marginals(emissions, scores, lengths),
        "forward",
    )
    found = tensors(emissions, scores)
    torch_crf.log_partition(*found, torch.tensor(lengths)).sum().backward()
    np.testing.assert_allclose(found[1].grad, [[0, 0], [1, 0]], atol=1e-11)


def test_log_likelihood_is_the_score_less_log_z_and_its_gradient_checks():
    emissions, scores, lengths = chain(rows=3, steps=4, tags=3, seed=7)
    tags = torch.tensor(np.random.default_rng(0).integers(0, 3, (3, 4)))
    ends = torch.tensor(lengths)
    parts = tensors(emissions, scores)
    found = torch_crf.log_likelihood(*parts, tags, ends).detach()
    for row, length in enumerate(lengths):
        every = enumerate_row(emissions[row], scores, length)
        said = tuple(tags[row, :length].tolist())
        score = next(score for score, path in every if path == said)
        total = np.logaddexp.reduce([s for s, _ in every])
        assert float(found[row]) == pytest.approx(score - total, abs=1e-11)
    assert torch.autograd.gradcheck(
        lambda *p: torch_crf.log_likelihood(*p, tags, ends), parts, fast_mode=True
    )


def test_results_do_not_depend_on_the_number_of_threads():
    emissions, scores, lengths = chain(rows=37, steps=20, tags=40, dtype=np.float32)
    found = []
    before = _native.num_threads()
    try:
        for threads in (1, 2, 3):
            _native.set_num_threads(threads)
            parts = tensors(emissions, scores, torch.float32)
            value = torch_crf.log_partition(*parts, torch.tensor(lengths))
            value.sum().backward()
            paths, _ = crf.viterbi(emissions, scores, lengths, n_best=2)
            found.append([value.detach().numpy(), *(p.grad.numpy() for p in parts), paths])
    finally:
        _native.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_engine_by_name_computes_or_raises():
    emissions, scores, lengths = chain()
    half = tensors(emissions, scores, torch.bfloat16)
    with pytest.raises(EngineError, match=r"float32 or float64 CPU tensors, got torch\.bfloat16"):
        torch_crf.log_partition(*half, torch.tensor(lengths), engine="native")
    assert torch_crf.log_partition(*half, torch.tensor(lengths)).dtype == torch.bfloat16


def test_strided_inputs_are_read_as_they_are():
    emissions, scores, lengths = chain(rows=3)
    turned = np.asfortranarray(emissions)
    np.testing.assert_array_equal(
        crf.marginals(turned, scores, lengths), crf.marginals(emissions, scores, lengths)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": [0, 1, 1]}, r"row 0: length 0 is outside 1\.\.4"),
        ({"lengths": [1, 5, 1]}, r"row 1: length 5 is outside 1\.\.4"),
        ({"lengths": [1, 1]}, r"lengths must be \[3\]"),
        ({"start": np.zeros(2)}, r"start must be \[3\]"),
        ({"transitions": np.zeros((3, 2))}, r"transitions must be \[3, 3\]"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    given = {
        "transitions": np.zeros((3, 3)), "start": np.zeros(3), "end": np.zeros(3),
        "lengths": [1, 2, 4], **change,
    }  # fmt: skip
    lengths = np.array(given.pop("lengths"), np.int64)
    with pytest.raises(ValueError, match=message):
        crf.log_partition(np.zeros((3, 4, 3)), Scores(**given), lengths)


def test_only_legal_sequences_are_answered_and_counted():
    emissions, scores, lengths = chain(rows=6, tags=5, seed=3)
    legal_scores = scores.where(legal(BIO, "bio"))
    paths, best = crf.viterbi(emissions, legal_scores, lengths, n_best=4)
    for row in range(6):
        for path, score in zip(paths[row], best[row], strict=True):
            if not np.isfinite(score):
                continue
            tags = ["O", *(BIO[k] for k in path[: lengths[row]])]
            for a, b in pairwise(tags):
                assert b[0] != "I" or a in ("B" + b[1:], "I" + b[1:])
    sums = crf.marginals(emissions, legal_scores, lengths).sum(-1)
    inside = np.arange(6) < lengths[:, None]
    np.testing.assert_allclose(sums[inside], 1, rtol=1e-12)
    assert not sums[~inside].any()
