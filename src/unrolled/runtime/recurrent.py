"""Recurrent layers without torch: the stack of `unrolled.nn`, for inference on numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeAlias, cast, get_args, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.runtime import layer as engine
from unrolled.runtime.episodes import by_episodes, mask_of
from unrolled.runtime.layer import Array
from unrolled.runtime.lookahead import LookaheadSession
from unrolled.runtime.operator import (
    PEEPHOLE,
    STANDARD,
    CellOptions,
    check_options,
    check_peepholes,
)
from unrolled.runtime.rows import check_out, frames, plain
from unrolled.runtime.session import Session, SessionPool
from unrolled.runtime.state import fingerprint
from unrolled.shapes import check_shapes, check_spec, spec_from_shapes, suffixes
from unrolled.spec import Merge, Nonlinearity, Precision, RecurrentSpec, Reset

Stacked: TypeAlias = Array | tuple[Array, ...]
State: TypeAlias = Stacked | tuple[Stacked, Stacked]


class Recurrent:
    """A stack of recurrent layers over weights with torch's names; state goes in and comes out.

    Equations and shapes are those of `unrolled.nn.RNN`, `LSTM` and `GRU`; the batch comes first.
    Computes in float64 where `weights` are float64, else in float32. `options` change every
    layer's cell as ONNX's operators may. An LSTM's `weights` may hold peepholes,
    `weight_peephole_l0` and so on, [3, H] in the order i f o. Neither can be trained. With
    `precision` "bf16" or "int8" the products of x and h are of fewer bits, see
    `unrolled.precision`; states, gates and outputs stay float32. Raises ValueError where the
    weights' names or shapes are not those of `spec`, or options do not fit, and for a low precision
    of float64 weights, of an LSTM with a projection, and together with options or peepholes.
    """

    def __init__(
        self,
        spec: RecurrentSpec,
        weights: Mapping[str, ArrayLike],
        options: CellOptions | None = None,
        *,
        precision: Precision = "float32",
    ) -> None:
        check_spec(spec)
        self.options = options or STANDARD
        check_options(spec, self.options)
        arrays = {name: np.asarray(value) for name, value in weights.items()}
        shapes = {name: value.shape for name, value in arrays.items()}
        check_peepholes(spec, shapes)
        check_shapes(spec, _without_peepholes(shapes))
        wide = any(value.dtype == np.float64 for value in arrays.values())
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        plain_cell = self.options == STANDARD and not any(map(_is_peephole, arrays))
        _check_precision(precision, spec, self.dtype, plain_cell=plain_cell)
        self.spec = spec
        self.precision: Precision = precision
        self.weights: dict[str, Array] = {
            name: np.array(value, dtype=self.dtype, order="C") for name, value in arrays.items()
        }
        self._layers = [
            engine.pack(
                spec,
                [self._parameters(suffix) for suffix in suffixes(spec, k)],
                self.options,
                self._peepholes(k),
                precision,
            )
            for k in range(spec.num_layers)
        ]
        self._stepper = None if spec.bidirectional else self._new_stepper()

    @classmethod
    def from_state_dict(
        cls,
        mapping: Mapping[str, Any],
        *,
        nonlinearity: Nonlinearity = "tanh",
        merge: Merge = "concat",
        reset: Reset = "after",
        residual: bool = False,
        options: CellOptions | None = None,
        precision: Precision = "float32",
    ) -> Self:
        """Return the layer of a torch.nn or `unrolled.nn` state_dict (arrays or CPU tensors).

        Cell, widths, directions, biases and projection are read from names and shapes; what those
        cannot tell is given by keyword. Raises ValueError naming the key that does not fit.
        """
        arrays = {name: np.asarray(value) for name, value in mapping.items()}
        spec = spec_from_shapes(
            _without_peepholes({name: value.shape for name, value in arrays.items()}),
            nonlinearity=nonlinearity,
            merge=merge,
            reset=reset,
            residual=residual,
        )
        return cls(spec, arrays, options, precision=precision)

    def _parameters(self, suffix: str) -> engine.Parameters:
        get = self.weights.get
        ih, hh = self.weights["weight_ih" + suffix], self.weights["weight_hh" + suffix]
        return ih, hh, get("bias_ih" + suffix), get("bias_hh" + suffix), get("weight_hr" + suffix)

    def _peepholes(self, k: int) -> list[Array] | None:
        names = [PEEPHOLE + suffix for suffix in suffixes(self.spec, k)]
        return [self.weights[name] for name in names] if names[0] in self.weights else None

    def __call__(
        self,
        x: ArrayLike,
        state: State | None = None,
        lengths: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        reset: ArrayLike | None = None,
    ) -> tuple[Array, State]:
        """Run the stack over x [N, T, I] and return y [N, T, out] and the last state.

        `lengths` [N] in 0..T, in any order, end each row: y is zero past it and the state is each
        row's own last. `state` is h [L*D, N, P], for LSTM (h, c) with c [L*D, N, H]; a tuple of
        [D, N, H_l] in place of each where widths differ. Left out, it is zero or learned. Where
        `reset` [N, T], of booleans, is true, a row begins anew before that step, as in
        `unrolled.nn`. Raises ValueError for what does not fit.
        """
        spec = self.spec
        values = np.asarray(x, dtype=self.dtype)
        if values.ndim != 3 or values.shape[2] != spec.input_size or not values.shape[1]:
            raise ValueError(
                f"the input must be [N, T, {spec.input_size}] with T at least 1, "
                f"got {list(values.shape)}"
            )
        ends = _check_lengths(lengths, *values.shape[:2])
        rows, steps, _ = values.shape
        h, c = self._split(state, rows)
        if reset is None:
            return self._closed(*self._run(values, h, c, ends))
        mask = mask_of(reset, rows, steps)
        return self._closed(
            *by_episodes(self._run, values, (h, c), self._split(None, 1), ends, mask)
        )

    def _closed(self, y: Array, h: list[Array], c: list[Array]) -> tuple[Array, State]:
        return y, self._join(h, c)

    def _run(
        self, values: Array, h: list[Array], c: list[Array], ends: NDArray[np.int64] | None
    ) -> tuple[Array, list[Array], list[Array]]:
        """Run every layer: outputs, and the last h and c of each in the place of the first."""
        for k, layer in enumerate(self._layers):
            y, h[k], c_k = engine.run(layer, values, h[k], c[k] if c else None, ends)
            if c_k is not None:
                c[k] = c_k
            values = self._merged(k, y, values)
        return values, h, c

    def _merged(self, k: int, y: Array, x: Array) -> Array:
        """Return what layer k gives the next one: its directions as one, its input added."""
        y = _merge(self.spec, y)
        return y + x if self.spec.residual and k else y

    def step(
        self, x: ArrayLike, state: State | None = None, out: Array | None = None
    ) -> tuple[Array, State]:
        """Advance one time step: x [N, I] -> y [N, P] and the new state; x [I] -> y [P].

        For x [I] the state has no N: h [L, P]. `out`, where given, receives y and is returned.
        Raises ValueError for a bidirectional stack, which needs the whole sequence, and for shapes
        that do not fit.
        """
        stepper = self._stepper
        done = None if stepper is None else stepper.step(x, state, out)
        return self._step_of(x, state, out) if done is None else done

    def _step_of(self, x: ArrayLike, state: State | None, out: Array | None) -> tuple[Array, State]:
        """Step on arguments that are no plain arrays: make them so, or say what is wrong."""
        spec, stepper = self.spec, self._stepper
        if stepper is None:
            raise ValueError("a bidirectional layer has no single step: it reads from the end")
        values = frames(x, spec.input_size, self.dtype)
        single = values.ndim == 1
        check_out(out, (*values.shape[:-1], spec.output_size))
        if state is not None:
            h, c = self._split(state, 1 if single else len(values), single=single)
            h, c = ([plain(part, self.dtype) for part in parts] for parts in (h, c))
            state = self._join(h, c, single=single)
        y, after = cast("tuple[Array, State]", stepper.step(values, state, None))
        if out is None:
            return y, after
        np.copyto(out, y)
        return out, after

    @overload
    def stream(self, rows: int = 1, *, lookahead: None = None) -> Session: ...
    @overload
    def stream(self, rows: int = 1, *, lookahead: int) -> LookaheadSession: ...
    def stream(self, rows: int = 1, *, lookahead: int | None = None) -> Session | LookaheadSession:
        """Begin a session of `rows` streams that keeps its state between calls.

        A bidirectional layer streams with a `lookahead` of frames only, and then approximately:
        see `LookaheadSession`. Raises ValueError where direction and `lookahead` do not fit.
        """
        if lookahead is not None:
            return LookaheadSession(self, rows, lookahead)
        return Session(SessionPool(self, rows))

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that tell layers apart by spec, options and weights."""
        options = None if self.options == STANDARD else self.options
        return fingerprint(self.spec, self.weights, options)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the layer into a folder: its spec and options as JSON, its weights beside them.

        Weights are written whole, in any `precision`; `load` takes one of its own.
        Raises ModelError where the folder holds something already and `overwrite` is not given.
        """
        from unrolled.runtime import storage

        storage.save(self, folder, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path, *, precision: Precision = "float32") -> Self:
        """Return the layer that `save` wrote into a folder.

        Raises ModelError naming the file that is missing, damaged or not of the other one, or the
        folder whose layer has no such `precision`.
        """
        from unrolled.errors import ModelError
        from unrolled.runtime import storage

        stored, weights = storage.read(folder)
        try:
            layer = cls(stored.spec, weights, stored.options, precision=precision)
        except ValueError as error:
            raise ModelError(f"{folder}: {error}") from None
        if layer.fingerprint != stored.fingerprint:
            raise ModelError(f"{folder}: the weights do not match the fingerprint beside them")
        return layer

    def _new_stepper(self) -> engine.Stepper:
        layers = range(self.spec.num_layers)
        h = [self._first("h0", k, 1)[0, 0] for k in layers]
        c = [self._first("c0", k, 1)[0, 0] for k in layers] if self.spec.cell == "lstm" else []
        return engine.stepper(self.spec, self._layers, h, c)

    def _split(
        self, state: State | None, rows: int, *, single: bool = False
    ) -> tuple[list[Array], list[Array]]:
        """Return h and c per layer, [D, N, P] and [D, N, H] (c empty but for LSTM)."""
        spec, lstm = self.spec, self.spec.cell == "lstm"
        if state is None:
            h = [self._first("h0", k, rows) for k in range(spec.num_layers)]
            return h, [self._first("c0", k, rows) for k in range(spec.num_layers)] if lstm else []
        if not lstm:
            return self._parts("h", state, rows, single), []
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ValueError("LSTM takes its state as a pair (h, c)")
        return self._parts("h", state[0], rows, single), self._parts("c", state[1], rows, single)

    def _first(self, name: str, k: int, rows: int) -> Array:
        spec = self.spec
        width = spec.state_size(k) if name == "h0" else spec.hidden_sizes[k]
        first = np.zeros((spec.num_directions, rows, width), self.dtype)
        if spec.initial_state == "learned":
            for d, suffix in enumerate(suffixes(spec, k)):
                first[d] = self.weights[name + suffix]
        return first

    def _parts(self, kind: str, value: Any, rows: int, single: bool) -> list[Array]:
        spec, batch = self.spec, () if single else (rows,)
        widths = [
            spec.state_size(k) if kind == "h" else spec.hidden_sizes[k]
            for k in range(spec.num_layers)
        ]
        if isinstance(value, (tuple, list)):
            parts = [np.asarray(part, dtype=self.dtype) for part in value]
            wanted = [(spec.num_directions, *batch, width) for width in widths]
            if [part.shape for part in parts] != wanted:
                raise ValueError(
                    f"{kind} of the state must be one array per layer of shapes "
                    f"{[list(shape) for shape in wanted]}, got {[list(p.shape) for p in parts]}"
                )
        else:
            whole = np.asarray(value, dtype=self.dtype)
            shape = (spec.num_layers * spec.num_directions, *batch, widths[0])
            if len(set(widths)) > 1 or whole.shape != shape:
                wish = list(shape) if len(set(widths)) == 1 else f"a tuple for widths {widths}"
                raise ValueError(f"{kind} of the state must be {wish}, got {list(whole.shape)}")
            D = spec.num_directions
            parts = [whole[at : at + D] for at in range(0, len(whole), D)]
        return [part[:, None] for part in parts] if single else parts

    def _join(self, h: list[Array], c: list[Array], *, single: bool = False) -> State:
        joined = _join(h, single)
        return (joined, _join(c, single)) if c else joined


def _without_peepholes(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not _is_peephole(name)}


def _is_peephole(name: str) -> bool:
    return name.startswith(PEEPHOLE)


def _join(parts: list[Array], single: bool) -> Stacked:
    """Return [L*D, N, H], or a tuple of [D, N, H_l] where widths differ."""
    if single:
        parts = [part[:, 0] for part in parts]
    if len(parts) == 1:
        return parts[0]
    if len({part.shape[-1] for part in parts}) > 1:
        return tuple(parts)
    return np.concatenate(parts)


def _merge(spec: RecurrentSpec, y: Array) -> Array:
    """Return the directions of y [N, T, D*P] merged as `spec.merge` says."""
    if not spec.bidirectional or spec.merge == "concat":
        return y
    forward, backward = np.split(y, 2, axis=-1)
    if spec.merge == "mul":
        return forward * backward
    total = forward + backward
    return total / 2 if spec.merge == "mean" else total


def _check_precision(
    precision: Precision, spec: RecurrentSpec, dtype: np.dtype[Any], *, plain_cell: bool
) -> None:
    if precision not in get_args(Precision):
        raise ValueError(f"precision {precision!r}: expected float32, bf16 or int8")
    if precision == "float32":
        return
    if dtype != np.float32:
        raise ValueError(f"precision {precision!r} is for float32 weights, these are {dtype}")
    if spec.proj_size:
        raise ValueError(f"precision {precision!r}: an LSTM with a projection runs in float32 only")
    if not plain_cell:
        raise ValueError(
            f"precision {precision!r}: a cell with options or peepholes runs in float32 only"
        )


def _check_lengths(
    lengths: Sequence[int] | NDArray[np.integer] | None, rows: int, steps: int
) -> NDArray[np.int64] | None:
    """Return lengths as int64 [N], or None where every row has all T steps."""
    if lengths is None:
        return None
    value = np.asarray(lengths)
    if value.shape != (rows,) or not np.issubdtype(value.dtype, np.integer):
        raise ValueError(
            f"lengths must be {rows} integers, one per row, got {value.dtype} {list(value.shape)}"
        )
    wrong = np.flatnonzero((value < 0) | (value > steps))
    if len(wrong):
        raise ValueError(
            f"lengths must lie in 0..{steps} (T of the input), "
            f"got {value[wrong[0]]} in row {wrong[0]}"
        )
    return None if (value == steps).all() else value.astype(np.int64)
