"""Whether the parts of a network spec fit together, told before anything is built.

Training and inference both call `check_network`, so that a spec that one accepts the other accepts.
"""

from __future__ import annotations

from unrolled.errors import ConfigError
from unrolled.shapes import check_attention, check_spec
from unrolled.spec import (
    AttentionSpec,
    CharacterSpec,
    ClassifierSpec,
    ForecasterSpec,
    GeneratorSpec,
    NetworkSpec,
    PooledSpec,
    RecurrentSpec,
    RegressorSpec,
    TaggerSpec,
    TranslatorSpec,
)

NUM_SPECIALS = 4


def check_network(spec: NetworkSpec) -> None:
    """Raise `ConfigError`, naming the field and what was expected, where sizes do not fit."""
    if isinstance(spec, ClassifierSpec):
        _check_classifier(spec)
    elif isinstance(spec, RegressorSpec):
        _check_sizes(num_targets=spec.num_targets)
        _check_pooled(spec)
    elif isinstance(spec, TaggerSpec):
        _check_tagger(spec)
    elif isinstance(spec, GeneratorSpec):
        _check_generator(spec)
    elif isinstance(spec, ForecasterSpec):
        _check_forecaster(spec)
    else:
        _check_translator(spec)


def decoder_input_size(spec: TranslatorSpec) -> int:
    """Width of what the decoder's first layer reads at a step.

    E for the previous token; M more for the context of additive attention, R more for the readout
    that input feeding returns.
    """
    size = spec.target_embedding_size
    if spec.attention is not None and spec.attention.kind == "additive":
        size += spec.encoder.output_size
    elif spec.input_feeding:
        size += spec.readout_size
    return size


def readout_input_size(spec: TranslatorSpec) -> int:
    """Width of what the readout reads: h_t; c_t with attention; e(y_{t-1}) where additive."""
    size = spec.decoder.output_size
    if spec.attention is not None:
        size += spec.encoder.output_size
        if spec.attention.kind == "additive":
            size += spec.target_embedding_size
    return size


def _expect(field: str, found: object, expected: object, because: str) -> None:
    if found != expected:
        raise ConfigError(f"{field} is {found}, expected {expected}: {because}.")


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} is {size}, expected 1 or more.")


def _check_recurrent(name: str, spec: RecurrentSpec) -> None:
    try:
        check_spec(spec)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise ConfigError(f"{name} is {rate}, expected 0 or more and less than 1.")


def _check_attention(spec: AttentionSpec, query_size: int | None, key_size: int) -> None:
    if query_size is not None:
        _expect("attention.query_size", spec.query_size, query_size, "the decoder's state asks")
    _expect("attention.key_size", spec.key_size, key_size, "the recurrent outputs are read")
    try:
        check_attention(spec)
    except ValueError as error:
        raise ConfigError(f"attention: {error}") from None


def _check_classifier(spec: ClassifierSpec) -> None:
    least = 1 if spec.multi_label else 2
    if spec.num_classes < least:
        raise ConfigError(f"num_classes is {spec.num_classes}, expected {least} or more.")
    _check_pooled(spec)


def _check_pooled(spec: PooledSpec) -> None:
    if spec.frame_size:
        _check_sizes(frame_size=spec.frame_size)
        _expect("embedding_size", spec.embedding_size, 0, "the inputs are frames, not tokens")
    else:
        _expect("mask_missing", spec.mask_missing, False, "tokens are never missing")
        sizes = {"vocab_size": spec.vocab_size - NUM_SPECIALS + 1}
        _check_sizes(embedding_size=spec.embedding_size, **sizes)
    _check_recurrent("recurrent", spec.recurrent)
    _check_rate("dropout", spec.dropout)
    reads = "a frame" if spec.frame_size else "the embedding"
    found, because = spec.recurrent.input_size, f"the first layer reads {reads}"
    _expect("recurrent.input_size", found, spec.step_size, because)
    if spec.pooling == "attention":
        if spec.attention is None:
            raise ConfigError("pooling is 'attention' but attention is not given.")
        _check_attention(spec.attention, None, spec.recurrent.output_size)
    elif spec.attention is not None:
        raise ConfigError(f"attention is given but pooling is {spec.pooling!r}, not 'attention'.")


def _check_tagger(spec: TaggerSpec) -> None:
    if spec.num_tags < 2:
        raise ConfigError(f"num_tags is {spec.num_tags}, expected 2 or more.")
    if spec.num_intents == 1 or spec.num_intents < 0:
        raise ConfigError(f"num_intents is {spec.num_intents}, expected 0, or 2 or more.")
    if spec.frame_size:
        _check_sizes(frame_size=spec.frame_size)
        _expect("embedding_size", spec.embedding_size, 0, "the inputs are frames, not words")
        _expect("characters", spec.characters, None, "the inputs are frames, not words")
    elif spec.embedding_size:
        _check_sizes(
            embedding_size=spec.embedding_size, vocab_size=spec.vocab_size - NUM_SPECIALS + 1
        )
    elif spec.characters is None:
        raise ConfigError(
            "embedding_size and frame_size are 0 and characters is not given: nothing to read."
        )
    if spec.characters is not None:
        _check_characters(spec.characters)
    _check_recurrent("recurrent", spec.recurrent)
    _check_rate("dropout", spec.dropout)
    because = "the first layer reads the embedding and the spelling of a word, or a frame"
    _expect("recurrent.input_size", spec.recurrent.input_size, spec.step_size, because)


def _check_characters(spec: CharacterSpec) -> None:
    _check_sizes(
        **{
            "characters.embedding_size": spec.embedding_size,
            "characters.vocab_size": spec.vocab_size - NUM_SPECIALS + 1,
        }
    )
    _check_recurrent("characters.recurrent", spec.recurrent)
    because = "its first layer reads the embedding of a character"
    found = spec.recurrent.input_size
    _expect("characters.recurrent.input_size", found, spec.embedding_size, because)


def _check_generator(spec: GeneratorSpec) -> None:
    if spec.frame_size:
        _check_sizes(frame_size=spec.frame_size)
        because = "a step is a frame, not a token"
        _expect("embedding_size", spec.embedding_size, 0, because)
        _expect("vocab_size", spec.vocab_size, 0, because)
        _expect("tied", spec.tied, False, because)
    else:
        _check_sizes(
            embedding_size=spec.embedding_size, vocab_size=spec.vocab_size - NUM_SPECIALS + 1
        )
    _check_recurrent("recurrent", spec.recurrent)
    for name in ("dropout", "input_dropout", "embedding_dropout", "weight_dropout"):
        _check_rate(name, getattr(spec, name))
    _expect(
        "recurrent.bidirectional", spec.recurrent.bidirectional, False, "what follows is not known"
    )
    _expect(
        "recurrent.input_size",
        spec.recurrent.input_size,
        spec.frame_size or spec.embedding_size,
        "the first layer reads the embedding, or a frame",
    )


def _check_forecaster(spec: ForecasterSpec) -> None:
    _check_sizes(horizon=spec.horizon)
    for name in ("past_size", "known_size", "static_size"):
        if getattr(spec, name) < 0:
            raise ConfigError(f"{name} is {getattr(spec, name)}, expected 0 or more.")
    _check_recurrent("recurrent", spec.recurrent)
    _check_rate("dropout", spec.dropout)
    because = "the first layer reads a step of the window"
    _expect("recurrent.input_size", spec.recurrent.input_size, spec.step_size, because)
    if spec.output == "quantiles":
        shares = spec.quantiles
        ascending = all(a < b for a, b in zip((0.0, *shares), (*shares, 1.0), strict=True))
        if 0.5 not in shares or not ascending or len(shares) < 2:
            raise ConfigError(
                f"quantiles are {list(shares)}, expected two or more between 0 and 1 in ascending "
                "order, 0.5 among them."
            )
    elif spec.quantiles:
        raise ConfigError(f"quantiles are given but output is {spec.output!r}, not 'quantiles'.")
    if spec.output == "negative_binomial" and spec.residual != "none":
        raise ConfigError("residual is not for output 'negative_binomial', whose mean is positive.")
    if spec.decoder == "autoregressive":
        _check_autoregressive(spec)
    elif spec.decoder == "mlp":
        _check_sizes(decoder_size=spec.decoder_size)
    if (spec.decoder_recurrent is not None) != (spec.decoder == "rnn"):
        raise ConfigError("decoder_recurrent is for decoder 'rnn', which needs it.")
    if spec.decoder_recurrent is not None:
        _check_recurrent("decoder_recurrent", spec.decoder_recurrent)
        found = spec.decoder_recurrent.input_size
        because = "it reads the place of a step, and what is known and static"
        _expect("decoder_recurrent.input_size", found, spec.ahead_size, because)


def _check_autoregressive(spec: ForecasterSpec) -> None:
    if spec.output == "quantiles":
        raise ConfigError(
            "decoder 'autoregressive' draws each step from a distribution: output 'normal', "
            "'student_t', 'negative_binomial' or 'point', not 'quantiles'."
        )
    if spec.past_size:
        raise ConfigError(
            "decoder 'autoregressive' goes on into the horizon, where covariates of the past are "
            "not known; choose decoder 'mlp', 'linear' or 'rnn'."
        )
    if spec.recurrent.bidirectional:
        raise ConfigError("decoder 'autoregressive' reads forwards only: bidirectional is false.")
    if spec.residual == "season":
        raise ConfigError("decoder 'autoregressive' takes residual 'last' or 'none'.")


def _check_translator(spec: TranslatorSpec) -> None:
    _check_sizes(
        source_embedding_size=spec.source_embedding_size,
        target_embedding_size=spec.target_embedding_size,
        readout_size=spec.readout_size,
        source_vocab_size=spec.source_vocab_size - NUM_SPECIALS + 1,
        target_vocab_size=spec.target_vocab_size - NUM_SPECIALS + 1,
    )
    _check_recurrent("encoder", spec.encoder)
    _check_recurrent("decoder", spec.decoder)
    _check_rate("dropout", spec.dropout)
    _expect(
        "encoder.input_size",
        spec.encoder.input_size,
        spec.source_embedding_size,
        "its first layer reads the source embedding",
    )
    _expect("decoder.bidirectional", spec.decoder.bidirectional, False, "it writes left to right")
    _expect(
        "decoder.initial_state",
        spec.decoder.initial_state,
        "zeros",
        "its first state comes from the encoder",
    )
    if spec.attention is not None:
        last = spec.decoder.state_size(spec.decoder.num_layers - 1)
        _check_attention(spec.attention, last, spec.encoder.output_size)
    if spec.input_feeding and (spec.attention is None or spec.attention.kind == "additive"):
        raise ConfigError(
            "input_feeding needs attention 'dot', 'general' or 'concat': additive attention's "
            "context enters the cell already, and without attention there is none to feed."
        )
    _expect(
        "decoder.input_size",
        spec.decoder.input_size,
        decoder_input_size(spec),
        "its first layer reads the target embedding and what is fed beside it",
    )
    if spec.share_parameters:
        _check_shared(spec.encoder, spec.decoder)


def _check_shared(encoder: RecurrentSpec, decoder: RecurrentSpec) -> None:
    shape = ("cell", "input_size", "hidden_sizes", "bias", "proj_size", "bidirectional")
    for field in (*shape, "nonlinearity", "reset"):
        ours, theirs = getattr(encoder, field), getattr(decoder, field)
        if ours != theirs:
            raise ConfigError(
                f"share_parameters needs encoder and decoder of one shape, but {field} is "
                f"{ours} in the encoder and {theirs} in the decoder."
            )
