"""A classifier that reads piece by piece: what it says is what it says of the whole text so far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from test_decode import random_weights
from tolerances import close
from unrolled.config import DataSpec, ModelConfig, TrainSpec, VocabularySpec
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import DataError, ModelError
from unrolled.runtime.heads import ClassifierNetwork
from unrolled.runtime.model import ClassifierModel
from unrolled.runtime.running import classify_many
from unrolled.runtime.session import SessionPool
from unrolled.runtime.state import SessionState

LABELS = LabelVocabulary.build(["no", "maybe", "yes"])
SPECS = {
    f"{pooling}-{cell}": networks.classifier(pooling, cell, bidirectional=False)
    for pooling in ("last", "mean", "max", "attention")
    for cell in networks.CELLS
} | {
    f"attention-{kind}": networks.classifier(kind=kind, bidirectional=False)
    for kind in ("dot", "general", "concat")
}
SPECS["last-residual"] = networks.classifier(
    "last", "lstm", bidirectional=False, residual=True, hidden_sizes=(4, 4), proj_size=3
)


def model_of(spec, tokens="char", seed=0):
    pieces = VocabularySpec(tokens=tokens)
    vocabulary = Vocabulary.build([["abcde"], ["a b c d e"]][tokens == "word"], pieces)
    config = ModelConfig(
        format_version=1,
        task="classify",
        network=spec,
        data=DataSpec(source_vocabulary=pieces, target_vocabulary=pieces, max_length=100),
        training=TrainSpec(),
    )
    network = ClassifierNetwork(spec, random_weights(spec, seed))
    return ClassifierModel(config, network, vocabulary, LABELS)


texts = st.text("abcdez", min_size=1, max_size=12)


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(SPECS)), text=texts, cuts=st.sets(st.integers(1, 11)))
def test_pieces_of_any_size_give_what_the_whole_text_so_far_gives(name, text, cuts):
    model = model_of(SPECS[name])
    session = model.stream()
    ends = sorted({cut for cut in cuts if cut < len(text)} | {len(text)})
    for start, end in zip([0, *ends], ends, strict=False):
        found = session.step(text[start:end])
        close(found, model.predict_proba(text[:end])[0], "forward")
        assert session.label == model.predict(text[:end])[0]
        assert session.units_read == end


def test_words_are_read_one_by_one():
    model = model_of(networks.classifier("mean", bidirectional=False), "word")
    session = model.stream()
    for word in ("a", " d ", "zebra"):
        found = session.step(word)
    close(found, model.predict_proba("a d zebra")[0], "forward")
    assert np.array_equal(session.step("  "), found)
    session.reset()
    close(session.step("d"), model.predict_proba("d")[0], "forward")


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_forks_and_states_go_on_from_where_they_were(pooling):
    model = model_of(networks.classifier(pooling, "lstm", bidirectional=False))
    session = model.stream()
    session.step("abc")
    fork, state = session.fork(), SessionState.from_bytes(session.state.to_bytes())
    close(fork.step("d"), model.predict_proba("abcd")[0], "forward")
    close(session.step("ee"), model.predict_proba("abcee")[0], "forward")
    other = model.stream()
    other.state = state
    assert (other.label, other.units_read) == (model.predict("abc")[0], 3)
    close(other.step("e"), model.predict_proba("abce")[0], "forward")


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_many_sessions_read_on_in_one_call_a_unit(pooling):
    model = model_of(networks.classifier(pooling, "lstm", bidirectional=False))
    pool = SessionPool(model.network.recurrent)
    sessions = [model.stream(pool=pool) for _ in range(3)]
    texts = ["ab", "c", "edcba"]
    classify_many(sessions, texts)
    found = classify_many(sessions, ["e", "", "dd"])
    for each, text in zip(found, ("abe", "c", "edcbadd"), strict=True):
        close(each, model.predict_proba(text)[0], "forward")
    with pytest.raises(ValueError, match="a text for each session, got 1 for 3"):
        classify_many(sessions, ["a"])
    with pytest.raises(ValueError, match="a session is given twice"):
        classify_many([sessions[0], sessions[0]], ["a", "b"])
    with pytest.raises(ValueError, match="over another layer"):
        model_of(model.network.spec, seed=1).stream(pool=pool)
    sessions[0].close()
    assert len(pool) == 2


def test_a_state_of_another_model_is_refused():
    spec = networks.classifier(bidirectional=False)
    first, second = model_of(spec).stream(), model_of(spec, seed=1).stream()
    first.step("a")
    with pytest.raises(DataError, match="the state is of another model"):
        second.state = first.state


def test_what_cannot_be_read_is_said():
    with pytest.raises(ModelError, match="reads in both directions and cannot stream"):
        model_of(networks.classifier()).stream()
    session = model_of(networks.classifier(bidirectional=False)).stream()
    with pytest.raises(DataError, match="the text is empty so far"):
        session.step("")
