"""What explains a caption: log p(text | what it describes), or that of one of its units.

The parts are attributes, regions, or the numbers of a vector. An attribute is removed, or read as
one that the model does not know; a region is removed where the order of regions does not count, or
set to the mean of each number; a number is set to its mean. Nothing recurrent reads the parts, so
that states and memory are those of the decoder, over the units that it read: `<s>`, then what it
wrote.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.data.captions import attributes, batch
from unrolled.data.vocab import BOS, EOS
from unrolled.explain.gradients import slope_of, twin
from unrolled.explain.subject import (
    Array,
    Differentiable,
    How,
    Mask,
    Reader,
    Reading,
    Subject,
    token_baseline,
    token_rows,
)
from unrolled.explain.subjects.places import place
from unrolled.explain.subjects.writing import of_decoder
from unrolled.explain.subjects.writing import written as written_of
from unrolled.runtime import decode
from unrolled.runtime.captioner_model import CaptionerModel


def reader(model: CaptionerModel) -> Reader:
    """Return the decoder's stack, and what maps a thing to what it read as it wrote about it."""

    def read(thing: Any) -> Reading:
        (given,) = model.read([thing])
        source, lengths = batch([given])
        tokens = _greedy(model, source, lengths).tokens
        units = tuple(model.target_vocabulary.unit(k) for k in tokens)
        return written_of(model.network, source, np.asarray([BOS, *tokens]), units)

    return model.network.decoder, read


def _greedy(model: CaptionerModel, source: Array, lengths: Array) -> decode.Hypothesis:
    return decode.greedy(model.network, source, lengths, 2 * model.captioning.longest)[0][0]


def subject(model: CaptionerModel, thing: Any, target: str | None) -> Subject:
    """Return the subject of the greedy text about a thing, or of its `target`-th unit, from 1.

    The score of the whole text counts its `</s>`; units before the one explained are given. Raises
    DataError as `CaptionerModel.predict` does, ConfigError for a place that the text does not have.
    """
    network = model.network
    (given,) = model.read([thing])
    vector = network.spec.inputs == "vector"
    source, lengths = batch([given])
    found = _greedy(model, source, lengths)
    written = tuple(model.target_vocabulary.unit(k) for k in found.tokens)
    text = model.target_vocabulary.decode(found.tokens)
    at = place(target, written, "the text")
    wanted, known = np.asarray([*found.tokens, EOS]), np.asarray([BOS, *found.tokens])
    counted = np.arange(len(wanted)) if at is None else np.asarray([at])

    def each(keep: Mask, how: How) -> Array:
        inputs, ends = _kept(model, given, keep, how)
        target_in = np.repeat(known[None], len(keep), axis=0)
        log_probs = network.log_probs(inputs, ends, target_in, np.full(len(keep), len(known)))
        scores: Array = log_probs[:, np.arange(len(wanted)), wanted].astype(np.float64)
        return scores

    def score(keep: Mask, how: How) -> Array:
        summed: Array = each(keep, how)[:, counted].sum(axis=1)
        return summed

    alignment = None if vector else found.alignment
    shares = None
    if alignment is not None and len(alignment):
        shares = alignment.mean(axis=0) if at is None else alignment[at]
    steps = _parts(model, thing, given)
    described = Subject(
        steps=steps,
        answer=f"the text {text!r}" if at is None else f"{written[at]!r} in {text!r}",
        quantity="log-probability [nats]",
        removable=not vector and not network.spec.positions,
        score=score,
        stack=None,
        read=None,
        differentiable=lambda: _slope(model, given, known, wanted, counted),
        attention=shares,
        alignment=alignment,
        written=written,
        each=None if at is not None else lambda keep, how: each(keep, how)[:, :-1],
        name=f"{', '.join(steps)} → {text}" if model.source_vocabulary else f"about: {text}",
    )
    return of_decoder(described, network, source, wanted, counted)


def _parts(model: CaptionerModel, thing: Any, given: Array) -> tuple[str, ...]:
    if model.source_vocabulary is not None:
        return attributes(thing, "the thing")
    count = given.shape[1] if model.network.spec.inputs == "vector" else len(given)
    return tuple(str(k) for k in range(1, count + 1))


def _kept(model: CaptionerModel, given: Array, keep: Mask, how: How) -> tuple[Array, Array]:
    """Return what the network reads where only some parts are kept, and their lengths."""
    if model.source_vocabulary is not None:
        return token_rows(given.tolist(), keep, how)
    mean = model.network.mean
    if model.network.spec.inputs == "vector":
        return np.where(keep[:, None], given, mean).astype(given.dtype), np.ones(len(keep), int)
    if how == "replace":
        swapped = np.where(keep[:, :, None], given, mean).astype(given.dtype)
        return swapped, np.full(len(keep), len(given))
    return batch([given[row] if row.any() else mean[None].astype(given.dtype) for row in keep])


def _slope(
    model: CaptionerModel, given: Array, known: Array, wanted: Array, counted: Array
) -> Differentiable:
    import torch

    network = model.network
    module = twin(network.spec, network.weights)
    named, vector = model.source_vocabulary is not None, network.spec.inputs == "vector"

    def scores(source: Any) -> Any:
        rows = len(source)
        targets = torch.from_numpy(known).repeat(rows, 1)
        lengths = torch.full((rows,), len(given)), torch.full((rows,), len(known))
        logits = module(source, lengths[0], targets, lengths[1])
        return torch.log_softmax(logits, dim=-1)[:, counted, wanted[counted]].sum(dim=1)

    def of_names(read: Any) -> Any:
        hook = module.embedding.register_forward_hook(lambda *_: read)
        try:
            return scores(torch.from_numpy(given).repeat(len(read), 1))
        finally:
            hook.remove()

    if named:
        embedding = network.embedding
        blank = token_baseline(embedding, given.tolist(), model.config.token_dropout)
        return slope_of(embedding[given], blank, of_names)
    mean = np.repeat(network.mean[None], len(given), axis=0)
    if vector:
        return slope_of(given.T, mean.T, lambda read: scores(read.transpose(1, 2)))
    return slope_of(given, mean, scores)
