"""Try a doctor's advice: short runs of each on the user's data, against the run as it was."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from unrolled.config import TrainSpec
from unrolled.tasks.compare import differs, setting_of
from unrolled.tasks.trials import Bench, Trial, run_trial

BASELINE = "as it was"


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a piece of advice: quality over seeds, memory left, and whether it helped.

    Quality is in `metric`, by which the task is measured. `helped` is None where noise could
    explain the difference.
    """

    words: str
    changes: dict[str, Any]
    metric: str
    quality: float
    deviation: float | None
    memory: float | None
    longest: int
    clipped_share: float
    helped: bool | None


def try_advice(
    bench: Bench,
    options: Any,
    training: TrainSpec,
    advice: Mapping[str, dict[str, Any]],
    *,
    seeds: int,
    tell: Callable[[str], None],
) -> list[Remedy]:
    """Train with each advice, words to options, and without: that is the first, `as it was`."""
    tried: list[Remedy] = []
    base = None
    key, more = bench.entry.quality
    for words, changes in {BASELINE: {}, **advice}.items():
        trials = [
            _trial(bench, words, options, training, changes, training.seed + k)
            for k in range(seeds)
        ]
        found = setting_of(words, "", 0, "", options.hidden_size, trials)
        base = base or found
        helped = None
        if found is not base and differs(base, found):
            helped = (found.quality > base.quality) == more
        tried.append(
            Remedy(
                words=words,
                changes=changes,
                metric=key,
                quality=found.quality,
                deviation=found.deviation,
                memory=found.memory,
                longest=found.longest,
                clipped_share=statistics.fmean(t.clipped_share for t in trials),
                helped=helped,
            )
        )
        tell(f"{words}: {key} {found.quality:.4f}")
    return tried


def _trial(
    bench: Bench,
    words: str,
    options: Any,
    training: TrainSpec,
    changes: Mapping[str, Any],
    seed: int,
) -> Trial:
    of_training = {k: v for k, v in changes.items() if k in TrainSpec.__struct_fields__}
    of_task = {k: v for k, v in changes.items() if k not in of_training}
    changed = msgspec.structs.replace(training, seed=seed, **of_training)
    return run_trial(bench, words, msgspec.structs.replace(options, **of_task), changed)
