"""Regress: a whole sequence to one real number or several (many to one).

Training needs the `train` extra; a fitted regressor predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, TrainSpec
from unrolled.data.examples import Examples
from unrolled.data.moments import Moments
from unrolled.data.shards import Shards, Source, each
from unrolled.errors import DataError
from unrolled.options import RegressOptions
from unrolled.runtime.model import RegressorModel
from unrolled.spec import RegressorSpec
from unrolled.tasks.base import Plan, Run, execute
from unrolled.tasks.evaluate import evaluate_regressor
from unrolled.tasks.pooled import (
    Reading,
    content_hash,
    make_job,
    read_as,
    replace_struct,
    scaling_of,
    sources,
    trunk,
    with_validation,
)
from unrolled.tasks.shelf import limited
from unrolled.tasks.words import hashes, start_from

if TYPE_CHECKING:
    from unrolled.train.loop import Score, Weights

__all__ = ["Examples", "train"]


def target_names(options: RegressOptions) -> tuple[str, ...]:
    """Return the names of the targets that the options give."""
    return tuple(name.strip() for name in options.target.split(",") if name.strip())


def train(
    examples: Examples | Shards,
    options: RegressOptions,
    training: TrainSpec,
    *,
    validation: Examples | None = None,
    data: DataSpec | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train a regressor and return the best model by validation: its mean RMSE over the spread.

    Each target is standardised by the training data's mean and standard deviation. Without
    `validation`, `training.validation_fraction` of the distinct inputs are held out. `data` says
    how the files were read. Raises DataError for data that cannot be trained on.
    """
    run = run or Run()
    given = validation
    source, validation = sources(examples, validation, training)
    data = data or DataSpec(source=options.text, target=options.target)
    reading = read_as(source, data, options, run)
    moments = target_moments(source)
    names = _names(reading.data, options, len(moments.mean))
    data = replace_struct(reading.data, targets=names)
    for part in (validation, given):
        if part is not None and len(part) and len(part.targets[0]) != len(data.targets):
            raise DataError(
                f"{part.name}: {len(part.targets[0])} targets, expected {len(data.targets)}"
            )
    network = RegressorSpec(**trunk(options, reading), num_targets=len(data.targets))
    plan = Plan(
        task="regress",
        network=network,
        data=data,
        training=training,
        vocabularies=reading.vocabularies,
        data_hash=":".join((options.loss, *hashes(options.vectors), content_hash(source))),
        token_dropout=options.token_dropout if reading.vocabulary is not None else 0.0,
    )
    plan = with_validation(plan, given, source.name)
    frames = None if reading.vocabulary is not None else scaling_of(source, plan.data, run)

    def encode(found: Examples) -> NDArray[Any]:
        targets = np.reshape(list(found.targets), (len(found), len(moments.mean)))
        values = (targets - moments.mean) / moments.scale
        return values.astype(np.float32)

    def job(**hooks: Any) -> Any:
        return make_job(
            plan,
            source,
            encode,
            run,
            criterion=_criterion(options.loss),
            prepare=lambda model: _start(model, reading, frames, moments),
            validate=_validation(plan, limited(validation, training), moments),
            **hooks,
        )

    return execute(plan, run, job, lambda found: _details(found, validation))


def _start(model: Any, reading: Reading, frames: Moments | None, targets: Moments) -> None:
    import torch

    start_from(model, frames, reading.vocabulary, reading.vectors)
    with torch.no_grad():
        model.targets.mean.copy_(torch.from_numpy(targets.mean))
        model.targets.scale.copy_(torch.from_numpy(targets.scale))


def _names(data: DataSpec, options: RegressOptions, width: int) -> tuple[str, ...]:
    names = data.targets or target_names(options)
    if len(names) == width:
        return names
    return tuple(f"{options.target}_{k}" for k in range(1, width + 1))


def target_moments(source: Source) -> Moments:
    """Return mean and spread of each target; DataError where the sequences have not as many."""
    width, name = 0, ""

    def parts() -> Iterator[NDArray[Any]]:
        nonlocal width, name
        for examples in each(source):
            widths = sorted({len(target) for target in examples.targets})
            if len(widths) > 1:
                raise DataError(f"{examples.name}: sequences of {widths} targets; expected one")
            if not widths:
                continue
            width, name = width or widths[0], name or examples.name
            if widths != [width]:
                raise DataError(f"{examples.name}: {widths[0]} targets, but {name}: {width}")
            yield np.stack(list(examples.targets))

    return Moments.over(parts(), source.name)


def _criterion(kind: str) -> Callable[[Any, Any], tuple[Any, float]]:
    from unrolled.train.losses import regression_loss

    return lambda outputs, targets: regression_loss(outputs, targets, kind=kind)


def _validation(plan: Plan, examples: Examples, moments: Moments) -> Callable[[Weights], Score]:
    """Score through the runtime: by the mean of each target's RMSE over its own spread."""
    from unrolled.train.loop import Score

    def validate(weights: Weights) -> Score:
        model = RegressorModel.from_artifact(plan.artifact(weights))
        found = evaluate_regressor(model, examples)
        errors = [each["rmse"] for each in found["per_target"].values()]
        rank = float(np.mean(np.array(errors) / moments.scale))
        return Score({k: found[k] for k in ("mae", "rmse", "r2", "spearman")}, (rank,))

    return validate


def _details(found: Artifact, validation: Examples) -> dict[str, Any]:
    """Return what the best model does target by target on the validation data."""
    metrics = evaluate_regressor(RegressorModel.from_artifact(found), validation)
    return {"per_target": metrics["per_target"]} if len(metrics["per_target"]) > 1 else {}
