"""What a decoder read of its own writing: its steps and states, and how far they reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from unrolled.data.vocab import BOS, UNK
from unrolled.explain.gradients import twin
from unrolled.explain.subject import Array, Reading, Recalled, Subject
from unrolled.runtime.captioner import CaptionerNetwork
from unrolled.runtime.networks import TranslatorNetwork

Writer: TypeAlias = CaptionerNetwork | TranslatorNetwork


def of_decoder(
    subject: Subject, network: Writer, source: Array, wanted: Array, counted: Array
) -> Subject:
    """Return a subject whose states and memory are those of the decoder, over what it had read.

    Explained are the `counted` places of `wanted` [T], what follows `<s>`; it was written about one
    `source`.
    """
    ids = np.concatenate([[BOS], wanted])[: counted[-1] + 1]
    wrote = written(network, source, ids, subject.written[: len(ids) - 1])
    return replace(
        subject,
        stack=network.decoder,
        read=wrote.x,
        wrote=wrote,
        recalled=recalled(network, source, ids, wanted, counted),
    )


def written(network: Writer, source: Array, ids: Array, units: tuple[str, ...]) -> Reading:
    """Return what the decoder read, `ids` [T] from `<s>`, as it wrote about one `source`.

    `units` [T - 1] names what follows `<s>`. With additive attention x holds the context too.
    """
    assert ids[0] == BOS
    memory = network.encode(source, np.array([source.shape[1]]))
    return Reading(("<s>", *units), network.reads(ids, memory), memory.first.recurrent)


def recalled(
    network: Writer, source: Array, ids: Array, wanted: Array, counted: Array
) -> Callable[[], Recalled]:
    """Return how the last state and log p of the `counted` places of `wanted` [T] hang on `ids`.

    Nothing hides written units in training, so that what says nothing is their mean embedding.
    """
    embedding = network.target_embedding.astype(np.float64)

    def found() -> Recalled:
        import torch

        from unrolled.nn import decoder as decoding

        module = twin(network.spec, network.weights)
        parts = decoding.Decoder(
            module.spec, module.decoder, module.attention, module.readout, training=False
        )
        given = torch.from_numpy(source)
        given = given.double() if given.is_floating_point() else given

        def last(read: Any) -> tuple[Any, Any]:
            rows, steps = len(read), read.shape[1]
            about = module.encode(
                given.expand(rows, *given.shape[1:]), torch.full((rows,), given.shape[1])
            )
            if about.fed is not None:
                every = about.fed.unsqueeze(1).expand(-1, steps, -1)
                read = torch.cat([read, every], dim=-1)
            each = read.unbind(1)
            readouts, h = decoding.stepwise(
                parts, lambda t, _: each[t], steps, about.h, about.c, about.memory
            )
            log_probs = torch.log_softmax(module.output(readouts), dim=-1)
            return h[-1], log_probs[:, counted, wanted[counted]].sum(dim=1)

        mean = embedding[UNK + 1 :].mean(axis=0)
        return Recalled(embedding[ids], np.repeat(mean[None], len(ids), axis=0), last)

    return found
