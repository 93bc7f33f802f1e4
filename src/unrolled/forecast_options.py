"""What a user may set for the forecast task."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from unrolled.spec import (
    Cell,
    ForecastDecoder,
    ForecastOutput,
    Init,
    InitialState,
    Merge,
    Nonlinearity,
    Reset,
    Residual,
    ScaleBy,
    Scaling,
    Struct,
)

QUANTILES = "0.025,0.05,0.1,0.25,0.5,0.75,0.9,0.95,0.975"


class ForecastOptions(Struct, frozen=True, kw_only=True):
    """Many to one and many to many in time: the next values of series from their past."""

    id: Annotated[
        str, Meta(description="Column that names the series; without it the file is one series.")
    ] = "unique_id"
    time: Annotated[
        str, Meta(description="Column of the time stamps: ISO 8601, or whole numbers.")
    ] = "ds"
    target: Annotated[str, Meta(description="Column of the values to forecast.")] = "y"
    past: Annotated[
        str, Meta(description="Covariates known up to now: columns, with commas between.")
    ] = ""
    future: Annotated[
        str, Meta(description="Covariates known ahead: columns, with commas between.")
    ] = ""
    static: Annotated[
        str,
        Meta(description="Covariates of a whole series: columns, with commas between; numbers or "
        "categories. The column of --id may be one."),
    ] = ""  # fmt: skip
    horizon: Annotated[int, Meta(ge=1, description="Steps to forecast.")] = 24
    window: Annotated[
        int,
        Meta(ge=0, description="Steps of the past that are read (0: two seasons and two horizons, "
        "at most 512)."),
    ] = 0  # fmt: skip
    freq: Annotated[
        str,
        Meta(description="Time between two steps: s, min, h, D, B, W, M, ME, Q, Y, with a count "
        "as in 15min; a number for whole-number stamps; auto: the most common."),
    ] = "auto"  # fmt: skip
    season: Annotated[
        int, Meta(ge=0, description="Steps in a season (0: by the frequency, 24 for hours).")
    ] = 0
    calendar: Annotated[
        bool, Meta(description="Read hour, weekday, day of month and of year from the stamps.")
    ] = True
    scaling: Annotated[
        Scaling,
        Meta(description="Per series: mean and deviation, median and quartiles, or none. Negative "
        "binomial: 1 + mean, or none."),
    ] = "standard"  # fmt: skip
    scale_by: Annotated[
        ScaleBy, Meta(description="What the scale is of: the window read, or all of the past.")
    ] = "window"
    residual: Annotated[
        Residual,
        Meta(description="What the network's answer is added to: the last value, the value a "
        "season ago, or none."),
    ] = "last"  # fmt: skip
    decoder: Annotated[
        ForecastDecoder,
        Meta(description="All steps at once from the last state (linear, mlp), by a recurrent "
        "decoder (rnn), or one from the other (autoregressive)."),
    ] = "mlp"  # fmt: skip
    decoder_size: Annotated[
        int, Meta(ge=1, description="mlp: width of what is told each step of the horizon.")
    ] = 16
    output: Annotated[
        ForecastOutput,
        Meta(description="Point, quantiles, or the parameters of a distribution."),
    ] = "quantiles"
    quantiles: Annotated[
        str, Meta(description="Which quantiles, with commas between; 0.5 is one of them.")
    ] = QUANTILES
    calibrate: Annotated[
        bool,
        Meta(description="Move --quantiles so that they held on the validation windows (split "
        "conformal); gives points intervals too."),
    ] = False  # fmt: skip
    loss: Annotated[
        Literal["mae", "mse", "huber"], Meta(description="Of point output, on the scaled values.")
    ] = "mae"
    samples: Annotated[
        int, Meta(ge=1, description="autoregressive: paths drawn for an answer.")
    ] = 200
    windows_per_epoch: Annotated[
        int, Meta(ge=0, description="Windows drawn for an epoch (0: all there are).")
    ] = 0
    cell: Annotated[Cell, Meta(description="Recurrent cell.")] = "gru"
    nonlinearity: Annotated[Nonlinearity, Meta(description="Of the vanilla RNN.")] = "tanh"
    reset: Annotated[
        Reset, Meta(description="GRU: reset gate after or before the recurrent product.")
    ] = "after"
    bidirectional: Annotated[
        bool, Meta(description="Read the window in both directions (not autoregressive).")
    ] = False
    merge: Annotated[Merge, Meta(description="How the two directions are joined.")] = "concat"
    residual_layers: Annotated[bool, Meta(description="Add each layer's input to its output.")] = (
        False
    )
    hidden_size: Annotated[int, Meta(ge=1, description="Units H of each recurrent layer.")] = 64
    layers: Annotated[int, Meta(ge=1, description="Stacked recurrent layers.")] = 1
    dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Dropout between layers and before the output.")
    ] = 0.1
    recurrent_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Dropout on h[t-1], one mask a sequence.")
    ] = 0.0
    init: Annotated[
        Init,
        Meta(description="Recurrent weights: torch's uniform, or orthogonal and forget bias 1."),
    ] = "orthogonal"
    initial_state: Annotated[InitialState, Meta(description="The state before the first step.")] = (
        "zeros"
    )
