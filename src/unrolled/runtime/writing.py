"""A target sequence written one unit at a time, by greedy search, and kept between the units.

Nothing here knows what was read: a session begins from a `Memory` that some encoder left, so that
every `DecoderNetwork` writes through it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.data.vocab import BOS, EOS, Vocabulary
from unrolled.errors import ConfigError
from unrolled.runtime import decode
from unrolled.runtime.networks import DecoderNetwork, DecoderState, Memory
from unrolled.runtime.rows import to_rows, to_state
from unrolled.runtime.state import SessionState, fingerprint
from unrolled.runtime.weights import Array

# At the head of a saved row: S, limit, whether ended, log-probability, units read, units written.
_HEAD = 6


@dataclass(frozen=True)
class Written:
    """One unit of the answer: what it adds to the text, log p(unit | before, x) in nats.

    `alignment` [S] is its row over the source steps, None without attention.
    """

    unit: str
    text: str
    log_prob: float
    alignment: Array | None


class WritingSession:
    """One answer, written as it is decoded; `stream` of a translator or captioner makes it.

    Iterating gives each `Written` unit until the answer ends: the units of greedy search.
    `log_prob` is that of all that was written, `</s>` included once `ended`.
    """

    def __init__(
        self,
        network: DecoderNetwork,
        vocabulary: Vocabulary,
        memory: Memory,
        limit: int,
        source: Sequence[int] = (),
    ) -> None:
        if limit < 1:
            raise ConfigError(f"max_length is {limit}, expected 1 or more.")
        self.network = network
        self.vocabulary = vocabulary
        self._begin(memory, limit, source)

    def _begin(self, memory: Memory, limit: int, source: Sequence[int]) -> None:
        self._memory = memory
        self.limit = limit
        self.source = tuple(source)
        self.reset()

    def reset(self) -> None:
        """Begin the same answer anew."""
        self._state = self._memory.first
        self.tokens: list[int] = []
        self.log_prob = 0.0
        self.ended = False

    @property
    def text(self) -> str:
        """What has been written so far."""
        return self.vocabulary.decode(self.tokens)

    def __iter__(self) -> Iterator[Written]:
        """Yield the units that are still to come."""
        while (written := self.step()) is not None:
            yield written

    def step(self) -> Written | None:
        """Write the next unit and return it; None where the answer has ended."""
        if self.ended:
            return None
        last = self.tokens[-1] if self.tokens else BOS
        result = self.network.step(np.array([[last]]), self._state, self._memory)
        at_limit = np.array([len(self.tokens) >= self.limit])
        log_probs = decode.allow(result.log_probs, at_limit)[0, 0]
        token = int(log_probs.argmax())
        self._state = result.state
        self.log_prob += float(log_probs[token])
        if token == EOS:
            self.ended = True
            return None
        before = self.text
        self.tokens.append(token)
        return Written(
            self.vocabulary.unit(token),
            self.text.removeprefix(before),
            float(log_probs[token]),
            None if result.weights is None else result.weights[0, 0],
        )

    def fork(self) -> WritingSession:
        """Return another session that goes on from here; the two do not touch each other."""
        other = copy.copy(self)
        other.tokens = list(self.tokens)
        return other

    @property
    def state(self) -> SessionState:
        """The state at this moment, with what was read, to keep, to send or to go on from.

        Setting it raises DataError where it is of another model.
        """
        memory, spec = self._memory, self.network.writes.decoder
        head = [memory.values.shape[1], self.limit, self.ended, self.log_prob]
        head += [len(self.source), len(self.tokens)]
        parts = [np.array([*head, *self.source, *self.tokens], np.float64), memory.values.ravel()]
        for each in (memory.first, self._state):
            parts.append(to_rows(spec, each.recurrent).ravel())
            if each.readout is not None:
                parts.append(each.readout.ravel())
        return SessionState(_mark(self.network), np.concatenate(parts).astype(np.float64)[None])

    @state.setter
    def state(self, state: SessionState) -> None:
        state.check(_mark(self.network), np.empty(state.values.shape, np.float64))
        row, dtype = state.values[0], self._memory.values.dtype
        steps, limit, ended, log_prob, read, written = row[:_HEAD].tolist()
        width = self._memory.values.shape[2]
        sizes = [_HEAD, int(read), int(written), int(steps) * width]
        _, source, tokens, values, held = np.split(row, np.cumsum(sizes))
        first, now = (self._restored(part.astype(dtype)) for part in np.split(held, 2))
        shaped = values.astype(dtype).reshape(1, int(steps), width)
        memory = self.network.remember(shaped, np.array([int(steps)]), first)
        self._begin(memory, int(limit), source.astype(int).tolist())
        self._state, self.tokens = now, tokens.astype(int).tolist()
        self.log_prob, self.ended = log_prob, bool(ended)

    def _restored(self, row: Array) -> DecoderState:
        fed = self.network.writes.readout_size if self.network.writes.input_feeding else 0
        held, readout = np.split(row[None], [row.size - fed], axis=1)
        return DecoderState(to_state(self.network.writes.decoder, held), readout if fed else None)


def _mark(network: DecoderNetwork) -> str:
    """Return the fingerprint of what writes: the decoder, the attention and the readout."""
    parts = {f"decoder.{name}": value for name, value in network.decoder.weights.items()}
    parts["embedding"] = network.target_embedding
    for name in ("readout", "output", "bridge_h", "bridge_c"):
        linear = getattr(network, name)
        if linear is not None:
            parts |= {f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}
    if network.attention is not None:
        for name in ("key", "query", "bias", "score"):
            value = getattr(network.attention, name)
            if value is not None:
                parts[f"attention.{name}"] = value
    return fingerprint(network.writes, parts)
