"""The forecasting estimator: a frame of series in, a frame of their next values out."""

from __future__ import annotations

from typing import Any, Self

from unrolled.data.panel import Panel, read_panel, to_table
from unrolled.runtime.forecaster_model import ForecastModel, like
from unrolled.tasks.base import Estimator, Run
from unrolled.tasks.cross_validate import refitted
from unrolled.tasks.forecast import columns_of, train
from unrolled.tasks.forecast_evaluate import evaluate_forecaster


class Forecaster(Estimator):
    """Forecasting estimator: `fit(frame)`, `predict(frame, level=[80, 95])`.

    A frame is long, a row a stamp of a series: pandas, polars, pyarrow, or a mapping of columns.
    Parameters are those of `unrolled.forecast_options.ForecastOptions` and
    `unrolled.config.TrainSpec`. After `fit`: `model_` (the runtime model), `artifact_`.
    """

    task = "forecast"

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        validation: Any = None,
        run: Run | None = None,
    ) -> Self:
        """Train one model on all series of a frame.

        Without a `validation` frame the end of each series is held out; with one, each of its
        series is forecast from every step that has a whole window before it. Raises DataError,
        naming the row and column, for what cannot be read or is too short.
        """
        options, training = self._split_params()
        columns = columns_of(options)
        panel = read_panel(to_table(X, name="the training data"), columns, options.freq)
        held: Panel | None = None
        if validation is not None:
            table = to_table(validation, name="the validation data")
            held = read_panel(table, columns, panel.freq)
        self.artifact_ = train(panel, options, training, validation=held, run=run)
        self.model_ = ForecastModel.from_artifact(self.artifact_)
        return self

    def predict(self, X: Any, **choices: Any) -> Any:
        """Return the next values of each series; see `ForecastModel.predict` for the choices."""
        self._fitted()
        return self.model_.predict(X, **choices)

    def cross_validate(self, X: Any, *, refit: bool = False, **choices: Any) -> Any:
        """Return forecasts from several origins beside what came: rolling origin.

        The choices are those of `ForecastModel.cross_validate`: `windows`, `stride`, `level` and
        `seed`. The model stays as it is; so give it what `fit` has not seen. With `refit` a model
        of its own is trained for each origin on what is before it, and no `fit` is needed.
        """
        if not refit:
            self._fitted()
            return self.model_.cross_validate(X, **choices)
        options, training = self._split_params()
        panel = read_panel(to_table(X, name="data frame"), columns_of(options), options.freq)
        return like(refitted(panel, options, training, **choices), X)

    def evaluate(self, X: Any, **choices: Any) -> dict[str, Any]:
        """Return the errors beside those of the baselines.

        The choices are `windows`, `stride`, `step` and `level`, as in
        `unrolled.tasks.forecast_evaluate.evaluate_forecaster`.
        """
        self._fitted()
        return evaluate_forecaster(self.model_, self.model_.read(X), **choices)

    def score(self, X: Any, y: None = None) -> float:
        """Return minus the MASE of the last horizon of each series: higher is better."""
        found = self.evaluate(X)
        return -float(found.get("mase", found["mae"]))
