"""What explains a translator's answer: log p(answer | source), or that of one of its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.data.vocab import BOS, EOS
from unrolled.explain.gradients import differentiable, twin
from unrolled.explain.subject import (
    Array,
    Differentiable,
    How,
    Mask,
    Reader,
    Reading,
    Stack,
    Subject,
    token_baseline,
    token_rows,
)
from unrolled.explain.subjects.places import place
from unrolled.explain.subjects.writing import of_decoder
from unrolled.explain.subjects.writing import written as written_of
from unrolled.runtime import decode
from unrolled.runtime.model import TranslatorModel, encode


def reader(model: TranslatorModel, stack: Stack = "encoder") -> Reader:
    """Return a stack, and what maps a text to what that read: the text, or its answer."""

    def read(text: str) -> Reading:
        ids = _ids(model, text)
        units = tuple(model.source_vocabulary.unit(k) for k in ids)
        return Reading(units, model.network.source_embedding[ids])

    def wrote(text: str) -> Reading:
        ids = _ids(model, text)
        tokens = _greedy(model, ids).tokens
        units = tuple(model.target_vocabulary.unit(k) for k in tokens)
        return written_of(model.network, np.asarray([ids]), np.asarray([BOS, *tokens]), units)

    if stack == "decoder":
        return model.network.decoder, wrote
    return model.network.encoder, read


def _ids(model: TranslatorModel, text: str) -> list[int]:
    return encode(text, model.source_vocabulary, model.config.data.max_length).ids[0]


def _greedy(model: TranslatorModel, ids: list[int]) -> decode.Hypothesis:
    tokens, lengths = np.asarray([ids]), np.asarray([len(ids)])
    return decode.greedy(model.network, tokens, lengths, 2 * len(ids) + 20)[0][0]


def subject(
    model: TranslatorModel, text: str, target: str | None, stack: Stack = "encoder"
) -> Subject:
    """Return the subject of the greedy answer to a text, or of its `target`-th token, from 1.

    The score of the whole answer counts its `</s>`; tokens before the one explained are given.
    States and memory are those of `stack`. Raises DataError for an empty text, ConfigError for a
    place that the answer does not have.
    """
    network = model.network
    ids = _ids(model, text)
    found = _greedy(model, ids)
    written = tuple(model.target_vocabulary.unit(k) for k in found.tokens)
    chosen = place(target, written, "the answer")
    wanted = np.asarray([*found.tokens, EOS])
    known = np.asarray([BOS, *found.tokens])
    counted = np.arange(len(wanted)) if chosen is None else np.asarray([chosen])

    def each(keep: Mask, how: How) -> Array:
        target_in = np.repeat(known[None], len(keep), axis=0)
        ends = np.full(len(keep), len(known))
        log_probs = network.log_probs(*token_rows(ids, keep, how), target_in, ends)
        found: Array = log_probs[:, np.arange(len(wanted)), wanted].astype(np.float64)
        return found

    def score(keep: Mask, how: How) -> Array:
        summed: Array = each(keep, how)[:, counted].sum(axis=1)
        return summed

    shares = None
    if found.alignment is not None and len(found.alignment):
        shares = found.alignment.mean(axis=0) if chosen is None else found.alignment[chosen]
    text_of = model.target_vocabulary.decode(found.tokens)
    translated = Subject(
        steps=tuple(model.source_vocabulary.unit(k) for k in ids),
        answer=f"the answer {text_of!r}"
        if chosen is None
        else f"{written[chosen]!r} in {text_of!r}",
        quantity="log-probability [nats]",
        removable=True,
        score=score,
        stack=network.encoder,
        read=network.source_embedding[ids],
        differentiable=lambda: _slope(model, ids, known, wanted, counted),
        attention=shares,
        alignment=found.alignment,
        written=written,
        each=None if chosen is not None else lambda keep, how: each(keep, how)[:, :-1],
    )
    if stack == "decoder":
        return of_decoder(translated, network, np.asarray([ids]), wanted, counted)
    return translated


def _slope(
    model: TranslatorModel, ids: list[int], known: Array, wanted: Array, counted: Array
) -> Differentiable:
    import torch

    network = model.network
    module = twin(network.spec, network.weights)

    def answer(rows: int) -> Any:
        source, targets = torch.tensor([ids] * rows), torch.from_numpy(known).repeat(rows, 1)
        ends = torch.full((rows,), len(ids)), torch.full((rows,), len(known))
        logits = module(source, ends[0], targets, ends[1])
        log_probs = torch.log_softmax(logits, dim=-1)
        return log_probs[:, counted, wanted[counted]].sum(dim=1)

    read = network.source_embedding[ids]
    baseline = token_baseline(network.source_embedding, ids, model.config.token_dropout)
    return differentiable(module.encoder, read, baseline, answer)
