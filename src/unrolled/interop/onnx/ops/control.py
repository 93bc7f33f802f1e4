"""Operators with graphs of their own: If, Loop and Scan.

Definitions: github.com/onnx/onnx, `docs/Operators.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unrolled.interop.onnx.ops.call import Array, Call, axis_of, scalar

# Runs the body of this name over its inputs; counts rounds against the run's limit.
RunBody = Callable[[str, Sequence[Array]], list[Array]]


def if_(call: Call, run_body: RunBody, condition: Array) -> tuple[Array, ...]:
    """The outputs of one of two graphs."""
    return tuple(run_body("then_branch" if scalar(condition) else "else_branch", []))


def loop(
    call: Call,
    run_body: RunBody,
    trips: Array | None = None,
    condition: Array | None = None,
    *carried: Array,
) -> tuple[Array, ...]:
    """A graph run over and over: what it carries at the end, and what each round gave, stacked."""
    going = True if condition is None else bool(scalar(condition))
    most = None if trips is None else int(scalar(trips))
    state = list(carried)
    given: list[list[Array]] = []
    size, trip = 0, 0
    while going and (most is None or trip < most):
        found = run_body("body", [np.asarray(trip, np.int64), np.asarray(going), *state])
        going = bool(scalar(found[0]))
        state = found[1 : 1 + len(state)]
        given.append(found[1 + len(state) :])
        size += sum(each.nbytes for each in given[-1])
        call.check([size], np.uint8)
        trip += 1
    scans = len(call.node.outputs) - len(state)
    if not given and scans:
        body = call.node.attributes["body"]
        return (*state, *(_empty(value) for value in body.outputs[1 + len(state) :]))
    return (*state, *(np.stack(each) for each in list(zip(*given, strict=True))[:scans]))


def _empty(value: object) -> Array:
    """Return what a loop of no rounds gives: no rows of the type that the graph says."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None:
        raise ValueError("a loop of no rounds whose body does not say what it gives")
    dims = [dim if isinstance(dim, int) else 0 for dim in shape or ()]
    return np.empty((0, *dims), dtype)


def scan(call: Call, run_body: RunBody, *inputs: Array) -> tuple[Array, ...]:
    """A graph run over the slices of tensors, carrying a state from one to the next."""
    if call.opset < 9:
        raise ValueError("Scan of before version 9 is not supported")
    count = call.need("num_scan_inputs")
    if not 1 <= count <= len(inputs):
        raise ValueError(f"num_scan_inputs is {count} of {len(inputs)} inputs")
    state, over = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    outputs = len(call.node.outputs) - len(state)
    axes = call.get("scan_input_axes") or [0] * count
    ways = call.get("scan_input_directions") or [0] * count
    slices = [
        np.flip(np.moveaxis(x, axis_of(axis, x.ndim), 0), 0) if way else np.moveaxis(x, axis, 0)
        for x, axis, way in zip(over, axes, ways, strict=True)
    ]
    if len({len(each) for each in slices}) != 1:
        raise ValueError(f"the inputs have different lengths: {[len(each) for each in slices]}")
    given: list[list[Array]] = []
    size = 0
    for t in range(len(slices[0])):
        found = run_body("body", [*state, *(each[t] for each in slices)])
        state = found[: len(state)]
        given.append(found[len(state) :])
        size += sum(each.nbytes for each in given[-1])
        call.check([size], np.uint8)
    if not given:
        raise ValueError("a scan over nothing is not supported")
    out_axes = call.get("scan_output_axes") or [0] * outputs
    out_ways = call.get("scan_output_directions") or [0] * outputs
    made = []
    for each, axis, way in zip(zip(*given, strict=True), out_axes, out_ways, strict=True):
        stacked = np.stack(each)
        stacked = np.flip(stacked, 0) if way else stacked
        made.append(np.moveaxis(stacked, 0, axis_of(axis, stacked.ndim)))
    return (*state, *made)
