"""Trials of a comparison where options change what a network is or what can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import captioning
import tagging
import tiny
from unrolled.data.captions import Described
from unrolled.data.examples import Examples
from unrolled.data.shards import Shards
from unrolled.errors import ConfigError
from unrolled.options import RegressOptions
from unrolled.tasks import regress
from unrolled.tasks.base import Run
from unrolled.tasks.compare import Grid, plan
from unrolled.tasks.trials import TASKS, Bench, count_parameters, run_trial
from unrolled.train.metrics import bleu

QUIET = Run(notify=lambda _: None)


def test_truncated_gradients_cannot_be_compared() -> None:
    bench = Bench(TASKS["classify"], tiny.examples(), tiny.examples(10))
    with pytest.raises(ConfigError, match=r"truncate is 2; .* needs truncate 0"):
        run_trial(bench, "as is", tiny.classify_options(), tiny.training(truncate=2))


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_sizes_are_equal_beside_word_vectors_of_any_width(task: str, tmp_path: Path) -> None:
    vectors = tmp_path / "v.txt"
    data = tiny.examples() if task == "classify" else tagging.sentences()
    word = "film" if task == "classify" else data.inputs[0][0]
    vectors.write_text(f"{word} {' '.join(['0.5'] * 30)}\n", encoding="utf-8")
    if task == "classify":
        options = tiny.classify_options(tokens="word", vectors=str(vectors))
    else:
        options = tagging.options(vectors=str(vectors))
    grid = Grid(("rnn", "lstm"), (1,), (), "parameters", 1, parameters=12_000)
    bench = Bench(TASKS[task], data, data)
    for name, *_, chosen in plan(bench, grid, options, tiny.training()):
        fitted = bench.entry.train(data, chosen, tiny.training(epochs=1), run=QUIET)
        assert fitted.config.network.embedding_size == 30
        assert abs(count_parameters(fitted.config.network) - 12_000) < 0.12 * 12_000, name


def test_captions_too_short_for_bleu_are_compared_by_error() -> None:
    things = [(f"size={k % 3}", f"shade={k % 5}") for k in range(30)]
    data = Described("things", "attributes", things, [[f"a {k % 3} {k % 5}"] for k in range(30)])
    options = captioning.options(tokens="word")
    entry = TASKS["caption"].settle(data, options)
    assert entry.quality == ("per", False)
    found = run_trial(Bench(entry, data, data), "as is", options, tiny.training())
    assert found.quality == found.metrics["per"]


def test_bleu_is_of_references_that_are_long_enough() -> None:
    assert bleu(["a b c d e"], [["a b c"]]) == {}
    assert bleu(["a b c d e"], [["a b c d"]])["bleu"] > 50


def test_a_shard_may_be_held_out_whole() -> None:
    """One of four shards has one row; some seed holds it out."""
    texts, labels = tiny.reviews(31)
    targets = [np.array([float(label == "up")]) for label in labels]
    parts = {"a": slice(0, 10), "b": slice(10, 20), "c": slice(20, 30), "d": slice(30, 31)}

    def read(name: str) -> Examples:
        return Examples(texts[parts[name]], targets[parts[name]], name)

    options = RegressOptions(**tiny.SIZES, tokens="word")
    held = 0
    for seed in range(40):
        shards = Shards("parts", list(parts), read)
        shards.fraction, shards.seed = 0.2, seed
        if len(shards.load(3)):
            continue
        held += 1
        training = tiny.training(epochs=1, seed=seed, validation_fraction=0.2)
        regress.train(Shards("parts", list(parts), read), options, training, run=QUIET)
        break
    assert held == 1
