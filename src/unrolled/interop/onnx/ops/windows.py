"""Operators that slide a window: convolution and pooling, over one dimension or more.

Definitions: github.com/onnx/onnx, `docs/Operators.md`. X is [N, C, L...]; a kernel's place in the
window is a loop of a few rounds, so that each round is one operation on whole arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.interop.onnx.ops.call import MAX_PRODUCTS, Array, Call
from unrolled.interop.onnx.ops.products import mean_of

AUTO_PAD = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
# Places of one kernel: beyond it, a small file could keep a machine busy.
MAX_KERNEL = 1 << 16


@dataclass(frozen=True)
class Window:
    """Kernel sizes, strides, dilations, and what is added before and after each dimension."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """How far a kernel reaches: dilation (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def steps(self, sizes: Sequence[int], *, ceil: bool = False) -> tuple[int, ...]:
        """How many windows fit into a padded input of `sizes` (before padding)."""
        found = []
        for n, a, b, reach, stride in zip(
            sizes, self.before, self.after, self.extents, self.strides, strict=True
        ):
            room = n + a + b - reach
            if room < 0:
                raise ValueError(f"the kernel reaches over {reach} elements of {n + a + b}")
            count = (-(-room // stride) if ceil else room // stride) + 1
            # A last window that lies in the padding behind the input does not count.
            found.append(count - 1 if ceil and (count - 1) * stride >= n + a else count)
        return tuple(found)

    def places(self, steps: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Yield each place of the kernel, and the padded elements that it meets in every window."""
        for place in itertools.product(*map(range, self.kernel)):
            yield (
                place,
                tuple(
                    slice(k * d, k * d + (count - 1) * s + 1, s)
                    for k, d, count, s in zip(
                        place, self.dilations, steps, self.strides, strict=True
                    )
                ),
            )


def _list(call: Call, name: str, count: int, default: int, least: int) -> tuple[int, ...]:
    values = tuple(call.get(name) or (default,) * count)
    if len(values) != count or min(values) < least:
        raise ValueError(f"{name} is {list(values)}, expected {count} numbers of {least} or more")
    return values


def window_of(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> Window:
    """Return the window that a node's attributes say, for an input of `sizes`."""
    rank = len(sizes)
    given = tuple(call.get("kernel_shape") or kernel)
    if len(given) != rank or min(given, default=0) < 1 or math.prod(given) > MAX_KERNEL:
        raise ValueError(f"kernel_shape is {list(given)} for {rank} dimensions")
    if kernel and tuple(kernel) != given:
        raise ValueError(f"kernel_shape is {list(given)} but the weight has {list(kernel)}")
    strides = _list(call, "strides", rank, 1, 1)
    dilations = _list(call, "dilations", rank, 1, 1)
    auto = call.choice("auto_pad", "NOTSET", AUTO_PAD)
    if auto == "NOTSET":
        pads = _list(call, "pads", 2 * rank, 0, 0)
        return Window(given, strides, dilations, pads[:rank], pads[rank:])
    if auto == "VALID":
        return Window(given, strides, dilations, (0,) * rank, (0,) * rank)
    before, after = [], []
    for n, k, s, d in zip(sizes, given, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return Window(given, strides, dilations, tuple(before), tuple(after))


def _padded(
    call: Call, x: Array, before: Sequence[int], after: Sequence[int], fill: float
) -> Array:
    if not any(before) and not any(after):
        return x
    sizes = [a + n + b for n, a, b in zip(x.shape[2:], before, after, strict=True)]
    call.check((*x.shape[:2], *sizes), x.dtype)
    padded, inside = room_around(x, before, after, fill)
    inside[...] = x
    return padded


def room_around(
    x: Array, before: Sequence[int], after: Sequence[int], fill: float
) -> tuple[Array, Array]:
    """Return an array of one value that holds x and its padding, and the part that is x's."""
    sizes = [a + n + b for n, a, b in zip(x.shape[2:], before, after, strict=True)]
    padded = np.full((*x.shape[:2], *sizes), fill, x.dtype)
    inside = [slice(a, a + n) for n, a in zip(x.shape[2:], before, strict=True)]
    return padded, padded[(slice(None), slice(None), *inside)]


def conv(call: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Convolve with W [M, C / groups, K...]: W * x + b, windows laid side by side."""
    groups, spatial = call.get("group", 1), x.ndim - 2
    if spatial < 1 or weight.ndim != x.ndim or groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"x {list(x.shape)} and W {list(weight.shape)} do not fit {groups} groups")
    if x.shape[1] != weight.shape[1] * groups:
        raise ValueError(f"x has {x.shape[1]} channels, W expects {weight.shape[1]} x {groups}")
    window = window_of(call, x.shape[2:], weight.shape[2:])
    steps = window.steps(x.shape[2:])
    rows, places = x.shape[0], math.prod(window.kernel)
    call.check((rows, weight.shape[0], *steps), x.dtype)
    call.check((rows, x.shape[1], places, *steps), x.dtype)
    padded = _padded(call, x, window.before, window.after, 0)
    columns = side_by_side(padded, window)
    columns = columns.reshape(rows, groups, weight.shape[1] * places, math.prod(steps))
    y = weight.reshape(groups, weight.shape[0] // groups, -1) @ columns
    y = y.reshape(rows, weight.shape[0], *steps)
    if bias is not None:
        y += bias.reshape(-1, *[1] * spatial)
    return np.asarray(y)


def side_by_side(padded: Array, window: Window) -> Array:
    """Return what each place of the kernel meets in each window: [N, C, K..., steps...], a view."""
    rank = len(window.kernel)
    axes = tuple(range(2, 2 + rank))
    seen = np.lib.stride_tricks.sliding_window_view(padded, window.extents, axes)
    cuts = [slice(None, None, stride) for stride in window.strides]
    cuts += [slice(None, None, dilation) for dilation in window.dilations]
    order = (0, 1, *range(2 + rank, 2 + 2 * rank), *axes)
    return seen[(slice(None), slice(None), *cuts)].transpose(order)


def conv_transpose(call: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Transpose a convolution with W [C, M / groups, K...]: products added where they fall."""
    groups, spatial = call.get("group", 1), x.ndim - 2
    if spatial < 1 or weight.ndim != x.ndim or groups < 1 or x.shape[1] % groups:
        raise ValueError(f"x {list(x.shape)} and W {list(weight.shape)} do not fit {groups} groups")
    if x.shape[1] != weight.shape[0]:
        raise ValueError(f"x has {x.shape[1]} channels, W expects {weight.shape[0]}")
    window, extra = _transposed_window(call, x.shape[2:], weight.shape[2:])
    rows, made = x.shape[0], weight.shape[1] * groups
    whole = [
        (n - 1) * s + reach + more
        for n, s, reach, more in zip(
            x.shape[2:], window.strides, window.extents, extra, strict=True
        )
    ]
    call.check((rows, made, *whole), x.dtype)
    call.check((rows, made, math.prod(window.kernel), *x.shape[2:]), x.dtype)
    grouped = x.reshape(rows, groups, x.shape[1] // groups, -1)
    kernel = weight.reshape(groups, x.shape[1] // groups, -1).swapaxes(1, 2)
    products = (kernel @ grouped).reshape(rows, made, math.prod(window.kernel), *x.shape[2:])
    y = np.zeros((rows, made, *whole), x.dtype)
    for k, (_, cut) in enumerate(window.places(x.shape[2:])):
        y[(slice(None), slice(None), *cut)] += products[:, :, k]
    inside = [slice(a, n - b) for n, a, b in zip(whole, window.before, window.after, strict=True)]
    y = y[(slice(None), slice(None), *inside)]
    return y if bias is None else np.asarray(y + bias.reshape(-1, *[1] * spatial))


def _transposed_window(
    call: Call, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[Window, tuple[int, ...]]:
    """Return the window and what `output_padding` adds behind it."""
    rank, auto = len(sizes), call.choice("auto_pad", "NOTSET", AUTO_PAD)
    strides = _list(call, "strides", rank, 1, 1)
    dilations = _list(call, "dilations", rank, 1, 1)
    extra = _list(call, "output_padding", rank, 0, 0)
    if math.prod(kernel) > MAX_KERNEL:
        raise ValueError(f"a kernel of {list(kernel)} is too large")
    wanted = call.get("output_shape")
    if auto == "NOTSET" and not wanted:
        pads = _list(call, "pads", 2 * rank, 0, 0)
        return Window(tuple(kernel), strides, dilations, pads[:rank], pads[rank:]), extra
    if auto == "VALID" and not wanted:
        return Window(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank), extra
    wanted = wanted or [n * s for n, s in zip(sizes, strides, strict=True)]
    if len(wanted) != rank or min(wanted) < 1:
        raise ValueError(f"output_shape is {list(wanted)} for {rank} dimensions")
    before, after, more = [], [], []
    for k in range(rank):
        reach = (sizes[k] - 1) * strides[k] + dilations[k] * (kernel[k] - 1) + 1 + extra[k]
        total = max(0, reach - wanted[k])
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
        more.append(extra[k] + max(0, wanted[k] - reach))
    window = Window(tuple(kernel), strides, dilations, tuple(before), tuple(after))
    return window, tuple(more)


def _pooled(call: Call, x: Array, fill: float) -> tuple[Array, Window, tuple[int, ...]]:
    """Return x with its padding, the window, and how many windows there are."""
    sizes, ceil = x.shape[2:], bool(call.get("ceil_mode", 0))
    call.need("kernel_shape")
    window = window_of(call, sizes, ())
    steps = window.steps(sizes, ceil=ceil)
    # With ceil_mode the last window may reach past the padding.
    after = [
        max(b, (count - 1) * s + reach - n - a)
        for n, a, b, count, s, reach in zip(
            sizes, window.before, window.after, steps, window.strides, window.extents, strict=True
        )
    ]
    call.check((*x.shape[:2], *steps), x.dtype)
    if math.prod((*x.shape[:2], *steps, *window.kernel)) > MAX_PRODUCTS:
        raise ValueError(f"it would take more than {MAX_PRODUCTS} steps")
    return _padded(call, x, window.before, after, fill), window, steps


def max_pool(call: Call, x: Array) -> tuple[Array, ...]:
    """The largest element of each window, and where in x it lies."""
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    padded, window, steps = _pooled(call, x, least)
    y = np.full((*x.shape[:2], *steps), least, x.dtype)
    if len(call.node.outputs) < 2:
        for _, cut in window.places(steps):
            np.maximum(y, padded[(slice(None), slice(None), *cut)], out=y)
        return (y,)
    order = list(range(x.ndim))
    if call.get("storage_order", 0):
        order[2:] = order[:1:-1]
    shape = [x.shape[axis] for axis in order]
    numbers = np.arange(x.size, dtype=np.int64).reshape(shape).transpose(np.argsort(order))
    behind = [
        n - m - a for n, m, a in zip(padded.shape[2:], x.shape[2:], window.before, strict=True)
    ]
    where = _padded(call, numbers, window.before, behind, -1)
    found = np.full(y.shape, -1, np.int64)
    for _, cut in window.places(steps):
        values = padded[(slice(None), slice(None), *cut)]
        better = values > y
        y = np.where(better, values, y)
        found = np.where(better, where[(slice(None), slice(None), *cut)], found)
    return y, found


def average_pool(call: Call, x: Array) -> Array:
    """The mean of each window, over the elements inside x, or those of the padding too."""
    padded, window, steps = _pooled(call, x, 0)
    count_pad = bool(call.get("count_include_pad", 0))
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    counted = _padded(call, ones, window.before, window.after, float(count_pad))
    missing = [n - m for n, m in zip(padded.shape[2:], counted.shape[2:], strict=True)]
    counted = _padded(call, counted, [0] * len(missing), missing, 0)
    total = np.zeros((*x.shape[:2], *steps), x.dtype)
    count = np.zeros((1, 1, *steps), x.dtype)
    for _, cut in window.places(steps):
        total += padded[(slice(None), slice(None), *cut)]
        count += counted[(slice(None), slice(None), *cut)]
    return np.asarray(total / count)


def global_average_pool(call: Call, x: Array) -> Array:
    """The mean of each channel."""
    return mean_of(x, tuple(range(2, x.ndim)))


def global_max_pool(call: Call, x: Array) -> Array:
    """The largest element of each channel."""
    return np.asarray(x.max(tuple(range(2, x.ndim)), keepdims=True))
