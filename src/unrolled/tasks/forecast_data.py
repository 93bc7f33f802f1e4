"""What a forecaster learns from, shard by shard, and what is held out to validate on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.config import ForecastingSpec, TrainSpec
from unrolled.data.panel import Panel, Series
from unrolled.data.shards import Files, Kept, SourceOf
from unrolled.data.windows import Place, Ready, WindowBatch, batch, learnable, origins, ready
from unrolled.errors import DataError
from unrolled.forecast_options import ForecastOptions
from unrolled.runtime.forecaster_model import rolling
from unrolled.spec import ForecasterSpec
from unrolled.tasks.base import Plan
from unrolled.tasks.forecast_evaluate import Origins, joined, origins_of

Array = NDArray[Any]
VALIDATION_WINDOWS = 2000


class PanelShards(Files[Panel]):
    """Series in files, each whole in one of them, of which one is in memory at a time."""


@dataclass(frozen=True)
class Learned:
    """The series of a shard, each learned from up to its end; `places` [N, 2] (series, origin)."""

    plan: Plan
    series: list[Ready]
    ends: list[int]
    places: Array

    def batch(self, index: Array) -> WindowBatch:
        """Return the windows at `index` [N]."""
        spec, network = specs(self.plan)
        return batch(
            self.series,
            as_places(self.places[index]),
            spec,
            horizon=network.horizon,
            residual=network.residual,
            count_data=network.output == "negative_binomial",
            teacher=network.decoder == "autoregressive",
            ends=self.ends,
        )


@dataclass(frozen=True)
class Material:
    """Shards, of which each has so many windows to learn from, and the origins of validation.

    `held` are at most 2,000; each epoch is scored on `scored`.
    """

    shelf: Kept[Panel, Learned]
    windows: Sequence[int]
    held: Origins
    scored: Origins


def specs(plan: Plan) -> tuple[ForecastingSpec, ForecasterSpec]:
    """Return how a plan reads series, and its network."""
    assert plan.data.forecasting is not None
    assert isinstance(plan.network, ForecasterSpec)
    return plan.data.forecasting, plan.network


def as_places(rows: Array) -> list[Place]:
    """Return rows (series, origin) [N, 2] as places."""
    return [(which, origin) for which, origin in rows.tolist()]


def material_of(
    source: SourceOf[Panel],
    windows: Sequence[int],
    held: Sequence[int],
    plan: Plan,
    validation: Panel | None,
) -> Material:
    """Return shards to learn from, and what is drawn of the origins to validate on.

    `windows` and `held` count what each shard has of both. Of several shards no more is kept of a
    series than the windows that were drawn. Raises DataError where `validation` has no value.
    """
    spec, network = specs(plan)

    def encode(panel: Panel) -> Learned:
        series = ready(panel, spec, network.horizon)
        ends = [training_steps(each, network, plan.training, validation) for each in panel.series]
        values = [each.y for each in series]
        return Learned(
            plan, series, ends, training_places(values, ends, spec.window, network.horizon)
        )

    shelf = Kept(source, encode)
    limit = plan.training.validation_limit or VALIDATION_WINDOWS
    most = max(limit, VALIDATION_WINDOWS)
    if validation is None:
        count = sum(held)
        drawn = _drawn(count, most, plan)
        edges = pairwise(accumulate(held, initial=0))
        each = [drawn[(drawn >= begin) & (drawn < end)] - begin for begin, end in edges]
        found = joined([_held_in(shelf, k, index) for k, index in enumerate(each) if len(index)])
    else:
        if not any(np.isfinite(each.y).any() for each in validation.series):
            raise DataError(f"{validation.name}: every value of {plan.data.target!r} is missing")
        places = rolling(validation, spec.window, network.horizon, 0, 1)
        count = len(places)
        drawn = _drawn(count, most, plan)
        series = ready(validation, spec, network.horizon)
        found = _measured(series, [places[i] for i in drawn], plan, alone=len(source) > 1)
    few, scored = (_drawn(count, n, plan) for n in (VALIDATION_WINDOWS, limit))
    return Material(
        shelf, windows,
        held=found.take(np.searchsorted(drawn, few)),
        scored=found.take(np.searchsorted(drawn, scored)),
    )  # fmt: skip


def _held_in(shelf: Kept[Panel, Learned], k: int, index: Array) -> Origins:
    """Return those origins of validation in shard k that are at `index`."""
    shard = shelf.shard(k)
    spec, network = specs(shard.plan)
    values = [each.y for each in shard.series]
    places = held_places(values, shard.ends, spec.window, network.horizon)
    chosen = as_places(places[index])
    return _measured(shard.series, chosen, shard.plan, alone=len(shelf.source) > 1)


def _measured(
    series: Sequence[Ready], places: Sequence[Place], plan: Plan, *, alone: bool
) -> Origins:
    """Return what is measured at these places, of which `alone` keeps the windows alone."""
    spec, network = specs(plan)
    found = origins_of(series, places, network.horizon, spec.season)
    if not alone:
        return found
    return found.cut(spec, network.horizon, network.output == "negative_binomial")


def _drawn(count: int, most: int, plan: Plan) -> Array:
    """Return which of `count` origins are drawn, all where there are no more than `most`."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(plan.training.seed).permutation(count)[:most])


def training_steps(
    series: Series,
    options: ForecastOptions | ForecasterSpec,
    training: TrainSpec,
    validation: Panel | None,
) -> int:
    """Return how many steps of a series are learned from; the rest is held out."""
    if validation is not None:
        return len(series)
    held = max(options.horizon, round(training.validation_fraction * len(series)))
    return max(0, len(series) - held)


def training_places(
    values: Sequence[Array], ends: Sequence[int], window: int, horizon: int
) -> Array:
    """Return the windows to learn from in y [T] of each series, (series, origin) [N, 2]."""
    return _places(
        [
            learnable(y, origins(len(y), window=window, horizon=horizon, end=end), window, horizon)
            for y, end in zip(values, ends, strict=True)
        ]
    )


def held_places(values: Sequence[Array], ends: Sequence[int], window: int, horizon: int) -> Array:
    """Return the origins in what is held out of each series that is learned, [N, 2]."""
    found = []
    for y, end in zip(values, ends, strict=True):
        after = range(end, len(y) - horizon + 1) if end > horizon else range(0)
        found.append(learnable(y, after, window, horizon))
    return _places(found)


def _places(found: Sequence[Array]) -> Array:
    which = np.repeat(np.arange(len(found)), [len(each) for each in found])
    return np.stack([which, np.concatenate(found)], axis=1)


class Windows(Sequence[WindowBatch]):
    """The batches of an epoch, each made of one shard when it is asked for.

    `parts` are shards, in the order of the epoch, and how many windows of each are taken: the first
    of those in the order `draw(k)`.
    """

    def __init__(
        self,
        shelf: Kept[Panel, Learned],
        parts: Sequence[tuple[int, int]],
        draw: Callable[[int], Array],
        size: int,
    ) -> None:
        self.shelf, self.parts, self.draw, self.size = shelf, parts, draw, size
        self.starts = list(accumulate((-(-count // size) for _, count in parts), initial=0))
        self.order: tuple[int, Array] | None = None

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, number: Any) -> Any:
        at = bisect_right(self.starts, number) - 1
        k, count = self.parts[at]
        if self.order is None or self.order[0] != k:
            self.order = (k, self.draw(k)[:count])
        begin = (number - self.starts[at]) * self.size
        return self.shelf.shard(k).batch(self.order[1][begin : begin + self.size])


def epoch_of(material: Material, plan: Plan, size: int, epoch: int) -> Windows:
    """Return the batches of an epoch: shards in a random order, the windows of one shuffled.

    With `windows_per_epoch` each shard gives its share of them, as many as it has windows.
    """
    from unrolled.train.loop import epoch_generator

    training, counts = plan.training, material.windows
    most = specs(plan)[0].windows_per_epoch or sum(counts)
    generator = epoch_generator(training.seed, epoch)
    if len(counts) == 1:
        order = generator.permutation(counts[0])[:most]
        return Windows(material.shelf, [(0, len(order))], lambda k: order, size)
    shards = generator.permutation(len(counts)).tolist()
    taken = shares([counts[k] for k in shards], most)

    def draw(k: int) -> Array:
        return np.random.default_rng([training.seed, epoch, k]).permutation(counts[k])

    parts = [(k, count) for k, count in zip(shards, taken, strict=True) if count]
    return Windows(material.shelf, parts, draw, size)


def shares(counts: Sequence[int], most: int) -> list[int]:
    """Return how many of each are taken so that together they are `most`, in proportion to all."""
    total = sum(counts)
    edges = [min(most, total) * end // total for end in accumulate(counts, initial=0)]
    return [end - begin for begin, end in pairwise(edges)]
