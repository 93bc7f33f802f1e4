"""Writing a target sequence: greedy search and beam search over a `DecoderNetwork`.

The engine searches where it has the decoder; else `decode_reference.py` does, which it is held
against. `<pad>` and `<s>` are never written.
"""

from __future__ import annotations

import numpy as np

from unrolled.errors import ConfigError, ModelError
from unrolled.runtime import decode_reference
from unrolled.runtime.decode_reference import Hypothesis, allow, length_norm
from unrolled.runtime.networks import DecoderNetwork
from unrolled.runtime.weights import Array

__all__ = ["LENGTH_PENALTY", "Hypothesis", "allow", "beam", "greedy", "length_norm"]

LENGTH_PENALTY = 0.6


def greedy(
    network: DecoderNetwork,
    source: Array,
    lengths: Array,
    max_length: int | Array,
    *,
    length_penalty: float = LENGTH_PENALTY,
) -> list[list[Hypothesis]]:
    """Write the likeliest token at every step until `</s>`: one hypothesis for each row.

    source [N, S], lengths [N] of 1 or more; `max_length` is the most tokens a row may have (one
    number, or one per row), after which `</s>` is forced and its log-probability counted.
    Raises ConfigError for a max_length below 1 or a negative length_penalty.
    """
    return beam(
        network, source, lengths, beam=1, max_length=max_length, length_penalty=length_penalty
    )


def beam(
    network: DecoderNetwork,
    source: Array,
    lengths: Array,
    *,
    beam: int,
    max_length: int | Array,
    length_penalty: float = LENGTH_PENALTY,
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    """Return for each row its `n_best` hypotheses of the highest score, best first.

    At every step the `beam` likeliest continuations go on; one that writes `</s>` while among the
    `beam` likeliest is finished. A row ends when `beam` of its hypotheses have finished or when
    nothing unfinished can still score above its `n_best` finished ones. A row may find fewer than
    `n_best` where the vocabulary and `max_length` allow no more. Arguments else as in `greedy`.

    Raises ConfigError for a beam or n_best below 1, n_best above beam, a negative length_penalty.
    """
    _check_search(beam, n_best, length_penalty)
    limits = _limits(max_length, len(source))
    memory = network.encode(source, lengths)
    if network.fast is None:
        if beam == n_best == 1:
            return decode_reference.greedy(network, memory, limits, length_penalty)
        return decode_reference.beam(
            network, memory, limits, width=beam, length_penalty=length_penalty, n_best=n_best
        )
    found = network.fast.search(
        memory.first.recurrent,
        memory.projected,
        memory.lengths,
        memory.given,
        limits,
        width=beam,
        n_best=n_best,
        length_penalty=length_penalty,
    )
    for row, answers in enumerate(found):
        if not answers:
            raise ModelError(f"row {row}: the probabilities of the next token are not numbers.")
    return [[Hypothesis(*answer) for answer in answers] for answers in found]


def _limits(max_length: int | Array, rows: int) -> Array:
    limits = np.broadcast_to(np.asarray(max_length), (rows,))
    if rows and limits.min() < 1:
        raise ConfigError(f"max_length is {limits.min()}, expected 1 or more.")
    return limits


def _check_search(beam: int, n_best: int, length_penalty: float) -> None:
    if beam < 1:
        raise ConfigError(f"beam is {beam}, expected 1 or more.")
    if not 1 <= n_best <= beam:
        raise ConfigError(f"n_best is {n_best}, expected 1 to beam ({beam}).")
    if length_penalty < 0:
        raise ConfigError(f"length_penalty is {length_penalty}, expected 0 or more.")
