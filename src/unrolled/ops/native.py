"""The native engine: one compiled call a layer, forward and backward, on CPU tensors.

Two torch operators, `unrolled::layer` and `unrolled::layer_backward`, with shapes for tracing and a
derivative, so that `torch.compile` and `torch.export` keep a layer as one node. They pass addresses
and strides, never copies, where the last dimension is contiguous. Plain tensors outside of tracing
take the same functions without torch's dispatcher, whose path through Python operators costs more
than a short sequence takes to compute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from unrolled import _native
from unrolled.errors import EngineError
from unrolled.ops.layer import LayerResult, LayerWeights, Ragged
from unrolled.shapes import cell_name
from unrolled.spec import RecurrentSpec

_WEIGHTS = "Tensor ih, Tensor hh, Tensor? b_ih, Tensor? b_hh, Tensor? hr"
_REVERSE = (
    "Tensor? ih_reverse, Tensor? hh_reverse, Tensor? b_ih_reverse, Tensor? b_hh_reverse, "
    "Tensor? hr_reverse"
)
_INPUTS = (
    f"Tensor x, Tensor h, Tensor? c, {_WEIGHTS}, {_REVERSE}, "
    "Tensor? lengths, Tensor? mask, str cell"
)
_LIBRARY: Any = torch.library.Library("unrolled", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(
    f"layer({_INPUTS}, bool keep, bool states, Tensor? flow) "
    "-> (Tensor y, Tensor h_n, Tensor c_n, Tensor cells, Tensor tape)"
)
_LIBRARY.define(
    f"layer_backward({_INPUTS}, Tensor y, Tensor tape, Tensor? dy, Tensor? dh_n, Tensor? dc_n, "
    "Tensor? dcells, bool[] needed, bool flow) -> Tensor[]"
)

# Kernels run on torch's threads: two sets of them would take turns on the cores.
_native.borrow_openmp(str(Path(torch.__file__).parent))

_FORWARD = {torch.float32: _native.layer_forward_f32, torch.float64: _native.layer_forward_f64}
_BACKWARD = {torch.float32: _native.layer_backward_f32, torch.float64: _native.layer_backward_f64}
DTYPES = tuple(_FORWARD)
_NOTHING = (0, 0, 0)

# Columns of H that the tape keeps per token and direction; see native/cells/.
_TAPE_COLUMNS = {"rnn_tanh": 0, "rnn_relu": 0, "gru_after": 4, "gru_before": 4}


def layer(
    spec: RecurrentSpec,
    weights: tuple[LayerWeights, ...],
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    *,
    ragged: Ragged | None = None,
    mask: Tensor | None = None,
    states: bool = False,
    flow: Tensor | None = None,
) -> LayerResult:
    """Run one layer in its D directions; see `ops.layer.LayerFunction`."""
    flat = [tensor for one in weights for tensor in one]
    flat += [None] * (10 - len(flat))
    lengths = None if ragged is None else ragged.lengths
    wanted = [x, h, c, *flat]
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in wanted)
    cells = states and c is not None
    run = torch.ops.unrolled.layer if _traced(wanted) else _Layer.apply if keep else _forward
    y, h_n, c_n, every, _ = run(x, h, c, *flat, lengths, mask, cell_name(spec), keep, cells, flow)
    return LayerResult(y, h_n, None if c is None else c_n, every if cells else None)


def _traced(tensors: list[Tensor | None]) -> bool:
    """Whether something watches: a compiler, a mode, or a tensor of a class of its own."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or any(
            t is not None and type(t) is not Tensor and type(t) is not Parameter for t in tensors
        )
    )


def _empty_like_sequence(x: Tensor, width: int) -> Tensor:
    """Return an empty [T, N, width] whose T and N lie in memory in the order of x's.

    The shapes given for tracing come from here too, so x is always the tensor that was passed in:
    a contiguous copy of it may lie in another order.
    """
    steps, rows, _ = x.shape
    if x.stride(0) < x.stride(1):
        return x.new_empty(rows, steps, width).transpose(0, 1)
    return x.new_empty(steps, rows, width)


def _sizes(x: Tensor, h: Tensor, hh: Tensor, cell: str) -> tuple[str, int, int, int, int, int, int]:
    """Return the cell, T, N, I, H, P and D."""
    steps, rows, inputs = x.shape
    gates = 4 if cell == "lstm" else 3 if cell.startswith("gru") else 1
    return cell, steps, rows, inputs, hh.shape[0] // gates, h.shape[2], h.shape[0]


def _tape_size(sizes: tuple[str, int, int, int, int, int, int], tokens: int | None = None) -> int:
    """Return the values of the tape for so many tokens, left out for all that x may have."""
    cell, steps, rows, _, hidden, outputs, directions = sizes
    columns = _TAPE_COLUMNS.get(cell, 5 if hidden == outputs else 6)
    return directions * (steps * rows if tokens is None else tokens) * columns * hidden


def _dense(x: Tensor) -> Tensor:
    """Return x with a contiguous last dimension."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _strided(x: Tensor | None) -> tuple[int, int, int]:
    """Return the address, time stride and batch stride of [T, N, width]."""
    return _NOTHING if x is None else (x.data_ptr(), x.stride(0), x.stride(1))


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _contiguous(tensors: Any) -> list[Tensor | None]:
    return [None if t is None else t.contiguous() for t in tensors]


def _forward(
    x: Tensor, h: Tensor, c: Tensor | None, *rest: Any, traced: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    weights, (lengths, mask, cell, keep, states, _) = rest[:10], rest[10:]
    _check(x, h, c, weights, lengths, mask)
    sizes = _sizes(x, h, weights[1], cell)
    h = h.contiguous()
    c, mask, lengths, *used = _contiguous((c, mask, lengths, *weights[: 5 * sizes[-1]]))
    y = _empty_like_sequence(x, sizes[-1] * sizes[-2])
    h_n = torch.empty_like(h)
    c_n = torch.empty_like(c) if c is not None else x.new_empty(0)
    cells = _empty_like_sequence(x, sizes[-1] * sizes[-3]) if states else x.new_empty(0)
    # The shape of an operator's result must not depend on the values of its inputs.
    tokens = None if traced or lengths is None else int(lengths.sum())
    tape = x.new_empty(_tape_size(sizes, tokens) if keep else 0)
    dense = _dense(x)
    _FORWARD[x.dtype](
        sizes,
        _address(lengths),
        _strided(dense),
        [_address(w) for w in used],
        h.data_ptr(),
        _address(c),
        _address(mask),
        _strided(y),
        h_n.data_ptr(),
        c_n.data_ptr(),
        _strided(cells) if states else _NOTHING,
        tape.data_ptr() if keep else 0,
    )
    return y, h_n, c_n, cells, tape


def _fake_forward(
    x: Tensor, h: Tensor, c: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    weights, (_, _, cell, keep, states, _) = rest[:10], rest[10:]
    sizes = _sizes(x, h, weights[1], cell)
    return (
        _empty_like_sequence(x, sizes[-1] * sizes[-2]),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        x.new_empty(c.shape if c is not None else 0),
        _empty_like_sequence(x, sizes[-1] * sizes[-3]) if states else x.new_empty(0),
        x.new_empty(_tape_size(sizes) if keep else 0),
    )


def _check(
    x: Tensor, h: Tensor, c: Tensor | None, weights: Any, lengths: Tensor | None, mask: Any
) -> None:
    """Raise ValueError where shapes, dtypes or devices are not those of one layer on the CPU."""
    for tensor in (x, h, c, mask, *weights):
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device.type != "cpu"):
            raise ValueError(
                f"the native engine needs every tensor as {x.dtype} on the CPU, "
                f"got {tensor.dtype} on {tensor.device}"
            )
    if x.dtype not in _FORWARD:
        raise ValueError(f"the native engine computes float32 and float64, got {x.dtype}")
    directions, rows, outputs = h.shape
    if x.dim() != 3 or x.shape[1] != rows or directions not in (1, 2):
        raise ValueError(f"x {list(x.shape)} and h {list(h.shape)} do not fit one layer")
    rows_of_gates = weights[0].shape[0]
    for w in (weights[:5], weights[5:])[:directions]:
        hidden = w[4].shape[1] if w[4] is not None else outputs
        _expect("weight_ih", w[0], (rows_of_gates, x.shape[2]))
        _expect("weight_hh", w[1], (rows_of_gates, outputs))
        _expect("bias_ih", w[2], (rows_of_gates,))
        _expect("bias_hh", w[3], (rows_of_gates,))
        _expect("weight_hr", w[4], (outputs, hidden))
        _expect("c", c, (directions, rows, hidden))
        if rows_of_gates not in (hidden, 3 * hidden, 4 * hidden):
            raise ValueError(f"weight_ih has {rows_of_gates} rows for {hidden} hidden units")
    _expect("mask", mask, (directions, rows, outputs))
    _expect("lengths", lengths, (rows,))
    if lengths is not None and (lengths.dtype != torch.int64 or lengths.device.type != "cpu"):
        raise ValueError(f"lengths must be int64 on the CPU, got {lengths.dtype}")


def _expect(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    if tensor is not None and tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")


def _backward(x: Tensor, h: Tensor, c: Tensor | None, *rest: Any) -> list[Tensor]:
    weights, (lengths, mask, cell) = rest[:10], rest[10:13]
    y, tape, dy, dh_n, dc_n, dcells, needed, _ = rest[13:]
    sizes = _sizes(x, h, weights[1], cell)
    dense = _dense(x)
    dy = y.new_zeros(()).expand(y.shape) if dy is None else _dense(dy)
    if dy.stride(-1) != 1 and dy.shape[-1] != 1:
        dy = dy.contiguous()
    dcells = None if dcells is None else _dense(dcells)
    small = _contiguous((h, c, mask, lengths, dh_n, dc_n, *weights[: 5 * sizes[-1]]))
    h_in, c_in, mask, lengths, dh_n, dc_n, *used = small
    gradients = _fake_backward(x, h, c, *rest)
    dx, dh0, dc0, *dw, flow = gradients
    _BACKWARD[x.dtype](
        sizes,
        _address(lengths),
        _strided(dense),
        [_address(w) for w in used],
        _address(h_in),
        _address(c_in),
        _address(mask),
        _strided(y),
        tape.data_ptr(),
        _strided(dy),
        _address(dh_n),
        _address(dc_n),
        _strided(dcells),
        _strided(dx) if needed[0] else _NOTHING,
        [_address(g) if g.numel() else 0 for g in dw[: 5 * sizes[-1]]],
        dh0.data_ptr() if needed[1] else 0,
        dc0.data_ptr() if needed[2] else 0,
        flow.data_ptr() if flow.numel() else 0,
    )
    return gradients


def _fake_backward(x: Tensor, h: Tensor, c: Tensor | None, *rest: Any) -> list[Tensor]:
    weights, (needed, flow) = rest[:10], rest[-2:]
    return [
        _empty_like_sequence(x, x.shape[2]) if needed[0] else x.new_empty(0),
        *(
            torch.empty_like(tensor, memory_format=torch.contiguous_format)
            if tensor is not None and need
            else x.new_empty(0)
            for tensor, need in zip((h, c, *weights), needed[1:], strict=True)
        ),
        x.new_empty(h.shape[0], *x.shape[:2], 2) if flow else x.new_empty(0),
    ]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, h, c, *rest = inputs
    weights, (lengths, mask, cell, _, states, flow) = rest[:10], rest[10:]
    y, _, _, _, tape = output
    ctx.mark_non_differentiable(tape)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, h, c, *weights, lengths, mask, y, tape)
    ctx.cell, ctx.states, ctx.flow, ctx.traced = cell, states, flow, True


def _is_mapped(x: Tensor) -> bool:
    """Whether x is one of many inside a vmap, torch.func's or the one inside autograd."""
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(x) or functorch.is_legacy_batchedtensor(x)


def _derivative(
    ctx: Any,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    dcells: Tensor | None,
    _: Tensor | None,
) -> tuple[Tensor | None, ...]:
    if any(g is not None and _is_mapped(g) for g in (dy, dh_n, dc_n, dcells)):
        raise EngineError(
            "the native engine's gradients are not mapped over by vmap (is_grads_batched=True, "
            "vectorize=True); use engine='reference', or take one gradient after another"
        )
    *inputs, lengths, mask, y, tape = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:13])
    # With gradients enabled a second derivative is asked for, or a graph is traced.
    run = torch.ops.unrolled.layer_backward if torch.is_grad_enabled() or ctx.traced else _backward
    *gradients, flow = run(
        *inputs,
        lengths,
        mask,
        ctx.cell,
        y,
        tape,
        dy,
        dh_n,
        dc_n if inputs[2] is not None else None,
        dcells if ctx.states else None,
        needed,
        ctx.flow is not None,
    )
    if ctx.flow is not None:
        ctx.flow.copy_(flow)
    wanted = [g if need else None for g, need in zip(gradients, needed, strict=True)]
    return (*wanted, *[None] * 6)


class _Layer(torch.autograd.Function):
    """The layer and its derivative for plain tensors."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = _forward(*inputs, traced=False)
        _setup(ctx, inputs, output)
        ctx.traced = False
        return output

    backward = staticmethod(_derivative)


def _no_setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    del ctx, inputs, output


def _no_derivative(ctx: Any, *gradients: Any) -> None:
    raise EngineError(
        "the native engine has no second derivative; use engine='reference' for double backward"
    )


_LIBRARY.impl("layer", _forward, "CPU")
_LIBRARY.impl("layer_backward", _backward, "CPU")
torch.library.register_fake("unrolled::layer", _fake_forward, lib=_LIBRARY)
torch.library.register_fake("unrolled::layer_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd("unrolled::layer", _derivative, setup_context=_setup, lib=_LIBRARY)
torch.library.register_autograd(
    "unrolled::layer_backward", _no_derivative, setup_context=_no_setup, lib=_LIBRARY
)
