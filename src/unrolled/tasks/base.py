"""What the tasks share: parameters as scikit-learn knows them, and the run from job to artifact."""

from __future__ import annotations

import hashlib
import inspect
import math
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
import numpy as np

from unrolled import __version__, artifact
from unrolled.artifact import Artifact
from unrolled.config import FORMAT_VERSION, DataSpec, ModelConfig, TrainSpec
from unrolled.data.vocab import SPECIALS, UNK, LabelVocabulary, Vocabulary
from unrolled.errors import ConfigError, UnrolledError, did_you_mean
from unrolled.options import OPTIONS, defaults, split
from unrolled.spec import NetworkSpec, Task
from unrolled.tasks.card import model_card

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Outcome, Watcher, Weights


@dataclass(frozen=True)
class Run:
    """Where a training run writes, how it reports, and whether it continues an earlier one.

    Without `out` nothing is written: the model lives in memory only. `notify` is told what a user
    should know about the data, such as sequences that were cut. With `watch` the gradients' way
    back through time is recorded, and `watch` gets each epoch's record (`unrolled.train.flow`).
    """

    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    watchers: Sequence[Watcher] = field(default_factory=tuple)
    notify: Callable[[str], None] = warnings.warn
    watch: Callable[[dict[str, Any]], None] | None = None


@dataclass(frozen=True)
class Plan:
    """Everything about a run but its weights: what the config file will say."""

    task: Task
    network: NetworkSpec
    data: DataSpec
    training: TrainSpec
    vocabularies: Mapping[str, Vocabulary | LabelVocabulary]
    data_hash: str
    validation_hash: str = ""
    token_dropout: float = 0.0

    def signature(self) -> str:
        """Name this plan, so that a checkpoint is resumed only by the run that it belongs to."""
        training = msgspec.structs.replace(self.training, max_minutes=0.0, tensorboard=False)
        hashes = [self.data_hash, self.validation_hash]
        content = msgspec.json.encode(
            [self.network, self.data, training, hashes, self.token_dropout]
        )
        return hashlib.sha256(content).hexdigest()

    def config(self) -> ModelConfig:
        """Return the config of a model made by this plan."""
        return ModelConfig(
            format_version=FORMAT_VERSION,
            task=self.task,
            network=self.network,
            data=self.data,
            training=self.training,
            token_dropout=self.token_dropout,
            data_hash=self.data_hash,
            versions=versions(),
        )

    def artifact(
        self, weights: Mapping[str, Any], metrics: Mapping[str, Any] | None = None
    ) -> Artifact:
        """Return the model that these weights make, in memory."""
        return Artifact(self.config(), weights, self.vocabularies, metrics or {}, Path())


def execute(
    plan: Plan,
    run: Run,
    make_job: Callable[..., Job],
    describe: Callable[[Artifact], dict[str, Any]] | None = None,
    complete: Callable[[Artifact], DataSpec] | None = None,
) -> Artifact:
    """Claim the folder, train, and leave the best model in it with its metrics and log.

    `make_job(keep=..., recall=...)` builds the loop's job once the folder is known to be ours;
    `describe` gives further metrics of the best model, such as its confusion matrix; `complete`
    what its config says of the data where only the best model could tell it. Raises
    ModelError where the folder holds another model or another run is writing to it.
    """
    if run.out is None:
        if run.resume:
            raise ConfigError("resume needs the model folder of the run that it continues")
        return _train(plan, run, make_job, describe, complete)
    artifact.claim(run.out, overwrite=run.overwrite, resume=run.resume)
    with artifact.only_writer(run.out):
        if run.overwrite and not run.resume:
            (run.out / "training" / "last.safetensors").unlink(missing_ok=True)
        return _train(plan, run, make_job, describe, complete)


def _train(
    plan: Plan,
    run: Run,
    make_job: Callable[..., Job],
    describe: Callable[[Artifact], dict[str, Any]] | None,
    complete: Callable[[Artifact], DataSpec] | None,
) -> Artifact:
    from unrolled.nn.truncated import truncate
    from unrolled.train.loop import fit

    def keep(weights: Weights, metrics: dict[str, Any]) -> None:
        if run.out is not None:
            _store(run.out, plan, weights, metrics)

    def recall() -> Weights:
        assert run.out is not None
        return dict(artifact.load(run.out).weights)

    job = make_job(keep=keep, recall=recall)
    truncate(job.model, plan.training.truncate)
    outcome = fit(
        job,
        plan.training,
        watchers=(*run.watchers, *_log_watchers(plan, run), *_flow_watchers(job, run)),
        folder=run.out,
        resume=run.resume,
    )
    metrics = _final_metrics(outcome)
    if describe is not None:
        metrics |= describe(plan.artifact(outcome.weights))
    if complete is not None:
        plan = replace(plan, data=complete(plan.artifact(outcome.weights)))
    if run.out is None:
        return plan.artifact(outcome.weights, metrics)
    config = _store(run.out, plan, outcome.weights, metrics)
    return Artifact(config, outcome.weights, plan.vocabularies, metrics, run.out)


def hide_tokens(tokens: Any, share: float, generator: Any) -> Any:
    """Read a share of the tokens [N, T] as `<unk>`, so that its embedding is trained too.

    Each plain token is hidden by a coin of its own from `generator` (word dropout, Iyyer et al.
    2015, section 3.2, with `<unk>` in the place of nothing).
    """
    import torch

    if share == 0:
        return tokens
    hidden = torch.rand(tokens.shape, generator=generator) < share
    return tokens.masked_fill(hidden & (tokens >= len(SPECIALS)), UNK)


def versions() -> dict[str, str]:
    """Return the versions of what computes: unrolled, Python, numpy and, when loaded, torch."""
    import torch

    return {
        "unrolled": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
    }


def hash_texts(*columns: Sequence[str]) -> str:
    """Return the SHA-256 of columns of text, in order."""
    digest = hashlib.sha256()
    for column in columns:
        for text in column:
            digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\x1f")
        digest.update(b"\x1e")
    return digest.hexdigest()


def hash_shards(hashes: Sequence[str]) -> str:
    """Return the hash of data in shards from theirs, in order; that of one shard is its own."""
    return hashes[0] if len(hashes) == 1 else hash_texts(hashes)


def _store(
    out: Path, plan: Plan, weights: Mapping[str, Any], metrics: Mapping[str, Any]
) -> ModelConfig:
    config = plan.config()
    return artifact.save(
        out,
        config=config,
        weights=weights,
        vocabularies=plan.vocabularies,
        metrics=metrics,
        card=model_card(config, metrics),
    )


def _final_metrics(outcome: Outcome) -> dict[str, Any]:
    best = next(r for r in reversed(outcome.log) if r["best"])
    of_the_loop = ("seconds", "best", "step", "lr", "gradient_norm", "clipped_share")
    return {
        **{k: v for k, v in best.items() if k not in of_the_loop},
        "train_seconds": round(outcome.seconds, 3),
        "epochs_run": math.ceil(outcome.log[-1]["epoch"]),
    }


def _log_watchers(plan: Plan, run: Run) -> list[Watcher]:
    from unrolled.train.watch import LogFile, TensorBoard

    if run.out is None:
        return []
    watchers: list[Watcher] = [LogFile(run.out)]
    if plan.training.tensorboard:
        watchers.append(TensorBoard(run.out))
    return watchers


def _flow_watchers(job: Job, run: Run) -> list[Watcher]:
    if run.watch is None:
        return []
    from unrolled.train.flow import FlowWatch

    return [FlowWatch(job.model, run.watch, run.out)]


class Estimator:
    """Parameters and state that both estimators share.

    Parameters are the task's options and the training spec in one flat set of keywords. What `fit`
    learns is kept in attributes that end in `_`.
    """

    task: ClassVar[Task]

    def __init__(self, **params: Any) -> None:
        self._params = {**parameter_defaults(self.task), **self._known(params)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return every parameter with its value. `deep` is there for scikit-learn."""
        return dict(self._params)

    def set_params(self, **params: Any) -> Self:
        """Change parameters; an unknown name raises ConfigError. A fitted model stays as it is."""
        self._params.update(self._known(params))
        return self

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the fitted model as a model folder that `unrolled.load` reads."""
        out = Path(folder)
        artifact.claim(out, overwrite=overwrite)
        fitted = self._fitted()
        artifact.save(
            out,
            config=fitted.config,
            weights=fitted.weights,
            vocabularies=fitted.vocabularies,
            metrics=fitted.metrics,
            card=model_card(fitted.config, fitted.metrics),
        )

    def _split_params(self) -> tuple[Any, TrainSpec]:
        values = {name: _as_option(value) for name, value in self._params.items()}
        return split(self.task, values, where=type(self).__name__)

    def _fitted(self) -> Artifact:
        fitted: Artifact | None = getattr(self, "artifact_", None)
        if fitted is None:
            raise UnrolledError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return fitted

    def _known(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        known = parameter_defaults(self.task)
        for name in params:
            if name not in known:
                near = did_you_mean(name, known)
                raise ConfigError(f"{type(self).__name__}: unknown parameter {name!r}.{near}")
        return params

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "artifact_", None) is not None

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what this estimator takes; called only by scikit-learn itself."""
        from sklearn.utils import (  # type: ignore[import-untyped]
            ClassifierTags,
            InputTags,
            RegressorTags,
            Tags,
            TargetTags,
        )

        classifies, regresses = self.task == "classify", self.task == "regress"
        return Tags(
            estimator_type="classifier" if classifies else "regressor" if regresses else None,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if classifies else None,
            regressor_tags=RegressorTags() if regresses else None,
            input_tags=InputTags(one_d_array=True, two_d_array=False, string=True),
        )

    def __repr__(self) -> str:
        known = parameter_defaults(self.task)
        changed = (f"{k}={v!r}" for k, v in self._params.items() if v != known[k])
        return f"{type(self).__name__}({', '.join(changed)})"

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "task"):
            return
        keyword = inspect.Parameter.KEYWORD_ONLY
        cls.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, keyword, default=value)
                for name, value in parameter_defaults(cls.task).items()
            ]
        )


def _as_option(value: Any) -> Any:
    """Return a parameter as options have it: None is "none", a list of names a text with commas."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return "none" if value is None else value


def parameter_defaults(task: Task) -> dict[str, Any]:
    """Return the flat parameters of a task's estimator with their defaults."""
    return {**defaults(OPTIONS[task]), **defaults(TrainSpec)}
