"""Forecast: the next values of series from their past (many to one and many to many in time).

Training needs the `train` extra; a fitted forecaster predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, ForecastingSpec, TrainSpec
from unrolled.data.batch import rows_within
from unrolled.data.frequency import calendar_cycles
from unrolled.data.panel import Columns, Panel
from unrolled.data.shards import SourceOf, Whole
from unrolled.data.stamps import names_of
from unrolled.data.windows import WindowBatch
from unrolled.data.windows import static_size as size_of_static
from unrolled.errors import ConfigError
from unrolled.forecast_options import ForecastOptions
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.spec import ForecasterSpec, RecurrentSpec
from unrolled.tasks.base import Plan, Run, execute
from unrolled.tasks.calibrate import calibration, check_shares, check_windows
from unrolled.tasks.forecast_data import Material, PanelShards, epoch_of, material_of, specs
from unrolled.tasks.forecast_evaluate import Origins, beside, measured
from unrolled.tasks.forecast_survey import Survey, data_hash, reach, surveyed
from unrolled.validation import check_network

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights


def columns_of(options: ForecastOptions) -> Columns:
    """Return the columns that the options name."""
    lists = (names_of(text) for text in (options.past, options.future, options.static))
    return Columns(options.id, options.time, options.target, *lists)


def train(
    panel: Panel | PanelShards,
    options: ForecastOptions,
    training: TrainSpec,
    *,
    validation: Panel | None = None,
    run: Run | None = None,
) -> Artifact:
    """Train a forecaster and return the best model by validation.

    Better is a smaller error over that of the seasonal naive forecast: CRPS, for a point's loss
    'mse' the RMSE, else MASE. Without `validation` the last `training.validation_fraction` of each
    series, a horizon at the least, is held out. Beside the model's metrics stand those of the
    seasonal naive forecast and of the drift on the same windows. Shards are read one at a time,
    twice before the first epoch and once in each. Raises DataError for data that cannot be trained
    on, ConfigError for options that contradict each other.
    """
    run = run or Run()
    shares = _shares(options.quantiles) if options.calibrate else ()
    if options.calibrate:
        check_shares(shares, options.output)
    source: SourceOf[Panel] = Whole(panel) if isinstance(panel, Panel) else panel

    def check(begun: Survey) -> None:
        # Options that contradict each other are told before the other files are read.
        check_network(network_spec(options, reading(begun, options)))

    survey = surveyed(source, options, training, validation, check)
    plan = make_plan(survey, options, training)
    survey.tell(run)
    material = material_of(source, survey.windows, survey.held, plan, validation)

    def describe(_: Artifact) -> dict[str, Any]:
        return beside(material.scored)

    def job(**hooks: Any) -> Job:
        return make_job(plan, material, **hooks)

    if not options.calibrate:
        return execute(plan, run, job, describe)
    check_windows(material.held, shares)

    def complete(fitted: Artifact) -> DataSpec:
        model = ForecastModel.from_artifact(fitted)
        moved = replace(model.forecasting, calibration=calibration(model, material.held, shares))
        return replace(plan.data, forecasting=moved)

    return execute(plan, run, job, describe, complete)


def make_plan(survey: Survey, options: ForecastOptions, training: TrainSpec) -> Plan:
    """Fix the network and the reading of series from options and data."""
    forecasting = reading(survey, options)
    data = DataSpec(source=options.time, target=options.target, forecasting=forecasting)
    network = network_spec(options, forecasting)
    hashed = "" if survey.validation is None else data_hash(survey.validation)
    return Plan("forecast", network, data, training, {}, survey.hash, validation_hash=hashed)


def reading(survey: Survey, options: ForecastOptions) -> ForecastingSpec:
    """Fix how series are read, from what is told of those that are learned from.

    Raises ConfigError as `reach`, DataError for a static covariate of too many categories.
    """
    season, window = reach(options, survey.freq)
    columns = columns_of(options)
    return ForecastingSpec(
        id=options.id,
        time=options.time,
        freq=str(survey.freq),
        season=season,
        window=window,
        past=columns.past,
        future=columns.future,
        static=columns.static,
        statistics=survey.statistics,
        categories=survey.categories,
        calendar=calendar_cycles(survey.freq, survey.longest) if options.calendar else (),
        scaling=options.scaling,
        scale_by=options.scale_by,
        samples=options.samples,
        loss=options.loss,
        windows_per_epoch=options.windows_per_epoch,
    )


def network_spec(options: ForecastOptions, forecasting: ForecastingSpec) -> ForecasterSpec:
    """Return the network that `options` describe for series read in this way."""
    past, known = 2 * len(forecasting.past), 2 * len(forecasting.future)
    known += 2 * len(forecasting.calendar)
    static = size_of_static(forecasting)
    autoregressive = options.decoder == "autoregressive"
    counts = options.output == "negative_binomial"

    def stack(width: int, *, decoder: bool = False) -> RecurrentSpec:
        return RecurrentSpec(
            cell=options.cell,
            input_size=width,
            hidden_sizes=(options.hidden_size,) * options.layers,
            nonlinearity=options.nonlinearity,
            bidirectional=options.bidirectional and not decoder,
            merge=options.merge,
            reset=options.reset,
            residual=options.residual_layers,
            initial_state="zeros" if decoder else options.initial_state,
            dropout=options.dropout,
            recurrent_dropout=options.recurrent_dropout,
            init=options.init,
        )

    return ForecasterSpec(
        recurrent=stack(2 + past + known + static, decoder=autoregressive),
        horizon=options.horizon,
        past_size=past,
        known_size=known,
        static_size=static,
        decoder=options.decoder,
        decoder_size=options.decoder_size if options.decoder == "mlp" else 0,
        decoder_recurrent=(
            stack(1 + known + static, decoder=True) if options.decoder == "rnn" else None
        ),
        output=options.output,
        quantiles=_shares(options.quantiles) if options.output == "quantiles" else (),
        residual="none" if counts else options.residual,
        dropout=options.dropout,
    )


def make_job(
    plan: Plan,
    material: Material,
    *,
    keep: Callable[[Weights, dict[str, Any]], None],
    recall: Callable[[], Weights],
) -> Job:
    """Return what the training loop needs: the model, its batches, its loss, its validation."""
    from unrolled.nn.build import build
    from unrolled.train.loop import Job, seed_all

    training = plan.training
    spec, network = specs(plan)
    rows = rows_within(
        spec.window + network.horizon,
        batch_size=training.batch_size,
        batch_tokens=training.batch_tokens,
    )
    seed_all(training.seed)
    return Job(
        model=build(network, engine=training.engine),
        batches=lambda epoch: epoch_of(material, plan, rows, epoch),  # type: ignore[arg-type, return-value]
        loss=_loss(plan),
        validate=_validation(plan, material.scored),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


def _loss(plan: Plan) -> Callable[..., Any]:
    """Return the mean loss over the steps whose value is known.

    Direct decoders: of the horizon. Autoregressive: of every step of the window but its first too.
    """
    import torch

    from unrolled.nn.forecaster import Window, forecast_loss

    forecasting, spec = specs(plan)
    kind = forecasting.loss

    def loss(model: Any, found: WindowBatch, share: float, generator: Any) -> Any:
        device = next(model.parameters()).device

        def tensor(values: Any) -> Any:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        window = Window(*(tensor(getattr(found, name)) for name in Window._fields))
        outputs = model(window._replace(lengths=torch.from_numpy(found.lengths)))
        if spec.decoder == "autoregressive":
            wanted, known = found.y, found.observed > 0
            known[:, 0] = False
        else:
            scaled = (found.target - found.location[:, None]) / found.scale[:, None]
            known = np.isfinite(scaled)
            wanted = np.where(known, scaled, 0.0).astype(np.float32)
        scale = tensor(found.scale.astype(np.float32)[:, None])
        each = forecast_loss(spec, outputs, tensor(wanted), tensor(found.base), scale, kind=kind)
        inside = tensor(known)
        count = int(known.sum())
        total = torch.where(inside, each, torch.zeros_like(each)).sum()
        return total / max(count, 1), count

    return loss


def _validation(plan: Plan, at: Origins) -> Callable[[Weights], Score]:
    """Score through the runtime, drawing included."""
    from unrolled.train.loop import Score

    kept = ("mae", "rmse", "smape", "mase", "crps")
    forecasting, network = specs(plan)

    def validate(weights: Weights) -> Score:
        model = ForecastModel.from_artifact(plan.artifact(weights))
        found = measured(model, at)
        metrics = {name: found[name] for name in kept if name in found}
        if network.output == "point":
            first = found["rmse"] if forecasting.loss == "mse" else found.get("mase", found["mae"])
        else:
            first = found.get("scaled_crps", found["crps"])
        return Score(metrics, (first,))

    return validate


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(part) for part in names_of(text)}))
    except ValueError:
        raise ConfigError(f"quantiles {text!r}: expected numbers with commas between") from None
