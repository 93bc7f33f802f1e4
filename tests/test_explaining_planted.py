"""Networks of what is written or foretold whose answer hangs on known steps: these rank first."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import explaining
import forecasting
from unrolled.config import DataSpec, ForecastingSpec, GenerationSpec
from unrolled.data.vocab import SPECIALS, LabelVocabulary
from unrolled.errors import ConfigError
from unrolled.spec import ForecasterSpec, GeneratorSpec, RecurrentSpec, TaggerSpec


def planted_generator():
    """A generator that says `w9` where it has read `good`, however long ago, and nothing else."""
    words, spec = explaining.vocabulary(), None
    spec = GeneratorSpec(
        recurrent=RecurrentSpec(
            cell="rnn", input_size=2, hidden_sizes=(2,), nonlinearity="relu", bias=False
        ),
        vocab_size=len(words),
        embedding_size=2,
    )
    embedding = np.zeros((len(words), 2), np.float32)
    embedding[len(SPECIALS)], embedding[len(SPECIALS) + 1] = (1, 0), (0, 1)
    output = np.zeros((len(words), 2), np.float32)
    output[words.encode("w9")[0]] = (6, -6)
    weights = {
        "embedding.weight": embedding,
        "recurrent.weight_ih_l0": np.eye(2, dtype=np.float32),
        "recurrent.weight_hh_l0": np.eye(2, dtype=np.float32),
        "output.weight": output,
        "output.bias": np.zeros(len(words), np.float32),
    }
    data = DataSpec(generation=GenerationSpec(kind="items"))
    return explaining.model_of("generate", spec, weights, {"source": words}, data)


@pytest.mark.parametrize("method", explaining.ATTRIBUTION)
def test_the_step_that_a_next_word_hangs_on_is_found(method: str) -> None:
    found = planted_generator().explain(explaining.PLANTED, method)
    assert found.answer == "'w9' next"
    assert explaining.ranked(found, method)[0] == "good"
    assert found.attributions[0].deletion.verdict == "trust"


def planted_forecaster(residual: str = "none"):
    """A forecaster that adds up its covariate `promo`, and reads nothing else but the scale."""
    spec = ForecasterSpec(
        recurrent=RecurrentSpec(
            cell="rnn", input_size=8, hidden_sizes=(1,), nonlinearity="relu", bias=False
        ),
        horizon=3,
        past_size=2,
        known_size=4,
        decoder="linear",
        output="point",
        residual=residual,
    )
    reads = np.zeros((1, 8), np.float32)
    reads[0, 2] = 1.0
    weights = {
        "recurrent.weight_ih_l0": reads,
        "recurrent.weight_hh_l0": np.ones((1, 1), np.float32),
        "head.context.weight": np.full((3, 1), 0.0 if residual == "last" else 2.0, np.float32),
        "head.context.bias": np.zeros(3, np.float32),
        "head.known.weight": np.zeros((1, 4), np.float32),
    }
    forecasting_spec = ForecastingSpec(
        freq="h", season=24, window=12, past=("promo",), statistics={"promo": (0.0, 1.0)},
        calendar=("hour", "weekday"),
    )  # fmt: skip
    data = DataSpec(source="ds", target="y", forecasting=forecasting_spec)
    return explaining.model_of("forecast", spec, weights, {}, data)


@pytest.mark.parametrize("method", explaining.ATTRIBUTION)
def test_the_steps_that_a_forecast_hangs_on_are_found(method: str) -> None:
    """Two steps of the last twelve carry the promotion, the nearer half of what the other does."""
    given = forecasting.frame("a", 30, promo=lambda k, t: {21: 2.0, 26: 1.0}.get(t, 0.0))
    found = planted_forecaster().explain(given, method)
    assert len(found.steps) == 12
    assert explaining.ranked(found, method)[:2] == ["2024-01-01 21:00:00", "2024-01-02 02:00:00"]
    values = np.array(found.attributions[0].values)
    assert np.count_nonzero(np.abs(values) > 1e-6) == 2
    assert found.attributions[0].deletion.verdict == "trust"
    later = planted_forecaster("last").explain(given, method)
    assert explaining.ranked(later, method)[0] == later.steps[-1]


def test_a_step_that_lowers_a_forecast_matters_as_much() -> None:
    """What is added up are 3, -2 and 1, never below 0: without the -2 the sum of 2 is 4."""
    given = forecasting.frame("a", 30, promo=lambda k, t: {19: 3.0, 21: -2.0, 26: 1.0}.get(t, 0.0))
    found = planted_forecaster().explain(given, "occlusion")
    (each,) = found.attributions
    unit = each.values[found.steps.index("2024-01-02 02:00:00")]
    parts = {t: v / unit for t, v in zip(found.steps, each.values, strict=True) if abs(v) > 1e-6}
    assert list(parts.values()) == pytest.approx([1, -2, 1])
    assert each.deletion.verdict == "trust"
    assert each.deletion.top[1] == pytest.approx(found.score - 2 * unit)
    assert all(score <= found.score + 1e-9 for score in each.deletion.bottom)
    assert " moves by " in each.deletion.sentence


def test_the_covariate_that_a_forecast_hangs_on_is_found() -> None:
    given = forecasting.frame("a", 30, promo=lambda k, t: {21: 2.0, 26: 1.0}.get(t, 0.0))
    model = planted_forecaster()
    for target in ("covariates", "covariates:2"):
        found = model.explain(given, "all", target=target)
        names = ("y, its own past", "promo (past)", "calendar: hour", "calendar: weekday")
        assert found.steps == names
        for each in found.attributions:
            assert int(np.argmax(each.values)) == 1
            assert np.abs(np.delete(each.values, 1)).max() < 1e-6
        assert found.attributions[0].deletion.verdict == "too short"
    assert {each.method for each in found.attributions} == {"occlusion", "timeshap"}
    last = planted_forecaster("last").explain(given, "occlusion", target="covariates")
    assert int(np.argmax(np.abs(last.attributions[0].values))) == 0


def planted_intent():
    """A tagger whose intent is `up` where there is a `good`, and whose tags say nothing."""
    spec = TaggerSpec(
        num_tags=2,
        recurrent=RecurrentSpec(cell="rnn", input_size=2, hidden_sizes=(2,), bias=False),
        vocab_size=len(explaining.vocabulary()),
        embedding_size=2,
        head="softmax",
        num_intents=2,
    )
    embedding = np.zeros((spec.vocab_size, 2), np.float32)
    embedding[len(SPECIALS)] = (1.0, 1.0)
    weights = {
        "embedding.weight": embedding,
        "recurrent.weight_ih_l0": np.eye(2, dtype=np.float32),
        "recurrent.weight_hh_l0": np.zeros((2, 2), np.float32),
        "output.weight": np.zeros((2, 2), np.float32),
        "output.bias": np.zeros(2, np.float32),
        "intent.weight": np.array([[-4, 0], [4, 0]], np.float32),
        "intent.bias": np.array([1, -1], np.float32),
    }
    roles = {
        "source": explaining.vocabulary(),
        "target": LabelVocabulary(("A", "B")),
        "intent": LabelVocabulary(("down", "up")),
    }
    return explaining.model_of("tag", spec, weights, roles)


@pytest.mark.parametrize("how", ["remove", "replace"])
@pytest.mark.parametrize("method", explaining.ATTRIBUTION)
def test_the_word_that_an_intent_hangs_on_is_found(method: str, how: str) -> None:
    found = planted_intent().explain(explaining.PLANTED, method, target="intent", how=how)
    assert found.answer == "intent up"
    assert explaining.ranked(found, method)[0] == "good"
    assert found.attributions[0].deletion.verdict == "trust"
    against = planted_intent().explain(explaining.PLANTED, method, target="intent:down", how=how)
    assert explaining.ranked(against, method)[-1] == "good"


def test_a_tagger_without_an_intent_says_so() -> None:
    model = explaining.model_of(
        "tag",
        msgspec.structs.replace(planted_intent().network.spec, num_intents=0),
        {k: v for k, v in planted_intent().network.weights.items() if "intent" not in k},
        {"source": explaining.vocabulary(), "target": LabelVocabulary(("A", "B"))},
    )
    with pytest.raises(ConfigError, match="this tagger has no label of the whole sequence"):
        model.explain(explaining.PLANTED, target="intent")
