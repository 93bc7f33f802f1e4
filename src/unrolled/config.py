"""What a model folder's config says beside the network: training, the reading of data, versions."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from unrolled.spec import (
    Engine,
    NetworkSpec,
    Precision,
    ScaleBy,
    Scaling,
    Scheme,
    SequenceKind,
    Struct,
    Task,
    Tokens,
)

FORMAT_VERSION = 1


class VocabularySpec(Struct, frozen=True, kw_only=True):
    """How text becomes ids: the unit, and which units are kept."""

    tokens: Tokens = "word"
    lowercase: bool = False
    min_count: int = 1
    max_size: int = 30_000


class TrainSpec(Struct, frozen=True, kw_only=True):
    """Everything the training loop is told. Times in minutes, rates per step, norms are L2."""

    epochs: Annotated[int, Meta(ge=1, description="Passes over the training data.")] = 20
    batch_size: Annotated[int, Meta(ge=1, description="Sequences a batch.")] = 64
    batch_tokens: Annotated[
        int,
        Meta(ge=0, description="Fill batches to this many tokens, padding included (0: off)."),
    ] = 0
    accumulate: Annotated[
        int, Meta(ge=1, description="Batches whose gradients are added up for one step.")
    ] = 1
    truncate: Annotated[
        int,
        Meta(
            ge=0,
            description="Gradients go back at most so many steps of a sequence; the state goes on "
            "(0: through all).",
        ),
    ] = 0
    optimizer: Annotated[
        Literal["adamw", "sgd"], Meta(description="AdamW, or SGD with momentum.")
    ] = "adamw"
    lr: Annotated[float, Meta(gt=0, description="Peak learning rate.")] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0, description="Decoupled weight decay.")] = 0.01
    momentum: Annotated[float, Meta(ge=0, lt=1, description="Momentum of SGD.")] = 0.9
    schedule: Annotated[
        Literal["cosine", "linear", "plateau", "constant"],
        Meta(description="Learning rate: fall to 0 over the run, or when validation stalls."),
    ] = "cosine"
    warmup: Annotated[
        float, Meta(ge=0, lt=1, description="Share of the run in which the rate rises.")
    ] = 0.05
    plateau_factor: Annotated[
        float, Meta(gt=0, lt=1, description="The rate is multiplied by this on a plateau.")
    ] = 0.5
    plateau_patience: Annotated[
        int, Meta(ge=1, description="Validations without a better score that make a plateau.")
    ] = 2
    clip_norm: Annotated[
        float, Meta(ge=0, description="Largest global gradient norm (0: no clipping).")
    ] = 1.0
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=1, description="Probability spread over all classes.")
    ] = 0.0
    teacher_forcing: Annotated[
        float, Meta(ge=0, le=1, description="Share of steps that read the true token, at first.")
    ] = 1.0
    teacher_forcing_end: Annotated[
        float, Meta(ge=0, le=1, description="The same share at the end (scheduled sampling).")
    ] = 1.0
    ema: Annotated[
        float, Meta(ge=0, lt=1, description="Decay of the average of weights shipped (0: off).")
    ] = 0.0
    patience: Annotated[
        int, Meta(ge=0, description="Stop after this many validations without a better score.")
    ] = 0
    max_minutes: Annotated[
        float, Meta(ge=0, description="Finish the run, schedule included, in this time (0: off).")
    ] = 0.0
    validation_fraction: Annotated[
        float, Meta(gt=0, lt=1, description="Share held out where no validation file is given.")
    ] = 0.1
    validation_limit: Annotated[
        int, Meta(ge=0, description="Validate on at most this many examples an epoch (0: all).")
    ] = 0
    validate_every: Annotated[
        int, Meta(ge=0, description="Validate every so many steps too, within epochs (0: off).")
    ] = 0
    seed: Annotated[int, Meta(ge=0, description="Seeds weights, order, dropout, splits.")] = 0
    engine: Annotated[
        Engine, Meta(description="What computes the recurrent layers in training.")
    ] = "auto"
    tensorboard: Annotated[
        bool, Meta(description="Write TensorBoard events into training/ too.")
    ] = False


class TaggingSpec(Struct, frozen=True, kw_only=True):
    """How a tagger reads and answers, beside the columns.

    `scheme` says how tags spell spans; `constrained` forbids what the scheme does in answers.
    `intent` names the label of the whole sequence. Of a word `max_word_length` characters are read.
    For frames, `features` are the columns of a step, `sequence` and `time` those that group and
    order the rows. `word_dropout` and `constrained_training` acted in training.
    """

    intent: str = ""
    scheme: Scheme = "none"
    constrained: bool = False
    constrained_training: bool = False
    word_dropout: float = 0.0
    max_word_length: int = 48
    features: tuple[str, ...] = ()
    sequence: str = ""
    time: str = ""


class CaptioningSpec(Struct, frozen=True, kw_only=True):
    """How a captioner answers: `longest` is the most units of a text that was seen in training."""

    longest: int = 50


class FramesSpec(Struct, frozen=True, kw_only=True):
    """How sequences of frames are read from a table that has a row a step.

    `features` are the columns of a frame, in order. `sequence` names the column that groups the
    rows (empty: every row is a sequence of one step), `time` the one that orders them there
    (empty: they are in order). A missing number is an error unless `mask_missing`.
    """

    features: tuple[str, ...] = ()
    sequence: str = ""
    time: str = ""
    mask_missing: bool = False


class LabelsSpec(Struct, frozen=True, kw_only=True):
    """How a classifier's labels were read and weighed.

    An example may have several labels where `several`, in a text with `separator` between them.
    `class_weights` multiply the loss of each class in training (empty: all alike).
    """

    several: bool = False
    separator: str = ";"
    class_weights: tuple[float, ...] = ()


class GenerationSpec(Struct, frozen=True, kw_only=True):
    """What a generator reads: one text, sequences of items under `items`, or frames.

    A text is one stream; its state is carried through training in steps of `bptt`. Sequences are
    read each from its own beginning; where `ends`, the model has learned where they end.
    """

    kind: SequenceKind = "text"
    items: str = "items"
    ends: bool = True
    bptt: int = 70
    bptt_jitter: float = 0.0


class CalibrationSpec(Struct, frozen=True, kw_only=True):
    """How far a forecaster's quantiles are moved: of step h and share q by `offsets[h][q]` scales.

    `windows` were forecast to measure it; see `unrolled.tasks.calibrate`.
    """

    shares: tuple[float, ...]
    offsets: tuple[tuple[float, ...], ...]
    windows: int


class ForecastingSpec(Struct, frozen=True, kw_only=True):
    """How a forecaster reads series, beside the column of their values.

    `id` is empty where a file is one series. `freq` is the time between two steps and `season` the
    steps of a season; `window` steps are read. `past`, `future` and `static` are covariates:
    `statistics` holds the mean and deviation of those that are numbers, `categories` the values of
    those that are not. `calendar` names the cycles that are read from the stamps. A series is
    scaled by the window or all of its past. `samples` paths are drawn where the decoder is
    autoregressive; `loss` and `windows_per_epoch` acted in training. With a `calibration` intervals
    are moved by it.
    """

    id: str = "unique_id"
    time: str = "ds"
    freq: str = "1"
    season: int = 1
    window: int
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    statistics: dict[str, tuple[float, float]] = field(default_factory=dict)
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calendar: tuple[str, ...] = ()
    scaling: Scaling = "standard"
    scale_by: ScaleBy = "window"
    samples: int = 200
    loss: str = "mae"
    windows_per_epoch: int = 0
    calibration: CalibrationSpec | None = None


class DataSpec(Struct, frozen=True, kw_only=True):
    """Which columns were read and how, so that a model reads new files the same way.

    `source` and `target` are column names; for the classifier the target is the label, for the
    regressor `targets` are one or more. `frames` says how numbers are read in the place of text.
    Sequences longer than `max_length` units are cut there, and the cuts are counted and reported;
    with 0 none is.
    """

    source: str = "source"
    target: str = "target"
    source_vocabulary: VocabularySpec = VocabularySpec()
    target_vocabulary: VocabularySpec = VocabularySpec()
    max_length: int = 400
    tagging: TaggingSpec | None = None
    captioning: CaptioningSpec | None = None
    frames: FramesSpec | None = None
    labels: LabelsSpec = LabelsSpec()
    targets: tuple[str, ...] = ()
    generation: GenerationSpec | None = None
    forecasting: ForecastingSpec | None = None


class ModelConfig(Struct, frozen=True, kw_only=True):
    """`config.json` of a model folder.

    `fingerprint` is the SHA-256 of `model.safetensors`; `versions` and `data_hash` say what made
    it. `precision` is how recurrent weights are stored and, unless told otherwise, run.
    """

    format_version: int
    task: Task
    network: NetworkSpec
    data: DataSpec
    training: TrainSpec
    token_dropout: float = 0.0
    precision: Precision = "float32"
    fingerprint: str = ""
    data_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict)
