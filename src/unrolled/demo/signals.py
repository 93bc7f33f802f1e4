"""Which digit was written: a GRU reads scanned digits row by row, eight numbers at a time.

The data is `sklearn.datasets.load_digits`: 1,797 digits of 8 x 8 points, by 43 hands (Alpaydin and
Kaynak 1998). A digit is a sequence of 8 frames of 8 numbers; with attention the page shows which
row gave it away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unrolled import artifact
from unrolled.config import DataSpec, FramesSpec, TrainSpec
from unrolled.data.examples import Examples
from unrolled.demo.parts import keep, measured, three_parts, training_log
from unrolled.errors import ConfigError
from unrolled.explain.explanation import examples_of
from unrolled.explain.report import classification_report, write_report
from unrolled.options import ClassifyOptions
from unrolled.runtime.model import ClassifierModel
from unrolled.tasks.base import Run
from unrolled.tasks.classify import train
from unrolled.tasks.evaluate import evaluate_classifier

OPTIONS = ClassifyOptions(hidden_size=64, dropout=0.3)
TRAINING = TrainSpec(epochs=30, batch_size=32, lr=4e-3, ema=0.99, max_minutes=2.0)
HELD_OUT, VALIDATION = 0.2, 0.1
SHOWN = 6
KEPT = ("accuracy", "macro_f1", "log_loss", "confusion", "classes", "per_class")


def load_digits() -> Examples:
    """Return the digits as frames [8, 8] with their labels.

    Raises ConfigError where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("the demo needs the package: pip install 'unrolled[demo]'") from None
    found = load()
    frames = list(found.images.astype(np.float32))
    columns = tuple(f"column {k}" for k in range(1, 9))
    return Examples(frames, list(map(str, found.target.tolist())), "the digits", features=columns)


def split(examples: Examples, seed: int) -> dict[str, list[int]]:
    """Return which digits are for `train`, `valid` and `test`; equal ones are in one only."""
    keys = [frames.tobytes() for frames in examples.inputs]
    return three_parts(keys, HELD_OUT, VALIDATION, seed)


def run(
    out: Path,
    *,
    training: TrainSpec = TRAINING,
    options: ClassifyOptions = OPTIONS,
    overwrite: bool = False,
    watchers: tuple[Any, ...] = (),
    limit: int | None = None,
) -> dict[str, Any]:
    """Train, measure on held-out digits, and write `model/`, `data/` and `report.html` under `out`.

    `limit` keeps that many digits only, for a quick look. Returns the metrics with `examples`.
    """
    every = load_digits()
    if limit is not None:
        every = every.take(range(0, len(every), max(1, len(every) // limit)))
    parts = split(every, training.seed)
    folder = out / "model"
    artifact.claim(folder, overwrite=overwrite)
    _write_data(out / "data", every, parts)
    fitted = train(
        every.take(parts["train"]),
        options,
        training,
        validation=every.take(parts["valid"]),
        data=DataSpec(target="label", frames=FramesSpec()),
        run=Run(out=folder, overwrite=overwrite, watchers=watchers),
    )
    model = ClassifierModel.from_artifact(fitted)
    found = evaluate_classifier(model, every.take(parts["test"]))
    metrics = measured(fitted, found, KEPT, test_digits=found["count"])
    keep(fitted, metrics)
    examples = _examples(model, every, parts["test"], training.seed)
    page = classification_report(
        "Which digit was written", examples, log=training_log(folder), metrics=metrics, unit="row"
    )
    write_report(out / "report.html", page)
    return {**metrics, "examples": examples}


def drawn(frames: Any) -> list[str]:
    """Return a digit as lines of text, the darker the more ink."""
    return ["".join(" .:-=+*#%@"[min(9, int(x / 16 * 10))] for x in row) for row in frames]


def _write_data(folder: Path, every: Examples, parts: dict[str, list[int]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        some = every.take(chosen)
        np.savez(folder / f"{name}.npz", x=np.stack(some.inputs), label=np.array(some.targets))


def _examples(
    model: ClassifierModel, every: Examples, test: list[int], seed: int
) -> list[dict[str, Any]]:
    """Return some digits of the test, those first that the model got wrong."""
    said = model.predict([every.inputs[i] for i in test])
    wrong = [i for i, label in zip(test, said, strict=True) if label != every.targets[i]]
    order = np.random.default_rng(seed + 1).permutation(test).tolist()
    chosen = [*wrong, *(i for i in order if i not in set(wrong))][:SHOWN]
    examples = examples_of(model, [every.inputs[i] for i in chosen])
    for i, example in zip(chosen, examples, strict=True):
        example["true"] = every.targets[i]
    return examples
