"""Model folders that answer: text in, labels and sequences out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import networks
import unrolled
from test_decode import random_weights
from unrolled import artifact
from unrolled.config import DataSpec, ModelConfig, TrainSpec, VocabularySpec
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.runtime.model import ClassifierModel, TranslatorModel

CHAR = VocabularySpec(tokens="char")
SOURCE = Vocabulary.build(["abcde"], CHAR)
TARGET = Vocabulary.build(["wxyz"], CHAR)
LABELS = LabelVocabulary.build(["no", "maybe", "yes"])
TEXTS = ["abc", "e", "deadbad", "cab", "ab", "edcba"]


def save(folder, task, spec, vocabularies, **changes):
    config = ModelConfig(
        format_version=1,
        task=task,
        network=spec,
        data=DataSpec(source_vocabulary=CHAR, target_vocabulary=CHAR, max_length=8),
        training=TrainSpec(),
    )
    weights = random_weights(spec) | changes
    artifact.save(
        folder, config=config, weights=weights, vocabularies=vocabularies, metrics={}, card=""
    )
    return folder


@pytest.fixture
def translator(tmp_path):
    folder = tmp_path / "translator"
    spec = networks.translator("additive")
    return unrolled.load(save(folder, "translate", spec, {"source": SOURCE, "target": TARGET}))


@pytest.fixture
def classifier(tmp_path):
    folder = tmp_path / "classifier"
    spec = networks.classifier()
    return unrolled.load(save(folder, "classify", spec, {"source": SOURCE, "target": LABELS}))


def test_load_returns_the_model_of_the_task(translator, classifier):
    assert isinstance(translator, TranslatorModel)
    assert isinstance(classifier, ClassifierModel)
    assert classifier.classes == ("maybe", "no", "yes")


def test_a_classifier_answers_each_text_as_it_would_alone(classifier):
    labels = classifier.predict(TEXTS, batch_size=2)
    probabilities = classifier.predict_proba(TEXTS)
    assert probabilities.shape == (6, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    for text, label, row in zip(TEXTS, labels, probabilities, strict=True):
        assert classifier.predict(text) == [label]
        assert label == classifier.classes[row.argmax()]
        np.testing.assert_allclose(classifier.predict_proba(text)[0], row)
    assert np.ptp(probabilities, axis=0).max() > 0.01


def test_attention_of_a_text_is_over_its_own_units(classifier):
    for text, seen in zip(TEXTS, classifier.attention(TEXTS, batch_size=4), strict=True):
        assert seen.units == tuple(text)
        assert seen.weights.shape == (len(text),)
        assert seen.weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(classifier.attention(text)[0].weights, seen.weights)


def test_a_classifier_without_attention_says_so(tmp_path):
    spec = networks.classifier("mean")
    model = unrolled.load(save(tmp_path, "classify", spec, {"source": SOURCE, "target": LABELS}))
    with pytest.raises(ModelError, match="pools by 'mean': it has no attention to show"):
        model.attention(TEXTS)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_translator_answers_each_text_as_it_would_alone(translator, beam):
    together = translator.predict(TEXTS, beam=beam, batch_size=4)
    assert together == [translator.predict(text, beam=beam)[0] for text in TEXTS]
    assert len(set(together)) > 1


def test_translations_carry_scores_units_and_alignments(translator):
    found = translator.translate(TEXTS, beam=3, n_best=2)
    assert found.truncated == ()
    for text, answers in zip(TEXTS, found.answers, strict=True):
        assert answers[0].score >= answers[1].score
        for answer in answers:
            assert answer.text == "".join(
                unit for unit in answer.target_units if unit not in ("<pad>", "<s>", "</s>")
            )
            assert answer.source_units == tuple(text)
            assert answer.alignment.shape == (len(answer.target_units), len(text))


def test_the_first_of_the_n_best_is_what_predict_says(translator):
    found = translator.translate(TEXTS, beam=3, n_best=3)
    assert [answers[0].text for answers in found.answers] == translator.predict(TEXTS, beam=3)


def test_max_length_bounds_every_answer(translator):
    found = translator.translate(TEXTS, beam=2, n_best=2, max_length=3)
    assert max(len(a.target_units) for answers in found.answers for a in answers) == 3


def test_a_text_longer_than_the_model_reads_is_cut_and_counted(translator, classifier):
    texts = ["abc", "abcdeabcde", "cab", "eeeeeeeee"]
    message = "2 of the texts are longer than 8 units and were cut there, the first of them text 2"
    with pytest.warns(UserWarning, match=message):
        cut = translator.predict(texts)
    assert cut[1] == translator.predict("abcdeabc")[0]
    assert translator.translate(texts).truncated == (1, 3)
    for ask in (classifier.predict, classifier.predict_proba, classifier.attention):
        with pytest.warns(UserWarning, match=message):
            ask(texts)
    assert classifier.classify(texts).truncated == (1, 3)


def test_an_empty_text_is_an_error_that_names_it(translator, classifier):
    for model in (translator, classifier):
        with pytest.raises(DataError, match="text 2 is empty; expected at least one unit"):
            model.predict(["abc", ""])
        assert model.predict([]) == []


def test_a_search_that_cannot_be_is_refused(translator):
    with pytest.raises(ConfigError, match="beam is 0, expected 1 or more"):
        translator.predict("abc", beam=0)
    with pytest.raises(ConfigError, match="n_best is 2, expected 1 to beam"):
        translator.translate("abc", n_best=2)
    with pytest.raises(ConfigError, match="length_penalty is -1, expected 0 or more"):
        translator.predict("abc", length_penalty=-1)


def test_vocabularies_that_do_not_fit_the_network_are_refused(tmp_path):
    spec = networks.translator("additive", vocab=(9, 7))
    folder = save(tmp_path / "size", "translate", spec, {"source": SOURCE, "target": TARGET})
    with pytest.raises(ModelError, match="target vocabulary has 8 entries but the network has 7"):
        unrolled.load(folder)
    folder = save(tmp_path / "kind", "translate", spec, {"source": SOURCE, "target": LABELS})
    with pytest.raises(ModelError, match="needs a source and a target vocabulary"):
        unrolled.load(folder)


def test_a_misshapen_weight_in_a_folder_is_named(tmp_path):
    spec = networks.translator("additive")
    wrong = {"readout.weight": np.zeros((2, 2), np.float32)}
    vocabularies = {"source": SOURCE, "target": TARGET}
    folder = save(tmp_path, "translate", spec, vocabularies, **wrong)
    with pytest.raises(ModelError, match=r"'readout.weight' has shape \[2, 2\], expected \[7, 19"):
        unrolled.load(folder)


def test_answering_imports_no_torch(tmp_path):
    spec = networks.translator("additive")
    folder = save(tmp_path, "translate", spec, {"source": SOURCE, "target": TARGET})
    program = (
        "import sys, unrolled\n"
        f"print(unrolled.load({str(folder)!r}).predict(['abc'], beam=2))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
