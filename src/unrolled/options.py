"""What a user may set, one struct a task: flags, config keys and estimators' parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from unrolled.config import TrainSpec
from unrolled.errors import ConfigError, did_you_mean
from unrolled.forecast_options import ForecastOptions
from unrolled.spec import (
    AttentionKind,
    Merge,
    Nonlinearity,
    Pooling,
    RecurrentSpec,
    Reset,
    Struct,
    TagHead,
    Task,
    Tokens,
)

S = TypeVar("S", bound=Struct)

CellName = Literal["rnn", "lstm", "gru"]
AttentionName = Literal["none", "additive", "dot", "general", "concat"]
TokensName = Literal["auto", "char", "word", "bpe"]
VectorsPath = Annotated[
    str, Meta(description="Text file of word vectors to start from (word2vec, GloVe, fastText).")
]


class RecurrentOptions(Struct, frozen=True, kw_only=True):
    """Choices that every task's recurrent layers share."""

    cell: Annotated[CellName, Meta(description="Recurrent cell.")] = "gru"
    nonlinearity: Annotated[Nonlinearity, Meta(description="Of the vanilla RNN.")] = "tanh"
    reset: Annotated[
        Reset, Meta(description="GRU: reset gate after or before the recurrent product.")
    ] = "after"
    bidirectional: Annotated[
        bool, Meta(description="Read in both directions (translate: the encoder).")
    ] = True
    merge: Annotated[Merge, Meta(description="How the two directions are joined.")] = "concat"
    residual: Annotated[bool, Meta(description="Add each layer's input to its output.")] = False
    hidden_size: Annotated[int, Meta(ge=1, description="Units H of each recurrent layer.")] = 128
    embedding_size: Annotated[int, Meta(ge=1, description="Width of the embeddings.")] = 128
    dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Dropout between layers and before the output.")
    ] = 0.2
    recurrent_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Dropout on h[t-1], one mask a sequence.")
    ] = 0.0
    init: Annotated[
        Literal["torch", "orthogonal"],
        Meta(description="Recurrent weights: torch's uniform, or orthogonal and forget bias 1."),
    ] = "orthogonal"
    initial_state: Annotated[
        Literal["zeros", "learned"], Meta(description="The state before the first step.")
    ] = "zeros"
    min_count: Annotated[int, Meta(ge=1, description="Keep units seen this often.")] = 1
    max_size: Annotated[int, Meta(ge=8, description="Largest vocabulary.")] = 30_000
    max_length: Annotated[
        int, Meta(ge=1, description="Longer sequences are cut here, and counted.")
    ] = 400
    lowercase: Annotated[bool, Meta(description="Lower-case the text first.")] = False


class PooledOptions(RecurrentOptions, frozen=True, kw_only=True):
    """Choices of the tasks that read a whole sequence for one answer."""

    text: Annotated[str, Meta(description="Column that holds the text.")] = "text"
    features: Annotated[
        str,
        Meta(
            description="Numbers instead of text: columns of a frame, with commas between (empty: "
            "all that are left)."
        ),
    ] = ""
    sequence: Annotated[
        str,
        Meta(description="Numbers: column that says which sequence a row is of (empty: its own)."),
    ] = ""
    time: Annotated[
        str, Meta(description="Numbers: column that orders a sequence's rows (empty: as they are).")
    ] = ""
    missing: Annotated[
        Literal["error", "mask"],
        Meta(description="A missing number is an error, or the mean and an indicator beside it."),
    ] = "error"
    max_length: Annotated[
        int,
        Meta(
            ge=0,
            description="Longer sequences are cut here, and counted (0: texts at 400, frames not).",
        ),
    ] = 0
    tokens: Annotated[
        TokensName, Meta(description="Unit of the text; auto: char where texts have no spaces.")
    ] = "auto"
    vectors: VectorsPath = ""
    layers: Annotated[int, Meta(ge=1, description="Stacked recurrent layers.")] = 1
    token_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Share of tokens read as <unk> in training.")
    ] = 0.1
    pooling: Annotated[
        Pooling, Meta(description="What the label is read from: last state, mean, max, attention.")
    ] = "attention"
    attention: Annotated[AttentionKind, Meta(description="Scorer, where pooling is attention.")] = (
        "additive"
    )
    attention_size: Annotated[
        int, Meta(ge=0, description="Width of additive and concat scorers (0: hidden size).")
    ] = 0


class ClassifyOptions(PooledOptions, frozen=True, kw_only=True):
    """Many to one: a text, or a sequence of numbers, to one of several labels, or to some."""

    label: Annotated[str, Meta(description="Column that holds the label.")] = "label"
    multi_label: Annotated[
        bool, Meta(description="An example has any number of labels, each decided by itself.")
    ] = False
    label_separator: Annotated[
        str, Meta(min_length=1, description="What stands between the labels of a text cell.")
    ] = ";"
    class_weights: Annotated[
        str,
        Meta(description="Of the loss: none, balanced, or label=weight with commas between."),
    ] = "none"


class RegressOptions(PooledOptions, frozen=True, kw_only=True):
    """Many to one: a text, or a sequence of numbers, to one real number or several."""

    target: Annotated[
        str, Meta(description="Column that holds the number; several with commas between.")
    ] = "target"
    loss: Annotated[
        Literal["mse", "mae", "huber"],
        Meta(description="Squared error, absolute error, or Huber's between the two."),
    ] = "mse"


class TranslateOptions(RecurrentOptions, frozen=True, kw_only=True):
    """Many to many, delayed: one sequence in, another out, through an encoder and a decoder."""

    source: Annotated[str, Meta(description="Column that holds the input sequence.")] = "source"
    target: Annotated[str, Meta(description="Column that holds the output sequence.")] = "target"
    source_tokens: Annotated[TokensName, Meta(description="Unit of the source.")] = "auto"
    target_tokens: Annotated[TokensName, Meta(description="Unit of the target.")] = "auto"
    token_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Share of tokens read as <unk> in training.")
    ] = 0.05
    encoder_layers: Annotated[int, Meta(ge=1, description="Stacked encoder layers.")] = 1
    decoder_layers: Annotated[int, Meta(ge=1, description="Stacked decoder layers.")] = 1
    attention: Annotated[
        AttentionName,
        Meta(description="additive (Bahdanau), dot, general, concat (Luong), or none."),
    ] = "additive"
    attention_size: Annotated[
        int, Meta(ge=0, description="Width of additive and concat scorers (0: hidden size).")
    ] = 0
    input_feeding: Annotated[
        bool, Meta(description="Luong: feed the attentional state to the next step.")
    ] = False
    share_parameters: Annotated[
        bool, Meta(description="Use the encoder's recurrent weights in the decoder.")
    ] = False
    beam: Annotated[int, Meta(ge=1, description="Beam width in evaluation.")] = 1


class TagOptions(RecurrentOptions, frozen=True, kw_only=True):
    """Many to many, aligned: a tag for every word of a sentence, or for every frame."""

    column: Annotated[
        str,
        Meta(
            description="Tags: a CoNLL-U column (auto: upos), a CoNLL column counted from 1, or -1 "
            "(auto: the last), a key of JSONL (auto: tags), a column of Parquet or npz (auto: y)."
        ),
    ] = "auto"
    words: Annotated[str, Meta(description="Key of the words in JSONL.")] = "tokens"
    intent: Annotated[
        str,
        Meta(
            description="Key of JSONL or of a '# key = value' comment: a label of the whole "
            "sentence, learned together with the tags (empty: none)."
        ),
    ] = ""
    layers: Annotated[int, Meta(ge=1, description="Stacked recurrent layers.")] = 1
    embedding_size: Annotated[
        int, Meta(ge=0, description="Width of the embeddings of words (0: spelling only).")
    ] = 128
    dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Dropout before, between and after the layers.")
    ] = 0.5
    head: Annotated[
        TagHead, Meta(description="A CRF over the sequence, or a softmax at each word.")
    ] = "crf"
    scheme: Annotated[
        Literal["auto", "none", "bio", "bioes"],
        Meta(description="How tags spell spans; auto: by what the tags look like."),
    ] = "auto"
    constraints: Annotated[
        Literal["none", "decode", "train"],
        Meta(description="Keep to legal tag sequences: nowhere, in answers, in training too."),
    ] = "decode"
    characters: Annotated[
        bool, Meta(description="Read the spelling of words too, by a stack of its own.")
    ] = True
    character_embedding_size: Annotated[
        int, Meta(ge=1, description="Width of the embeddings of characters.")
    ] = 32
    character_hidden_size: Annotated[
        int, Meta(ge=1, description="Units a direction of the stack over characters.")
    ] = 64
    word_dropout: Annotated[
        float,
        Meta(
            ge=0,
            description="A: a word seen n times is read as <unk> in training with probability "
            "A / (A + n).",
        ),
    ] = 0.25
    vectors: VectorsPath = ""
    sequence: Annotated[
        str, Meta(description="Frames in Parquet: column that says which sequence a row is of.")
    ] = "id"
    time: Annotated[
        str, Meta(description="Frames in Parquet: column that orders the rows of a sequence.")
    ] = "time"


class CaptionOptions(RecurrentOptions, frozen=True, kw_only=True):
    """One to many: a vector, a set of regions or a set of attributes to a sequence."""

    features: Annotated[
        str,
        Meta(
            description="Array of npz or key of JSONL that holds what is described: numbers, lists "
            "of numbers, or attributes (auto: features or attributes, whichever is there)."
        ),
    ] = "auto"
    caption: Annotated[
        str, Meta(description="Array or key of the texts, one or several an item.")
    ] = "caption"
    tokens: Annotated[TokensName, Meta(description="Unit of the texts.")] = "auto"
    layers: Annotated[int, Meta(ge=1, description="Stacked decoder layers.")] = 1
    condition: Annotated[
        Literal["auto", "first", "every", "attend"],
        Meta(
            description="What is described sets the first state only, is read at every step too, "
            "or is attended to (auto: every for a vector, else attend)."
        ),
    ] = "auto"
    attention: Annotated[AttentionKind, Meta(description="Scorer, where it is attended to.")] = (
        "additive"
    )
    attention_size: Annotated[
        int, Meta(ge=0, description="Width of additive and concat scorers (0: hidden size).")
    ] = 0
    input_feeding: Annotated[
        bool, Meta(description="Luong: feed the attentional state to the next step.")
    ] = False
    memory_size: Annotated[
        int, Meta(ge=0, description="Width M of a region or attribute inside (0: hidden size).")
    ] = 0
    positions: Annotated[
        bool, Meta(description="The order of regions counts; at most as many as seen in training.")
    ] = False
    token_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Share of attributes read as <unk> in training.")
    ] = 0.0
    bidirectional: Annotated[
        bool, Meta(description="Not here: a caption is written in one direction.")
    ] = False
    beam: Annotated[int, Meta(ge=1, description="Beam width in evaluation.")] = 1


class GenerateOptions(RecurrentOptions, frozen=True, kw_only=True):
    """Autoregressive: what comes next in a text, in sequences of items, or in frames of music."""

    tokens: Annotated[TokensName, Meta(description="Unit of a text (auto: char).")] = "auto"
    items: Annotated[str, Meta(description="Key of the items in JSONL.")] = "items"
    ends: Annotated[bool, Meta(description="Items: learn where a sequence ends, too.")] = True
    cell: Annotated[CellName, Meta(description="Recurrent cell.")] = "lstm"
    bidirectional: Annotated[
        Literal[False], Meta(description="Always false: what follows is not known.")
    ] = False
    layers: Annotated[int, Meta(ge=1, description="Stacked recurrent layers.")] = 1
    tied: Annotated[bool, Meta(description="The output shares the embedding's matrix.")] = False
    bptt: Annotated[
        int, Meta(ge=1, description="Text: steps that gradients go back; the state goes on.")
    ] = 70
    bptt_jitter: Annotated[
        float,
        Meta(ge=0, lt=1, description="Text: vary bptt from batch to batch by this share of it."),
    ] = 0.0
    dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Between layers and before the output, locked.")
    ] = 0.1
    input_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="On what the first layer reads, locked.")
    ] = 0.0
    embedding_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Share of the vocabulary's embeddings dropped a batch.")
    ] = 0.0
    weight_dropout: Annotated[
        float, Meta(ge=0, lt=1, description="Share of recurrent weights dropped a batch.")
    ] = 0.0


OPTIONS: dict[Task, type[RecurrentOptions] | type[ForecastOptions]] = {
    "caption": CaptionOptions,
    "classify": ClassifyOptions,
    "translate": TranslateOptions,
    "tag": TagOptions,
    "regress": RegressOptions,
    "generate": GenerateOptions,
    "forecast": ForecastOptions,
}


def recurrent_spec(
    options: RecurrentOptions, *, input_size: int, layers: int, decoder: bool = False
) -> RecurrentSpec:
    """Return the recurrent stack that `options` describe; a decoder reads forwards only."""
    return RecurrentSpec(
        cell=options.cell,
        input_size=input_size,
        hidden_sizes=(options.hidden_size,) * layers,
        nonlinearity=options.nonlinearity,
        bidirectional=options.bidirectional and not decoder,
        merge=options.merge,
        reset=options.reset,
        residual=options.residual,
        initial_state="zeros" if decoder else options.initial_state,
        dropout=options.dropout,
        recurrent_dropout=options.recurrent_dropout,
        init=options.init,
    )


def defaults(struct: type[Struct]) -> dict[str, Any]:
    """Return every field of `struct` with its default."""
    return {f.name: f.default for f in msgspec.structs.fields(struct)}


def build(struct: type[S], values: Mapping[str, Any], *, where: str) -> S:
    """Return `struct` filled from `values` over its defaults.

    Raises ConfigError, naming `where` the value came from, the key and what was expected.
    """
    known = [f.name for f in msgspec.structs.fields(struct)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}.{did_you_mean(key, known)}")
    try:
        return msgspec.convert(dict(values), struct, strict=True)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        key = path.strip("`").removeprefix("$.")
        raise ConfigError(f"{where}: {key} = {values.get(key)!r}: {_plain(text)}") from None


def split(task: Task, values: Mapping[str, Any], *, where: str) -> tuple[Any, TrainSpec]:
    """Return the task's options and the training spec from one flat mapping of both.

    Raises ConfigError for a key that is in neither, with the nearest known one.
    """
    task_keys = {f.name for f in msgspec.structs.fields(OPTIONS[task])}
    train_keys = {f.name for f in msgspec.structs.fields(TrainSpec)}
    for key in values:
        if key not in task_keys | train_keys:
            near = did_you_mean(key, sorted(task_keys | train_keys))
            raise ConfigError(f"{where}: unknown key {key!r}.{near}")
    options = build(OPTIONS[task], {k: v for k, v in values.items() if k in task_keys}, where=where)
    training = build(TrainSpec, {k: v for k, v in values.items() if k in train_keys}, where=where)
    return options, training


def resolve_tokens(choice: TokensName, suggested: Tokens) -> Tokens:
    """Return `choice`, or what the data suggests where the choice is `auto`."""
    return suggested if choice == "auto" else choice


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the strings of a Literal annotation, empty for any other."""
    return tuple(a for a in get_args(annotation) if isinstance(a, str))


def _plain(message: str) -> str:
    return message.replace("`", "").replace("Invalid enum value", "not one of the known values:")
