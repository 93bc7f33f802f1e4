"""Reports on what a model learned: right numbers, safe text, one file."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import HOSTILE, LOG, PAIR, TEXT, Page, words
from unrolled.errors import ConfigError
from unrolled.explain.report import classification_report, translation_report, write_report
from unrolled.tasks.measure_generator import rank_metrics


def test_translation_report_says_what_was_looked_at() -> None:
    html = translation_report(
        "Spelling to sound",
        [PAIR],
        LOG,
        {"per": 0.0981, "train_seconds": 61.5, "confusion": [[1]]},
        extra_sections=[("The data", "First.\n\nSecond.")],
        source_unit="letter",
        target_unit="phoneme",
    )
    said = words(html)
    assert "PER 9.81 %" in said
    assert "catc → K AE T" in said
    assert "Right." in said
    assert "K looked mostly at 'c' (letter 1): 0.93." in said
    assert "train seconds 61.5 time spent in training, in seconds" in said
    assert "confusion" not in said
    assert "The data First. Second." in said
    assert "A row is a phoneme that was written" in said


def test_ranks_of_items_are_explained_where_they_stand() -> None:
    ranks = {f"validation_{name}": value for name, value in rank_metrics(np.array([1, 20])).items()}
    said = words(translation_report("Items", [], metrics=ranks))
    assert "validation hr@10 0.5 share of sequences whose last item is among the first 10" in said
    assert "validation ndcg@10 0.5 mean of 1 / log2(1 + place) of the last item" in said
    assert "validation mrr@20 0.525 mean of 1 / place of the last item" in said
    assert "validation recall@20 1 share of sequences whose last item is among the first 20" in said
    assert said.count("higher is better (on validation data)") == len(ranks)


def test_classification_report_says_what_weighed() -> None:
    html = classification_report("Reviews", [TEXT], unit="word")
    said = words(html)
    assert "Not right; expected: negative." in said
    assert "The answer leans most on 'wonderful' (word 2 of 3): 70 % of the attention" in said
    assert said.index("positive 87.5 %") < said.index("negative 12.5 %")
    spans = Page(html).named("span")
    assert [span["title"] for span in spans] == ["a: 0.100", "wonderful: 0.700", "film: 0.200"]
    assert [span["style"] for span in spans] == ["--w:0.143", "--w:1.000", "--w:0.286"]


def test_a_model_without_attention() -> None:
    html = translation_report("Pairs", [{**PAIR, "weights": None}])
    assert "This model has no attention to show." in words(html)
    assert not Page(html).named("svg")
    html = classification_report("Reviews", [{**TEXT, "weights": None}])
    assert "a wonderful film This model has no attention to show." in words(html)


def test_an_empty_answer_and_no_examples() -> None:
    empty = {**PAIR, "target_tokens": [], "weights": np.zeros((0, 4)), "predicted": ""}
    assert "No token was written." in words(translation_report("Pairs", [empty]))
    assert "Pairs" in words(translation_report("Pairs", []))


def every_report(word: str) -> list[str]:
    pair = {
        "word": word,
        "source_tokens": [word, "b"],
        "target_tokens": [word],
        "weights": [[0.5, 0.5]],
        "predicted": word,
        "true": word,
    }
    text = {
        "tokens": [word, "b"],
        "weights": [0.5, 0.5],
        "predicted": word,
        "probabilities": {word: 1.0},
        "true": [word],
    }
    more: dict[str, Any] = {"extra_sections": [(word, word)]}
    return [
        translation_report(word, [pair], LOG, {word: word}, **more, source_unit=word),
        classification_report(word, [text], LOG, {word: word}, **more, unit=word),
    ]


def test_hostile_text_stays_text() -> None:
    clean = [{tag for tag, _ in Page(html).tags} for html in every_report("word")]
    for html, tags in zip(every_report(HOSTILE), clean, strict=True):
        found = Page(html)
        assert {tag for tag, _ in found.tags} == tags
        assert not {"script", "img"} & tags
        assert not [name for _, attributes in found.tags for name in attributes if name[:2] == "on"]
        assert "<script>alert(1)</script>" in words(html)


@given(st.text(st.characters(), min_size=1, max_size=8))
def test_any_text_gives_a_page_that_can_be_read(word: str) -> None:
    for html in every_report(word):
        Page(html.encode("utf-8").decode("utf-8"))
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)


@pytest.mark.parametrize("html", every_report("각"))
def test_a_page_is_one_accessible_file(html: str) -> None:
    found = Page(html)
    assert html.startswith("<!doctype html>")
    assert found.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.named(
        "meta"
    )
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in found.tags}
    assert not re.search(r"https?:|url\(|@import|src=|href=\"[^#]", html)
    sections = [section["aria-labelledby"] for section in found.named("section")]
    assert [link["href"] for link in found.named("a")] == [f"#{name}" for name in sections]
    assert "default-src 'none'" in (found.named("meta")[2]["content"] or "")
    assert "prefers-color-scheme: dark" in html
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert all(th.get("scope") in ("row", "col") for th in found.named("th"))
    assert len(found.named("figcaption")) == len(found.named("figure")) >= 3
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in found.named("svg"))
    regions = [div for div in found.named("div") if div.get("class") == "scroll"]
    assert all(div["tabindex"] == "0" and div["aria-label"] for div in regions)
    identifiers = [a["id"] for _, a in found.tags if "id" in a]
    assert len(set(identifiers)) == len(identifiers)


def test_examples_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"example 2: the weights have shape \[3, 4\]"):
        translation_report("Pairs", [PAIR, {**PAIR, "target_tokens": ["K"]}])
    with pytest.raises(ValueError, match="example 1 has no 'weights'; it has: tokens"):
        classification_report("Reviews", [{"tokens": ["a"]}])
    with pytest.raises(ValueError, match="example 1: the weights have shape"):
        classification_report("Reviews", [{**TEXT, "tokens": ["a"]}])


def test_write_report(tmp_path: Path) -> None:
    place = tmp_path / "new" / "report.html"
    write_report(place, "<p>각</p>")
    write_report(place, "<p>값</p>")
    assert place.read_bytes() == "<p>값</p>".encode()
    assert [entry.name for entry in place.parent.iterdir()] == ["report.html"]
    with pytest.raises(ConfigError, match="is a folder; expected the name of a file"):
        write_report(tmp_path, "")
