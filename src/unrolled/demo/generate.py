"""What comes next: a GRU reads Python's own documentation character by character.

Truncated backpropagation through time over 16 streams of it, the state carried from batch to batch.
The test stands beside two that need no training: characters counted by those before them, and a
compressor that has read the training text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import artifact
from unrolled.config import TrainSpec
from unrolled.data.streams import Ids, text_lines, write_ids
from unrolled.data.vocab import Vocabulary
from unrolled.demo.documentation import load_documents, split
from unrolled.demo.ngrams import KneserNey, best_order, compressed_bits
from unrolled.demo.parts import keep, measured, training_log
from unrolled.errors import ConfigError
from unrolled.explain import page
from unrolled.explain.context import STEPS, context_figure, windows_bits
from unrolled.explain.generating import surprise_report, surprised_examples
from unrolled.explain.report import write_report
from unrolled.options import GenerateOptions
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.tasks.base import Run
from unrolled.tasks.generate import train_text
from unrolled.tasks.measure_generator import stream_metrics

OPTIONS = GenerateOptions(
    tokens="char", cell="gru", hidden_size=256, embedding_size=48, bptt=64, dropout=0.05
)
TRAINING = TrainSpec(
    epochs=8, batch_size=16, lr=4e-3, ema=0.998, validation_limit=20_000, max_minutes=4.0
)
SHARE = 0.05
ORDERS = range(4, 9)
NAMES = ("bits", "nats", "perplexity")
PROMPTS = ("The function ", "Return the ", "If the file ")
TEMPERATURES = (0.5, 1.0)
CONTINUED, SHOWN = 160, 160
BESIDE = (
    "A model of characters by the n - 1 before them was counted in the training text, its n chosen"
    " by validation (interpolated Kneser-Ney). xz is what the test takes more, once the training"
    " text is in its dictionary; it learns from the test as it goes, the others do not. All"
    " documents of the test are in no other part, and paragraphs that stand in several documents"
    " are kept in one only."
)
SAID = (
    "Low temperatures keep to what is likely, a temperature of 1 draws as the model believes. It"
    " learned how the text looks, and nothing of what is true: do not program by it."
)


def run(
    out: Path,
    *,
    training: TrainSpec = TRAINING,
    options: GenerateOptions = OPTIONS,
    overwrite: bool = False,
    watchers: tuple[Any, ...] = (),
    limit: int | None = None,
) -> dict[str, Any]:
    """Train, measure on other documents, and write `model/`, `data/` and `report.html` under `out`.

    `limit` keeps about that many words only, for a quick look. Returns the metrics with `examples`,
    continuations of prompts.
    """
    texts = split(load_documents(), SHARE, training.seed, limit)
    if min(map(len, texts.values())) <= STEPS:
        raise ConfigError(f"{limit} words are too few; expected texts of {STEPS + 1} characters")
    folder = out / "model"
    artifact.claim(folder, overwrite=overwrite)
    (out / "data").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / "data" / f"{name}.txt").write_text(text, encoding="ascii")
    fitted = train_text(
        text_lines(texts["train"]),
        options,
        training,
        validation=text_lines(texts["valid"]),
        run=Run(out=folder, overwrite=overwrite, watchers=watchers),
    )
    model = GeneratorModel.from_artifact(fitted)
    counted = best_order(texts["train"], texts["valid"], ORDERS)
    metrics = _metrics(model, fitted, texts, counted)
    keep(fitted, metrics)
    examples = _continuations(model, training.seed)
    sections = [
        ("Beside what needs no training", _beside(metrics)),
        ("How far back it helps to have read", _context(model, texts["test"], counted)),
        ("What it writes", _written(examples)),
    ]
    shown = surprised_examples(model, [texts["test"][:SHOWN]])
    title, log = "What comes next in Python's documentation", training_log(folder)
    report = surprise_report(title, shown, log=log, metrics=metrics, sections=sections)
    write_report(out / "report.html", report)
    return {**metrics, "examples": examples}


def _metrics(
    model: GeneratorModel, fitted: artifact.Artifact, texts: Mapping[str, str], counted: KneserNey
) -> dict[str, Any]:
    """Return bits a character on test and validation, each text in one stream, and those beside."""
    found = {name: stream_metrics(model, _ids(model, texts[name])) for name in ("valid", "test")}
    beside = {
        "ngram_bits": float(counted.bits(texts["test"]).mean()),
        "validation_ngram_bits": float(counted.bits(texts["valid"]).mean()),
        "ngram_order": counted.order,
        "xz_bits": compressed_bits(texts["train"], texts["test"]),
        "test_characters": found["test"]["count"],
        "unknown": found["test"]["unknown"],
    }
    metrics = measured(fitted, found["test"], NAMES, **beside)
    # Training validates on the beginning of the text alone.
    return metrics | {f"validation_{name}": found["valid"][name] for name in NAMES}


def _ids(model: GeneratorModel, text: str) -> Ids:
    assert isinstance(model.vocabulary, Vocabulary)
    return write_ids(text_lines(text), model.vocabulary)


def _continuations(model: GeneratorModel, seed: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt,
            "temperature": temperature,
            "text": model.generate(
                prompt, max_length=CONTINUED, temperature=temperature, seed=seed
            )[0],
        }
        for prompt in PROMPTS
        for temperature in TEMPERATURES
    ]


def _beside(metrics: Mapping[str, Any]) -> str:
    rows = [
        ("This model", metrics["validation_bits"], metrics["bits"]),
        (
            f"Characters by the {metrics['ngram_order'] - 1} before",
            metrics["validation_ngram_bits"],
            metrics["ngram_bits"],
        ),
        ("xz after the training text", "–", metrics["xz_bits"]),
    ]
    header = ("Model", "Validation", "Test")
    return page.table("Bits a character; the lower the better", header, rows) + page.paragraph(
        BESIDE
    )


def _context(model: GeneratorModel, test: str, counted: KneserNey) -> str:
    fresh, carried = windows_bits(model, _ids(model, test))
    size = len(fresh) * (STEPS + 1)
    grams = counted.bits(test)[:size].reshape(len(fresh), STEPS + 1)[:, 1:]
    lines = {
        "state from zeros": fresh,
        "state carried": carried,
        f"{counted.order}-grams": np.broadcast_to(grams.mean(), fresh.shape),
    }
    return context_figure(lines, "character")


def _written(examples: list[dict[str, Any]]) -> str:
    panels = [
        (
            f"{example['prompt'].strip()} … at temperature {example['temperature']:g}",
            page.preformatted(example["prompt"] + example["text"]),
            False,
        )
        for example in examples
    ]
    return page.paragraph(SAID) + page.articles(panels)
