"""Answers written unit by unit, against greedy search over whole batches."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from test_decode import random_weights
from tolerances import close
from unrolled.config import DataSpec, ModelConfig, TrainSpec, VocabularySpec
from unrolled.data.vocab import Vocabulary
from unrolled.errors import ConfigError, DataError
from unrolled.runtime import SessionState
from unrolled.runtime.model import TranslatorModel
from unrolled.runtime.networks import TranslatorNetwork

TEXTS = ("a", "abcde", "edcba", "zzb")
SPECS = networks.translators()


def model_of(spec, tokens="char", seed=0):
    source, target = VocabularySpec(tokens="char"), VocabularySpec(tokens=tokens)
    config = ModelConfig(
        format_version=1,
        task="translate",
        network=spec,
        data=DataSpec(source_vocabulary=source, target_vocabulary=target, max_length=6),
        training=TrainSpec(),
    )
    return TranslatorModel(
        config,
        TranslatorNetwork(spec, random_weights(spec, seed)),
        Vocabulary.build(["abcde"], source),
        Vocabulary.build(["w x y z"] if tokens == "word" else ["wxyz"], target),
    )


@pytest.mark.parametrize("name", SPECS)
def test_the_units_are_those_of_greedy_search(name):
    model = model_of(SPECS[name], "word" if "1" in name else "char")
    for text in TEXTS:
        answer = model.translate([text]).answers[0][0]
        session = model.stream(text)
        found = list(session)
        assert tuple(each.unit for each in found) == answer.target_units
        assert "".join(each.text for each in found) == answer.text == session.text
        assert session.ended
        assert session.step() is None
        assert close(session.log_prob, answer.log_prob, "forward")
        if answer.alignment is None:
            assert all(each.alignment is None for each in found)
        elif found:
            assert close(np.array([each.alignment for each in found]), answer.alignment, "forward")


@pytest.mark.parametrize(
    "name", ["additive-gru-1", "additive-lstm-2", "general-lstm-feeding", "None-gru-1"]
)
def test_forks_and_states_go_on_from_where_they_were(name):
    model = model_of(SPECS[name])
    text = max(TEXTS, key=lambda each: len(list(model.stream(each))))
    whole = [each.unit for each in model.stream(text)]
    assert len(whole) >= 2
    session = model.stream(text)
    begun = [session.step().unit]
    fork, saved = session.fork(), session.state.to_bytes()
    rest = [each.unit for each in session]
    assert begun + rest == whole
    assert [each.unit for each in fork] == rest
    other = model.stream("a", max_length=1)
    other.state = SessionState.from_bytes(saved)
    assert [each.unit for each in other] == rest
    assert (other.text, other.log_prob) == (session.text, session.log_prob)
    assert (other.limit, other.source) == (session.limit, session.source)
    other.reset()
    assert [each.unit for each in other] == whole
    other.state = session.state
    assert other.step() is None


def test_what_does_not_fit_is_said():
    model = model_of(SPECS["additive-gru-1"])
    with pytest.raises(DataError, match="text 1 is empty"):
        model.stream("")
    with pytest.raises(ConfigError, match="max_length is 0, expected 1 or more"):
        model.stream("a", max_length=0)
    with pytest.warns(UserWarning, match="longer than 6 units"):
        model.stream("abcdeabcde")
    with pytest.raises(DataError, match="the state is of another model"):
        model_of(SPECS["additive-gru-1"], seed=1).stream("a").state = model.stream("a").state
