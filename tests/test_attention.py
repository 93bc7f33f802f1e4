"""Attention and pooling: the papers' equations, what a mask promises, and the numpy twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stacks import random
from tolerances import close
from unrolled import nn, runtime
from unrolled.nn.attention import sequence_mask
from unrolled.shapes import attention_shapes
from unrolled.spec import AttentionSpec

N, T, S, Q, M, A = 3, 2, 5, 4, 6, 7
LENGTHS = [2, 5, 1]
SPECS = {
    "additive": AttentionSpec(kind="additive", query_size=Q, key_size=M, size=A),
    "dot": AttentionSpec(kind="dot", query_size=M, key_size=M),
    "general": AttentionSpec(kind="general", query_size=Q, key_size=M),
    "concat": AttentionSpec(kind="concat", query_size=Q, key_size=M, size=A),
}
kinds = pytest.mark.parametrize("kind", SPECS)
DTYPES = [torch.float32, torch.float64]


def attention_of(kind, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Attention(SPECS[kind], dtype=dtype)


def inputs(kind, dtype=torch.float64):
    query = random(N, T, SPECS[kind].query_size, dtype=dtype, seed=1)
    return query, random(N, S, M, dtype=dtype, seed=2)


def score(kind, w, q, m):
    """Return one score by the equation of the paper, of vectors q and m."""
    if kind == "dot":
        return q @ m
    if kind == "general":
        return q @ (w["key.weight"] @ m)
    if kind == "additive":
        return w["score.weight"][0] @ torch.tanh(
            w["query.weight"] @ q + w["key.weight"] @ m + w["key.bias"]
        )
    joined = torch.cat([w["query.weight"], w["key.weight"]], dim=1)
    return w["score.weight"][0] @ torch.tanh(joined @ torch.cat([q, m]) + w["key.bias"])


@kinds
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_scores_weights_and_context_are_those_of_the_paper(kind, lengths):
    """Bahdanau et al. 2015, A.1.2 and equations 5 and 6; Luong et al. 2015, 3.1."""
    attention, (query, memory) = attention_of(kind), inputs(kind)
    w = dict(attention.named_parameters())
    context, weights = attention(query, memory, lengths)
    for n in range(N):
        end = S if lengths is None else lengths[n]
        for t in range(T):
            scores = torch.stack([score(kind, w, query[n, t], memory[n, s]) for s in range(end)])
            expected = torch.exp(scores) / torch.exp(scores).sum()
            close(weights[n, t, :end], expected, "forward")
            close(context[n, t], sum(expected[s] * memory[n, s] for s in range(end)), "forward")


@kinds
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_weights_are_shares_that_sum_to_one_and_are_zero_past_the_end(kind, dtype):
    attention, (query, memory) = attention_of(kind, dtype), inputs(kind, dtype)
    _, weights = attention(query * 30, memory * 30, LENGTHS)
    assert weights.shape == (N, T, S)
    assert weights.min() >= 0
    assert weights.max() <= 1
    close(weights.sum(-1), torch.ones(N, T, dtype=dtype), "forward")
    for row, length in enumerate(LENGTHS):
        assert not weights[row, :, length:].any()


@kinds
def test_one_query_many_queries_and_keys_computed_once_are_the_same(kind):
    attention, (query, memory) = attention_of(kind), inputs(kind)
    keys = attention.precompute(memory)
    context, weights = attention(query, memory, LENGTHS, keys=keys)
    mask = sequence_mask(LENGTHS, memory)
    for t in range(T):
        one, shares = attention(query[:, t], memory, LENGTHS)
        assert one.shape == (N, M)
        assert shares.shape == (N, S)
        close(one, context[:, t], "forward")
        close(shares, weights[:, t], "forward")
        masked, _ = attention(query[:, t], memory, mask, keys=keys)
        close(masked, one, "forward")


@kinds
def test_no_gradient_reaches_what_is_masked_and_all_parameters_get_one(kind):
    attention, (query, memory) = attention_of(kind), inputs(kind)
    query.requires_grad_()
    memory.requires_grad_()
    context, weights = attention(query, memory, LENGTHS)
    (context * random(*context.shape)).sum().backward()
    for row, length in enumerate(LENGTHS):
        assert not memory.grad[row, length:].any()
        assert memory.grad[row, :length].abs().max() > 0
    for name, parameter in attention.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert torch.autograd.gradcheck(lambda q: attention(q, memory, LENGTHS), query, fast_mode=True)
    assert weights.isfinite().all()


@kinds
@pytest.mark.parametrize("empty", [[2, 0, 5], torch.tensor([[1] * 5, [0] * 5, [1] * 5]).bool()])
def test_a_row_with_nothing_to_attend_to_is_an_error_that_names_it(kind, empty):
    attention, (query, memory) = attention_of(kind), inputs(kind)
    with pytest.raises(ValueError, match="row 1 has nothing to attend to"):
        attention(query, memory, empty)
    twin = runtime.Attention(SPECS[kind], arrays(attention))
    with pytest.raises(ValueError, match="row 1 has nothing to attend to"):
        twin(query.numpy(), memory.numpy(), np.asarray(empty))


@kinds
def test_parameters_are_those_that_the_runtime_expects(kind):
    shapes = {name: tuple(p.shape) for name, p in attention_of(kind).named_parameters()}
    assert shapes == attention_shapes(SPECS[kind])


@kinds
def test_pooling_is_attention_by_a_learned_query(kind):
    torch.manual_seed(0)
    pooling = nn.AttentionPooling(SPECS[kind], dtype=torch.float64)
    _, memory = inputs(kind)
    context, weights = pooling(memory, LENGTHS)
    query = pooling.query_vector.expand(N, -1)
    expected, shares = pooling.attention(query, memory, LENGTHS)
    close(context, expected, "forward")
    close(weights, shares, "forward")
    context.sum().backward()
    assert pooling.query_vector.grad.abs().max() > 0


def arrays(module, prefix=""):
    return {prefix + name: value.numpy() for name, value in module.state_dict().items()}


@kinds
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_numpy_twins_agree(kind, dtype, lengths):
    attention, (query, memory) = attention_of(kind, dtype), inputs(kind, dtype)
    twin = runtime.Attention(SPECS[kind], arrays(attention, "attention."), "attention.")
    keys = twin.precompute(memory.numpy())
    close(keys, attention.precompute(memory), "forward")
    for q in (query, query[:, 0]):
        found = twin(q.numpy(), memory.numpy(), lengths, keys)
        for mine, theirs in zip(found, attention(q, memory, lengths), strict=True):
            assert mine.dtype == memory.numpy().dtype
            close(mine, theirs, "forward")
    pooling = nn.AttentionPooling(SPECS[kind], dtype=dtype)
    pooled = runtime.AttentionPooling(SPECS[kind], arrays(pooling, "pooling."), "pooling.")
    for mine, theirs in zip(pooled(memory.numpy(), lengths), pooling(memory, lengths), strict=True):
        close(mine, theirs, "forward")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"kind": "dot", "query_size": 3, "key_size": 4}, "got query_size 3 and key_size 4; use"),
        ({"kind": "additive", "query_size": 3, "key_size": 4}, "needs a size of at least 1, got 0"),
        ({"kind": "aditive", "query_size": 3, "key_size": 4}, "Did you mean 'additive'"),
        ({"kind": "general", "query_size": 0, "key_size": 4}, "must be at least 1, got 0, 4"),
    ],
)
def test_specs_that_name_no_attention_are_refused_on_both_sides(spec, says):
    for build in (nn.Attention, lambda spec: runtime.Attention(spec, {})):
        with pytest.raises(ValueError, match=says):
            build(AttentionSpec(**spec))


@pytest.mark.parametrize(
    ("query", "memory", "lengths", "says"),
    [
        ((N, Q + 1), (N, S, M), None, r"query must be \[3, 4\] or \[3, T, 4\]"),
        ((N + 1, Q), (N, S, M), None, r"query must be \[3, 4\]"),
        ((N, Q), (N, S, M + 1), None, r"memory must be \[N, S, 6\], got \[3, 5, 7\]"),
        ((N, Q), (N, S, M), [2, 6, 1], "got 6 in row 1"),
        ((N, Q), (N, S, M), [2, 5], r"lengths must be"),
        ((N, Q), (N, S, M), np.ones((N, 2), bool), r"a mask must be \[N, S\] = \[3, 5\]"),
    ],
)
def test_calls_say_what_was_expected_on_both_sides(query, memory, lengths, says):
    attention = attention_of("general", torch.float64)
    q, m = random(*query), random(*memory)
    ends = torch.from_numpy(lengths) if isinstance(lengths, np.ndarray) else lengths
    with pytest.raises(ValueError, match=says):
        attention(q, m, ends)
    with pytest.raises(ValueError, match=says):
        runtime.Attention(SPECS["general"], arrays(attention))(q.numpy(), m.numpy(), lengths)


def test_runtime_names_the_parameter_that_does_not_fit():
    weights = arrays(attention_of("additive"), "a.")
    with pytest.raises(ValueError, match=r"missing parameter 'b.query.weight'"):
        runtime.Attention(SPECS["additive"], weights, "b.")
    with pytest.raises(ValueError, match=r"'a.key.bias' must have shape \[7\], got \[3\]"):
        runtime.Attention(SPECS["additive"], {**weights, "a.key.bias": np.zeros(3)}, "a.")
