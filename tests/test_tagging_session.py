"""A tagger that reads step by step, against itself over whole sequences and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tagging
from test_decode import random_weights
from tolerances import close
from unrolled.config import DataSpec, ModelConfig, TaggingSpec, TrainSpec, VocabularySpec
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.runtime import SessionPool, SessionState, tag_many
from unrolled.runtime import crf_reference as plain
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.tagger_model import TaggerModel

TAGS = ("O", "B-A", "I-A", "B-B", "I-B")
ONE = {"bidirectional": False}
SPECS = {
    f"{cell}-{head}": tagging.tagger(cell, head=head, **ONE)
    for cell in ("rnn", "lstm", "gru")
    for head in ("crf", "softmax")
} | {
    "words": tagging.tagger(characters=False, **ONE),
    "spelling": tagging.tagger(words=0, **ONE),
    "intent": tagging.tagger("lstm", intents=3, **ONE),
}


def model_of(spec, *, constrained=False, seed=0):
    words = VocabularySpec(tokens="word")
    characters = VocabularySpec(tokens="char")
    config = ModelConfig(
        format_version=1,
        task="tag",
        network=spec,
        data=DataSpec(
            source_vocabulary=words,
            target_vocabulary=words,
            max_length=100,
            tagging=TaggingSpec(scheme="bio", constrained=constrained),
        ),
        training=TrainSpec(),
    )
    # 0.5: where two tags are as good as certain, the logs of the other ones say nothing.
    network = TaggerNetwork(spec, random_weights(spec, seed, 0.5))
    return TaggerModel(
        config,
        network,
        LabelVocabulary.build(TAGS),
        Vocabulary.build(["ab ba cd dc aa"], words) if spec.vocab_size else None,
        Vocabulary.build(["abcd"], characters) if spec.characters else None,
        LabelVocabulary.build(["x", "y", "z"][: spec.num_intents]) if spec.num_intents else None,
    )


BOTH_WAYS = {
    "crf": model_of(tagging.tagger("lstm")),
    "softmax": model_of(tagging.tagger("gru", head="softmax")),
    "intent": model_of(tagging.tagger("lstm", intents=3)),
    "frames": model_of(tagging.tagger("gru", words=0, characters=False, frames=4)),
}


def emissions(model, sentence):
    return model.network.emissions(model.corpus([sentence]).batch([0]))[0]


def filtered(model, sentence):
    """p(y_t | x_1..t) at the last step: the marginals of a chain that may end anywhere."""
    scores = model.network.scores.where(model.legal)
    scores = scores._replace(end=np.zeros_like(scores.end))
    found = emissions(model, sentence)
    return plain.marginals(found, scores, np.array([len(sentence)]))[0], scores, found


def same(found, expected):
    assert found.answers[0][0].tags == expected.answers[0][0].tags
    assert close(found.marginals[0], expected.marginals[0], "forward")
    assert close(found.answers[0][0].log_prob, expected.answers[0][0].log_prob, "forward")
    if expected.intents is not None:
        assert close(found.intents[0].probabilities, expected.intents[0].probabilities, "forward")


sentences = st.lists(st.sampled_from(["ab", "ba", "cd", "dc", "aa", "new"]), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(SPECS)),
    constrained=st.booleans(),
    sentence=sentences,
    cuts=st.sets(st.integers(1, 7)),
)
def test_any_chunks_give_the_marginals_so_far_and_at_the_end_the_batch_answer(
    name, constrained, sentence, cuts
):
    model = model_of(SPECS[name], constrained=constrained)
    session = model.stream()
    ends = sorted({cut for cut in cuts if cut < len(sentence)} | {len(sentence)})
    found = []
    for start, end in zip([0, *ends], ends, strict=False):
        found += session.run(sentence[start:end])
        same(session.finish(), model.tag([sentence[:end]], marginals=True))
    assert [each.position for each in found] == list(range(len(sentence)))
    for t, each in enumerate(found):
        expected = filtered(model, sentence[: t + 1])[0][-1]
        assert close(each.probabilities, expected, "forward")
        assert each.tag == model.tags[int(each.probabilities.argmax())]


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_lag_gives_smoothed_marginals_and_the_best_path_so_far(lag):
    model = model_of(SPECS["gru-crf"], constrained=True)
    sentence = ["ab", "new", "cd", "aa", "ba", "dc"]
    session = model.stream(lag=lag)
    for t, word in enumerate(sentence):
        each = session.step(word)
        if t < lag:
            assert each is None
            continue
        shares, scores, found = filtered(model, sentence[: t + 1])
        paths, _ = plain.viterbi(found, scores, np.array([t + 1]))
        assert each.position == t - lag
        assert each.tag == model.tags[paths[0, 0, t - lag]]
        assert close(each.probabilities, shares[t - lag], "forward")
    same(session.finish(), model.tag([sentence], marginals=True))


def test_a_softmax_tagger_says_what_it_says_of_the_whole_sequence():
    model = model_of(SPECS["lstm-softmax"])
    sentence = ["ab", "cd", "new", "ba"]
    whole = model.tag([sentence], marginals=True)
    found = model.stream().run(" ".join(sentence))
    assert tuple(each.tag for each in found) == whole.answers[0][0].tags
    assert close(np.array([each.probabilities for each in found]), whole.marginals[0], "forward")


def test_frames_are_read_one_by_one():
    model = model_of(tagging.tagger(frames=4, **ONE))
    frames = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    session = model.stream()
    found = [session.step(frames[0]), *session.run(frames[1:])]
    assert [each.position for each in found] == list(range(5))
    same(session.finish(), model.tag([frames], marginals=True))
    with pytest.raises(DataError, match=r"expected frames \[T, 4\]"):
        session.step(frames[0, :3])
    assert session.steps_read == 5


@pytest.mark.parametrize("name", ["lstm-crf", "intent"])
def test_forks_and_states_go_on_from_where_they_were(name):
    model = model_of(SPECS[name])
    session = model.stream()
    session.run("ab cd")
    fork, state = session.fork(), SessionState.from_bytes(session.state.to_bytes())
    fork.step("aa")
    session.step("ba")
    other = model.stream()
    other.state = state
    same(other.finish(), model.tag("ab cd", marginals=True))
    other.step("dc")
    for each, text in ((fork, "ab cd aa"), (session, "ab cd ba"), (other, "ab cd dc")):
        same(each.finish(), model.tag(text, marginals=True))
    other.reset()
    other.state = model.stream().state
    assert other.steps_read == 0
    with pytest.raises(DataError, match="the state is of another model"):
        model_of(SPECS[name], seed=1).stream().state = state


def test_many_sessions_advance_in_one_call():
    model = model_of(SPECS["gru-crf"])
    pool = SessionPool(model.network.recurrent)
    sessions = [model.stream(pool=pool) for _ in range(3)]
    texts = [["ab", "new"], ["cd", "aa"], ["ba", "ba"]]
    for t in range(2):
        found = tag_many(sessions, [text[t] for text in texts])
        for each, text in zip(found, texts, strict=True):
            assert close(each.probabilities, filtered(model, text[: t + 1])[0][-1], "forward")
    for session, text in zip(sessions, texts, strict=True):
        same(session.finish(), model.tag([text], marginals=True))
    with pytest.raises(ValueError, match="a step for each session, got 1 for 3"):
        tag_many(sessions, ["ab"])
    with pytest.raises(ValueError, match="closed or of another pool"):
        tag_many([sessions[0], model.stream()], ["ab", "ab"])
    other = model_of(SPECS["gru-crf"]).stream()
    with pytest.raises(ValueError, match="of different models"):
        tag_many([sessions[0], other], ["ab", "ab"])
    sessions[0].close()
    assert len(pool) == 2


def test_both_directions_need_a_lookahead():
    model = model_of(tagging.tagger())
    with pytest.raises(ModelError, match=r"reads in both directions and .* lookahead=k"):
        model.stream()
    sentence = ["ab", "cd", "new", "ba"]
    session = model.stream(lookahead=8)
    assert session.run(sentence) == []
    same(session.finish(), model.tag([sentence], marginals=True))
    session = model.stream(lookahead=1)
    assert [each.position for each in session.run(sentence)] == [0, 1, 2]
    assert len(session.finish().answers[0][0].tags) == 4
    assert session.steps_read == 3
    with pytest.raises(ModelError, match="with a lookahead are not of a pool: step each"):
        tag_many([session], ["ab"])


@settings(max_examples=25)
@given(
    name=st.sampled_from(["crf", "softmax", "intent", "frames"]),
    ahead=st.integers(0, 3),
    lag=st.sampled_from([None, 0, 2]),
    at=st.integers(0, 7),
)
def test_a_session_with_a_lookahead_goes_on_from_a_saved_state(name, ahead, lag, at):
    model = BOTH_WAYS[name]
    sentence = ["ab", "cd", "new", "ba", "aa", "dc", "ab"]
    if name == "frames":
        sentence = list(np.random.default_rng(0).normal(size=(7, 4)))
    session = model.stream(lookahead=ahead, lag=lag)
    session.run(sentence[:at])
    saved = session.state.to_bytes()
    other = model.stream(lookahead=ahead, lag=lag)
    other.run(sentence[:3])
    other.state = SessionState.from_bytes(saved)
    assert other.state.to_bytes() == saved
    assert other.steps_read == session.steps_read == max(0, at - ahead)
    for x in sentence[at:]:
        found, expected = other.step(x), session.step(x)
        assert (found is None) == (expected is None)
        if expected is not None:
            assert (found.position, found.tag) == (expected.position, expected.tag)
            assert np.array_equal(found.probabilities, expected.probabilities)
    one, two = other.finish(), session.finish()
    assert one.answers[0][0].tags == two.answers[0][0].tags
    assert np.array_equal(one.marginals[0], two.marginals[0])
    if one.intents is not None:
        assert np.array_equal(one.intents[0].probabilities, two.intents[0].probabilities)


def test_a_state_of_another_lookahead_is_refused():
    model = BOTH_WAYS["crf"]
    session, other = model.stream(lookahead=1), model.stream(lookahead=3)
    session.run("ab cd")
    with pytest.raises(DataError, match="looks 1 frames ahead, this session looks 3 ahead"):
        other.state = session.state
    with pytest.raises(DataError, match="the state is of another model"):
        other.state = BOTH_WAYS["intent"].stream(lookahead=3).state
    cut = session.state
    with pytest.raises(DataError, match="the session's is float"):
        session.state = SessionState(cut.fingerprint, cut.values[:, :-1])
    with pytest.raises(DataError, match="looks no frames ahead"):
        session.state = SessionState(cut.fingerprint, cut.values[:0])


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"lag": -1}, ConfigError, "lag is -1, expected 0 or more"),
        ({"lookahead": 2}, ModelError, "in one direction streams exactly"),
    ],
)
def test_choices_that_do_not_fit_are_said(choices, error, message):
    with pytest.raises(error, match=message):
        model_of(SPECS["words"]).stream(**choices)


def test_what_cannot_be_read_is_said():
    model = model_of(SPECS["words"])
    session = model.stream()
    with pytest.raises(DataError, match="the sequence is empty so far"):
        session.finish()
    for wrong in ("", "  ", 3):
        with pytest.raises(DataError, match="expected a word, got"):
            session.step(wrong)
    assert session.run("") == []
    with pytest.raises(ValueError, match="over another layer"):
        model.stream(pool=SessionPool(model_of(SPECS["words"], seed=1).network.recurrent))
