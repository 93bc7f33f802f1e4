"""torch.compile, torch.export, torch.func and higher derivatives: what they meet in our layers."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from stacks import RAGGED, I, N, T, random
from tolerances import close
from unrolled import nn
from unrolled.errors import EngineError
from unrolled.ops import native  # noqa: F401  (defines the operators)

LAYERS = {
    "rnn": lambda **more: nn.RNN(I, 5, batch_first=True, **more),
    "gru": lambda **more: nn.GRU(I, 5, bidirectional=True, **more),
    "gru-before": lambda **more: nn.GRU(I, 5, reset="before", batch_first=True, **more),
    "lstm": lambda **more: nn.LSTM(I, 5, 2, batch_first=True, bidirectional=True, **more),
    "projected": lambda **more: nn.LSTM(I, 5, proj_size=2, initial_state="learned", **more),
}
LENGTHS = {"even": None, "list": RAGGED, "tensor": torch.tensor(RAGGED)}


def input_of(layer, seed=0):
    shape = (N, T, I) if layer.batch_first else (T, N, I)
    return random(*shape, dtype=torch.float32, seed=seed)


def operators(graph):
    return [str(n.target) for n in graph.nodes if "unrolled" in str(n.target)]


def counting(graphs):
    """Return a compiler backend that notes each graph after autograd and runs it as it is."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def note(module, inputs):
        graphs.append(operators(module.graph))
        return make_boxed_func(module.forward)

    return aot_autograd(fw_compiler=note, bw_compiler=note)


@pytest.fixture
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(
    ("engine", "name"), [("auto", "lstm"), *(("native", name) for name in LAYERS)]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compile_keeps_a_layer_as_one_node_forward_and_backward(fresh, engine, name, lengths):
    layer, graphs = LAYERS[name](engine=engine), []
    x, weights, layers = input_of(layer), list(layer.parameters()), layer.num_layers
    compiled = torch.compile(layer, fullgraph=True, backend=counting(graphs))
    y, _ = compiled(x, lengths=LENGTHS[lengths])
    found = torch.autograd.grad(y.square().sum(), weights, allow_unused=True)
    assert graphs == [
        ["unrolled.layer.default"] * layers,
        ["unrolled.layer_backward.default"] * layers,
    ]
    expected, _ = layer(x, lengths=LENGTHS[lengths])
    close(y, expected, "forward")
    wanted = torch.autograd.grad(expected.square().sum(), weights, allow_unused=True)
    for mine, eager in zip(found, wanted, strict=True):
        assert (mine is None) == (eager is None)
        if mine is not None:
            close(mine, eager, "gradient")


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_export_keeps_a_layer_as_one_node(name, training, lengths):
    layer = LAYERS[name](engine="native").train(training)
    x, rows = input_of(layer), LENGTHS[lengths]
    exported = torch.export.export(layer, (x,), {"lengths": rows})
    assert operators(exported.graph) == ["unrolled.layer.default"] * layer.num_layers
    found, _ = exported.module()(x, lengths=rows)
    close(found, layer(x, lengths=rows)[0], "forward")


@pytest.mark.parametrize("wrong", [[4, 0, T + 1, 1], [4, -1, 6, 1]])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_layers_still_check_the_lengths(fresh, wrong):
    layer = nn.GRU(I, 5, batch_first=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    compiled(random(N, T, I, dtype=torch.float32), lengths=torch.tensor(RAGGED))
    with pytest.raises(RuntimeError, match=r"lengths must lie in 0..6 \(T of the input\)"):
        compiled(random(N, T, I, dtype=torch.float32), lengths=torch.tensor(wrong))


def problem(cell, layout, *, both, ragged, trained):
    """Return the arguments of `unrolled::layer`."""
    hidden, gates = 5, {"lstm": 4, "gru_after": 3, "rnn_tanh": 1}[cell]
    x = {
        "time": lambda: torch.randn(T, N, I),
        "batch": lambda: torch.randn(N, T, I).transpose(0, 1),
        "units": lambda: torch.randn(I, N, T).permute(2, 1, 0),
        "between": lambda: torch.randn(N, I, T).permute(2, 0, 1),
    }[layout]()
    one = [
        torch.randn(gates * hidden, I),
        torch.randn(gates * hidden, hidden),
        torch.randn(gates * hidden),
        torch.randn(gates * hidden),
        None,
    ]
    directions = 1 + both
    state = torch.randn(directions, N, hidden)
    tensors = [x, state, state.clone() if cell == "lstm" else None, *one]
    tensors += [None if t is None or not both else t.clone() for t in one]
    if trained:
        tensors = [None if t is None else t.requires_grad_() for t in tensors]
    lengths = torch.tensor(RAGGED) if ragged else None
    return (*tensors, lengths, None, cell, trained, cell == "lstm", None)


# torch's check by tracing also compares what nothing wrote: the tape past the last ragged token.
# The tests above trace.
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


@pytest.mark.parametrize("layout", ["time", "batch", "units", "between"])
@pytest.mark.parametrize("cell", ["lstm", "gru_after", "rnn_tanh"])
def test_the_operator_is_what_torch_asks_of_one(cell, layout):
    """Its shapes and strides while tracing, its schema and its derivative, by torch's own check."""
    for both, ragged, trained in [(0, 0, 1), (1, 1, 1), (0, 0, 0)]:
        arguments = problem(cell, layout, both=both, ragged=bool(ragged), trained=bool(trained))
        torch.library.opcheck(torch.ops.unrolled.layer.default, arguments, test_utils=CHECKS)


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_transforms_are_refused_by_engines_that_do_not_serve_them(engine):
    layer, x = nn.GRU(I, 5, engine=engine), random(3, T, N, I, dtype=torch.float32)
    says = f"'{engine}' cannot run this layer.*transforms.*Use engine='auto' or 'reference'"
    with pytest.raises(EngineError, match=says):
        torch.func.vmap(lambda rows: layer(rows)[0])(x)
    with pytest.raises(EngineError, match=says):
        torch.func.grad(lambda rows: layer(rows)[0].sum())(x[0])


# torch compiles its forward-mode formulas by torch.jit.script at their first use.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_runs_on_the_reference_engine():
    layer, x = nn.GRU(I, 5, dtype=torch.float64), random(T, N, I)
    direction = random(T, N, I, seed=1)
    with forward_ad.dual_level():
        y, _ = layer(forward_ad.make_dual(x, direction))
        found = forward_ad.unpack_dual(y).tangent
        assert layer.engine_for(x).name == "reference"
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (layer(x + sign * step * direction)[0] for sign in (1, -1))
    assert torch.allclose(found, (ahead - behind) / (2 * step), atol=1e-8)


def test_a_compiled_transform_chooses_as_an_eager_one(fresh):
    layer, x = nn.GRU(I, 5, dtype=torch.float64), random(3, T, N, I)
    mapped = torch.func.vmap(lambda rows: layer(rows)[0])
    with torch.no_grad():
        compiled = torch.compile(mapped, fullgraph=True, backend="eager")
        close(compiled(x), mapped(x), "forward")


def test_lengths_cannot_be_mapped_over():
    layer, x = nn.GRU(I, 5), random(3, T, N, I, dtype=torch.float32)
    with pytest.raises(ValueError, match="lengths cannot be mapped over by vmap"):
        torch.func.vmap(lambda rows, n: layer(rows, lengths=n)[0])(x, torch.tensor([RAGGED] * 3))


def test_second_derivatives_and_mapped_gradients_name_the_way_out():
    layer = nn.GRU(3, 4, engine="native", dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(EngineError, match="no second derivative; use engine='reference'"):
        gradient.sum().backward()
    y = layer(x)[0].flatten()
    with pytest.raises(EngineError, match=r"not mapped over by vmap.*engine='reference'"):
        torch.autograd.grad(y, x, torch.eye(len(y), dtype=y.dtype), is_grads_batched=True)
