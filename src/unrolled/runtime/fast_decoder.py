"""A decoder's step and its searches in the native engine, from a `DecoderNetwork`'s parameters.

The context c = a M is read through matrices W. As (a M) W = a (M W), the products M W are made once
a source, beside the keys: the rows P that a step adds up. The embedding's part of every product is
made once a token of the vocabulary where that is small. Sums are added in another order than in
`DecoderNetwork.plain_step`, which this is held against.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from unrolled import _native
from unrolled.data.vocab import BOS, EOS, PAD
from unrolled.runtime.attention import Attention
from unrolled.runtime.weights import Array, Linear
from unrolled.shapes import cell_name
from unrolled.spec import DecoderSpec, RecurrentSpec
from unrolled.validation import embedded_size

# A table of a larger vocabulary would weigh more than the weights that it saves reading.
LARGEST_TABLE = 1024

Native: TypeAlias = "_native.DecoderF32 | _native.DecoderF64"
# tokens, score, log-probability, alignment [T, S]
Found: TypeAlias = "tuple[tuple[int, ...], float, float, Array | None]"


class Stepped(NamedTuple):
    """After a step: log p [N, K, V], attention [N, K, S], the recurrent state, the readout fed."""

    log_probs: Array
    weights: Array | None
    recurrent: Any
    readout: Array | None


def can_run(spec: RecurrentSpec) -> bool:
    """Whether the engine has a decoder of such layers: no projection, residual or reset before."""
    return not (spec.proj_size or spec.residual or (spec.cell == "gru" and spec.reset == "before"))


class FastDecoder:
    """The decoder, packed; `sources` are arrays P [N, S, W] that `project` makes of a memory."""

    def __init__(
        self,
        spec: DecoderSpec,
        recurrent: dict[str, Array],
        embedding: Array,
        attention: Attention | None,
        readout: Linear,
        output: Linear,
    ) -> None:
        self.spec = spec
        self.dtype = embedding.dtype
        decoder = spec.decoder
        E, H = spec.target_embedding_size, decoder.hidden_sizes[-1]
        given = embedded_size(spec)
        inputs, read = recurrent["weight_ih_l0"], readout.weight
        additive = attention is not None and attention.spec.kind == "additive"
        nothing = np.zeros((spec.readout_size, given), self.dtype)
        from_embedded = np.concatenate(
            [inputs[:, :given], read[:, -given:] if additive else nothing]
        )
        bias = np.concatenate([_bias(recurrent, "bias_ih_l0", len(inputs)), readout.bias])
        # What is fed beside every token joins the products that do not hang on the step.
        self.fed = np.ascontiguousarray(from_embedded[:, E:].T) if given > E else None
        arrays = {
            "read": read[:, :H].T,
            "output": output.weight.T,
            "output_bias": output.bias,
        }
        if len(embedding) <= LARGEST_TABLE:
            arrays["embedding"] = embedding @ from_embedded[:, :E].T + bias
        else:
            arrays |= {"embedding": embedding, "embedded": from_embedded[:, :E].T}
            arrays["embedded_bias"] = bias
        if attention is not None:
            context = read[:, H : read.shape[1] - (given if additive else 0)]
            if additive:
                context = np.concatenate([inputs[:, given:], context])
            arrays |= _source(attention, context)
        if spec.input_feeding:
            arrays["feed"] = inputs[:, given:].T
        for layer in range(decoder.num_layers):
            arrays |= _layer(decoder, recurrent, layer, attention if additive else None)
        self.native = self._bind(arrays, attention)

    def _bind(self, arrays: dict[str, Array], attention: Attention | None) -> Native:
        scorer = "none" if attention is None else attention.spec.kind
        kind = _native.DecoderF64 if self.dtype == np.float64 else _native.DecoderF32
        return kind(
            cell_name(self.spec.decoder),
            "dot" if scorer == "general" else scorer,
            list(self.spec.decoder.hidden_sizes),
            self.spec.input_feeding,
            {name: np.ascontiguousarray(array, self.dtype) for name, array in arrays.items()},
        )

    def project(self, memory: Array, lengths: Array) -> Array:
        """Return P [N, S, W] of a memory [N, S, M]; its first columns are the attention's keys."""
        out = np.empty((*memory.shape[:2], self.native.source_width), self.dtype)
        memory = np.ascontiguousarray(memory, self.dtype)
        self.native.project(memory, np.ascontiguousarray(lengths, np.int64), out)
        return out

    def give(self, fed: Array | None) -> Array | None:
        """Return what a vector [N, F] beside every token adds to each step, [N, G*H + R]."""
        if fed is None or self.fed is None:
            return None
        given: Array = fed @ self.fed
        return given

    def step(
        self,
        tokens: Array,
        recurrent: Any,
        readout: Array | None,
        sources: Array | None,
        lengths: Array,
        given: Array | None,
    ) -> Stepped:
        """Advance tokens [N, K] from a state of N * K rows, as `Recurrent.step` takes it."""
        rows, beam = tokens.shape
        h, c = (_layers(part) for part in self._parts(recurrent))
        # The engine replaces the state in place.
        h, c = [each.copy() for each in h], [each.copy() for each in c]
        readout = None if readout is None else readout.copy()
        log_probs = np.empty((rows, beam, self.spec.target_vocab_size), self.dtype)
        weights = None if sources is None else np.empty((rows, beam, sources.shape[1]), self.dtype)
        self.native.step(
            np.ascontiguousarray(tokens, np.int64),
            h,
            c,
            readout,
            sources,
            np.ascontiguousarray(lengths, np.int64),
            given,
            log_probs,
            weights,
        )
        held = [_state(recurrent[0] if c else recurrent, h)]
        if c:
            held.append(_state(recurrent[1], c))
        return Stepped(log_probs, weights, tuple(held) if c else held[0], readout)

    def search(
        self,
        recurrent: Any,
        sources: Array | None,
        lengths: Array,
        given: Array | None,
        limits: Array,
        *,
        width: int,
        n_best: int,
        length_penalty: float,
    ) -> list[list[Found]]:
        """Return the `n_best` hypotheses of each row; arguments and search as in `decode.beam`."""
        h, c = (_layers(part) for part in self._parts(recurrent))
        found: list[list[Found]] = self.native.search(
            h,
            c,
            sources,
            np.ascontiguousarray(lengths, np.int64),
            given,
            np.ascontiguousarray(limits, np.int64),
            width,
            n_best,
            length_penalty,
            [PAD, BOS, EOS],
        )
        return found

    def _parts(self, recurrent: Any) -> tuple[Any, Any]:
        return recurrent if self.spec.decoder.cell == "lstm" else (recurrent, ())


def _bias(recurrent: dict[str, Array], name: str, size: int) -> Array:
    """Return a layer's bias, or zeros where it has none."""
    found = recurrent.get(name)
    return np.zeros(size, recurrent["weight_ih_l0"].dtype) if found is None else found


def _layer(
    spec: RecurrentSpec, recurrent: dict[str, Array], layer: int, asking: Attention | None
) -> dict[str, Array]:
    """Return a layer's matrices; beside the top one's stands what makes the query of additive."""
    held, found = recurrent[f"weight_hh_l{layer}"], {}
    bias = _bias(recurrent, f"bias_hh_l{layer}", len(held))
    found[f"recurrent.{layer}"], found[f"recurrent.{layer}_bias"] = held.T, bias
    if asking is not None and layer == spec.num_layers - 1:
        assert asking.query is not None
        found[f"recurrent.{layer}"] = np.concatenate([held.T, asking.query], axis=1)
        blank = np.zeros(asking.query.shape[1], bias.dtype)
        found[f"recurrent.{layer}_bias"] = np.concatenate([bias, blank])
    if layer > 0:
        found[f"input.{layer}"] = recurrent[f"weight_ih_l{layer}"].T
        found[f"input.{layer}_bias"] = _bias(recurrent, f"bias_ih_l{layer}", len(held))
    return found


def _source(attention: Attention, context: Array) -> dict[str, Array]:
    """Return what a memory is multiplied by: the keys' matrix, then those that read the context."""
    columns, biases = [context.T], [np.zeros(len(context), context.dtype)]
    if attention.key is not None:
        columns.insert(0, attention.key)
        blank = np.zeros(attention.key.shape[1], context.dtype)
        biases.insert(0, blank if attention.bias is None else attention.bias)
    found = {
        "source": np.concatenate(columns, axis=1),
        "source_bias": np.concatenate(biases),
    }
    if attention.score is not None:
        found["score"] = attention.score
    if attention.spec.kind == "concat":
        assert attention.query is not None
        found["query"] = attention.query
    return found


def _layers(states: Any) -> list[Array]:
    """Return [N, H] of each layer from [L, N, H] or a tuple of [1, N, H_l]."""
    parts = [part[0] for part in states] if isinstance(states, tuple) else list(states)
    return [np.ascontiguousarray(part) for part in parts]


def _state(like: Any, layers: list[Array]) -> Any:
    return tuple(part[None] for part in layers) if isinstance(like, tuple) else np.stack(layers)
