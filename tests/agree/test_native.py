"""The native kernels, each instruction set forced by name, against the reference in float64."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from stacks import CELLS
from tolerances import close
from unrolled import _native, nn
from unrolled.errors import EngineError
from unrolled.ops import native, reference
from unrolled.ops.layer import LayerWeights, Ragged
from unrolled.runtime import Recurrent
from unrolled.spec import RecurrentSpec

# T, N, I, H: one step, odd sizes, more rows than a tile, fewer, more inputs than units.
SIZES = [(1, 1, 1, 5), (7, 5, 3, 16), (11, 33, 7, 19), (9, 1, 6, 70), (13, 20, 65, 40)]


@pytest.fixture(params=_native.available_isas())
def isa(request):
    _native.set_isa(request.param)
    _native.poison_scratch(True)
    yield request.param
    _native.poison_scratch(False)
    _native.set_isa("")


@pytest.fixture
def threads():
    before = _native.num_threads()
    yield _native.set_num_threads
    _native.set_num_threads(before)


def problem(cell, size, *, both, ragged, masked, seed=0):
    """Return a spec and float64 arguments of one layer."""
    steps, rows, inputs, hidden = size
    spec = RecurrentSpec(
        input_size=inputs, hidden_sizes=(hidden,), bidirectional=both, **CELLS[cell]
    )
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=1.0):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    width, gates = spec.state_size(0), spec.gates
    directions = spec.num_directions
    weights = tuple(
        LayerWeights(
            draw(gates * hidden, inputs, scale=inputs**-0.5),
            draw(gates * hidden, width, scale=hidden**-0.5),
            draw(gates * hidden),
            draw(gates * hidden),
            draw(width, hidden, scale=hidden**-0.5) if spec.proj_size else None,
        )
        for _ in range(directions)
    )
    x = draw(rows, steps, inputs).transpose(0, 1) if ragged else draw(steps, rows, inputs)
    h = draw(directions, rows, width)
    c = draw(directions, rows, hidden) if spec.cell == "lstm" else None
    lengths = torch.randint(0, steps + 1, (rows,), generator=generator)
    mask = (torch.rand(directions, rows, width, generator=generator) > 0.3).double() / 0.7
    return (
        spec,
        weights,
        (x, h, c),
        Ragged(lengths, steps) if ragged else None,
        mask if masked else None,
    )


def outcome(engine, spec, weights, arguments, ragged, mask, dtype, **more):
    """Return outputs, states and every gradient of one layer call."""

    def own(tensor):
        return None if tensor is None else tensor.to(dtype, copy=True).requires_grad_()

    weights = tuple(LayerWeights(*(own(t) for t in w)) for w in weights)
    x, h, c = (own(t) for t in arguments)
    mask = None if mask is None else mask.to(dtype)
    result = engine(spec, weights, x, h, c, ragged=ragged, mask=mask, states=True, **more)
    outputs = [t for t in result if t is not None]
    generator = torch.Generator().manual_seed(9)
    loss = sum(
        (t * torch.randn(t.shape, generator=generator, dtype=torch.float64).to(dtype)).sum()
        for t in outputs
    )
    wanted = [t for t in (x, h, c, *(t for w in weights for t in w)) if t is not None]
    return outputs, torch.autograd.grad(loss, wanted), loss


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_states_and_gradients_agree_on_every_instruction_set(isa, cell, size):
    for both, ragged, masked in [(False, False, False), (True, True, False), (True, False, True)]:
        case = problem(cell, size, both=both, ragged=ragged, masked=masked)
        expected = outcome(reference.layer, *case, torch.float64)
        for dtype in (torch.float32, torch.float64):
            found = outcome(native.layer, *case, dtype)
            for kind, mine, theirs in zip(("forward", "gradient"), found, expected, strict=False):
                for a, b in zip(mine, theirs, strict=True):
                    close(a, b, kind)


@pytest.mark.parametrize("cell", CELLS)
def test_results_do_not_depend_on_the_number_of_threads(threads, cell):
    """Work is large enough to be shared: by rows for many, by panels for one."""
    for size in [(6, 40, 32, 96), (20, 1, 64, 160)]:
        case = problem(cell, size, both=True, ragged=True, masked=False)
        found = []
        for count in (1, 2, 3, 4):
            threads(count)
            outputs, gradients, _ = outcome(native.layer, *case, torch.float32)
            found.append([*outputs, *gradients])
        for other in found[1:]:
            assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_flow_is_the_norm_that_autograd_finds(cell):
    spec, weights, (x, h, c), _, _ = problem(
        cell, (6, 4, 3, 5), both=False, ragged=False, masked=False
    )
    flow = torch.zeros(1, 6, x.shape[1], 2, dtype=torch.float64)
    trained = (weights[0]._replace(hh=weights[0].hh.clone().requires_grad_()),)
    y = native.layer(spec, trained, x, h, c, flow=flow).y
    y[-1].square().sum().backward()

    hs, cs = [h.clone().requires_grad_()], [c]
    for t in range(6):
        step = reference.layer(spec, weights, x[t : t + 1], hs[-1], cs[-1])
        hs.append(step.h)
        cs.append(step.c)
    gradients = torch.autograd.grad(hs[-1].square().sum(), hs[1:])
    expected = torch.stack([g[0].norm(dim=-1) for g in gradients])
    close(flow[0, :, :, 0], expected, "gradient")


@pytest.mark.parametrize("cell", CELLS)
def test_runtime_layers_equal_training_layers_on_every_instruction_set(isa, cell):
    spec = RecurrentSpec(input_size=7, hidden_sizes=(19, 19), **CELLS[cell])
    layer = nn.recurrent(spec, engine="reference", dtype=torch.float64)
    run = Recurrent(spec, {k: v.numpy() for k, v in layer.state_dict().items()})
    x = torch.randn(5, 9, 7, dtype=torch.float64)
    y, _ = layer(x, lengths=[9, 0, 3, 9, 1])
    close(run(x.numpy(), lengths=[9, 0, 3, 9, 1])[0], y, "forward")
    state = None
    for t in range(9):
        out, state = run.step(x[:, t].numpy(), state)
    close(out, layer(x)[0][:, -1], "forward")


def test_arrays_in_any_strides_are_read_in_place():
    spec = RecurrentSpec(cell="gru", input_size=4, hidden_sizes=(6,))
    layer = nn.recurrent(spec, dtype=torch.float64)
    run = layer.runtime()
    wide = np.random.default_rng(0).standard_normal((8, 10, 9))
    views = [wide[::2, ::3, 1:5], wide[:4, :4, ::2][..., :4], wide.transpose(1, 0, 2)[:4, ::2, :4]]
    for view in views:
        close(run(view)[0], run(np.ascontiguousarray(view))[0], "forward")


def test_second_derivatives_are_refused_with_the_way_out():
    layer = nn.GRU(3, 4, engine="native", dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(EngineError, match="engine='reference'"):
        gradient.sum().backward()


def test_what_the_kernels_cannot_take_is_refused_by_name():
    with pytest.raises(EngineError, match="float32 and float64"):
        nn.GRU(3, 4, engine="native", dtype=torch.bfloat16)(
            torch.zeros(2, 1, 3, dtype=torch.bfloat16)
        )


def test_compile_keeps_the_layer_as_one_node():
    layer = nn.LSTM(3, 4, bidirectional=True, engine="native")
    exported = torch.export.export(layer, (torch.randn(5, 2, 3),))
    targets = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert targets.count("unrolled.layer.default") == 1


def test_a_child_after_fork_runs_the_kernels():
    code = """
import os, numpy as np
from unrolled import nn
layer = nn.GRU(64, 128, batch_first=True).runtime()
x = np.ones((64, 20, 64), np.float32)
before = layer(x)[0]
child = os.fork()
if child == 0:
    os._exit(0 if (layer(x)[0] == before).all() else 1)
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    environment = {**os.environ, "UNROLLED_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    assert subprocess.run(command, env=environment).returncode == 0


def test_beside_torch_kernels_run_on_its_threads():
    """Also where OpenMP gives fewer threads than asked for, and in a child, which has none."""
    code = """
import os, sys, torch, unrolled
from unrolled import _native, nn
assert _native.openmp_path().startswith(os.path.dirname(torch.__file__)), _native.openmp_path()
torch.manual_seed(0)
layer, x = nn.GRU(64, 64), torch.randn(8, 50, 64)
unrolled.set_num_threads(1)
alone = layer(x)[0]
unrolled.set_num_threads(2)
assert torch.equal(layer(x)[0], alone)
child = os.fork()
if child == 0:
    assert _native.openmp_path() == ""
    os._exit(0 if torch.equal(layer(x)[0], alone) else 1)
sys.exit(os.waitpid(child, 0)[1] != 0)
"""
    for limit in ("", "1"):
        environment = os.environ | ({"OMP_THREAD_LIMIT": limit} if limit else {})
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
