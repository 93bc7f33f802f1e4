"""What the demos do alike: three parts of the data, a model folder with the numbers of its test."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from unrolled import artifact
from unrolled.artifact import Artifact
from unrolled.data.split import split as split_keys
from unrolled.tasks.card import model_card


def three_parts(
    keys: Sequence[Hashable], held_out: float, validation: float, seed: int
) -> dict[str, list[int]]:
    """Return which records are for `train`, `valid` and `test`; equal keys are in one part only.

    `held_out` is the share for the test, `validation` that of what is left.
    """
    rest, test = split_keys(keys, held_out, seed)
    learn, valid = split_keys([keys[i] for i in rest], validation, seed)
    return {
        "train": rest[learn].tolist(),
        "valid": rest[valid].tolist(),
        "test": test.tolist(),
    }


def measured(
    fitted: Artifact, found: Mapping[str, Any], names: Sequence[str], **counted: Any
) -> dict[str, Any]:
    """Return the test's numbers `names` under these names, validation's under `validation_`.

    Between them stands what was `counted`, behind them what else training said. Of validation only
    numbers are kept, no confusion matrix.
    """
    learned = fitted.metrics
    numbers = [name for name in names if isinstance(learned.get(name), float)]
    return {
        **{name: found[name] for name in names},
        **counted,
        **{f"validation_{name}": learned[name] for name in numbers},
        **{name: value for name, value in learned.items() if name not in names},
    }


def keep(fitted: Artifact, metrics: Mapping[str, Any]) -> None:
    """Write the model to its folder with the test's numbers in the place of training's."""
    artifact.save(
        fitted.folder,
        config=fitted.config,
        weights=fitted.weights,
        vocabularies=fitted.vocabularies,
        metrics=metrics,
        card=model_card(fitted.config, metrics),
    )


def training_log(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a model folder's training, one an epoch."""
    lines = (folder / "training" / "log.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line) for line in lines]
