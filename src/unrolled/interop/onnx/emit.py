"""What a node becomes in a program: calls without arguments over arrays that are already there.

Each function gets the node, its input arrays, which of them never change, and what the operator of
the plan made of them. It returns the calls that make the same again, and the arrays that they
write: one for each output, then those between. Where it returns None, the operator itself is called
and its result copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from unrolled.interop.onnx.ops.call import Array, Call
from unrolled.interop.onnx.ops.recurrent_node import Prepared
from unrolled.interop.onnx.ops.windows import room_around, side_by_side, window_of
from unrolled.interop.onnx.plan import Step
from unrolled.runtime.bound import bound_run, bound_step

Thunk: TypeAlias = Callable[[], Any]
Inputs: TypeAlias = Sequence["Array | None"]
Emitted: TypeAlias = tuple[list[Thunk], list[Array]]
Emitter: TypeAlias = Callable[[Step, Inputs, Sequence[bool], list[Array]], "Emitted | None"]

# Inputs whose elements, not only their shapes, decide the shape of what an operator makes.
_REDUCE = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
PARAMETERS: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "NonZero": (0,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    **{f"Reduce{name}": (1,) for name in _REDUCE},
}

# Operators that are one ufunc on every type that they take.
_UFUNCS: dict[str, np.ufunc] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Equal": np.equal,
    "Exp": np.exp,
    "Floor": np.floor,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "IsNaN": np.isnan,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Log": np.log,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Reciprocal": np.reciprocal,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Tanh": np.tanh,
    "Xor": np.logical_xor,
}
_VARIADIC: dict[str, np.ufunc] = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}


def emit(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted:
    """Return the calls that do a node's work, and the arrays that its outputs are then in."""
    kind = step.call.node.op_type
    if kind in _UFUNCS:
        outputs = [np.empty(made[0].shape, made[0].dtype)]
        return [partial(_UFUNCS[kind], *inputs, outputs[0])], outputs
    emitter = _EMITTERS.get(kind)
    found = None if emitter is None else emitter(step, inputs, still, made)
    return _plain(step, inputs, made) if found is None else found


def _plain(step: Step, inputs: Inputs, made: list[Array]) -> Emitted:
    """Call the operator itself, and copy what it gives."""
    outputs, run, call = [np.array(each, order="C") for each in made], step.op.run, step.call

    def thunk() -> None:
        found = run(call, *inputs)
        for array, value in zip(
            outputs, found if isinstance(found, tuple) else (found,), strict=False
        ):
            np.copyto(array, value)

    return [thunk], outputs


def _arrange(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted:
    """A view of the input, made already; a copy where the elements cannot lie as they are."""
    x = inputs[0]
    assert x is not None
    thunks: list[Thunk] = []
    for array in made:
        if array.size and array.size == x.size and not np.may_share_memory(array, x):
            thunks.append(partial(np.copyto, array.reshape(x.shape), x))
    return thunks, made


def _identity(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted:
    """The input itself; the mask of Dropout, too, is the same in every run."""
    return [], made


def _cast(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted:
    x, out = inputs[0], np.empty(made[0].shape, made[0].dtype)
    assert x is not None
    return [partial(np.copyto, out, x, casting="unsafe")], [out]


def _divide(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted | None:
    if made[0].dtype.kind != "f":
        return None
    out = np.empty(made[0].shape, made[0].dtype)
    return [partial(np.divide, *inputs, out)], [out]


def _power(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted | None:
    x, exponent = inputs
    assert x is not None
    assert exponent is not None
    if x.dtype.kind != "f" or not still[1] or exponent.size != 1 or made[0].shape != x.shape:
        return None
    known = {2.0: np.square, 1.0: np.positive, 0.5: np.sqrt}
    function = known.get(float(exponent.reshape(())))
    if function is None or (function is np.sqrt and not x.flags.c_contiguous):
        return None
    out = np.empty(x.shape, x.dtype)
    return [partial(function, x, out)], [out]


def _relu(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted:
    out = np.empty(made[0].shape, made[0].dtype)
    return [partial(np.maximum, inputs[0], np.zeros((), out.dtype), out=out)], [out]


def _sigmoid(
    step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]
) -> Emitted | None:
    """1 / (1 + exp(-x)): an exp that overflows gives 0, as it should."""
    out = np.empty(made[0].shape, made[0].dtype)
    one = np.ones((), out.dtype)
    return [
        partial(np.negative, inputs[0], out),
        partial(np.exp, out, out),
        partial(np.add, out, one, out),
        partial(np.divide, one, out, out),
    ], [out]


def _variadic(
    step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]
) -> Emitted | None:
    function = _VARIADIC[step.call.node.op_type]
    out = np.empty(made[0].shape, made[0].dtype)
    if len(inputs) != 2:
        return None
    return [partial(function, *inputs, out=out)], [out]


def _concat(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted:
    out = np.array(made[0], order="C")
    axis = step.call.get("axis", 1) % out.ndim
    thunks: list[Thunk] = []
    start = 0
    for part, constant in zip(inputs, still, strict=True):
        assert part is not None
        end = start + part.shape[axis]
        # What never changes is in its place already.
        if not constant and part.size:
            cut = (slice(None),) * axis + (slice(start, end),)
            thunks.append(partial(np.copyto, out[cut], part))
        start = end
    return thunks, [out]


def _gather(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted | None:
    x, indices = inputs
    assert x is not None
    assert indices is not None
    if not still[1] or not made[0].size:
        return None
    axis = step.call.get("axis", 0) % x.ndim
    if indices.ndim == 0:
        return [], [x[(*(slice(None),) * axis, int(indices), ...)]]
    places = np.asarray(indices % x.shape[axis], np.intp)
    out = np.empty(made[0].shape, made[0].dtype)
    return [partial(x.take, places, axis, out, "clip")], [out]


def _pad(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted | None:
    """Each element's place in x is found once; what is filled in is in its place already."""
    x = inputs[0]
    assert x is not None
    if not all(still[1:]) or not x.flags.c_contiguous or not x.size:
        return None
    rest = list(inputs[1:])
    if len(rest) > 1:
        rest[1] = np.zeros((), np.int64)
    numbers = np.arange(1, x.size + 1).reshape(x.shape)
    call = Call(step.call.node, step.call.opset, step.call.limit)
    places = step.op.run(call, numbers, *rest)
    out = np.array(made[0], order="C")
    if step.call.get("mode", "constant") != "constant":
        return [partial(x.reshape(-1).take, places - 1, None, out, "clip")], [out]
    corner = np.argwhere(places == 1)
    if np.count_nonzero(places) != x.size or len(corner) != 1:
        return None
    box = tuple(slice(a, a + n) for a, n in zip(corner[0].tolist(), x.shape, strict=True))
    return [partial(np.copyto, out[box], x)], [out]


def _matmul(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted | None:
    a, b = inputs
    assert a is not None
    assert b is not None
    out = np.empty(made[0].shape, made[0].dtype)
    if a.dtype.kind != "f" or not out.ndim or not out.size or not a.size:
        return None
    if a.ndim >= 2 and b.ndim == 2 and a.flags.c_contiguous:
        rows = a.reshape(-1, a.shape[-1])
        return [partial(np.dot, rows, b, out.reshape(len(rows), -1))], [out]
    return [partial(np.matmul, a, b, out)], [out]


def _gemm(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted | None:
    call = step.call
    a, b = inputs[0], inputs[1]
    c = inputs[2] if len(inputs) > 2 else None
    assert a is not None
    assert b is not None
    if made[0].dtype.kind != "f" or call.get("alpha", 1.0) != 1 or call.get("beta", 1.0) != 1:
        return None
    out = np.empty(made[0].shape, made[0].dtype)
    a, b = (a.T if call.get("transA", 0) else a), (b.T if call.get("transB", 0) else b)
    thunks: list[Thunk] = [partial(np.dot, a, b, out)]
    if c is not None:
        thunks.append(partial(np.add, out, c, out))
    return thunks, [out]


def _conv(step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]) -> Emitted | None:
    """One product of the weight with the windows laid side by side, in an array made before."""
    x, weight = inputs[0], inputs[1]
    bias = inputs[2] if len(inputs) > 2 else None
    assert x is not None
    assert weight is not None
    groups, rows = step.call.get("group", 1), x.shape[0]
    if not made[0].size or not x.size or not all(still[1:]):
        return None
    window = window_of(step.call, x.shape[2:], weight.shape[2:])
    thunks: list[Thunk] = []
    padded = x
    if any(window.before) or any(window.after):
        padded, inside = room_around(x, window.before, window.after, 0)
        thunks.append(partial(np.copyto, inside, x))
    seen = side_by_side(padded, window)
    steps = math.prod(made[0].shape[2:])
    columns = np.empty(seen.shape, x.dtype)
    thunks.append(partial(np.copyto, columns, seen))
    out = np.empty(made[0].shape, made[0].dtype)
    kernel = weight.reshape(groups, weight.shape[0] // groups, -1)
    beside = columns.reshape(rows, groups, -1, steps)
    if rows == groups == 1:
        thunks.append(partial(np.dot, kernel[0], beside[0, 0], out.reshape(-1, steps)))
    else:
        by_group = out.reshape(rows, groups, -1, steps)
        thunks.append(partial(np.matmul, kernel, beside, by_group))
    if bias is not None:
        thunks.append(partial(np.add, out, bias.reshape(-1, *[1] * (x.ndim - 2)), out))
    return thunks, [out, columns]


def _recurrent(
    step: Step, inputs: Inputs, still: Sequence[bool], made: list[Array]
) -> Emitted | None:
    """A layer of packed weights: one step by the stepper, more by the layer's own kernel."""
    known: Prepared = step.call.prepared
    cell, layer = known.cell, known.engine
    given = [*inputs, *[None] * (8 - len(inputs))]
    x, lengths, h, c = given[0], given[4], given[5], given[6]
    assert x is not None
    if layer is None or known.weights is None or lengths is not None or not x.size:
        return None
    given_types = {each.dtype for each in (x, h, c, known.weights.W) if each is not None}
    if given_types != {layer.dtype}:
        return None
    if cell.batch_first:
        x, h, c = (None if each is None else each.swapaxes(0, 1) for each in (x, h, c))
        assert x is not None
    steps = x.shape[0]
    if steps == 1 and cell.direction != "bidirectional":
        thunks, outputs = bound_step(layer, x, h, c)
    elif cell.direction != "reverse":
        thunks, outputs = bound_run(layer, x, h, c)
    else:
        return None
    if cell.batch_first:
        y, *states = outputs
        outputs = [y.transpose(2, 0, 1, 3), *(state.swapaxes(0, 1) for state in states)]
    return thunks, outputs[: len(made)]


_ARRANGED = ("Expand", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
_EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(_ARRANGED, _arrange),
    **dict.fromkeys(("Dropout", "Identity"), _identity),
    **dict.fromkeys(_VARIADIC, _variadic),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    "Cast": _cast,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _divide,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
    "Pow": _power,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
}
