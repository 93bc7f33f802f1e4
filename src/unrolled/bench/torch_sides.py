"""The sides that run in torch: ours in training, torch.nn in every form, and the arbiter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled import nn as ours
from unrolled.bench.cases import Case
from unrolled.bench.problem import COMPARED_STEPS, Outputs, Problem, Side
from unrolled.nn.state import State
from unrolled.spec import Engine

KINDS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
STEPPERS: dict[str, Any] = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}

# torch.compile writes the loop over time out (but for LSTM inference, which is one oneDNN call):
# at T 30 it compiled for 35 s and the result was no faster than eager.
MOST_COMPILED_STEPS = 1

# A layer's call: x [T, N, I] to y [T, N, D*H] and the last state.
Call = Callable[[Tensor], tuple[Tensor, State]]


def load(layer: nn.Module, p: Problem, dtype: torch.dtype = torch.float32) -> Any:
    """Give `layer` the weights of the problem, in place, and return it ready for the task."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.from_numpy(p.weights[name]))
    return layer.to(dtype).train(p.case.trains)


def torch_layer(p: Problem, dtype: torch.dtype = torch.float32) -> Any:
    """Return torch.nn's layer of the case."""
    case = p.case
    both = case.directions == 2
    return load(KINDS[case.cell](case.H, case.H, case.layers, bidirectional=both), p, dtype)


def our_layer(p: Problem, engine: Engine) -> Any:
    """Return `unrolled.nn`'s layer of the case."""
    return load(ours.recurrent(p.case.spec, batch_first=False, engine=engine), p)


def expected(p: Problem) -> Outputs:
    """Return what is right: torch.nn in float64, packed where rows are ragged."""
    layer = torch_layer(p, torch.float64)
    if p.case.steps:
        return _stepped(layer, p, torch.float64)
    call = layer if p.lengths is None else packed(layer, p)
    return _side("expected", layer, call, p, torch.float64).outputs()


def packed(layer: Any, p: Problem) -> Call:
    """Return a call that packs padded rows, runs, and pads again, as users of torch do."""
    assert p.lengths is not None
    lengths, steps = torch.from_numpy(p.lengths), p.case.T

    def call(x: Tensor) -> tuple[Tensor, State]:
        y, state = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(y, total_length=steps)[0], state

    return call


def ours_in_torch(p: Problem, engine: Engine) -> list[Side]:
    """Return `unrolled.nn`; for ragged training also over as many tokens without raggedness."""
    layer = our_layer(p, engine)
    if p.lengths is None:
        return [_side("unrolled", layer, layer, p)]
    lengths = torch.from_numpy(p.lengths)
    ragged = _side("unrolled", layer, lambda x: layer(x, lengths=lengths), p)
    if not p.case.trains:
        return [ragged]
    note = f"as many tokens without raggedness: T {p.case.dense_steps}"
    dense = _side("unrolled-dense", layer, layer, p, steps=p.case.dense_steps, note=note)
    return [ragged, dense]


def torch_sides(p: Problem) -> list[Side]:
    """Return torch.nn eager: plain, or packed and padded for ragged rows, or by one step."""
    case, layer = p.case, torch_layer(p)
    if case.steps:
        return [_step_side("torch", layer, p), *([_cell_side(p)] if case.layers == 1 else [])]
    if p.lengths is None:
        return [_side("torch", layer, layer, p)]
    note = "computes the padding too"
    if case.directions == 2:
        note += ", where its backward direction begins: not comparable"
    return [
        _side("torch-packed", layer, packed(layer, p), p),
        _side("torch-padded", layer, layer, p, note=note, padded=True),
    ]


def compiled_side(p: Problem) -> Side:
    """Return torch.compile of torch.nn as one graph; raises RuntimeError where it is not tried."""
    if p.lengths is not None:
        raise RuntimeError("torch.compile takes no PackedSequence in one graph")
    one_call = p.case.cell == "lstm" and not p.case.trains
    if p.case.T > MOST_COMPILED_STEPS and not one_call:
        raise RuntimeError("torch.compile writes out the loop over time: minutes to compile")
    import torch._dynamo

    torch._dynamo.reset()
    # Without it torch.compile leaves recurrent layers to eager, and would be measured for nothing.
    torch._dynamo.config.allow_rnn = True
    layer = torch_layer(p)
    call: Any = torch.compile(layer, fullgraph=True)
    if p.case.steps:
        return _step_side("torch-compile", call, p)
    return _side("torch-compile", layer, call, p)


def _state(state: State) -> dict[str, Any]:
    parts = state if isinstance(state, tuple) else (state,)
    return dict(zip("hc", parts, strict=False))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def _side(
    name: str,
    layer: nn.Module,
    call: Call,
    p: Problem,
    dtype: torch.dtype = torch.float32,
    *,
    steps: int | None = None,
    note: str = "",
    padded: bool = False,
) -> Side:
    """Return a side that runs `call` on the first `steps`, backward too where the case trains."""
    x, dy, dh, dc = (torch.from_numpy(a).to(dtype) for a in (p.x[:steps], p.dy[:steps], p.dh, p.dc))
    inside = None
    if p.lengths is not None and steps is None:
        inside = (torch.arange(p.case.T)[:, None] < torch.from_numpy(p.lengths))[:, :, None]
        dy = dy * inside
    leaves = {"x": x, **dict(layer.named_parameters())}

    def infer() -> tuple[Tensor, State]:
        with torch.inference_mode():
            return call(x)

    def train() -> tuple[Tensor, State, tuple[Tensor, ...]]:
        y, state = call(x)
        roots, seeds = [y], [dy]
        if not padded:
            roots += _state(state).values()
            seeds += [dh, dc][: len(roots) - 1]
        return y, state, torch.autograd.grad(roots, list(leaves.values()), seeds)

    def outputs() -> Outputs:
        if steps is not None or (padded and p.case.directions == 2):
            return {}
        y, state, *gradients = train() if p.case.trains else infer()
        y = y * inside if padded and inside is not None else y
        found = {"y": _array(y.transpose(0, 1))}
        if not padded:
            found |= {key: _array(part) for key, part in _state(state).items()}
            for each in gradients:
                found |= {f"d.{k}": _array(g) for k, g in zip(leaves, each, strict=True)}
        return found

    if p.case.trains:
        x.requires_grad_()
    given = frozenset(leaf.untyped_storage().data_ptr() for leaf in leaves.values())
    return Side(name, train if p.case.trains else infer, outputs, note, given)


def _stepped(layer: Any, p: Problem, dtype: torch.dtype) -> Outputs:
    x = torch.from_numpy(p.x).to(dtype)
    state: Any = None
    with torch.inference_mode():
        for _ in range(COMPARED_STEPS):
            y, state = layer(x, state)
    return {"y": _array(y[0]), **{key: _array(part) for key, part in _state(state).items()}}


def _step_side(name: str, layer: Any, p: Problem) -> Side:
    x, state = torch.from_numpy(p.x), None
    with torch.inference_mode():
        _, state = layer(x)

    def run() -> None:
        nonlocal state
        with torch.inference_mode():
            _, state = layer(x, state)

    return Side(name, run, lambda: _stepped(layer, p, torch.float32))


def _cell_side(p: Problem) -> Side:
    """Return torch.nn's cell class, its own way to take one step."""
    case: Case = p.case
    cell = STEPPERS[case.cell](case.H, case.H)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.copy_(torch.from_numpy(p.weights[f"{name}_l0"]))
    x = torch.from_numpy(p.x[0])
    state: Any = None

    def run() -> None:
        nonlocal state
        with torch.inference_mode():
            state = cell(x, state)

    def outputs() -> Outputs:
        found: Any = None
        with torch.inference_mode():
            for _ in range(COMPARED_STEPS):
                found = cell(x, found)
        parts = {key: _array(part)[None] for key, part in _state(found).items()}
        return {"y": parts["h"][0], **parts}

    return Side("torch-cell", run, outputs)
