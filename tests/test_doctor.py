"""The doctor: each finding on a run that has the fault planted, none on a run that is well."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import tagging
import tiny
from unrolled import artifact, cli
from unrolled.config import DataSpec
from unrolled.data.examples import Examples
from unrolled.errors import ConfigError
from unrolled.explain.diagnosis import as_text, diagnosis_report, verdict
from unrolled.explain.doctor import THRESHOLDS, Advice, diagnose
from unrolled.tasks import classify, tag, translate
from unrolled.tasks.base import Run
from unrolled.tasks.classify import read_labels
from unrolled.tasks.pooled import Whole, make_job, read_as
from unrolled.tasks.recalled import options_of
from unrolled.tasks.remedies import Remedy, try_advice
from unrolled.tasks.trials import TASKS, Bench
from unrolled.train.flow import FlowWatch
from unrolled.train.loop import fit


def long_texts(count: int = 24, length: int = 40) -> Examples:
    """Texts whose label is their first word: the rest is noise."""
    draw = random.Random(5)
    texts = [
        " ".join(["yes" if k % 2 else "no", *draw.choices("abcdefgh", k=length - 1)])
        for k in range(count)
    ]
    return Examples(texts, ["up" if k % 2 else "down" for k in range(count)])


def planted(tamper=None, examples=None, epochs=2, options=None, **training):
    """Train with a fault put into the fresh weights; return the config and the log."""
    examples = examples or tiny.examples()
    chosen = tiny.classify_options(**{"tokens": "word", "dropout": 0.0, **(options or {})})
    spec = tiny.training(**{"epochs": epochs, **training})
    records: list[dict] = []
    source = Whole(examples)
    labels = read_labels(source, None, chosen)
    reading = read_as(source, DataSpec(source="text", target="label"), chosen, Run())
    plan = classify.make_plan(source, labels, reading, chosen, spec)

    def prepare(model):
        if tamper is not None:
            with torch.no_grad():
                tamper(model.recurrent)

    job = make_job(
        plan,
        source,
        labels.encode,
        Run(),
        criterion=classify._criterion(plan, 0.0),
        prepare=prepare,
        validate=classify._validation(plan, examples),
        keep=lambda *_: None,
        recall=dict,
    )
    outcome = fit(job, spec, watchers=(FlowWatch(job.model, records.append),))
    log = [{**r, "flow": f} for r, f in zip(outcome.log, records, strict=True)]
    return plan.config(), log


def names(found) -> set[str]:
    return {finding.name for finding in found}


RELU = {"cell": "rnn", "nonlinearity": "relu", "bidirectional": False}


def scaled(factor):
    def tamper(layer):
        layer.weight_hh_l0.mul_(factor)
        layer.bias_ih_l0.fill_(0.1)

    return tamper


def half_dead(layer):
    layer.bias_ih_l0[: len(layer.bias_ih_l0) // 2] = -1000.0


def never_updates(layer):
    size = layer.spec.hidden_sizes[0]
    layer.bias_ih_l0[size : 2 * size] = 50.0


FAULTS = {
    "vanishing gradients": lambda: planted(
        scaled(0.1), long_texts(), options={"cell": "rnn", "bidirectional": False}
    ),
    "exploding gradients": lambda: planted(scaled(2.0), long_texts(), options=RELU, lr=1e-5),
    "clipping does the learning": lambda: planted(clip_norm=1e-3),
    "dead units": lambda: planted(half_dead, options=RELU),
    "saturated gates": lambda: planted(never_updates),
    "learning rate too high": lambda: planted(lr=1.0, schedule="constant"),
    "learning rate too low": lambda: planted(lr=1e-8),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    config, log = FAULTS[name]()
    found = diagnose(config, log)
    assert name in names(found)
    finding = next(f for f in found if f.name == name)
    assert finding.advice
    assert finding.evidence
    assert any(character.isdigit() for character in finding.words)


@pytest.mark.parametrize("lr", [1e-8, 1e-6, 1.0])
def test_a_new_learning_rate_aims_at_steps_of_the_usual_size(lr):
    config, log = planted(lr=lr, schedule="constant")
    (finding,) = [f for f in diagnose(config, log) if f.name.startswith("learning rate too")]
    ratio = finding.evidence["median_update_ratio"]
    near, nearest = (each.changes["lr"] / lr * ratio for each in finding.advice)
    usual = THRESHOLDS["update_usual"][0]
    assert usual / 3.2 <= nearest <= usual * 3.2
    assert abs(np.log10(near / usual)) <= 1.5


def test_overfitting_is_found():
    """Labels by a coin: what is learned by heart helps no one."""
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcdefghij", k=5)) for _ in range(80)]
    coins = Examples(texts, [draw.choice(["heads", "tails"]) for _ in texts])
    options = tiny.classify_options(dropout=0.0, token_dropout=0.0, hidden_size=32)
    training = tiny.training(epochs=25, lr=0.03, schedule="constant", validation_fraction=0.4)
    fitted = classify.train(coins, options, training)
    records: list[dict] = []

    class Keep:
        def begin(self, *_):
            pass

        step = end = begin

        def epoch(self, record):
            records.append(dict(record))

    classify.train(coins, options, training, run=Run(watchers=(Keep(),)))
    (finding,) = diagnose(fitted.config, records)
    assert finding.name == "overfitting"
    assert "learns its training data by heart" in finding.words
    assert {"dropout": 0.3} in [advice.changes for advice in finding.advice]


def test_a_run_that_is_well_has_no_finding():
    config, log = planted(epochs=6, lr=0.01)
    assert diagnose(config, log) == []
    assert as_text([], [], watched=True) == "Nothing is beyond its threshold.\n"
    said = as_text([], [], watched=True, log=log)
    assert f"  {100 * log[-1]['clipped_share']:.0f} % of the steps were clipped\n" in said
    assert "  recurrent layer 1 forward: " in said
    assert "  largest radius " in said
    html = diagnosis_report("well", [], [], log, watched=True)
    assert "What was looked at" in html
    assert "<li>largest radius " in html


def test_vanishing_tells_the_lag_and_what_to_try():
    config, log = FAULTS["vanishing gradients"]()
    (finding,) = [f for f in diagnose(config, log) if f.name == "vanishing gradients"]
    assert "gradients at lag 39 are" in finding.words
    assert finding.evidence["lag"] == 39
    assert 0 < finding.evidence["lost_from_lag"] < 10
    changes = [advice.changes for advice in finding.advice]
    assert {"cell": "gru"} in changes
    assert {"cell": "lstm"} in changes
    assert changes[-1] == {}  # truncation: words only
    lag = finding.evidence["lost_from_lag"]
    assert finding.advice[-1].words.startswith(f"--truncate {lag}: ")


def test_every_threshold_is_used_and_explained():
    source = Path(diagnose.__code__.co_filename).read_text()
    for name, (value, meaning) in THRESHOLDS.items():
        assert source.count(f'"{name}"') >= 2, name
        assert value > 0
        assert len(meaning) > 10


def remedy(words, helped, quality=0.5):
    return Remedy(words=words, changes={}, metric="log_loss", quality=quality, deviation=0.01,
                  memory=4.0, longest=9, clipped_share=0.0, helped=helped)  # fmt: skip


def test_verdicts_say_what_was_tested():
    advice = Advice(words="a GRU", changes={"cell": "gru"})
    base = remedy("as it was", None, 0.4)
    assert verdict(advice, []) == "not tested"
    assert verdict(Advice(words="x"), []) == "not tested, no option of a short run"
    said = verdict(advice, [base, remedy("a GRU", True)])
    assert said.startswith("tested, helped: log loss 0.5000 ± 0.0100, a tenth of the gradient is")
    assert said.endswith("as it was log loss 0.4000 ± 0.0100")
    assert "did harm" in verdict(advice, [base, remedy("a GRU", False)])
    assert "no difference beyond noise" in verdict(advice, [base, remedy("a GRU", None)])
    alone = msgspec.structs.replace(remedy("a GRU", None), deviation=None, memory=None)
    assert "noise unknown" in verdict(advice, [base, alone])
    assert "reaches beyond lag 8" in verdict(advice, [base, alone])


def test_trying_finds_what_helps():
    """A learning rate of nearly zero: the advised one is better, and beyond noise."""
    bench = Bench(TASKS["classify"], tiny.examples(60), tiny.examples(30))
    options = tiny.classify_options(dropout=0.0)
    training = tiny.training(lr=1e-8, epochs=6)
    advice = {"faster": {"lr": 0.03}}
    told: list[str] = []
    tried = try_advice(bench, options, training, advice, seeds=3, tell=told.append)
    assert [r.words for r in tried] == ["as it was", "faster"]
    assert tried[1].helped is True
    assert tried[1].quality > 0.9
    assert len(told) == 2


def test_options_come_back_from_a_config():
    def same(make, network, **options):
        config = make(options)
        again = options_of(config)
        assert network(again, config) == config.network
        return again

    def classified(options):
        chosen = tiny.classify_options(**options)
        return classify.train(tiny.examples(), chosen, tiny.training(epochs=1)).config

    def translated(options):
        chosen = tiny.translate_options(**options)
        return translate.train(tiny.pairs(), chosen, tiny.training(epochs=1)).config

    def tagged(options):
        chosen = tagging.options(**options)
        return tag.train(tagging.sentences(), chosen, tiny.training(epochs=1)).config

    def classified_again(options, config):
        found = {"source": range(config.network.vocab_size), "target": range(2)}
        return TASKS["classify"].network(options, found, tiny.examples())

    same(classified, classified_again,
         cell="lstm", layers=2, attention="general", dropout=0.3)  # fmt: skip
    same(classified, classified_again, pooling="max")
    again = same(
        translated,
        lambda o, c: translate.network_spec(
            o, c.network.source_vocab_size, c.network.target_vocab_size
        ),
        attention="dot", merge="sum", encoder_layers=2, input_feeding=True,
    )  # fmt: skip
    assert again.merge == "sum"
    sizes = lambda c: {  # noqa: E731
        "target": c.network.num_tags,
        "source": c.network.vocab_size,
        "characters": c.network.characters.vocab_size,
    }
    same(tagged, lambda o, c: tag.network_spec(o, sizes(c), o.embedding_size), cell="lstm")


def test_options_of_what_is_written_or_foretold_come_back():
    from test_compare import ROWS, bench, options
    from unrolled.tasks.trials import learned

    choices = {
        "caption": {"cell": "lstm", "condition": "attend", "attention": "general", "layers": 2},
        "forecast": {"decoder": "rnn", "layers": 2, "residual": "season", "season": 8},
        "generate": {"cell": "gru", "tied": True, "layers": 2, "bptt": 9},
        "items": {"ends": False, "input_dropout": 0.3},
        "frames": {"cell": "rnn", "nonlinearity": "relu"},
    }
    for task, given in choices.items():
        it, training = bench(task), tiny.training(epochs=1)
        chosen = msgspec.structs.replace(options(task), **given)
        config = it.entry.train(it.train, chosen, training).config
        again = options_of(config)
        found = learned(Bench(ROWS[task], it.train, it.test), again, training)
        assert it.entry.network(again, found, it.train) == config.network, task
        assert {name: getattr(again, name) for name in given} == given
        forgets = {
            "name": "stack", "layer": 0, "direction": "forward",
            "memory": [0.1**k for k in range(12)],
        }  # fmt: skip
        record = {"lr": 1e-3, "layers": [forgets], "gates": {}, "radius": {}, "update_ratio": {}}
        (finding,) = diagnose(config, [{"epoch": 1, "train_loss": 1.0, "flow": record}])
        assert finding.name == "vanishing gradients", task


# The command


def test_the_command_reads_a_folder_and_tries(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_reviews(tmp_path / "reviews.csv")
    train = ["train", "classify", "reviews.csv", "--out", "model", *tiny.FLAGS, "--quiet"]
    assert cli.run([*train, "--watch", "--lr=1e-8"]) == 0
    assert cli.run(["doctor", "model", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "learning rate too low" in said
    assert ": not tested" in said
    arguments = ["doctor", "model", "--data", "reviews.csv", "--try", "--seeds", "2"]
    assert cli.run([*arguments, "--json", "--out", "page.html"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["watched"] is True
    assert found["tried"][0]["words"] == "as it was"
    assert len(found["tried"]) >= 3
    html = Path("page.html").read_text()
    assert "What was tried" in html
    assert "Gradient flow" in html


def test_a_run_that_was_not_watched_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_reviews(tmp_path / "reviews.csv")
    train = ["train", "classify", "reviews.csv", "--out", "model", *tiny.FLAGS, "--quiet"]
    assert cli.run(train) == 0
    assert cli.run(["doctor", "model"]) == 0
    assert capsys.readouterr().out.startswith("The run was not watched: ")


def test_the_commands_errors_say_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_reviews(tmp_path / "reviews.csv")
    fitted = classify.train(
        tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(tmp_path / "model")
    )
    assert cli.run(["doctor", "model", "--try"]) == 2
    assert "--try needs --data, a file as the model was trained on" in capsys.readouterr().err
    (tmp_path / "model" / "training" / "log.jsonl").unlink()
    assert cli.run(["doctor", "model"]) == 2
    assert "model: no training/log.jsonl; the doctor reads what a run wrote" in (
        capsys.readouterr().err
    )
    widths = msgspec.structs.replace(
        fitted.config.network,
        recurrent=msgspec.structs.replace(fitted.config.network.recurrent, hidden_sizes=(4, 8)),
    )
    with pytest.raises(ConfigError, match="layers of different widths"):
        options_of(msgspec.structs.replace(fitted.config, network=widths))


def test_reading_a_diagnosis_needs_no_torch(tmp_path):
    classify.train(
        tiny.examples(), tiny.classify_options(), tiny.training(),
        run=Run(tmp_path / "model", watch=lambda record: None),
    )  # fmt: skip
    code = (
        "import sys; from unrolled.cli import run; assert run(['doctor', sys.argv[1]]) == 0; "
        "assert 'torch' not in sys.modules"
    )
    said = tiny.python(code, tmp_path / "model")
    assert said.returncode == 0, said.stderr
    assert np.isfinite(artifact.load(tmp_path / "model").metrics["accuracy"])
