"""The model card: the README.md of a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.config import ModelConfig

DESCRIPTIONS = {
    "classify": "reads a sequence and names its class",
    "translate": "reads one sequence and writes another",
    "caption": "reads numbers or attributes and writes a text about them",
    "tag": "reads a sequence and tags every step of it",
    "regress": "reads a sequence and gives numbers for it",
    "generate": "reads a sequence and says what comes next",
    "forecast": "reads the past of series and tells their next values",
}


CALLS = {"forecast": "model.predict(frame, level=[80, 95])"}
# Forecasts that need no model, whose errors stand beside the model's.
BESIDE = ("seasonal_naive", "drift")


def model_card(config: ModelConfig, metrics: Mapping[str, Any]) -> str:
    """Return the card in Markdown: what the model does, how well, how made, how to run it."""
    beside = [name for name in BESIDE if isinstance(metrics.get(name), Mapping)]
    heads = "".join(f" {name.replace('_', ' ')} |" for name in beside)
    rules = "".join(" --- |" for _ in beside)
    rows = "\n".join(
        f"| {name} | {value:.4g} |" + "".join(_cell(metrics[other].get(name)) for other in beside)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    made = ", ".join(f"{name} {version}" for name, version in config.versions.items())
    training, frames = config.training, config.data.frames
    read = frames.features if frames is not None else (config.data.source,)
    columns = ", ".join(f"`{name}`" for name in read)
    call = CALLS.get(config.task, 'model.predict(["..."])')
    return f"""---
library_name: unrolled
tags: [recurrent, {config.task}]
---

# A model that {DESCRIPTIONS[config.task]}

Trained by `unrolled train {config.task}` on the columns {columns} and
`{config.data.target}`.

## Validation

| metric | value |{heads}
| --- | --- |{rules}
{rows}

Rates are fractions. The data that they were measured on was held out from training.

## Use

```python
import unrolled

model = unrolled.load("this-folder")
{call}
```

No training framework is needed to run it.

## Made with

{made}; seed {training.seed}, {training.epochs} epochs at most, {training.optimizer} at
{training.lr:g}. Training data SHA-256 `{config.data_hash}`. Everything else is in `config.json`.
"""


def _cell(value: Any) -> str:
    return f" {value:.4g} |" if isinstance(value, (int, float)) else " |"
