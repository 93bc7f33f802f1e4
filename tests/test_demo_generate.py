"""The demonstration of a character model on a few thousand words of Python's documentation."""

from __future__ import annotations

import html
import json
import math
import re
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

import unrolled
from commands import Command
from unrolled.data.streams import file_lines, write_ids
from unrolled.demo import documentation, generate, ngrams
from unrolled.errors import ConfigError
from unrolled.explain.context import context_figure, windows_bits
from unrolled.tasks.measure_generator import stream_metrics

TRAINING = msgspec.structs.replace(generate.TRAINING, epochs=1, max_minutes=0.0)
OPTIONS = msgspec.structs.replace(generate.OPTIONS, hidden_size=8, embedding_size=8)
TEXT = "the cat sat on the mat; the dog sat on the log; a cat and a dog "


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return documentation.load_documents()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("demo") / "demo-out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "load_documents", lambda: documents)
        patch.setattr(generate, "ORDERS", range(2, 4))
        return out, generate.run(out, training=TRAINING, options=OPTIONS, limit=3000)


def test_the_documentation_is_real_and_large(documents: list[str]) -> None:
    assert len(documents) > 300
    assert sum(map(len, documents)) > 1_000_000
    assert any('The "if" statement' in text for text in documents)
    assert any("Word wrapping" in text or "Text wrapping" in text for text in documents)
    assert all(text.isascii() and "\t" not in text for text in documents)
    paragraphs = [" ".join(p.split()) for text in documents for p in text.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)


def test_what_was_said_before_is_left_out() -> None:
    seen: set[tuple[str, ...]] = set()
    first = "one two three four five six seven eight"
    assert documentation._once(first, seen) == first
    again = f"{first.upper()}\n\n  one two\n three four five six seven"
    assert documentation._once(again, seen) == first.upper()
    assert documentation._once("other\twords  \n\n\n\nand “these”", seen) == "other   words"
    assert documentation._once("a table\n" + " " * 20 + "of two", seen) == "a table\n        of two"


def test_a_document_is_in_one_text_only(documents: list[str]) -> None:
    texts = documentation.split(documents, 0.05, seed=0)
    parts = {name: text.rstrip("\n").split(documentation.APART) for name, text in texts.items()}
    assert sorted(d for part in parts.values() for d in part) == sorted(documents)
    whole = sum(map(len, texts.values()))
    assert all(0.05 <= len(texts[name]) / whole < 0.1 for name in ("valid", "test"))
    small = [documentation.split(documents, 0.05, seed, limit=2000) for seed in (0, 0, 1)]
    assert small[0] == small[1] != small[2]
    assert len(" ".join(small[0].values()).split()) >= 2000
    with pytest.raises(ConfigError, match="2 documents are too few"):
        documentation.split(["a b", "c d"], 0.05, seed=0)


def test_a_python_without_its_documentation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "_modules", lambda: iter(()))
    with pytest.raises(ConfigError, match="without pydoc_data or without the sources"):
        documentation.load_documents()


def by_hand(text: str, order: int, context: str, c: str) -> float:
    """The equation of `KneserNey`, read aloud with dictionaries."""
    size = len(set(text)) + 1
    found = 1 / size
    for n in range(1, order + 1):
        grams = Counter(text[k : k + n] for k in range(len(text) - n + 1))
        if n < order:
            longer = {text[k : k + n + 1] for k in range(len(text) - n)}
            grams = Counter(each[1:] for each in longer)
        ones, twos = (sum(v == k for v in grams.values()) for k in (1, 2))
        discount = ones / (ones + 2 * twos) if ones else 0.5
        before = context[len(context) - n + 1 :] if n > 1 else ""
        after = {g[-1]: v for g, v in grams.items() if g[:-1] == before}
        if len(before) < n - 1 or not after:
            continue
        total = sum(after.values())
        kept = max(after.get(c, 0) - discount, 0)
        found = kept / total + discount * len(after) / total * found
    return found


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_counted_characters_are_kneser_and_neys(order: int) -> None:
    model = ngrams.KneserNey(TEXT, order)
    other = "a cat on a log; zebra"
    wanted = [-math.log2(by_hand(TEXT, order, other[:k], c)) for k, c in enumerate(other)]
    np.testing.assert_allclose(model.bits(other), wanted, rtol=1e-12)
    for context in ("", "t", "the ", "zz", "dog"):
        shares = [2 ** -model.bits(context + c)[-1] for c in [*sorted(set(TEXT)), "#"]]
        assert sum(shares) == pytest.approx(1, rel=1e-12)


def test_the_order_is_chosen_by_validation_and_bounded() -> None:
    orders = range(1, 6)
    best = ngrams.best_order(TEXT, "the dog sat on the mat", orders)
    scores = [ngrams.KneserNey(TEXT, n).bits("the dog sat on the mat").mean() for n in orders]
    assert best.order == 1 + int(np.argmin(scores)) > 1
    with pytest.raises(ConfigError, match=r"order is 30; expected 1 to 1\d"):
        ngrams.KneserNey(TEXT, 30)


def test_xz_has_read_the_training_text() -> None:
    draw = np.random.default_rng(0)
    train = "".join(map(chr, draw.integers(97, 123, 4000)))
    fresh = "".join(map(chr, draw.integers(97, 123, 1000)))
    assert ngrams.compressed_bits(train, fresh) > math.log2(26)
    assert ngrams.compressed_bits(train, train[1000:2000]) < 0.1


def test_the_model_the_data_and_the_report_are_written(demo: tuple[Path, dict]) -> None:
    out, metrics = demo
    model = unrolled.load(out / "model")
    stored = json.loads((out / "model" / "metrics.json").read_text())
    for name, prefix in (("test", ""), ("valid", "validation_")):
        ids = write_ids(file_lines(out / "data" / f"{name}.txt"), model.vocabulary)
        found = stream_metrics(model, ids)
        assert found["bits"] == metrics[f"{prefix}bits"] == stored[f"{prefix}bits"]
    train, test = ((out / "data" / f"{name}.txt").read_text() for name in ("train", "test"))
    counted = ngrams.KneserNey(train, metrics["ngram_order"])
    assert counted.bits(test).mean() == metrics["ngram_bits"]
    assert metrics["test_characters"] == len(test)
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    for words in ("Beside what needs no training", "Bits a character by the characters read"):
        assert words in page
    for example in metrics["examples"]:
        assert example["prompt"] + example["text"] in page
        assert 0 < len(example["text"]) <= generate.CONTINUED


def test_windows_are_read_from_zeros_and_in_one_stream(demo: tuple[Path, dict]) -> None:
    out, _ = demo
    model = unrolled.load(out / "model")
    ids = write_ids(file_lines(out / "data" / "test.txt"), model.vocabulary)[:60]
    fresh, carried = windows_bits(model, ids, steps=8)
    assert fresh.shape == carried.shape == (6, 8)
    row = np.asarray(ids[1 + 9 : 1 + 18])[None]
    wanted = model.network.log_probs(row[:, :-1])[0][0, np.arange(8), row[0, 1:]]
    np.testing.assert_allclose(fresh[1], -wanted / math.log(2), rtol=1e-5)
    (whole,) = model.stream_losses(ids[:55])
    np.testing.assert_allclose(carried[1], whole[10:18] / math.log(2), rtol=1e-5)


def test_the_figure_tells_the_means_between_its_points() -> None:
    falls = np.tile(np.arange(16, 0, -1.0), (3, 1))
    found = html.unescape(context_figure({"one": falls, "other": falls + 1}, "word"))
    assert "Bits a word by the words read before it, mean of 3 windows of a text" in found
    assert "One: 16.00 bits at first, 3.00 at last. Other: 17.00 bits at first" in found
    assert '<th scope="row">12 to 16</th><td class="number">3</td>' in found
    ticks = re.findall(r'<text class="tick"[^>]*text-anchor="middle">(\d+)</text>', found)
    assert ticks == ["1", "2", "4", "8"]


def test_the_command_writes_on_and_stands_beside(run: Command, monkeypatch) -> None:
    monkeypatch.setattr(generate, "OPTIONS", OPTIONS)
    monkeypatch.setattr(generate, "ORDERS", range(2, 3))
    monkeypatch.setattr(generate, "load_documents", lambda: [TEXT * 9, TEXT[::-1] * 9, TEXT * 20])
    said = run("demo", "generate", "--words", "400", "--epochs", "1", "--quiet")
    assert said.code == 0, said.err
    assert "temperature 0.5:\n  The function " in said.out
    assert "2-grams" in said.out
    assert "characters of other documents; trained in" in said.out
    assert f"report: {Path('demo-out') / 'report.html'}" in said.out
    monkeypatch.setattr(generate, "load_documents", lambda: ["a b", "c d", "e f"])
    assert "words are too few" in run.error("demo", "generate", "--words", "200", "--out", "o")
