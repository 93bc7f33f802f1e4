"""From a model folder's config back to the options that made it, so that its run can be varied."""

from __future__ import annotations

from typing import Any

import msgspec

from unrolled.config import DataSpec, GenerationSpec, ModelConfig
from unrolled.errors import ConfigError
from unrolled.forecast_options import ForecastOptions
from unrolled.options import OPTIONS, GenerateOptions, PooledOptions, TagOptions
from unrolled.spec import (
    GATES,
    CaptionerSpec,
    ForecasterSpec,
    GeneratorSpec,
    RecurrentSpec,
    TaggerSpec,
    TranslatorSpec,
)

# The stack that options describe, where the network does not call it recurrent.
STACKS = {"translate": "encoder", "caption": "decoder"}


def options_of(config: ModelConfig) -> Any:
    """Return the task's options by which this network and data were made.

    What a config does not keep, such as word vectors that training began from, has its default.
    """
    network: Any = config.network
    stack = getattr(network, STACKS.get(config.task, "recurrent"))
    assert isinstance(stack, RecurrentSpec)
    assert stack.cell in GATES
    if len(set(stack.hidden_sizes)) > 1:
        raise ConfigError("layers of different widths cannot be tried again from options")
    data = config.data
    values: dict[str, Any] = {
        "cell": stack.cell,
        "nonlinearity": stack.nonlinearity,
        "reset": stack.reset,
        "bidirectional": stack.bidirectional,
        "merge": stack.merge,
        "residual": stack.residual,
        "hidden_size": stack.hidden_sizes[0],
        "init": stack.init,
        "initial_state": stack.initial_state,
        "recurrent_dropout": stack.recurrent_dropout,
        "dropout": network.dropout,
        "min_count": data.source_vocabulary.min_count,
        "max_size": data.source_vocabulary.max_size,
        "lowercase": data.source_vocabulary.lowercase,
        "max_length": data.max_length,
        "token_dropout": config.token_dropout,
        **_own(config),
    }
    known = OPTIONS[config.task].__struct_fields__
    return msgspec.convert({k: v for k, v in values.items() if k in known}, OPTIONS[config.task])


def _own(config: ModelConfig) -> dict[str, Any]:
    """Return the options that only this task has."""
    network: Any = config.network
    data, attention = config.data, getattr(network, "attention", None)
    kind, size = (None, 0) if attention is None else (attention.kind, attention.size)
    if isinstance(network, TaggerSpec):
        return _tagged(config, network)
    if isinstance(network, CaptionerSpec):
        return _captioned(data, network, kind, size)
    if isinstance(network, GeneratorSpec):
        return _generated(data, network)
    if isinstance(network, ForecasterSpec):
        return _forecast(data, network)
    if isinstance(network, TranslatorSpec):
        return {
            "source": data.source,
            "target": data.target,
            "source_tokens": data.source_vocabulary.tokens,
            "target_tokens": data.target_vocabulary.tokens,
            "embedding_size": network.source_embedding_size,
            "encoder_layers": network.encoder.num_layers,
            "decoder_layers": network.decoder.num_layers,
            "attention": kind or "none",
            "attention_size": size,
            "input_feeding": network.input_feeding,
            "share_parameters": network.share_parameters,
        }
    return {
        "text": data.source,
        "label": data.target,
        "target": ",".join(data.targets),
        "multi_label": data.labels.several,
        "label_separator": data.labels.separator,
        **_framed(data),
        "tokens": data.source_vocabulary.tokens,
        "embedding_size": network.embedding_size or PooledOptions().embedding_size,
        "layers": network.recurrent.num_layers,
        "pooling": network.pooling,
        "attention": kind or "additive",
        "attention_size": size,
    }


def _framed(data: DataSpec) -> dict[str, Any]:
    if data.frames is None:
        return {}
    return {
        "features": ",".join(data.frames.features),
        "sequence": data.frames.sequence,
        "time": data.frames.time,
        "missing": "mask" if data.frames.mask_missing else "error",
    }


def _tagged(config: ModelConfig, network: TaggerSpec) -> dict[str, Any]:
    defaults, tagging = TagOptions(), config.data.tagging
    found: dict[str, Any] = {
        "words": config.data.source,
        "column": config.data.target,
        "layers": network.recurrent.num_layers,
        "embedding_size": network.embedding_size or defaults.embedding_size,
        "head": network.head,
        "characters": network.characters is not None,
    }
    if network.characters is not None:
        found["character_embedding_size"] = network.characters.embedding_size
        found["character_hidden_size"] = network.characters.recurrent.hidden_sizes[0]
    if tagging is not None:
        trained = "train" if tagging.constrained_training else "decode"
        found |= {
            "intent": tagging.intent,
            "scheme": tagging.scheme,
            "constraints": trained if tagging.constrained else "none",
            "word_dropout": tagging.word_dropout,
            "sequence": tagging.sequence or defaults.sequence,
            "time": tagging.time or defaults.time,
        }
    return found


def _captioned(
    data: DataSpec, network: CaptionerSpec, kind: str | None, size: int
) -> dict[str, Any]:
    texts, hidden = data.target_vocabulary, network.decoder.hidden_sizes[0]
    return {
        "features": data.source,
        "caption": data.target,
        "tokens": texts.tokens,
        "lowercase": texts.lowercase,
        "min_count": texts.min_count,
        "max_size": texts.max_size,
        "embedding_size": network.target_embedding_size,
        "layers": network.decoder.num_layers,
        "condition": network.condition,
        "attention": kind or "additive",
        "attention_size": size,
        "input_feeding": network.input_feeding,
        "memory_size": 0 if network.memory_size == hidden else network.memory_size,
        "positions": network.positions > 0,
    }


def _generated(data: DataSpec, network: GeneratorSpec) -> dict[str, Any]:
    generation = data.generation or GenerationSpec()
    return {
        "tokens": data.source_vocabulary.tokens,
        "items": generation.items,
        "ends": generation.ends or generation.kind != "items",
        "bptt": generation.bptt,
        "bptt_jitter": generation.bptt_jitter,
        "embedding_size": network.embedding_size or GenerateOptions().embedding_size,
        "layers": network.recurrent.num_layers,
        "tied": network.tied,
        "input_dropout": network.input_dropout,
        "embedding_dropout": network.embedding_dropout,
        "weight_dropout": network.weight_dropout,
    }


def _forecast(data: DataSpec, network: ForecasterSpec) -> dict[str, Any]:
    told, defaults = data.forecasting, ForecastOptions()
    assert told is not None
    moved = told.calibration
    shares = network.quantiles or (() if moved is None else moved.shares)
    same = ("time", "freq", "season", "window", "scaling", "scale_by", "samples", "loss")
    return {
        **{name: getattr(told, name) for name in (*same, "windows_per_epoch")},
        **{name: ",".join(getattr(told, name)) for name in ("past", "future", "static")},
        "id": told.id or defaults.id,
        "target": data.target,
        "calendar": bool(told.calendar),
        "horizon": network.horizon,
        "decoder": network.decoder,
        "decoder_size": network.decoder_size or defaults.decoder_size,
        "output": network.output,
        "quantiles": ",".join(map(str, shares)) or defaults.quantiles,
        "calibrate": moved is not None,
        "residual": network.residual,
        "residual_layers": network.recurrent.residual,
        "layers": network.recurrent.num_layers,
    }
