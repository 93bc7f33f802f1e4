"""The contract between training and inference: frozen structs that name a network whole.

`unrolled.nn` and `unrolled.runtime` both build from these, with the same parameter names, so that
what was trained is what runs. A spec holds sizes and choices only, never weights.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Cell = Literal["rnn", "lstm", "gru"]
Nonlinearity = Literal["tanh", "relu"]
Merge = Literal["concat", "sum", "mean", "mul"]
Reset = Literal["after", "before"]
InitialState = Literal["zeros", "learned"]
Init = Literal["torch", "orthogonal"]
AttentionKind = Literal["additive", "dot", "general", "concat"]
Pooling = Literal["last", "mean", "max", "attention"]
Tokens = Literal["char", "word", "bpe"]
Task = Literal["classify", "translate", "tag", "regress", "generate", "forecast", "caption"]
CaptionInputs = Literal["vector", "regions", "attributes"]
Condition = Literal["first", "every", "attend"]
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


class CaptionerSpec(Struct, frozen=True, kw_only=True, tag="caption", tag_field="task"):
    """A vector, a set of regions or a set of attributes -> a sequence (one to many).

    What is described becomes a memory of S rows: of numbers f_s [F], first standardised,
    m_s = tanh(W f_s + b); of attributes m_s is an embedding. A vector has S = 1. With `positions`
    above 0 the order of regions counts: up to that many, each place adds a vector of its own inside
    the tanh. The mean of the rows (of attributes their sum, which is the product of a multi-hot
    vector) is the summary v [M], and the decoder's first state is tanh(W_h v + b_h) a layer.
    `condition` says what more reaches it: nothing (`first`, Vinyals et al. 2015), v beside every
    token (`every`), or a context by `attention` over the memory (`attend`, Xu et al. 2015), through
    the decoder that `TranslatorSpec` describes.

    `feature_size` is F, or the size of the vocabulary of attributes; `memory_size` is M.
    """

    inputs: CaptionInputs
    feature_size: int
    memory_size: int
    target_vocab_size: int
    target_embedding_size: int
    decoder: RecurrentSpec
    readout_size: int
    condition: Condition = "every"
    attention: AttentionSpec | None = None
    input_feeding: bool = False
    positions: int = 0
    dropout: float = 0.0


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
    ClassifierSpec
    | TranslatorSpec
    | TaggerSpec
    | RegressorSpec
    | GeneratorSpec
    | ForecasterSpec
    | CaptionerSpec
)
DecoderSpec = TranslatorSpec | CaptionerSpec
