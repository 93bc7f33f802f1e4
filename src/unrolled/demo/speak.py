"""Numbers spoken: strips of one to three scanned digits, written as English words.

The digits are scikit-learn's, 8 x 8 pixels of 43 writers. A strip is read as regions, windows of 8
columns every 4, and attended to, so that the report shows which window each word came from. The
digits of the test strips are in no strip of the training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import artifact
from unrolled.config import TrainSpec
from unrolled.data.captions import Described
from unrolled.demo.parts import keep, measured, training_log
from unrolled.errors import ConfigError
from unrolled.explain.captioning import captioned_examples, captioning_report
from unrolled.explain.report import write_report
from unrolled.options import CaptionOptions
from unrolled.runtime.captioner_model import CaptionerModel
from unrolled.tasks.base import Run
from unrolled.tasks.caption import train
from unrolled.tasks.evaluate import evaluate_captioner

OPTIONS = CaptionOptions(
    tokens="word", hidden_size=96, embedding_size=32, positions=True, dropout=0.2
)
TRAINING = TrainSpec(
    epochs=10, batch_size=64, lr=6e-3, schedule="cosine", ema=0.99, validation_limit=300,
    max_minutes=1.5,
)  # fmt: skip
STRIPS = {"train": 6000, "valid": 300, "test": 1000}
SHARES = (0.7, 0.8)
SIDE, STRIDE = 8, 4
SHOWN = 8
ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
        "nineteen")  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

Array = NDArray[Any]


def spoken(number: int) -> str:
    """Return a number from 0 to 999 in words: `three hundred forty two`."""
    hundreds, rest = divmod(number, 100)
    words = [ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        words.append(TENS[rest // 10])
        rest = rest % 10
        if rest:
            words.append(ONES[rest])
    elif rest or not hundreds:
        words.append(ONES[rest])
    return " ".join(words)


def load_digits() -> tuple[Array, Array]:
    """Return the scanned digits [1797, 8, 8] from 0 to 1, and which they are.

    Raises ConfigError where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as read  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("the demo needs the package: pip install 'unrolled[demo]'") from None
    found = read()
    return (found.images / 16).astype(np.float32), found.target.astype(np.int64)


def strips(images: Array, digits: Array, count: int, seed: int) -> tuple[list[Array], list[int]]:
    """Return pictures [8, 8 * digits] of numbers of one to three digits, and the numbers.

    Each length comes up a third of the time; a number of several digits does not begin with 0.
    """
    generator = np.random.default_rng(seed)
    pictures, numbers = [], []
    of_digit = [np.flatnonzero(digits == digit) for digit in range(10)]
    for _ in range(count):
        length = int(generator.integers(1, 4))
        low = 0 if length == 1 else 10 ** (length - 1)
        number = int(generator.integers(low, 10**length))
        chosen = [generator.choice(of_digit[int(digit)]) for digit in str(number)]
        pictures.append(np.concatenate([images[k] for k in chosen], axis=1))
        numbers.append(number)
    return pictures, numbers


def regions(picture: Array) -> Array:
    """Return the windows [S, 64] of a strip, 8 columns every 4 from the left."""
    starts = range(0, picture.shape[1] - SIDE + 1, STRIDE)
    return np.stack([picture[:, start : start + SIDE].reshape(-1) for start in starts])


def parts(seed: int, counts: dict[str, int]) -> dict[str, tuple[Described, list[Array]]]:
    """Return strips for `train`, `valid` and `test`, no digit in two of them, with pictures."""
    images, digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(images))
    cuts = np.split(order, [int(share * len(order)) for share in SHARES])
    found = {}
    for k, (name, kept) in enumerate(zip(STRIPS, cuts, strict=True)):
        pictures, numbers = strips(images[kept], digits[kept], counts[name], seed + k)
        inputs = [regions(picture) for picture in pictures]
        texts = [[spoken(number)] for number in numbers]
        found[name] = Described(f"{name} strips", "regions", inputs, texts), pictures
    return found


def run(
    out: Path,
    *,
    training: TrainSpec = TRAINING,
    options: CaptionOptions = OPTIONS,
    overwrite: bool = False,
    watchers: tuple[Any, ...] = (),
    limit: int | None = None,
) -> dict[str, Any]:
    """Train, measure on held-out digits, and write `model/`, `data/` and `report.html` under `out`.

    `limit` keeps that many training strips only, for a quick look. Returns the metrics with
    `examples`.
    """
    counts = STRIPS if limit is None else {name: min(limit, n) for name, n in STRIPS.items()}
    found = parts(training.seed, counts)
    folder = out / "model"
    artifact.claim(folder, overwrite=overwrite)
    for name, (things, _) in found.items():
        _write(out / "data" / f"{name}.npz", things)
    fitted = train(
        found["train"][0],
        options,
        training,
        validation=found["valid"][0],
        run=Run(out=folder, overwrite=overwrite, watchers=watchers),
    )
    model = CaptionerModel.from_artifact(fitted)
    test, pictures = found["test"]
    rates = evaluate_captioner(model, test, with_bleu=False)
    metrics = measured(fitted, rates, ("wer", "per", "log_loss"), test_strips=rates["count"])
    keep(fitted, metrics)
    examples = _examples(model, test, pictures)
    log = training_log(folder)
    page = captioning_report("Numbers spoken", examples, log=log, metrics=metrics)
    write_report(out / "report.html", page)
    return {**metrics, "examples": examples}


def _write(path: Path, things: Described) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.array([len(each) for each in things.inputs])
    padded = np.zeros((len(lengths), lengths.max(), SIDE * SIDE), dtype=np.float32)
    for row, each in zip(padded, things.inputs, strict=True):
        row[: len(each)] = each
    texts = np.array([texts[0] for texts in things.captions])
    np.savez_compressed(path, features=padded, lengths=lengths, caption=texts)


def _examples(
    model: CaptionerModel, test: Described, pictures: list[Array]
) -> list[dict[str, Any]]:
    longer = [i for i, picture in enumerate(pictures) if picture.shape[1] == 3 * SIDE]
    chosen = [*longer[: SHOWN - 2], *(i for i in range(len(pictures)) if i not in longer)][:SHOWN]
    examples = captioned_examples(model, test.take(chosen))
    for i, example in zip(chosen, examples, strict=True):
        starts = range(1, pictures[i].shape[1] - SIDE + 2, STRIDE)
        example["source_tokens"] = [f"{s}–{s + SIDE - 1}" for s in starts]
        example["word"] = test.captions[i][0]
        example["picture"] = pictures[i]
        example["unit"] = "window"
    return examples
