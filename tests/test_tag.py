"""Taggers from data to answers: training, resuming, the estimator, and the errors of both."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas
import polars
import pytest

import tagging
import tiny
import unrolled
from unrolled.data.sequences import Sequences
from unrolled.errors import ConfigError, DataError, ModelError, UnrolledError
from unrolled.spec import TaggerSpec
from unrolled.tasks import Tagger
from unrolled.tasks.base import Plan, Run
from unrolled.tasks.evaluate import evaluate_tagger
from unrolled.tasks.tag import train
from unrolled.tasks.tag_data import Words, hiding_rates

GIVEN = tagging.sentences()
LEARN = {"epochs": 12, "lr": 0.03}
SMALL = {**tiny.SMALL, **tagging.SIZES, **LEARN}


def tagger(**choices):
    return Tagger(**{**SMALL, **choices})


def fit(given=GIVEN, *, run=None, validation=None, training=None, **choices):
    options = tagging.options(**choices)
    spec = tiny.training(**{**LEARN, **(training or {})})
    return train(given, options, spec, validation=validation, run=run)


@pytest.fixture(scope="module")
def fitted():
    given = (GIVEN.inputs, GIVEN.tags, GIVEN.intents)
    return tagger(intent="intent").fit(*given[:2], intents=given[2], validation=given)


# Training


def test_it_learns_spans_and_intents(fitted):
    model = fitted.model_
    metrics = evaluate_tagger(model, GIVEN)
    assert metrics["accuracy"] > 0.95
    assert metrics["span_f1"] > 0.9
    assert metrics["intent_accuracy"] == 1.0
    assert (metrics["count"], metrics["unknown_tags"]) == (40, 0)
    assert {"FOOD", "LOC"} == metrics["span_types"].keys()
    assert model.config.data.tagging.scheme == "bio"
    assert model.config.data.tagging.constrained
    assert model.intents == ("eat", "go")


@pytest.mark.parametrize(
    "choices",
    [
        {"head": "softmax"},
        {"constraints": "train"},
        {"constraints": "none"},
        {"characters": False},
        {"embedding_size": 0},
        {"cell": "lstm", "layers": 2, "recurrent_dropout": 0.1},
        {"word_dropout": 0.0, "lowercase": True},
    ],
    ids=str,
)
def test_every_choice_trains(choices):
    found = fit(**choices, training={"epochs": 1})
    assert 0 < found.metrics["accuracy"] <= 1
    spec = found.config.network
    assert isinstance(spec, TaggerSpec)
    assert spec.head == choices.get("head", "crf")
    assert (spec.characters is None) == (choices.get("characters") is False)
    assert ("source" in found.vocabularies) == bool(choices.get("embedding_size", 1))


def test_bioes_is_told_and_kept_to():
    found = fit(tagging.sentences(scheme="bioes"), constraints="train")
    model = unrolled.runtime.model.from_artifact(found)
    assert found.config.data.tagging.scheme == "bioes"
    assert found.config.data.tagging.constrained_training
    for tags in model.predict(["get york new", "york york", "soup"]):
        assert tags[0][0] in "OBS"
        assert tags[-1][0] in "OES"


def test_label_smoothing_is_for_a_softmax():
    assert fit(head="softmax", training={"label_smoothing": 0.1, "epochs": 1})
    with pytest.raises(ConfigError) as caught:
        fit(training={"label_smoothing": 0.1})
    assert str(caught.value) == (
        "label_smoothing is for head 'softmax'; a CRF has no label of its own"
    )
    with pytest.raises(ConfigError, match="constraints 'train' is for head 'crf'"):
        fit(head="softmax", constraints="train")
    with pytest.raises(ConfigError, match="embedding_size is 0 and characters is off"):
        fit(embedding_size=0, characters=False)


@pytest.mark.parametrize("head", ["crf", "softmax"])
def test_engines_train_alike(head):
    found = [
        fit(head=head, training={"engine": engine, "epochs": 1, "batch_size": 40}).weights
        for engine in ("native", "reference")
    ]
    assert found[0].keys() == found[1].keys()
    for name, ours in found[0].items():
        np.testing.assert_allclose(ours, found[1][name], atol=2e-5, err_msg=name)


def test_a_run_is_the_same_again_and_resumes_as_if_it_had_not_stopped(tmp_path):
    whole = fit(run=Run(tmp_path / "a"), training={"epochs": 4})

    class StopError(Exception):
        pass

    class Watcher:
        def begin(self, epochs, counters): ...
        def step(self, *arguments): ...
        def end(self): ...

        def epoch(self, record):
            if record["epoch"] == 2:
                raise StopError

    with pytest.raises(StopError):
        fit(run=Run(tmp_path / "b", watchers=(Watcher(),)), training={"epochs": 4})
    resumed = fit(run=Run(tmp_path / "b", resume=True), training={"epochs": 4})
    assert resumed.weights.keys() == whole.weights.keys()
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(weight, resumed.weights[name])
    with pytest.raises(ModelError, match="belongs to a run with other options or data"):
        fit(run=Run(tmp_path / "b", resume=True), training={"epochs": 4}, head="softmax")


def test_what_is_rare_is_hidden_more_often():
    found = fit(word_dropout=0.5, training={"epochs": 1})
    config, known = found.config, found.vocabularies
    plan = Plan("tag", config.network, config.data, config.training, known, "")
    # One `in` and one `rio` stand past max_length, where they are not read.
    seen = Counter({"in": 4, "rio": 2, "oslo": 1}), Counter({"in": 1, "rio": 1})
    words, characters = hiding_rates(plan, Words(*seen))
    ids = known["source"].encode_words(["in", "rio", "oslo", "get"])
    assert words[ids].tolist() == pytest.approx([0.5 / 3.5, 0.5 / 1.5, 0.5 / 1.5, 1])
    assert words[:4].tolist() == [0, 0, 0, 0]
    ids = known["characters"].encode("iosg")
    assert characters[ids].tolist() == pytest.approx([0.5 / 2.5, 0.5 / 3.5, 0.5 / 1.5, 1])
    assert len(words) == len(known["source"])
    assert len(characters) == len(known["characters"])


def test_long_sequences_are_cut_in_training_only():
    said = []
    found = fit(max_length=2, run=Run(notify=said.append), training={"epochs": 1})
    assert said[0].startswith("34 of 34 sequences for training are longer than 2 units")
    model = unrolled.runtime.model.from_artifact(found)
    assert len(model.predict("a b c d e")[0]) == 5


# Schemes in data that break them


def broken(count, tags):
    """The orders with the tags of the first `count` replaced."""
    given = tagging.sentences()
    kept = [tags.split() if i < count else t for i, t in enumerate(given.tags)]
    inputs = [["w"] * len(kept[i]) if i < count else w for i, w in enumerate(given.inputs)]
    return Sequences("the orders", inputs, kept)


def test_few_illegal_sequences_are_told_and_answers_keep_to_the_scheme():
    said = []
    found = fit(broken(1, "O I-LOC"), run=Run(notify=said.append), training={"epochs": 1})
    assert said == [
        "1 of 40 training sequences are not legal BIO, the first at the orders, row 1, word 2: "
        "tag 'I-LOC' after 'O'; answers keep to it (see constraints)"
    ]
    assert found.config.data.tagging.constrained


def test_many_illegal_sequences_mean_another_scheme():
    said = []
    found = fit(broken(9, "I-LOC O"), run=Run(notify=said.append), training={"epochs": 1})
    assert said == [
        "9 of 40 training sequences are not legal BIO, the first at the orders, row 1, word 1: "
        "tag 'I-LOC' at the start; answers are not held to it"
    ]
    assert found.config.data.tagging.scheme == "bio"
    assert not found.config.data.tagging.constrained
    explicit = fit(broken(9, "I-LOC O"), run=Run(notify=said.append), scheme="bio")
    assert explicit.config.data.tagging.constrained


def test_training_on_legal_sequences_only_refuses_others():
    with pytest.raises(DataError) as caught:
        fit(broken(1, "B-LOC I-FOOD"), constraints="train")
    assert str(caught.value) == (
        "the orders, row 1, word 2: tag 'I-FOOD' after 'B-LOC' is not legal BIO; give "
        "--constraints decode or none"
    )


@pytest.mark.parametrize(
    ("given", "choices", "message"),
    [
        (GIVEN.take([0]), {}, "the orders: 1 sequence(s); at least 2 are needed to train"),
        (
            Sequences("x", [["a"], ["b"]], [["O"], ["O"]]),
            {},
            "x, tags: one class only ('O'); expected at least two",
        ),
        (
            GIVEN.take([0, 2]),
            {"intent": "intent"},
            "the orders, intents: one class only ('eat'); expected at least two",
        ),
    ],
)
def test_data_that_cannot_be_trained_on(given, choices, message):
    with pytest.raises(DataError) as caught:
        fit(given, **choices)
    assert str(caught.value) == message


def test_unknown_tags_in_validation_are_errors_and_counted():
    held = Sequences("held", [["get", "x"]], [["O", "B-NEW"]])
    assert fit(validation=held, training={"epochs": 1}).metrics["accuracy"] <= 0.5
    model = unrolled.runtime.model.from_artifact(fit(training={"epochs": 1}))
    assert evaluate_tagger(model, held)["unknown_tags"] == 1


def test_log_loss_is_that_of_the_true_tags_marginals(fitted):
    given = Sequences("x", [["fly", "to", "oslo"], ["get"]], [["O", "O", "B-LOC"], ["B-NEW"]])
    shares = fitted.predict_proba(given.inputs)[0]
    true = [fitted.model_.tags.index(tag) for tag in given.tags[0]]
    expected = -np.log(shares[range(3), true]).mean()
    assert evaluate_tagger(fitted.model_, given)["log_loss"] == pytest.approx(expected, rel=1e-6)


# The model


def test_marginals_answers_and_n_best_belong_together(fitted):
    model = fitted.model_
    sentences = GIVEN.inputs[:5]
    marginals = model.predict_proba(sentences)
    found = model.tag(sentences, n_best=4)
    for i, sentence in enumerate(sentences):
        assert marginals[i].shape == (len(sentence), len(model.tags))
        np.testing.assert_allclose(marginals[i].sum(1), 1, rtol=1e-5)
        best, *others = found.answers[i]
        assert list(best.tags) == model.predict([sentence])[0]
        columns = [model.tags.index(tag) for tag in best.tags]
        np.testing.assert_allclose(
            best.confidences, marginals[i][range(len(columns)), columns], rtol=1e-5
        )
        scores = [answer.log_prob for answer in found.answers[i]]
        assert scores == sorted(scores, reverse=True)
        assert np.exp(scores).sum() <= 1 + 1e-6
        assert len({answer.tags for answer in [best, *others]}) == 4
    assert [intent.label for intent in found.intents] == GIVEN.intents[:5]
    assert found.intents[0].probabilities.sum() == pytest.approx(1, rel=1e-5)


def test_what_a_tagger_cannot_be_asked(fitted):
    model = fitted.model_
    with pytest.raises(ConfigError, match="n_best is 0; expected 1 or more"):
        model.tag(["get rice"], n_best=0)
    with pytest.raises(DataError, match=r"sentence 2: word 1 is 3 \(int\), not a string"):
        model.tag(["get rice", [3]])


def test_texts_are_split_at_white_space(fitted):
    model = fitted.model_
    assert model.predict("fly to  oslo") == model.predict([["fly", "to", "oslo"]])
    assert model.predict(["fly to oslo", ["get"]])[1] == model.predict([["get"]])[0]
    assert model.predict([]) == []


@pytest.mark.parametrize("given", [[[]], ["  "], [["a"], []]])
def test_a_sentence_without_words_is_refused(fitted, given):
    with pytest.raises(DataError, match=r"sentence \d is empty; expected at least one word"):
        fitted.model_.predict(given)


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("source", "the source vocabulary has 0 entries but the network has"),
        ("characters", "the characters vocabulary has 0 entries but the network has"),
        ("intent", "the intent vocabulary has 0 entries but the network has 2"),
        ("target", "a tagger needs tags, and a vocabulary of its words"),
    ],
)
def test_a_folder_whose_parts_do_not_fit_is_refused(fitted, role, message):
    from dataclasses import replace

    found = fitted.artifact_
    kept = {name: part for name, part in found.vocabularies.items() if name != role}
    with pytest.raises(ModelError, match=message):
        unrolled.runtime.model.from_artifact(replace(found, vocabularies=kept))


# The estimator


def test_save_then_load_gives_equal_answers(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    model = unrolled.load(tmp_path / "m")
    assert model.predict(GIVEN.inputs) == fitted.predict(GIVEN.inputs)
    for ours, theirs in zip(
        model.predict_proba(GIVEN.inputs), fitted.predict_proba(GIVEN.inputs), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert "tags every step" in (tmp_path / "m" / "README.md").read_text()


def test_score_intents_and_classes(fitted):
    assert fitted.score(GIVEN.inputs, GIVEN.tags) > 0.95
    assert fitted.predict_intent(GIVEN.inputs) == GIVEN.intents
    assert fitted.tags_.tolist() == ["B-FOOD", "B-LOC", "I-FOOD", "I-LOC", "O"]
    assert fitted.intents_.tolist() == ["eat", "go"]
    assert fitted.predict("fly to oslo") == [["O", "O", "B-LOC"]]


@pytest.mark.parametrize("frame", [pandas.DataFrame, polars.DataFrame])
def test_a_data_frame_holds_words_tags_and_intents(frame):
    data = frame({"tokens": GIVEN.inputs, "tags": GIVEN.tags, "goal": GIVEN.intents})
    estimator = tagger(intent="goal", epochs=1).fit(data, validation=(data, None))
    same = tagger(intent="goal", epochs=1).fit(
        GIVEN.inputs, GIVEN.tags, intents=GIVEN.intents,
        validation=(GIVEN.inputs, GIVEN.tags, GIVEN.intents),
    )  # fmt: skip
    assert estimator.predict(data) == same.predict(GIVEN.inputs)
    assert estimator.score(data) == same.score(GIVEN.inputs, GIVEN.tags)


@pytest.mark.parametrize(
    ("arguments", "choices", "message"),
    [
        (
            ([["a"]], None),
            {},
            "the training data: y is missing; give it, or a data frame that holds both",
        ),
        (([["a"]], [["X"], ["Y"]]), {}, "the training data: 1 sequences but 2 lists of tags"),
        (([["a"], ["b"]], [["X"], ["X", "Y"]]), {}, "the training data, row 2: 2 tags for 1 words"),
        (
            ([["a"], []], [["X"], []]),
            {},
            "the training data, row 2, column 'tokens': the list is empty; expected one or more",
        ),
        (
            ([["a"], ["b"]], [["X"], ["Y"]]),
            {"intent": "goal"},
            "the training data: intents are missing; give them, or a data frame with 'goal'",
        ),
    ],
)
def test_what_fit_can_be_given_wrongly(arguments, choices, message):
    with pytest.raises(DataError) as caught:
        tagger(**choices).fit(*arguments)
    assert str(caught.value) == message


def test_an_intent_that_was_not_learned_is_refused():
    estimator = tagger(epochs=1).fit(GIVEN.inputs, GIVEN.tags)
    with pytest.raises(DataError, match="this Tagger has no intent"):
        estimator.predict_intent(GIVEN.inputs)
    with pytest.raises(UnrolledError, match="this Tagger is not fitted yet"):
        tagger().predict(GIVEN.inputs)


def test_scikit_learn_clones_it():
    from sklearn.base import clone

    estimator = clone(tagger(head="softmax"))
    assert estimator.get_params()["head"] == "softmax"
    assert repr(Tagger(head="softmax")) == "Tagger(head='softmax')"
