"""A sequence of one step, the plain network without time, is legal wherever sequences are read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import forecasting
import signals
import stacks
import tiny
import unrolled
from commands import Command
from tolerances import close
from unrolled.data.items import Corpus
from unrolled.nn import recurrent
from unrolled.spec import RecurrentSpec
from unrolled.tasks import (
    Captioner,
    Classifier,
    Forecaster,
    Generator,
    Regressor,
    Tagger,
    Translator,
)
from unrolled.tasks.measure_generator import next_item_metrics

POINTS = [np.array([[a, b]], np.float32) for a in (-1, 1) for b in range(-6, 7)]
SIDES = ["left" if x[0, 0] < 0 else "right" for x in POINTS]
LEARN = {**signals.LEARN, "epochs": 20}
WORDS = ["cat", "dog", "runs", "barks"] * 6
KINDS = ["noun", "noun", "verb", "verb"] * 6


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_frames_of_one_step_are_classified(pooling, tmp_path, run: Command):
    estimator = Classifier(**LEARN, pooling=pooling).fit(POINTS, SIDES)
    assert estimator.score(POINTS, SIDES) == 1
    estimator.save(tmp_path / "model")
    model = unrolled.load(tmp_path / "model")
    if pooling == "attention":
        assert model.attention(POINTS[:1])[0].weights.tolist() == [1]
    shown = run("inspect", tmp_path / "model")
    assert "2 numbers a step" in shown.out


def test_frames_of_one_step_get_numbers():
    y = np.array([3 * x[0, 0] + x[0, 1] for x in POINTS])
    assert Regressor(**LEARN).fit(POINTS, y).score(POINTS, y) > 0.9


def test_texts_of_one_word_are_classified():
    estimator = Classifier(**{**LEARN, "embedding_size": 8}, tokens="word")
    estimator.fit(WORDS, KINDS, validation=(WORDS, KINDS))
    assert estimator.predict(["cat", "barks"]).tolist() == ["noun", "verb"]


def test_sentences_of_one_word_are_tagged(tmp_path, run: Command):
    sentences, tags = [[word] for word in WORDS], [[kind] for kind in KINDS]
    choices = {**LEARN, "word_dropout": 0.0, "embedding_size": 8}
    tagger = Tagger(**choices).fit(sentences, tags, validation=(sentences, tags))
    assert tagger.predict(["cat", "barks"]) == [["noun"], ["verb"]]
    assert tagger.model_.tag("cat", n_best=2).answers[0][1].tags == ("verb",)
    tagger.save(tmp_path / "model")
    page = tmp_path / "page.html"
    assert run("explain", tmp_path / "model", "cat", "--out", page).code == 0
    frames = Tagger(**LEARN).fit(POINTS, [[side] for side in SIDES])
    assert frames.predict(POINTS) == [[side] for side in SIDES]


def test_texts_of_one_character_are_translated(tmp_path, run: Command):
    sources, targets = list("abcd") * 8, list("wxyz") * 8
    choices = {**tiny.SMALL, "epochs": 25, "lr": 0.03, "dropout": 0.0, "token_dropout": 0.0}
    translator = Translator(**choices).fit(sources, targets, validation=(sources, targets))
    assert translator.predict(list("abcd")) == list("wxyz")
    translator.save(tmp_path / "model")
    assert run("explain", tmp_path / "model", "a", "--out", tmp_path / "page.html").code == 0


def test_lists_of_one_item_are_learned_and_ranked(tmp_path, run: Command):
    generator = Generator(**{**tiny.SMALL, "epochs": 12, "lr": 0.03, "dropout": 0.0})
    generator.fit([["b"], ["b"], ["b"], ["a"]] * 8, validation=[["b"], ["a"]])
    assert generator.artifact_.metrics["hr@10"] == 1
    ranked = next_item_metrics(generator.model_, Corpus("lone items", [["b"], ["a"], ["zz"]]))
    assert ranked["mrr@20"] == pytest.approx((1 + 1 / 2) / 3)
    assert generator.recommend(["a"], 1).items == ("b",)
    generator.save(tmp_path / "model")
    data = tmp_path / "items.jsonl"
    data.write_text('{"items": ["a"]}\n')
    assert "recommended" in run("predict", tmp_path / "model", data).out
    assert run("evaluate", tmp_path / "model", data).code == 0
    assert run("explain", tmp_path / "model", "--data", data, "--out", "page.html").code == 0
    assert "a softmax over what comes next" in run("inspect", tmp_path / "model").out


def test_frames_of_one_step_are_generated(tmp_path, run: Command):
    song = np.array([[1, 0, 1]], np.float32)
    generator = Generator(hidden_size=4, epochs=30, lr=0.05, dropout=0.0).fit([song] * 8)
    assert generator.score([song]) > -0.5
    assert generator.generate([], max_length=1, temperature=0)[0].tolist() == song.tolist()
    generator.save(tmp_path / "model")
    np.savez(tmp_path / "one.npz", x=song[None])
    found = run("evaluate", tmp_path / "model", tmp_path / "one.npz", "--json")
    assert json.loads(found.out)["steps"] == 1
    assert "nats_after_first" not in json.loads(found.out)
    page = tmp_path / "page.html"
    data = ("--data", tmp_path / "one.npz", "--out", page)
    assert run("explain", tmp_path / "model", *data, "--methods", "all").code == 0
    assert "Explained: the likeliest frame next" in page.read_text()
    assert ">key 2 " in page.read_text()


@pytest.mark.parametrize("condition", ["first", "every", "attend"])
def test_vectors_are_captioned_in_one_word(condition, tmp_path, run: Command):
    features, words = np.array([[-1.0, 1.0], [1.0, 1.0]] * 16), ["left", "right"] * 16
    captioner = Captioner(
        **{**tiny.SMALL, "epochs": 15, "lr": 0.03, "dropout": 0.0}, condition=condition,
        tokens="word",
    )  # fmt: skip
    captioner.fit(features, words, validation=(features, words))
    assert captioner.predict(features[:2]) == ["left", "right"]
    captioner.save(tmp_path / "model")
    np.savez(tmp_path / "two.npz", features=features[:2])
    found = run("predict", tmp_path / "model", tmp_path / "two.npz")
    assert found.lines() == ["left", "right"]


@pytest.mark.parametrize("decoder", ["linear", "mlp", "rnn", "autoregressive"])
def test_the_next_value_is_told_from_the_last_alone(decoder, tmp_path, run: Command):
    sizes = {"horizon": 1, "window": 1, "calendar": False, "scaling": "none", "output": "normal"}
    chosen = {**forecasting.FAST, **sizes, "decoder": decoder}
    forecaster = Forecaster(**chosen).fit(forecasting.frame())
    found = forecaster.predict(forecasting.frame(), level=[80])
    assert len(found["y_hat"]) == 2
    assert np.all(np.array(found["y_hat-lo-80"]) < np.array(found["y_hat-hi-80"]))
    assert forecaster.evaluate(forecasting.frame())["count"] == 2
    forecaster.save(tmp_path / "model")
    session = unrolled.load(tmp_path / "model").stream(start="2024-01-01", name="a")
    session.step(3.0)
    assert np.isfinite(session.forecast()["y_hat"]).all()
    assert "1 steps of h from the 1 before" in run("inspect", tmp_path / "model").out


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_layers_and_sessions_take_one_step(cell, both):
    spec = RecurrentSpec(cell=cell, input_size=3, hidden_sizes=(5, 4), bidirectional=both)
    layer = stacks.randomise(recurrent(spec, engine="native")).double()
    x = stacks.random(6, 1, 3)
    y, hx = layer(x)
    reference = recurrent(spec, engine="reference").double()
    reference.load_state_dict(layer.state_dict())
    close(y, reference(x)[0], "forward")
    runtime = layer.runtime()
    found, _ = runtime(x.numpy())
    close(found, y, "forward")
    one, _ = layer(x[0])
    close(one, y[0], "forward")
    if not both:
        close(runtime.stream(6).step(x[:, 0].numpy()), y[:, 0], "forward")
        close(runtime.step(x[0, 0].numpy())[0], y[0, 0], "forward")
    assert all(torch.isfinite(part).all() for part in stacks.flat(hx))
