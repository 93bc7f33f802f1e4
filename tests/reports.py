"""Answers to report on, and a strict reader of pages, for the tests of reports."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

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


def drawn(picture: str, tag: str) -> list[dict[str, str | None]]:
    """The elements of a kind in a picture."""
    return Page(picture).named(tag)
