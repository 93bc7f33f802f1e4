"""The demonstration of captions on a few hundred strips."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

import unrolled
from unrolled.data.captions import read_described
from unrolled.demo import speak
from unrolled.tasks.evaluate import evaluate_captioner

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

TRAINING = msgspec.structs.replace(speak.TRAINING, epochs=1, max_minutes=0.0)
OPTIONS = msgspec.structs.replace(speak.OPTIONS, hidden_size=8, embedding_size=8)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (7, "seven"),
        (13, "thirteen"),
        (20, "twenty"),
        (42, "forty two"),
        (100, "one hundred"),
        (305, "three hundred five"),
        (342, "three hundred forty two"),
        (990, "nine hundred ninety"),
    ],
)
def test_numbers_are_spoken(number: int, words: str) -> None:
    assert speak.spoken(number) == words


def test_every_number_is_spoken_in_its_own_words() -> None:
    assert len({speak.spoken(number) for number in range(1000)}) == 1000


def test_strips_are_the_digits_of_their_number_and_sides_share_none() -> None:
    images, digits = speak.load_digits()
    assert images.shape == (1797, 8, 8)
    pictures, numbers = speak.strips(images, digits, 50, seed=0)
    known = {image.tobytes(): int(digit) for image, digit in zip(images, digits, strict=True)}
    for picture, number in zip(pictures, numbers, strict=True):
        cells = np.split(picture, picture.shape[1] // 8, axis=1)
        assert "".join(str(known[np.ascontiguousarray(c).tobytes()]) for c in cells) == str(number)
    found = speak.parts(0, {"train": 60, "valid": 30, "test": 30})
    seen = {
        name: {region.tobytes() for each in things.inputs for region in each[::2]}
        for name, (things, _) in found.items()
    }
    assert not seen["train"] & seen["test"]
    assert not seen["valid"] & seen["test"]


def test_the_demo_writes_model_data_and_report(tmp_path: Path) -> None:
    out = tmp_path / "demo-out"
    metrics = speak.run(out, training=TRAINING, options=OPTIONS, limit=80)
    model = unrolled.load(out / "model")
    things = read_described(out / "data" / "test.npz")
    assert evaluate_captioner(model, things, with_bleu=False)["wer"] == metrics["wer"]
    page = (out / "report.html").read_text()
    assert "Numbers spoken" in page
    assert "What was read" in page
    assert all(
        len(e["source_tokens"]) == e["picture"].shape[1] // 4 - 1 for e in metrics["examples"]
    )
