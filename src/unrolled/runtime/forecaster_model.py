"""A forecaster ready to answer: frames of series in, frames of their next values out, no torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import ForecastingSpec, ModelConfig
from unrolled.data.frequency import parse_frequency, stamps_at
from unrolled.data.panel import Columns, Panel, read_panel, to_table
from unrolled.data.table import Table
from unrolled.data.windows import Place, Ready, WindowBatch, batch, ready
from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.runtime.calibrated import calibrated, fits
from unrolled.runtime.distributions import Predictive, joined
from unrolled.runtime.forecast_session import ForecastSession
from unrolled.runtime.forecaster import ForecasterNetwork
from unrolled.runtime.weights import Array
from unrolled.spec import ForecasterSpec, Precision

if TYPE_CHECKING:
    from unrolled.explain.results import Explanation

BATCH_SIZE = 256
DRAWN_ROWS = 16_384
ANSWER = "y_hat"


class ForecastModel:
    """The next values of series. `config`, `network` and `forecasting` say what it is.

    A frame is long: a row a stamp of a series, in columns named as in training. A table of pandas,
    polars or pyarrow is answered in kind, and a mapping of columns by a mapping.
    """

    def __init__(self, config: ModelConfig, network: ForecasterNetwork) -> None:
        self.config = config
        self.network = network
        assert config.data.forecasting is not None
        self.forecasting: ForecastingSpec = config.data.forecasting

    @classmethod
    def from_artifact(cls, found: Artifact, *, precision: Precision | None = None) -> ForecastModel:
        """Build from a folder in memory; raises ModelError where its parts do not fit."""
        spec = found.config.network
        if not isinstance(spec, ForecasterSpec) or found.config.data.forecasting is None:
            raise ModelError(f"{found.folder}: a forecaster needs to know how it reads series")
        moved = found.config.data.forecasting.calibration
        if moved is not None and not fits(moved, spec.horizon):
            raise ModelError(
                f"{found.folder}: calibration: expected offsets of {spec.horizon} steps for each "
                f"of its {len(moved.shares)} quantiles in ascending order, 0.5 among them"
            )
        network = ForecasterNetwork(
            spec, found.weights, precision=precision or found.config.precision
        )
        return cls(found.config, network)

    @property
    def horizon(self) -> int:
        """H, the steps that it was trained to forecast."""
        return self.network.spec.horizon

    @property
    def columns(self) -> Columns:
        """The names of the columns that it reads."""
        spec = self.forecasting
        target = self.config.data.target
        return Columns(spec.id, spec.time, target, spec.past, spec.future, spec.static)

    def read(self, data: Any, *, name: str = "data frame") -> Panel:
        """Return the series of a frame, with a warning for each thing that a user should know.

        Raises DataError, naming the row and column, for what it cannot read.
        """
        panel = read_panel(to_table(data, name=name), self.columns, self._freq())
        for notice in panel.notices:
            warnings.warn(notice, stacklevel=3)
        return panel

    def predict(
        self,
        data: Any,
        *,
        level: Sequence[float] = (),
        horizon: int | None = None,
        future: Any = None,
        seed: int = 0,
    ) -> Any:
        """Return the next values of each series of a frame, in a frame of the same kind.

        Its columns are those of the series and the stamps, `y_hat`, and `y_hat-lo-80` and
        `y_hat-hi-80` for a `level` of 80 %. `horizon` is the model's own or less; an autoregressive
        one goes on as far as is asked. `future` is a frame with the covariates that are known
        ahead, for the steps of the horizon. Raises DataError for a series without a value.
        """
        panel = self.read(data)
        answers = self.answer(panel, level=level, horizon=horizon, future=future, seed=seed)
        return like(answers, data)

    def answer(
        self,
        panel: Panel,
        *,
        level: Sequence[float] = (),
        horizon: int | None = None,
        future: Any = None,
        seed: int = 0,
    ) -> dict[str, list[Any]]:
        """Return the columns of `predict` for series that were read."""
        steps = self.steps(horizon)
        series = self.ready(panel, max(steps, self.horizon), future)
        places = [(k, len(each)) for k, each in enumerate(panel.series)]
        said = self.forecast(series, places, horizon=steps, seed=seed)
        return self.columns_of(panel, places, said, steps, level)

    def cross_validate(
        self,
        data: Any,
        *,
        windows: int = 1,
        stride: int | None = None,
        level: Sequence[float] = (),
        seed: int = 0,
    ) -> Any:
        """Return forecasts from `windows` origins of each series beside what came: rolling origin.

        The last window ends where its series does; origins are `stride` steps apart, by default
        the horizon. With `windows` 0 there are as many as leave a whole window to read. The model
        stays as it is. Columns are those of `predict`, with `cutoff`, the last stamp that was read,
        and the true value under its own name.
        """
        panel = self.read(data)
        series = self.ready(panel, self.horizon)
        places = rolling(panel, self.forecasting.window, self.horizon, windows, stride)
        said = self.forecast(series, places, horizon=self.horizon, seed=seed)
        found = self.columns_of(panel, places, said, self.horizon, level, truth=True)
        return like(found, data)

    def stream(
        self, *, start: Any = 0, name: Any = "", static: Mapping[str, Any] | None = None
    ) -> ForecastSession:
        """Begin a series that arrives step by step; `forecast` answers from what came so far.

        `start` is the stamp of its first step. See `ForecastSession`.
        """
        return ForecastSession(self, start=start, name=name, static=static)

    def explain(
        self, data: Any, methods: Sequence[str] | str | None = None, **choices: Any
    ) -> Explanation:
        """Return why a series gets its forecast: which steps, or covariates, mattered.

        `methods` and `choices` (target, how, seed) are those of `unrolled.explain.explain`.
        """
        from unrolled.explain.explaining import explain

        return explain(self, data, methods, **choices)

    def ready(self, panel: Panel, steps: int, future: Any = None) -> list[Ready]:
        """Return series as the network reads them; DataError where what lies ahead is missing."""
        spec = self.forecasting
        later = None
        if future is not None:
            names = Columns(spec.id, spec.time, "", (), spec.future, ())
            later = (
                future
                if isinstance(future, Panel)
                else read_panel(to_table(future, name="the future"), names, self._freq())
            )
        return ready(panel, spec, steps, later)

    def forecast(
        self,
        series: Sequence[Ready],
        places: Sequence[Place],
        *,
        horizon: int | None = None,
        seed: int = 0,
    ) -> Predictive:
        """Return the forecasts from origins `places`, (series, step), N of them.

        Raises DataError for a window without a value, and where a covariate that is known ahead is
        missing there.
        """
        steps = self.steps(horizon)
        size = BATCH_SIZE
        if self.network.spec.decoder == "autoregressive":
            size = max(1, min(size, DRAWN_ROWS // self.forecasting.samples))
        parts: list[Predictive] = []
        for begin in range(0, len(places), size):
            chosen = places[begin : begin + size]
            windows = self.batch(series, chosen, steps)
            self.check(series, chosen, windows, steps)
            names = [series[which].id for which, _ in chosen]
            samples = self.forecasting.samples
            said = self.network.predict(windows, names=names, samples=samples, seed=seed)
            if self.forecasting.calibration is not None:
                said = calibrated(said, self.forecasting.calibration, windows.scale)
            parts.append(said)
        if not parts:
            raise DataError("there is nothing to forecast: no series has a step before its origin")
        return joined(parts)  # type: ignore[type-var]

    def batch(self, series: Sequence[Ready], places: Sequence[Place], steps: int) -> WindowBatch:
        """Return the windows before the origins `places` as the network reads them."""
        spec = self.network.spec
        direct = spec.decoder != "autoregressive"
        return batch(
            series,
            places,
            self.forecasting,
            horizon=self.horizon if direct else steps,
            residual=spec.residual,
            count_data=spec.output == "negative_binomial",
        )

    def steps(self, horizon: int | None) -> int:
        """Return the horizon that is asked for; ConfigError where the model has no answer."""
        if horizon is None:
            return self.horizon
        if horizon < 1:
            raise ConfigError(f"horizon is {horizon}, expected 1 or more")
        if horizon > self.horizon and self.network.spec.decoder != "autoregressive":
            raise ConfigError(
                f"horizon is {horizon}, but this model tells {self.horizon} steps; train one with "
                "--horizon, or with decoder 'autoregressive', which goes on"
            )
        if horizon > self.horizon and self.forecasting.calibration is not None:
            raise ConfigError(
                f"horizon is {horizon}, but this model's intervals are calibrated for "
                f"{self.horizon} steps"
            )
        return horizon

    def columns_of(
        self,
        panel: Panel,
        places: Sequence[Place],
        said: Predictive,
        steps: int,
        level: Sequence[float],
        *,
        truth: bool = False,
    ) -> dict[str, list[Any]]:
        """Return forecasts as columns, row after row of each origin."""
        found: dict[str, list[Any]] = {}
        if panel.columns.id:
            found[panel.columns.id] = [panel.series[w].id for w, _ in places for _ in range(steps)]
        stamps, cutoffs, values = [], [], []
        for which, origin in places:
            series = panel.series[which]
            at = np.arange(origin - 1, origin + steps)
            written = panel.style.write(stamps_at(panel.freq, series.origin, at))
            cutoffs += [written[0]] * steps
            stamps += written[1:]
            wanted = np.full(steps, np.nan)
            part = series.y[origin : origin + steps]
            wanted[: len(part)] = part
            values += wanted.tolist()
        found[panel.columns.time] = stamps
        if truth:
            found["cutoff"] = cutoffs
            found[panel.columns.target] = values
        found[ANSWER] = said.mean[:, :steps].ravel().tolist()
        for share in check_levels(level):
            low = (1 - share / 100) / 2
            for name, q in (("lo", low), ("hi", 1 - low)):
                edge = said.quantile(q)[:, :steps].ravel().tolist()
                found[f"{ANSWER}-{name}-{share:g}"] = edge
        return found

    def _freq(self) -> Any:
        return parse_frequency(self.forecasting.freq)

    def check(
        self, series: Sequence[Ready], places: Sequence[Place], windows: WindowBatch, steps: int
    ) -> None:
        """Raise DataError for a window without a value, and for a covariate missing ahead."""
        inside = np.arange(windows.y.shape[1]) < windows.lengths[:, None]
        empty = np.flatnonzero(~((windows.observed > 0) & inside).any(axis=1))
        if len(empty):
            which, origin = places[int(empty[0])]
            raise DataError(
                f"series {series[which].id!r}: no value in the {windows.lengths[empty[0]]} steps "
                f"before step {origin + 1}; expected at least one to go on from"
            )
        count = len(self.forecasting.future)
        known = windows.ahead[:, :steps, windows.ahead.shape[2] - count :] > 0
        if not known.all():
            row, step, column = np.argwhere(~known)[0]
            which, origin = places[int(row)]
            raise DataError(
                f"series {series[which].id!r}: {self.forecasting.future[column]!r} is not known "
                f"{step + 1} steps after its last; give a frame of the future with its values "
                "(--future FILE)"
            )


def check_levels(level: Sequence[float]) -> tuple[float, ...]:
    """Return levels, ConfigError where they are not a list of shares in %."""
    if isinstance(level, str) or not isinstance(level, Iterable):
        raise ConfigError(f"level is {level!r}; expected a list of shares in %, such as [80, 95]")
    for share in level:
        right = isinstance(share, (int, float, np.number)) and not isinstance(share, bool)
        if not (right and 0 < share < 100):
            shown = f"{share:g}" if right else repr(share)
            raise ConfigError(f"level {shown}: expected a share in %, between 0 and 100")
    return tuple(level)


def rolling(
    panel: Panel, window: int, horizon: int, windows: int, stride: int | None
) -> list[Place]:
    """Return the origins of a rolling evaluation, (series, step), each followed by `horizon` steps.

    `windows` 0 takes all that have a whole window before them. Raises ConfigError for a stride that
    is not positive, DataError where no series is long enough.
    """
    apart = horizon if stride is None else stride
    if apart < 1 or windows < 0:
        raise ConfigError(f"windows {windows} and stride {apart}: expected 0 or more, 1 or more")
    found: list[Place] = []
    for k, series in enumerate(panel.series):
        last = len(series) - horizon
        least = window if windows == 0 else max(1, last - (windows - 1) * apart)
        picked = sorted(range(last, least - 1, -apart))
        found += [(k, o) for o in picked if _told(series.y, o, window, horizon)]
    if not found:
        longest = max(map(len, panel.series))
        raise DataError(
            f"{panel.name}: the longest series has {longest} steps; expected more than the horizon "
            f"of {horizon}{f' and a window of {window}' if windows == 0 else ''}, with values"
        )
    return found


def _told(y: Array, origin: int, window: int, horizon: int) -> bool:
    """Whether a window has a value to read, and one to be measured on."""
    before, after = y[max(0, origin - window) : origin], y[origin : origin + horizon]
    return bool(np.isfinite(before).any() and np.isfinite(after).any())


def like(columns: dict[str, list[Any]], data: Any) -> Any:
    """Return columns as a frame of the kind of `data`; a mapping for a mapping or a table."""
    if isinstance(data, (Mapping, Table)):
        return columns
    import narwhals

    native = narwhals.from_native(data)
    frame = narwhals.from_dict(columns, backend=native.implementation)
    return frame.to_native()
