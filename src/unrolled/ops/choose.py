"""Which engine runs a layer, and why: a choice made anew at every call, never remembered."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.autograd import forward_ad

from unrolled.errors import EngineError
from unrolled.ops import kernels, native, reference
from unrolled.ops.layer import LayerFunction
from unrolled.spec import Engine, RecurrentSpec

ENGINES: dict[str, LayerFunction] = {
    "native": native.layer,
    "torch": kernels.layer,
    "reference": reference.layer,
}


_TRANSFORMS = "torch.func transforms and forward-mode differentiation"


class Choice(NamedTuple):
    """The engine that runs, and a sentence why."""

    name: str
    reason: str


class Request(NamedTuple):
    """What an engine would have to compute."""

    spec: RecurrentSpec
    device: torch.device
    dtype: torch.dtype
    training: bool
    return_states: bool
    flow: bool


def choose(
    spec: RecurrentSpec,
    *,
    engine: Engine,
    device: torch.device,
    dtype: torch.dtype,
    training: bool,
    return_states: bool = False,
    flow: bool = False,
) -> Choice:
    """Return the engine for a request; `engine="auto"` takes the fastest that can compute it.

    Raises EngineError where an engine chosen by name cannot, saying what it lacks and which can,
    and where no engine can.
    """
    request = Request(spec, device, dtype, training, return_states, flow)
    if flow and (_transformed() or torch.compiler.is_compiling()):
        raise EngineError(
            "the gradient flow is recorded in eager mode only, "
            "not under torch.compile, torch.func transforms or forward-mode differentiation"
        )
    if engine != "auto":
        lack = _lack(engine, request)
        if lack:
            able = [name for name in ENGINES if name != engine and not _lack(name, request)]
            raise EngineError(
                f"engine {engine!r} cannot run this layer: {lack}. "
                f"Use engine='auto' or {' or '.join(repr(name) for name in able)}."
            )
        return Choice(engine, "chosen by name")
    if _transformed():
        return Choice("reference", f"fast kernels do not serve {_TRANSFORMS}")
    lack = _lack("native", request)
    if not lack:
        return Choice("native", "the native kernels compute this request")
    lack = _lack("torch", request)
    if not lack:
        return Choice("torch", "torch's kernels compute this request")
    return Choice("reference", f"torch's kernels cannot: {lack}")


def _lack(engine: str, request: Request) -> str:
    """Return what keeps `engine` from computing `request`, or an empty string."""
    if engine == "reference":
        return ""
    return _native_lack(request) if engine == "native" else _torch_lack(request)


def _native_lack(request: Request) -> str:
    if request.device.type != "cpu":
        return f"the native kernels run on the CPU, not on {request.device}"
    if request.dtype not in native.DTYPES:
        return f"the native kernels compute float32 and float64, not {request.dtype}"
    if _transformed():
        return f"the native kernels do not serve {_TRANSFORMS}"
    return ""


def _torch_lack(request: Request) -> str:
    spec = request.spec
    if spec.reset == "before":
        return "torch's GRU has only reset='after'"
    if spec.recurrent_dropout and request.training:
        return "torch's kernels have no recurrent_dropout in training"
    if spec.cell == "lstm" and request.return_states:
        return "torch's LSTM does not return the cell state of every step (return_states=True)"
    if request.flow:
        return "torch's kernels do not tell the gradient of every hidden state"
    if _transformed():
        return f"torch's kernels do not serve {_TRANSFORMS}"
    return ""


def _transformed() -> bool:
    """Whether a torch.func transform (vmap, grad, jvp, ...) or forward-mode level is running."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    )


# What `torch.compiler.assume_constant_result` sets, without importing the compiler. While tracing,
# the answer has to be that of the moment: the traced call would never be None. Compiled code is
# guarded on the same stack of transforms.
_transformed._dynamo_marked_constant = True  # type: ignore[attr-defined]
