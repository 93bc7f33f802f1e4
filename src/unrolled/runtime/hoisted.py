"""A step of Bahdanau's decoder with everything taken out of it that does not hang on the step.

The context c = a M enters two products. As (a M) W = a (M W), the memory's part of both is computed
once a source; the embedding's part once a token of the vocabulary, when the network is built, where
the vocabulary is small. A step is left with the query, the recurrent product and the readout of h.
Sums are added in another order than in `TranslatorNetwork.plain_step`, which this is held against.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.runtime.attention import Attention, softmax
from unrolled.runtime.weights import Array, Linear
from unrolled.spec import TranslatorSpec

# A table of a larger vocabulary would weigh more than the weights that it saves reading.
LARGEST_TABLE = 1024
# From more rows on, weights are read once for all of them anyway, and hoisting only adds products:
# at hidden 256, S 11 and T 9, greedy search of 1 row went 1.7 times as fast, of 16 rows 0.87.
MOST_ROWS = 4


class Stepped(NamedTuple):
    """After a step of B rows: h [B, H], c [B, H] for LSTM, readout [B, R], attention [N, K, S]."""

    h: Array
    c: Array | None
    readout: Array
    weights: Array


def can_hoist(spec: TranslatorSpec) -> bool:
    """Whether the decoder is one additive layer of GRU (reset after) or LSTM, unprojected."""
    decoder = spec.decoder
    return (
        spec.attention is not None
        and spec.attention.kind == "additive"
        and decoder.num_layers == 1
        and (decoder.cell == "lstm" or (decoder.cell == "gru" and decoder.reset == "after"))
        and not decoder.proj_size
    )


class HoistedDecoder:
    """The decoder's weights as a step reads them; G gates of H side by side, then R."""

    def __init__(
        self,
        spec: TranslatorSpec,
        recurrent: dict[str, Array],
        embedding: Array,
        attention: Attention,
        readout: Linear,
    ) -> None:
        self.lstm = spec.decoder.cell == "lstm"
        self.hidden = H = spec.decoder.hidden_sizes[0]
        self.width = H * spec.decoder.gates
        E = spec.target_embedding_size
        inputs, read = recurrent["weight_ih_l0"], readout.weight
        memory = read.shape[1] - H - E
        self.attention = attention
        assert attention.query is not None
        self.recurrent = np.ascontiguousarray(
            np.concatenate([recurrent["weight_hh_l0"].T, attention.query], axis=1)
        )
        self.bias = recurrent.get("bias_hh_l0")
        self.memory = np.ascontiguousarray(
            np.concatenate([inputs[:, E:], read[:, H : H + memory]]).T
        )
        self.embedding = embedding
        self.embedded = np.ascontiguousarray(
            np.concatenate([inputs[:, :E], read[:, H + memory :]]).T
        )
        first = recurrent.get("bias_ih_l0", np.zeros(self.width, read.dtype))
        self.given = np.concatenate([first, readout.bias])
        self.table: Array | None = None
        if len(embedding) <= LARGEST_TABLE:
            self.table = embedding @ self.embedded + self.given
        self.read = np.ascontiguousarray(read[:, :H].T)

    def project(self, memory: Array) -> Array:
        """Return the part of the memory [N, S, M] in gates and readout, [N, S, G*H + R]."""
        projected: Array = memory @ self.memory
        return projected

    def _embed(self, tokens: Array) -> Array:
        if self.table is not None:
            return self.table[tokens]
        embedded: Array = self.embedding[tokens] @ self.embedded
        embedded += self.given
        return embedded

    def step(
        self,
        tokens: Array,
        h: Array,
        c: Array | None,
        keys: Array,
        projected: Array,
        past: Array | None,
    ) -> Stepped:
        """Advance tokens [N, K] from h and c [B, H], B = N * K.

        `past` [N, 1, S] is -inf past a row's end and else 0, or None where no row ends before S.
        """
        rows, beam = tokens.shape
        width, hidden = self.width, self.hidden
        product = h @ self.recurrent
        query = product[:, width:].reshape(rows, beam, 1, -1)
        scores = np.tanh(query + keys[:, None]).reshape(rows, -1, keys.shape[-1])
        # As in `Attention.scores`: lanes of OpenBLAS's that nobody wrote.
        with np.errstate(invalid="ignore"):
            scores = (scores @ self.attention.score).reshape(rows, beam, -1)
        if past is not None:
            scores += past
        weights = softmax(scores)
        given = (weights @ projected).reshape(rows * beam, -1)
        given += self._embed(tokens.reshape(-1))
        held = product[:, :width]
        if self.bias is not None:
            held += self.bias
        if self.lstm:
            assert c is not None
            h, c = _lstm(given[:, :width] + held, c, hidden)
        else:
            h = _gru(given[:, :width], held, h, hidden)
        readout = h @ self.read
        readout += given[:, width:]
        return Stepped(h, c, np.tanh(readout, out=readout), weights)


def _sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), by tanh so that nothing overflows."""
    half: Array = x * x.dtype.type(0.5)
    np.tanh(half, out=half)
    half += 1
    half *= x.dtype.type(0.5)
    return half


def _gru(given: Array, held: Array, h: Array, hidden: int) -> Array:
    gates = _sigmoid(given[:, : 2 * hidden] + held[:, : 2 * hidden])
    new = gates[:, :hidden] * held[:, 2 * hidden :]
    new += given[:, 2 * hidden :]
    np.tanh(new, out=new)
    after: Array = h - new
    after *= gates[:, hidden:]
    after += new
    return after


def _lstm(gates: Array, c: Array, hidden: int) -> tuple[Array, Array]:
    into = _sigmoid(gates[:, : 2 * hidden])
    new = np.tanh(gates[:, 2 * hidden : 3 * hidden])
    after = into[:, hidden:] * c
    after += into[:, :hidden] * new
    h: Array = _sigmoid(gates[:, 3 * hidden :])
    h *= np.tanh(after)
    return h, after
