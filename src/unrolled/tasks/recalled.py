"""From a model folder's config back to the options that made it, so that its run can be varied."""

from __future__ import annotations

from typing import Any

import msgspec

from unrolled.config import DataSpec, ModelConfig
from unrolled.errors import ConfigError
from unrolled.options import OPTIONS, PooledOptions, TagOptions
from unrolled.spec import GATES, RecurrentSpec, TaggerSpec, TranslatorSpec


def options_of(config: ModelConfig) -> Any:
    """Return the task's options by which this network and data were made.

    What a config does not keep, such as word vectors that training began from, has its default.
    """
    network: Any = config.network
    stack = network.encoder if isinstance(network, TranslatorSpec) else network.recurrent
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
