"""The contract between training and inference: frozen structs that name a network whole.

`unrolled.nn` and `unrolled.runtime` both build from these, with the same parameter names, so that
what was trained is what runs. A spec holds sizes and choices only, never weights.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

FORMAT_VERSION = 1

Cell = Literal["rnn", "lstm", "gru"]
Nonlinearity = Literal["tanh", "relu"]
Merge = Literal["concat", "sum", "mean", "mul"]
Reset = Literal["after", "before"]
InitialState = Literal["zeros", "learned"]
Init = Literal["torch", "orthogonal"]
AttentionKind = Literal["additive", "dot", "general", "concat"]
Pooling = Literal["last", "mean", "max", "attention"]
Tokens = Literal["char", "word", "bpe"]
Task = Literal["classify", "translate", "tag", "regress", "generate", "forecast"]
TagHead = Literal["crf", "softmax"]
Scheme = Literal["none", "bio", "bioes"]
SequenceKind = Literal["text", "items", "frames"]
ForecastDecoder = Literal["linear", "mlp", "rnn", "autoregressive"]
ForecastOutput = Literal["point", "quantiles", "normal", "student_t", "negative_binomial"]
Residual = Literal["none", "last", "season"]
Scaling = Literal["standard", "robust", "none"]
ScaleBy = Literal["window", "series"]
Engine = Literal["auto", "reference", "torch", "native"]
Precision = Literal["float32", "bf16", "int8"]

GATES: dict[str, int] = {"rnn": 1, "lstm": 4, "gru": 3}


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Base of every spec: immutable, compared by value, unknown keys refused."""


class RecurrentSpec(Struct, frozen=True, kw_only=True):
    """A stack of recurrent layers.

    `hidden_sizes` holds one width H per layer. A layer's output width is its `proj_size` (LSTM
    with projection) or H, doubled where `bidirectional` with `merge="concat"`; that is the input
    width of the next layer. `dropout` acts between layers, `recurrent_dropout` on h[t-1] inside
    the recurrent product with one mask per sequence; both act in training only.
    """

    cell: Cell
    input_size: int
    hidden_sizes: tuple[int, ...]
    nonlinearity: Nonlinearity = "tanh"
    bidirectional: bool = False
    merge: Merge = "concat"
    bias: bool = True
    proj_size: int = 0
    reset: Reset = "after"
    residual: bool = False
    initial_state: InitialState = "zeros"
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    init: Init = "torch"

    @property
    def num_layers(self) -> int:
        """L, the number of stacked layers."""
        return len(self.hidden_sizes)

    @property
    def num_directions(self) -> int:
        """D, 2 where bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def gates(self) -> int:
        """G, the rows of a weight matrix per hidden unit: RNN 1, LSTM 4, GRU 3."""
        return GATES[self.cell]

    def state_size(self, layer: int) -> int:
        """Width of h at `layer`: the projection where there is one, else H."""
        return self.proj_size or self.hidden_sizes[layer]

    def layer_output_size(self, layer: int) -> int:
        """Width of the merged output of `layer`."""
        wide = self.bidirectional and self.merge == "concat"
        return self.state_size(layer) * (2 if wide else 1)

    def layer_input_size(self, layer: int) -> int:
        """Width of what `layer` reads: I for the first, else the output of the one below."""
        return self.input_size if layer == 0 else self.layer_output_size(layer - 1)

    @property
    def output_size(self) -> int:
        """Width of the output of the stack."""
        return self.layer_output_size(self.num_layers - 1)


class AttentionSpec(Struct, frozen=True, kw_only=True):
    """An attention scorer between queries and keys.

    `additive` (Bahdanau et al. 2015, A.1.2): v . tanh(W q + U k), width `size`.
    `dot`, `general`, `concat` (Luong et al. 2015, 3.1): q . k; q . W k; v . tanh(W [q; k]).
    """

    kind: AttentionKind
    query_size: int
    key_size: int
    size: int = 0


class PooledSpec(Struct, frozen=True, kw_only=True):
    """Tokens -> embedding -> recurrent stack -> pooling -> linear: one answer for a sequence.

    With `frame_size` above 0 a step is that many numbers instead of a token. With `mask_missing` a
    number may be missing (NaN): the stack then reads 0 in its place, which is the mean of the
    training data, and beside the numbers as many indicators that are 1 where one is missing.
    """

    recurrent: RecurrentSpec
    vocab_size: int = 0
    embedding_size: int = 0
    frame_size: int = 0
    mask_missing: bool = False
    pooling: Pooling = "attention"
    attention: AttentionSpec | None = None
    dropout: float = 0.0

    @property
    def step_size(self) -> int:
        """Width of what the stack reads a step."""
        return self.frame_size * (2 if self.mask_missing else 1) or self.embedding_size


class ClassifierSpec(PooledSpec, frozen=True, kw_only=True, tag="classify", tag_field="task"):
    """A sequence to its class, or to each of its labels (many to one).

    A softmax over the classes; with `multi_label` a sigmoid each, and a threshold each from which
    on the label is given.
    """

    num_classes: int
    multi_label: bool = False

    @property
    def num_outputs(self) -> int:
        """C, one a class."""
        return self.num_classes


class RegressorSpec(PooledSpec, frozen=True, kw_only=True, tag="regress", tag_field="task"):
    """A sequence to real numbers (many to one), standardised inside and undone in answers."""

    num_targets: int = 1

    @property
    def num_outputs(self) -> int:
        """K, one a target."""
        return self.num_targets


class TranslatorSpec(Struct, frozen=True, kw_only=True, tag="translate", tag_field="task"):
    """Encoder-decoder (many to many, delayed).

    Source tokens -> `encoder` -> memory [N, S, M]; a bridge turns the encoder's last states into
    the decoder's first; the decoder writes target tokens one after the other until `</s>`.
    `attention=None` leaves the first decoder state as the only thing that crosses: the fixed
    context vector of Sutskever et al. 2014. With `additive` the context is read by the decoder's
    cell (Bahdanau et al. 2015); with Luong's kinds it joins the state after the cell, and is fed
    to the next step as well where `input_feeding` (Luong et al. 2015, 3.3).
    """

    source_vocab_size: int
    target_vocab_size: int
    source_embedding_size: int
    target_embedding_size: int
    encoder: RecurrentSpec
    decoder: RecurrentSpec
    readout_size: int
    attention: AttentionSpec | None = None
    input_feeding: bool = False
    share_parameters: bool = False
    dropout: float = 0.0


class CharacterSpec(Struct, frozen=True, kw_only=True):
    """A word from its characters: embedding -> recurrent stack -> last states of the top layer."""

    vocab_size: int
    embedding_size: int
    recurrent: RecurrentSpec

    @property
    def output_size(self) -> int:
        """Width of what a word becomes: the top layer's directions side by side, D * P."""
        top = self.recurrent.state_size(self.recurrent.num_layers - 1)
        return self.recurrent.num_directions * top


class TaggerSpec(Struct, frozen=True, kw_only=True, tag="tag", tag_field="task"):
    """Words or frames -> recurrent stack -> linear -> a tag each (many to many, aligned).

    A word is its embedding and what `characters` makes of its spelling, either or both. With
    `frame_size` above 0 the inputs are that many numbers a step instead. `head` is a softmax a step
    or a linear-chain CRF over the sequence (Lafferty et al. 2001). With `num_intents` the maximum
    over time of the stack's outputs also names one label of the whole sequence.
    """

    num_tags: int
    recurrent: RecurrentSpec
    vocab_size: int = 0
    embedding_size: int = 0
    characters: CharacterSpec | None = None
    frame_size: int = 0
    head: TagHead = "crf"
    num_intents: int = 0
    dropout: float = 0.0

    @property
    def step_size(self) -> int:
        """Width of what the stack reads a step."""
        spelled = 0 if self.characters is None else self.characters.output_size
        return self.frame_size or self.embedding_size + spelled


class GeneratorSpec(Struct, frozen=True, kw_only=True, tag="generate", tag_field="task"):
    """Tokens or frames -> recurrent stack -> what comes next (autoregressive).

    Tokens: embedding -> stack -> linear to E where the stack's width is another and the output is
    `tied` -> softmax over V. A tied output shares the embedding's matrix (Press and Wolf 2017,
    section 3). With `frame_size` above 0 a step is that many values of 0 or 1, and what comes next
    is that many independent probabilities. Dropout acts in training only, as in Merity et al. 2018,
    section 4: `embedding_dropout` on whole words of the embedding, `input_dropout`, between layers
    (`recurrent.dropout`) and `dropout` on the output with one mask for all steps of a row, and
    `weight_dropout` on the recurrent weights.
    """

    recurrent: RecurrentSpec
    vocab_size: int = 0
    embedding_size: int = 0
    frame_size: int = 0
    tied: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    embedding_dropout: float = 0.0
    weight_dropout: float = 0.0

    @property
    def projected(self) -> bool:
        """Whether a linear layer stands between the stack and a tied output."""
        return self.tied and self.recurrent.output_size != self.embedding_size


class ForecasterSpec(Struct, frozen=True, kw_only=True, tag="forecast", tag_field="task"):
    """A window of a series -> recurrent stack -> decoder -> the next `horizon` steps.

    A step of the window is its value, whether it was observed, `past_size` and `known_size` numbers
    beside it, and the series' `static_size` numbers. The decoders `linear` and `mlp` make all steps
    from the last state, `rnn` runs `decoder_recurrent` over what is known of each step ahead (a
    sequence to a sequence), and with `autoregressive` the stack itself goes on, reading what it
    drew (Salinas et al. 2020, DeepAR). `output` says what is made of a step's numbers: a point,
    `quantiles`, or the parameters of a distribution. With `residual` they are added to the last
    observed value, or to the one a season ago.
    """

    recurrent: RecurrentSpec
    horizon: int
    past_size: int = 0
    known_size: int = 0
    static_size: int = 0
    decoder: ForecastDecoder = "mlp"
    decoder_size: int = 0
    decoder_recurrent: RecurrentSpec | None = None
    output: ForecastOutput = "quantiles"
    quantiles: tuple[float, ...] = ()
    residual: Residual = "last"
    dropout: float = 0.0

    @property
    def step_size(self) -> int:
        """Width of what the stack reads a step."""
        return 2 + self.past_size + self.known_size + self.static_size

    @property
    def ahead_size(self) -> int:
        """Width of what the decoder `rnn` reads a step: its place, what is known and static."""
        return 1 + self.known_size + self.static_size

    @property
    def num_outputs(self) -> int:
        """Numbers that the decoder makes a step."""
        counts = {"point": 1, "normal": 2, "student_t": 3, "negative_binomial": 2}
        return counts.get(self.output, len(self.quantiles))


NetworkSpec = (
    ClassifierSpec | TranslatorSpec | TaggerSpec | RegressorSpec | GeneratorSpec | ForecasterSpec
)


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


class ForecastingSpec(Struct, frozen=True, kw_only=True):
    """How a forecaster reads series, beside the column of their values.

    `id` is empty where a file is one series. `freq` is the time between two steps and `season` the
    steps of a season; `window` steps are read. `past`, `future` and `static` are covariates:
    `statistics` holds the mean and deviation of those that are numbers, `categories` the values of
    those that are not. `calendar` names the cycles that are read from the stamps. A series is
    scaled by the window or all of its past. `samples` paths are drawn where the decoder is
    autoregressive; `loss` and `windows_per_epoch` acted in training.
    """

    id: str = "unique_id"
    time: str = "ds"
    freq: str = "1"
    season: int = 1
    window: int
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    statistics: dict[str, tuple[float, float]] = {}
    categories: dict[str, tuple[str, ...]] = {}
    calendar: tuple[str, ...] = ()
    scaling: Scaling = "standard"
    scale_by: ScaleBy = "window"
    samples: int = 200
    loss: str = "mae"
    windows_per_epoch: int = 0


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
    versions: dict[str, str] = {}
