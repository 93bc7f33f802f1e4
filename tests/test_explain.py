"""Pictures and sentences on what a model learned: right numbers, safe text, one file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import ConfigError
from unrolled.explain import alignment, curves, labels, page, svg
from unrolled.explain.figures import alignment_figure, learning_curves_figure, save_figure
from unrolled.explain.report import classification_report, translation_report, write_report

WEIGHTS = np.array([[0.93, 0.07, 0.0, 0.0], [0.0, 0.4, 0.35, 0.25], [0.0, 0.0, 0.9, 0.1]])
SOURCE, TARGET = ["c", "a", "t", "c"], ["K", "AE", "T"]
PAIR = {
    "word": "catc",
    "source_tokens": SOURCE,
    "target_tokens": TARGET,
    "weights": WEIGHTS,
    "predicted": "K AE T",
    "true": ["K AE T", "K AH T"],
}
TEXT = {
    "tokens": ["a", "wonderful", "film"],
    "weights": np.array([0.1, 0.7, 0.2]),
    "predicted": "positive",
    "probabilities": {"negative": 0.125, "positive": 0.875},
    "true": "negative",
}
LOG = [
    {"epoch": 1, "train_loss": 2.0, "per": 0.5, "wer": 0.9, "best": True, "lr": 1e-3},
    {"epoch": 2, "train_loss": 1.0, "per": 0.25, "wer": 0.8, "best": True, "lr": 1e-4},
    {"epoch": 3, "train_loss": 0.5, "per": float("nan"), "wer": 0.85, "best": False, "lr": 0.0},
]
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: tags must close in order, and no attribute may come twice."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def words(html: str) -> str:
    return " ".join(" ".join(Page(html).text).replace("\u00a0", " ").split())


# Alignment


def test_summary_in_numbers() -> None:
    found = alignment.summary(WEIGHTS, SOURCE, TARGET)
    assert found.peaks == (0, 1, 2)
    assert found.peak_weights == (0.93, 0.4, 0.9)
    assert found.monotonicity == 1.0
    assert found.coverage == 1.0
    entropies = [-sum(p * np.log2(p) for p in row if p) for row in WEIGHTS]
    assert found.entropy == pytest.approx(np.mean(entropies))


def test_summary_in_sentences() -> None:
    found = alignment.summary(WEIGHTS, SOURCE, TARGET, source_unit="letter", target_unit="phoneme")
    assert found.sentences == (
        "K looked mostly at 'c' (letter 1): 0.93.",
        "AE looked at several, the most at 'a': 0.40, 't': 0.35, 'c' (letter 4): 0.25.",
        "T looked mostly at 't': 0.90.",
    )
    assert found.overview == (
        "From one phoneme to the next the strongest weight does not move back in 100 % of the"
        " steps; 100 % of the letters were looked at; a phoneme looks at 1.7 letters on average"
        " (entropy 0.80 bits)."
    )


def test_summary_of_a_sharp_alignment_that_goes_back() -> None:
    weights = np.eye(4)[[2, 0, 1]]
    found = alignment.summary(weights, list("abcd"), list("xyz"))
    assert (found.monotonicity, found.coverage, found.entropy) == (0.5, 0.75, 0.0)
    assert found.overlooked == (3,)
    assert found.overview.endswith("Hardly looked at: 'd'.")


def test_summary_of_attention_that_looks_everywhere() -> None:
    found = alignment.summary(np.full((1, 20), 0.05), ["x"] * 20, ["y"])
    assert found.entropy == pytest.approx(np.log2(20))
    assert found.monotonicity == 1.0
    assert found.sentences == ("y looked at several, the most at 'x' (token 1): 0.05.",)


def test_summary_of_an_empty_answer() -> None:
    found = alignment.summary(np.zeros((0, 4)), SOURCE, [], target_unit="phoneme")
    assert (found.sentences, found.overview) == ((), "No phoneme was written.")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS.T, r"shape \[4, 3\]; expected \[3, 4\]: 3 target by 4 source tokens"),
        (WEIGHTS - np.eye(3, 4), r"the weight of row 0, column 0 is -0.07; expected 0 to 1"),
        (WEIGHTS * np.nan, "row 0, column 0 is nan; expected 0 to 1"),
        (WEIGHTS / 2, r"the weights of row 0 sum to 0.5; expected 1"),
    ],
)
def test_what_is_no_alignment(weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alignment.summary(weights, SOURCE, TARGET)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_summary_stays_in_its_bounds(t: int, s: int, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(s, 0.3), t).astype(np.float32)
    found = alignment.summary(weights, ["x"] * s, ["y"] * t)
    assert 0 <= found.entropy <= np.log2(s) + 1e-5
    assert 0 <= found.monotonicity <= 1
    assert found.coverage == 1 - len(found.overlooked) / s
    assert len(found.sentences) == t


# Labels


@pytest.mark.parametrize(
    ("token", "label"),
    [
        ("a", "a"),
        ("각", "각"),
        (" ", "␣"),
        ("\n", "↵"),
        ("", "(empty)"),
        ("\u0301", "◌\u0301"),
        ("\u200d", "U+200D"),
        ("\u202e", "U+202E"),
        ("\x00", "U+0000"),
        ("\ud800", "U+D800"),
        ("👩‍👧", "👩‍👧"),
        ("شكرا", "شكرا"),
    ],
)
def test_every_token_can_be_seen(token: str, label: str) -> None:
    assert labels.shown(token) == label


def test_labels_are_cut_and_measured() -> None:
    assert labels.short("Donaudampfschifffahrt") == "Donaudampfschifff…"
    assert labels.width("각") > labels.width("a") > labels.width("\u0301") == 0


def test_tokens_become_running_text() -> None:
    assert "".join(labels.join(["the", "cat"])) == "the cat"
    assert "".join(labels.join(["▁the", "▁c", "at"])) == "the cat"
    assert "".join(labels.join(list("한국 어"))) == "한국 어"
    assert labels.join([]) == []


# Pictures


def drawn(picture: str, tag: str) -> list[dict[str, str | None]]:
    return Page(picture).named(tag)


def test_heat_map_has_a_cell_for_every_weight() -> None:
    picture = svg.heat_map(
        WEIGHTS, TARGET, SOURCE, target_title="written", source_title="read", description="K at c"
    )
    cells = drawn(picture, "rect")
    assert [float(c["fill-opacity"] or 0) for c in cells] == WEIGHTS.round(3).ravel().tolist()
    assert [k for k, cell in enumerate(cells) if cell.get("class") == "peak"] == [0, 5, 10]
    assert "K ← c: 0.930" in words(picture)
    assert drawn(picture, "svg")[0]["aria-label"] == "K at c"
    assert drawn(picture, "svg")[0]["role"] == "img"


def test_heat_map_of_many_columns_has_no_numbers_in_its_cells() -> None:
    source = [f"w{k}" for k in range(30)]
    picture = svg.heat_map(
        np.eye(30)[:2], ["a", "b"], source, target_title="t", source_title="s", description="d"
    )
    assert len(drawn(picture, "rect")) == 60
    assert not [t for t in drawn(picture, "text") if t["class"] in ("on", "in")]


def test_numbers_keep_their_contrast_on_every_cell() -> None:
    def channel(value: float) -> float:
        value /= 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def luminance(colour: np.ndarray) -> float:
        return float(np.dot([0.2126, 0.7152, 0.0722], [channel(c) for c in colour]))

    def colours(block: str) -> dict[str, np.ndarray]:
        found = re.findall(r"--(\w+): #(\w{6})", block)
        return {
            name: np.array([int(code[k : k + 2], 16) for k in (0, 2, 4)]) for name, code in found
        }

    for theme in map(colours, page.STYLE.split("@media (prefers-color-scheme: dark)")[:2]):
        for weight in np.linspace(0.05, 1, 96):
            for ground in ("page", "panel"):
                cell = weight * theme["accent"] + (1 - weight) * theme[ground]
                number = theme["on" if weight >= svg.STRONG else "in"]
                bright, dark = sorted([luminance(cell), luminance(number)], reverse=True)
                assert (bright + 0.05) / (dark + 0.05) > 4.1


def test_curves_of_a_log() -> None:
    losses, rates = curves.charts(LOG)
    assert [line.name for line in losses.series] == ["training"]
    assert losses.series[0].points == ((1.0, 2.0), (2.0, 1.0), (3.0, 0.5))
    assert [line.name for line in rates.series] == ["PER", "WER"]
    assert rates.series[0].points == ((1.0, 50.0), (2.0, 25.0))
    assert curves.best_epoch(LOG) == 2
    assert curves.best_epoch([]) is None
    assert curves.charts([]) == []


def test_curves_as_html() -> None:
    html = curves.learning_curves(LOG)
    assert len(drawn(html, "polyline")) == 3
    assert "PER: from 50 % to 25 % in epoch 2." in words(html)
    assert "marks epoch 2, whose weights were kept" in words(html)
    assert "rate [%]" in words(html)
    assert [th["scope"] for th in drawn(html, "th")].count("row") == 3


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.03, 1.0, 99.0, 12345.0])
def test_one_epoch_and_any_scale_can_be_drawn(value: float) -> None:
    html = curves.learning_curves([{"train_loss": value}])
    circles = [c for c in drawn(html, "circle") if c["class"] == "dot s0"]
    assert len(circles) == 2
    assert all(0 <= float(c["cy"] or -1) <= 250 for c in circles)


# Reports


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
    assert not re.search(r"https?:|url\(|@import|src=|href=", html)
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


# Pictures by matplotlib


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_figures_are_written(tmp_path: Path, ending: str) -> None:
    begins = {"png": b"\x89PNG", "svg": b"<?xml"}[ending]
    with warnings.catch_warnings():
        # Whether the machine has a font with Hangul is not what is tested.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        heat = alignment_figure(WEIGHTS, ["값", "싼", "t", "long word"], TARGET, title="한국어")
        save_figure(heat, tmp_path / f"a.{ending}")
    save_figure(learning_curves_figure(LOG), tmp_path / f"b.{ending}")
    for name in "ab":
        assert (tmp_path / f"{name}.{ending}").read_bytes().startswith(begins)
    assert heat.axes[0].get_xticklabels()[0].get_text() == "값"
    assert heat.axes[0].images[0].get_array().tolist() == WEIGHTS.tolist()


def test_figures_that_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the training log holds no loss and no metric to draw"):
        learning_curves_figure([])
    with pytest.raises(ConfigError, match=r"cannot draw a 'bmp' file; one of: png, svg, pdf"):
        save_figure(learning_curves_figure(LOG), tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="expected 1"):
        alignment_figure(WEIGHTS * 0.5, SOURCE, TARGET)


def test_figures_without_matplotlib_and_reports_without_it_or_torch() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['torch'] = None\n"
        "from unrolled.errors import ConfigError\n"
        "from unrolled.explain.figures import alignment_figure\n"
        "from unrolled.explain.report import translation_report\n"
        "assert translation_report('x', [])\n"
        "try: alignment_figure([[1.0]], ['a'], ['b'])\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "pictures need matplotlib: pip install 'unrolled[plot]'"


def test_a_legend_of_many_names_stays_inside_the_chart() -> None:
    names = ("accuracy", "span F1", "intent", "sentences")
    lines = [svg.Series(name, ((1.0, 50.0), (2.0, 60.0))) for name in names]
    drawn = svg.line_chart(lines, x_title="epoch", y_title="rate", description="rates")
    ends = [
        float(re.search(rf'<text[^>]* x="([\d.]+)"[^>]*>{name}</text>', drawn)[1])
        + labels.width(name) * svg.FONT * 0.9
        for name in names
    ]
    assert ends == sorted(ends)
    assert ends[-1] <= svg.CHART_WIDTH


def test_losses_below_zero_stay_inside_their_chart():
    html = curves.learning_curves([{"train_loss": 1.0}, {"train_loss": -0.6}])
    assert ">-1</text>" in html
    ends = [float(y) for y in re.findall(r'cy="([0-9.-]+)"', html)]
    assert max(ends) <= 210
