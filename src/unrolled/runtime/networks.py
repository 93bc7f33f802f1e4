"""The encoder-decoder without torch: encode once, then one decoder step at a time.

Teacher forcing, greedy search and beam search all go through `DecoderNetwork.step`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from unrolled.precision import restore, store
from unrolled.runtime.attention import Attention
from unrolled.runtime.fast_decoder import FastDecoder, can_run
from unrolled.runtime.heads import ClassifierNetwork, last_layer
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.weights import (
    Array,
    Linear,
    Weights,
    kept,
    log_softmax,
    part_of_model,
    take,
    under,
)
from unrolled.spec import DecoderSpec, Precision, RecurrentSpec, TranslatorSpec
from unrolled.validation import check_network, final_sizes, readout_input_size

__all__ = ["ClassifierNetwork", "DecoderNetwork", "DecoderState", "Memory", "TranslatorNetwork"]


@dataclass(frozen=True)
class DecoderState:
    """What a decoder step reads of the step before, for B rows.

    `recurrent` is the stack's state as `Recurrent.step` takes it; `readout` [B, R] is r_{t-1} where
    input feeding reads it.
    """

    recurrent: Any
    readout: Array | None

    def take(self, rows: Array) -> DecoderState:
        """Return the state of the rows picked, in their order; a row may be picked twice."""
        readout = None if self.readout is None else self.readout[rows]
        return DecoderState(_take_rows(self.recurrent, rows), readout)


@dataclass(frozen=True)
class Memory:
    """What is looked at: values [N, S, M], lengths [N], attention keys, the first state.

    `fed` [N, M] is read beside every token, where the network does so. `projected` and `given` are
    what a `FastDecoder` reads in place of values and `fed`, where it takes the steps.
    """

    values: Array
    lengths: Array
    keys: Array | None
    first: DecoderState
    fed: Array | None = None
    projected: Array | None = None
    given: Array | None = None

    def take(self, rows: Array) -> Memory:
        """Return the memory of the rows picked, in their order."""
        parts = (self.keys, self.fed, self.projected, self.given)
        keys, fed, projected, given = (None if part is None else part[rows] for part in parts)
        values, first = self.values[rows], self.first.take(rows)
        return Memory(values, self.lengths[rows], keys, first, fed, projected, given)


class Step(NamedTuple):
    """One step: log p(next token) [N, K, V], attention [N, K, S] or None, the state after."""

    log_probs: Array
    weights: Array | None
    state: DecoderState


class TeacherForced(NamedTuple):
    """log p(y_t | y_<t, x) [N, T, V] and, with attention, each step's alignment [N, T, S]."""

    log_probs: Array
    alignments: Array | None


class DecoderNetwork(ABC):
    """A network that writes one token after the other about a memory: what its kinds share.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self, spec: DecoderSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        check_network(spec)
        self.target_embedding = take(
            weights, "target_embedding.weight", (spec.target_vocab_size, spec.target_embedding_size)
        )
        with part_of_model("decoder"):
            self.decoder = Recurrent(spec.decoder, under(weights, "decoder"), precision=precision)
        self.attention: Attention | None = None
        if spec.attention is not None:
            with part_of_model("attention"):
                self.attention = Attention(spec.attention, weights, "attention.")
        self.readout = Linear(weights, "readout", readout_input_size(spec), spec.readout_size)
        self.output = Linear(weights, "output", spec.readout_size, spec.target_vocab_size)
        self.writes: DecoderSpec = spec
        self.fast: FastDecoder | None = None
        if can_run(spec.decoder):
            # Weights of fewer bits are rounded here as they are stored, and multiplied in float32:
            # one call of the engine a search saves more than narrower products would.
            held = restore(store(under(weights, "decoder"), precision), "decoder")
            self.fast = FastDecoder(
                spec, held, self.target_embedding, self.attention, self.readout, self.output
            )

    @property
    def additive(self) -> bool:
        """Whether the context enters the cell (Bahdanau) instead of joining its output (Luong)."""
        return self.writes.attention is not None and self.writes.attention.kind == "additive"

    @abstractmethod
    def encode(self, source: Array, lengths: Array) -> Memory:
        """Read the inputs [N, S, ...] with lengths [N] of 1 or more."""

    def beside(self, values: Array, lengths: Array) -> Array | None:
        """Return what of a memory [N, S, M] stands beside every token, [N, M]; None for nothing."""
        return None

    def remember(self, values: Array, lengths: Array, first: DecoderState) -> Memory:
        """Return values [N, S, M] and a first state as the decoder reads them at every step."""
        fed = self.beside(values, lengths)
        given = None if self.fast is None else self.fast.give(fed)
        if self.fast is None or self.attention is None:
            keys = None if self.attention is None else self.attention.precompute(values)
            return Memory(values, lengths, keys, first, fed, given=given)
        projected = self.fast.project(values, lengths)
        keys = values
        if self.attention.key is not None:
            keys = projected[:, :, : self.attention.key.shape[1]]
        return Memory(values, lengths, keys, first, fed, projected, given)

    def start(self, h: Array, c: Array, weights: tuple[Linear, Linear | None]) -> DecoderState:
        """Return the decoder's first state from what its bridge reads, h and for an LSTM c."""
        decoder, (bridge_h, bridge_c) = self.writes.decoder, weights
        sizes = [decoder.state_size(layer) for layer in range(decoder.num_layers)]
        first = split_states(np.tanh(bridge_h(h)), sizes)
        readout = None
        if self.writes.input_feeding:
            readout = np.zeros((len(h), self.writes.readout_size), dtype=h.dtype)
        if bridge_c is None:
            return DecoderState(first, readout)
        return DecoderState((first, split_states(bridge_c(c), list(decoder.hidden_sizes))), readout)

    def step(self, tokens: Array, state: DecoderState, memory: Memory) -> Step:
        """Advance K hypotheses of each of N rows by one token: tokens [N, K], state of N * K rows.

        The hypotheses of a row share its memory.
        """
        if self.fast is None:
            return self.plain_step(tokens, state, memory)
        after = self.fast.step(
            tokens, state.recurrent, state.readout, memory.projected, memory.lengths, memory.given
        )
        return Step(after.log_probs, after.weights, DecoderState(after.recurrent, after.readout))

    def plain_step(self, tokens: Array, state: DecoderState, memory: Memory) -> Step:
        """As `step`, with every product in its place: any decoder, and the twin of the fast one."""
        rows = len(tokens)
        x, embedded, context, weights = self._reads(tokens, state, memory)
        y, recurrent = self.decoder.step(x, state.recurrent)
        joined = [y]
        if context is not None:
            joined += [context, embedded]
        elif self.attention is not None:
            context, weights = self._attend(y, rows, memory)
            joined.append(context)
        readout = np.tanh(self.readout(np.concatenate(joined, axis=-1)))
        log_probs = log_softmax(self.output(readout)).reshape(rows, tokens.shape[1], -1)
        returned = readout if self.writes.input_feeding else None
        return Step(log_probs, weights, DecoderState(recurrent, returned))

    def reads(self, tokens: Array, memory: Memory) -> Array:
        """Return what the stack reads of each of `tokens` [T] about a memory of one row, [T, I]."""
        state, found = memory.first, []
        for token in tokens:
            one = np.array([[token]])
            found.append(self._reads(one, state, memory)[0][0])
            state = self.plain_step(one, state, memory).state
        return np.stack(found)

    def _reads(
        self, tokens: Array, state: DecoderState, memory: Memory
    ) -> tuple[Array, Array, Array | None, Array | None]:
        """Return x [N * K, I] of the stack, the embedding in it, and the context that enters."""
        rows, beam = tokens.shape
        embedded = self.target_embedding[tokens.reshape(-1)]
        if memory.fed is not None:
            fed = np.repeat(memory.fed, beam, axis=0)
            embedded = np.concatenate([embedded, fed], axis=-1)
        if self.additive:
            query = _top_h(self.writes.decoder, state.recurrent)
            context, weights = self._attend(query, rows, memory)
            return np.concatenate([embedded, context], axis=-1), embedded, context, weights
        x = embedded
        if state.readout is not None:
            x = np.concatenate([embedded, state.readout], axis=-1)
        return x, embedded, None, None

    def _attend(self, query: Array, rows: int, memory: Memory) -> tuple[Array, Array]:
        assert self.attention is not None
        context, weights = self.attention(
            query.reshape(rows, -1, query.shape[-1]), memory.values, memory.lengths, memory.keys
        )
        return context.reshape(len(query), -1), weights

    def teacher_forced(
        self, source: Array, lengths: Array, target_in: Array, target_lengths: Array
    ) -> TeacherForced:
        """Score target_in [N, T], which starts with `<s>`, step by step.

        Steps past a row's target length are zero in both results.
        """
        memory = self.encode(source, lengths)
        state = memory.first
        log_probs, alignments = [], []
        for t in range(target_in.shape[1]):
            result = self.step(target_in[:, t : t + 1], state, memory)
            state = result.state
            log_probs.append(result.log_probs)
            if result.weights is not None:
                alignments.append(result.weights)
        inside = (np.arange(target_in.shape[1]) < target_lengths[:, None])[:, :, None]
        return TeacherForced(
            np.where(inside, np.concatenate(log_probs, axis=1), 0),
            np.where(inside, np.concatenate(alignments, axis=1), 0) if alignments else None,
        )

    def log_probs(
        self, source: Array, lengths: Array, target_in: Array, target_lengths: Array
    ) -> Array:
        """Return log p(y_t | y_<t, x) for every token of the vocabulary, [N, T, V]."""
        return self.teacher_forced(source, lengths, target_in, target_lengths).log_probs


class TranslatorNetwork(DecoderNetwork):
    """The numpy twin of `unrolled.nn.translator.Translator`, from the same spec and weights.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self, spec: TranslatorSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        super().__init__(spec, weights, precision=precision)
        self.spec = spec
        self.source_embedding = take(
            weights, "source_embedding.weight", (spec.source_vocab_size, spec.source_embedding_size)
        )
        with part_of_model("encoder"):
            self.encoder = Recurrent(spec.encoder, under(weights, "encoder"), precision=precision)
        self.weights = kept(weights, encoder=self.encoder, decoder=self.decoder)
        self.bridge_h, self.bridge_c = bridge(*final_sizes(spec.encoder), spec.decoder, weights)

    def encode(self, source: Array, lengths: Array) -> Memory:
        """Read source [N, S] with lengths [N] of 1 or more."""
        values, state = self.encoder(self.source_embedding[source], lengths=lengths)
        return self.remember(values, lengths, self._first(state))

    def _first(self, encoded: Any) -> DecoderState:
        encoder = self.spec.encoder
        h_n, c_n = encoded if encoder.cell == "lstm" else (encoded, None)
        h = c = np.concatenate(tuple(last_layer(encoder, h_n)), axis=-1)
        if c_n is not None:
            c = np.concatenate(tuple(last_layer(encoder, c_n)), axis=-1)
        return self.start(h, c, (self.bridge_h, self.bridge_c))


def bridge(
    h_size: int, c_size: int, decoder: RecurrentSpec, weights: Weights
) -> tuple[Linear, Linear | None]:
    """Return the maps to the decoder's first states: of h, and for an LSTM of c."""
    h_sizes = sum(decoder.state_size(layer) for layer in range(decoder.num_layers))
    bridge_h = Linear(weights, "bridge.h", h_size, h_sizes)
    if decoder.cell != "lstm":
        return bridge_h, None
    return bridge_h, Linear(weights, "bridge.c", c_size, sum(decoder.hidden_sizes))


def split_states(states: Array, sizes: list[int]) -> Array | tuple[Array, ...]:
    """Cut [N, sum of H_l] into [L, N, H], or a tuple of [1, N, H_l] where widths differ."""
    parts = np.split(states, np.cumsum(sizes)[:-1], axis=-1)
    if len(set(sizes)) == 1:
        return np.stack(parts)
    return tuple(part[None] for part in parts)


def _top_h(spec: RecurrentSpec, state: Any) -> Array:
    top: Array = last_layer(spec, state[0] if spec.cell == "lstm" else state)[0]
    return top


def _take_rows(state: Any, rows: Array) -> Any:
    """Pick rows of every array of a recurrent state; rows lie on the second axis of each."""
    if isinstance(state, tuple):
        return tuple(_take_rows(part, rows) for part in state)
    return state[:, rows]
