"""Forecast: the next values of series from their past (many to one and many to many in time).

Training needs the `train` extra; a fitted forecaster predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from unrolled.artifact import Artifact
from unrolled.config import DataSpec, ForecastingSpec, TrainSpec
from unrolled.data.batch import rows_within
from unrolled.data.frequency import calendar_cycles, default_season
from unrolled.data.panel import Columns, Panel
from unrolled.data.stamps import names_of
from unrolled.data.windows import Place, WindowBatch, auto_window, batch, origins
from unrolled.data.windows import static_size as size_of_static
from unrolled.errors import ConfigError, DataError
from unrolled.forecast_options import ForecastOptions
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.spec import ForecasterSpec, RecurrentSpec
from unrolled.tasks.base import Plan, Run, execute
from unrolled.tasks.calibrate import calibration, check_shares, check_windows
from unrolled.tasks.forecast_data import (
    Material,
    check_counts,
    covariates,
    data_hash,
    learnable,
    material_of,
    training_steps,
)
from unrolled.tasks.forecast_evaluate import beside, score

if TYPE_CHECKING:
    from unrolled.train.loop import Job, Score, Weights

VALIDATION_WINDOWS = 2000


def columns_of(options: ForecastOptions) -> Columns:
    """Return the columns that the options name."""
    lists = (names_of(text) for text in (options.past, options.future, options.static))
    return Columns(options.id, options.time, options.target, *lists)


def train(
    panel: Panel,
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
    seasonal naive forecast and of the drift on the same windows. Raises DataError for data that
    cannot be trained on, ConfigError for options that contradict each other.
    """
    run = run or Run()
    for notice in (*panel.notices, *(() if validation is None else validation.notices)):
        run.notify(notice)
    check_counts(panel, options)
    plan = make_plan(panel, options, training, validation)
    forecasting = plan.data.forecasting
    assert forecasting is not None
    material = material_of(panel, validation, plan, run)
    places = _chosen(plan, material)

    def describe(_: Artifact) -> dict[str, Any]:
        return beside(material.held, places, options.horizon, forecasting.season)

    def job(**hooks: Any) -> Job:
        return make_job(plan, material, **hooks)

    if not options.calibrate:
        return execute(plan, run, job, describe)
    shares, held = _shares(options.quantiles), material.held
    check_shares(shares, options.output)
    check_windows(held, places, options.horizon, shares)

    def complete(fitted: Artifact) -> DataSpec:
        model = ForecastModel.from_artifact(fitted)
        moved = replace(model.forecasting, calibration=calibration(model, held, places, shares))
        return replace(plan.data, forecasting=moved)

    return execute(plan, run, job, describe, complete)


def make_plan(
    panel: Panel, options: ForecastOptions, training: TrainSpec, validation: Panel | None = None
) -> Plan:
    """Fix the network and the reading of series from options and data."""
    kept = [training_steps(each, options, training, validation) for each in panel.series]
    forecasting = reading(panel, options, kept)
    data = DataSpec(source=options.time, target=options.target, forecasting=forecasting)
    network = network_spec(options, forecasting)
    hashed = "" if validation is None else data_hash(validation)
    return Plan("forecast", network, data, training, {}, data_hash(panel), validation_hash=hashed)


def reading(panel: Panel, options: ForecastOptions, kept: Sequence[int]) -> ForecastingSpec:
    """Fix how series are read, from the first `kept` steps of each, those that are learned from.

    Raises ConfigError where the window is shorter than the season that the residual needs.
    """
    season = options.season or default_season(panel.freq)
    window = options.window or auto_window(season, options.horizon)
    if options.residual == "season" and window < season:
        raise ConfigError(
            f"residual 'season' needs a window of a season, {season} steps, or more; it is {window}"
        )
    measures, categories = covariates(panel, kept)
    return ForecastingSpec(
        id=options.id,
        time=options.time,
        freq=str(panel.freq),
        season=season,
        window=window,
        past=panel.columns.past,
        future=panel.columns.future,
        static=panel.columns.static,
        statistics=measures,
        categories=categories,
        calendar=calendar_cycles(panel.freq, max(kept)) if options.calendar else (),
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
    from unrolled.train.loop import Job, epoch_generator, seed_all

    training, spec, network = plan.training, plan.data.forecasting, plan.network
    assert spec is not None
    assert isinstance(network, ForecasterSpec)
    places = [
        (k, origin)
        for k, (each, end) in enumerate(zip(material.series, material.ends, strict=True))
        for origin in origins(len(each.y), window=spec.window, horizon=network.horizon, end=end)
        if learnable(each.y, origin, spec.window, network.horizon)
    ]
    if not places:
        raise DataError("no training window holds a value to read and one to learn; see --window")
    teacher = network.decoder == "autoregressive"
    rows = rows_within(
        spec.window + network.horizon,
        batch_size=training.batch_size,
        batch_tokens=training.batch_tokens,
    )

    def batches(epoch: int) -> Batches:
        generator = epoch_generator(training.seed, epoch)
        chosen = generator.permutation(len(places))
        chosen = chosen[: spec.windows_per_epoch or None]
        return Batches(material, plan, [places[i] for i in chosen], rows, teacher=teacher)

    seed_all(training.seed)
    return Job(
        model=build(network, engine=training.engine),
        batches=batches,  # type: ignore[arg-type]
        loss=_loss(plan),
        validate=_validation(plan, material),
        keep=keep,
        recall=recall,
        signature=plan.signature(),
    )


class Batches:
    """Batches of windows, made when they are asked for."""

    def __init__(
        self, material: Material, plan: Plan, places: list[Place], size: int, *, teacher: bool
    ) -> None:
        self.material, self.plan, self.places = material, plan, places
        self.size, self.teacher = size, teacher

    def __len__(self) -> int:
        return -(-len(self.places) // self.size)

    def __getitem__(self, k: int) -> WindowBatch:
        network, spec = self.plan.network, self.plan.data.forecasting
        assert isinstance(network, ForecasterSpec)
        assert spec is not None
        return batch(
            self.material.series,
            self.places[k * self.size : (k + 1) * self.size],
            spec,
            horizon=network.horizon,
            residual=network.residual,
            count_data=network.output == "negative_binomial",
            teacher=self.teacher,
            ends=self.material.ends,
        )


def _loss(plan: Plan) -> Callable[..., Any]:
    """Return the mean loss over the steps whose value is known.

    Direct decoders: of the horizon. Autoregressive: of every step of the window but its first too.
    """
    import torch

    from unrolled.nn.forecaster import Window, forecast_loss

    spec, forecasting = plan.network, plan.data.forecasting
    assert isinstance(spec, ForecasterSpec)
    assert forecasting is not None
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


def _validation(plan: Plan, material: Material) -> Callable[[Weights], Score]:
    """Score through the runtime, drawing included."""
    from unrolled.train.loop import Score

    places = _chosen(plan, material, plan.training.validation_limit)
    kept = ("mae", "rmse", "smape", "mase", "crps")
    network, forecasting = plan.network, plan.data.forecasting
    assert isinstance(network, ForecasterSpec)
    assert forecasting is not None

    def validate(weights: Weights) -> Score:
        model = ForecastModel.from_artifact(plan.artifact(weights))
        found = score(model, material.held, places, compare=False)
        metrics = {name: found[name] for name in kept if name in found}
        if network.output == "point":
            first = found["rmse"] if forecasting.loss == "mse" else found.get("mase", found["mae"])
        else:
            first = found.get("scaled_crps", found["crps"])
        return Score(metrics, (first,))

    return validate


def _chosen(plan: Plan, material: Material, limit: int = 0) -> list[Place]:
    """Return the origins of validation, so many drawn of them where there are more."""
    places, most = material.places, limit or VALIDATION_WINDOWS
    if len(places) <= most:
        return places
    order = np.random.default_rng(plan.training.seed).permutation(len(places))[:most]
    return [places[i] for i in sorted(order)]


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(part) for part in names_of(text)}))
    except ValueError:
        raise ConfigError(f"quantiles {text!r}: expected numbers with commas between") from None
