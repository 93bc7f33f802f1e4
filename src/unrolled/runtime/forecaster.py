"""The forecaster without torch: windows to outputs, or to paths drawn one step after the other."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.windows import WindowBatch
from unrolled.runtime.distributions import (
    NegativeBinomial,
    Normal,
    Point,
    Predictive,
    Samples,
    StudentT,
    from_outputs,
)
from unrolled.runtime.heads import last_layer
from unrolled.runtime.networks import bridge, split_states
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.rows import to_rows, to_state
from unrolled.runtime.weights import Array, Linear, Weights, part_of_model, take, under
from unrolled.spec import ForecasterSpec, Precision
from unrolled.validation import check_network, final_sizes


class ForecasterNetwork:
    """The numpy twin of `unrolled.nn.forecaster.Forecaster`, from the same spec and weights.

    Raises ConfigError for a spec whose sizes do not fit, ModelError for a weight that is missing.
    """

    def __init__(
        self, spec: ForecasterSpec, weights: Weights, *, precision: Precision = "float32"
    ) -> None:
        check_network(spec)
        self.spec = spec
        with part_of_model("recurrent"):
            self.recurrent = Recurrent(
                spec.recurrent, under(weights, "recurrent"), precision=precision
            )
        self.dtype = self.recurrent.dtype
        self.head: _Head | None = None
        self.decoder: Recurrent | None = None
        if spec.decoder in ("linear", "mlp"):
            self.head = _Head(spec, weights)
            return
        stack = spec.recurrent
        if spec.decoder_recurrent is not None:
            stack = spec.decoder_recurrent
            self.bridge_h, self.bridge_c = bridge(*final_sizes(spec.recurrent), stack, weights)
            with part_of_model("decoder"):
                self.decoder = Recurrent(stack, under(weights, "decoder"), precision=precision)
        self.output = Linear(weights, "output", stack.output_size, spec.num_outputs)

    def outputs(self, batch: WindowBatch) -> Array:
        """Return what the network says of each step of the horizon, [N, H, O].

        Autoregressive: of each step of a window that spans the horizon (`teacher`), [N, T, O].
        """
        if self.spec.decoder == "autoregressive":
            y, _ = self.recurrent(self.read(batch, shifted=True), lengths=batch.lengths)
            return self.output(y)
        _, state = self.recurrent(self.read(batch), lengths=batch.lengths)
        return self.decode(state, batch)

    def decode(self, state: Any, batch: WindowBatch) -> Array:
        """Return the outputs of the horizon [N, H, O] from the state after the window."""
        lstm = self.spec.recurrent.cell == "lstm"
        h_n, c_n = state if lstm else (state, None)
        h = np.concatenate(tuple(last_layer(self.spec.recurrent, h_n)), axis=-1)
        if self.head is not None:
            return self.head(h, batch.ahead)
        assert self.decoder is not None
        stack = self.decoder.spec
        widths = [stack.state_size(k) for k in range(stack.num_layers)]
        first = split_states(np.tanh(self.bridge_h(h)), widths)
        begun: Any = first
        if self.bridge_c is not None:
            c = h
            if c_n is not None:
                c = np.concatenate(tuple(last_layer(self.spec.recurrent, c_n)), axis=-1)
            begun = (first, split_states(self.bridge_c(c), list(stack.hidden_sizes)))
        y, _ = self.decoder(self._ahead(batch), begun)
        return self.output(y)

    def predict(
        self, batch: WindowBatch, *, names: Sequence[Any], samples: int = 200, seed: int = 0
    ) -> Predictive:
        """Return the forecast of each window, in the units of its series.

        Where the decoder is autoregressive, `samples` paths are drawn, each series' by a generator
        of its own, from `seed` and its name; with point output there is one path, its own answers.
        """
        if self.spec.decoder != "autoregressive":
            outputs = self.outputs(batch)
            return self.say(outputs, batch.base.astype(np.float64), batch.location, batch.scale)
        x = self.read(batch, shifted=True)
        _, state = self.recurrent(x, lengths=batch.lengths)
        return self.draw(state, batch, names=names, samples=samples, seed=seed)

    def draw(
        self,
        state: Any,
        batch: WindowBatch,
        *,
        names: Sequence[Any],
        samples: int = 200,
        seed: int = 0,
    ) -> Predictive:
        """Go on from the state that has read all but the last value of each window."""
        count = 1 if self.spec.output == "point" else samples
        generators = [
            np.random.default_rng([seed, zlib.crc32(str(name).encode())]) for name in names
        ]
        rows = np.repeat(to_rows(self.spec.recurrent, state), count, axis=0)
        held = to_state(self.spec.recurrent, rows)
        last = batch.lengths - 1
        each = np.arange(len(batch))
        value = np.repeat(batch.y[each, last], count)
        observed = np.repeat(batch.observed[each, last], count)
        base = np.repeat(batch.base[:, 0], count).astype(np.float64)
        location, scale = (np.repeat(part, count) for part in (batch.location, batch.scale))
        static = np.repeat(batch.static, count, axis=0)
        paths = np.empty((len(batch), count, batch.ahead.shape[1]))
        for t in range(batch.ahead.shape[1]):
            known = np.repeat(batch.ahead[:, t], count, axis=0)
            outputs, held = self.advance(value, observed, known, static, held)
            added = base[:, None] if self.spec.residual == "last" else np.zeros((len(base), 1))
            said = self.say(outputs[:, None], added, location, scale)
            drawn = _draw(said, generators, count)
            paths[:, :, t] = drawn.reshape(len(batch), count)
            base = (drawn - location) / scale
            value, observed = base, np.ones_like(value)
        if self.spec.output == "point":
            return Point(paths[:, 0])
        return Samples(paths)

    def advance(
        self, value: Array, observed: Array, known: Array, static: Array, state: Any
    ) -> tuple[Array, Any]:
        """Go one step on, autoregressively: return its outputs [N, O] and the state after it.

        `value` [N] is the scaled value of the step before, 0 where `observed` [N] is 0; `known`
        [N, K] is of the step itself.
        """
        x = np.concatenate([value[:, None], observed[:, None], known, static], axis=1)
        y, state = self.recurrent.step(x.astype(self.dtype), state)
        return self.output(y), state

    def say(self, outputs: Array, base: Array, location: Array, scale: Array) -> Predictive:
        """Return what outputs [N, H, O] say in the units of the series, see `from_outputs`."""
        return from_outputs(
            outputs,
            self.spec.output,
            base=base,
            location=location,
            scale=scale,
            shares=self.spec.quantiles,
        )

    def read(self, batch: WindowBatch, *, shifted: bool = False) -> Array:
        """Return what the stack reads of windows [N, T, I]; `shifted` by a step, values only."""
        y, observed = batch.y, batch.observed
        if shifted:
            y, observed = (
                np.concatenate([np.zeros_like(part[:, :1]), part[:, :-1]], axis=1)
                for part in (y, observed)
            )
        rows, steps = y.shape
        static = np.broadcast_to(batch.static[:, None], (rows, steps, batch.static.shape[1]))
        parts = [y[..., None], observed[..., None], batch.past, batch.known, static]
        return np.concatenate(parts, axis=2).astype(self.dtype)

    def _ahead(self, batch: WindowBatch) -> Array:
        rows, steps = batch.ahead.shape[:2]
        place = np.broadcast_to((np.arange(1, steps + 1) / steps)[None, :, None], (rows, steps, 1))
        static = np.broadcast_to(batch.static[:, None], (rows, steps, batch.static.shape[1]))
        return np.concatenate([place, batch.ahead, static], axis=2).astype(self.dtype)


class _Head:
    def __init__(self, spec: ForecasterSpec, weights: Weights) -> None:
        self.horizon = spec.horizon
        width, outputs = spec.recurrent.output_size, spec.num_outputs
        self.local: Linear | None = None
        self.known: Array | None = None
        if spec.decoder == "mlp":
            size = spec.decoder_size
            self.context = Linear(weights, "head.context", width, spec.horizon * size)
            self.local = Linear(weights, "head.local", size + spec.known_size, size)
            self.output = Linear(weights, "head.output", size, outputs)
        else:
            self.context = Linear(weights, "head.context", width, spec.horizon * outputs)
            if spec.known_size:
                self.known = take(weights, "head.known.weight", (outputs, spec.known_size))

    def __call__(self, h: Array, ahead: Array) -> Array:
        context = self.context(h).reshape(len(h), self.horizon, -1)
        if self.local is not None:
            read = np.concatenate([np.maximum(context, 0), ahead], axis=-1).astype(h.dtype)
            return self.output(np.maximum(self.local(read), 0))
        if self.known is not None:
            context = context + ahead.astype(h.dtype) @ self.known.T
        return context


def _draw(said: Predictive, generators: Sequence[np.random.Generator], count: int) -> Array:
    """Return a value for each row [N * count], row n's drawn by generator n."""
    if isinstance(said, Point):
        return said.loc[:, 0]
    found = np.empty(len(generators) * count)
    for n, generator in enumerate(generators):
        at = slice(n * count, (n + 1) * count)
        if isinstance(said, Normal):
            drawn = said.loc[at, 0] + said.scale[at, 0] * generator.standard_normal(count)
        elif isinstance(said, StudentT):
            t = generator.standard_t(said.df[at, 0])
            drawn = said.loc[at, 0] + said.scale[at, 0] * t
        else:
            assert isinstance(said, NegativeBinomial)
            r, mean = 1 / said.alpha[at, 0], said.mean[at, 0]
            drawn = generator.negative_binomial(r, r / (r + mean)).astype(np.float64)
        found[at] = drawn
    return found
