"""Random layers on the native engine, in every layout and with every flag, against the reference.

`make fuzz` runs many more of them, new ones each time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st

from stacks import CELLS
from tolerances import TOLERANCES, close
from unrolled import _native
from unrolled.ops import native, reference
from unrolled.ops.layer import LayerWeights, Ragged
from unrolled.runtime import layer as runtime
from unrolled.spec import RecurrentSpec

SIZES = st.one_of(st.integers(1, 40), st.sampled_from([1, 63, 64, 65, 130]))
LAYOUTS = ("time", "batch", "sliced", "misaligned", "units", "repeated")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Case(NamedTuple):
    """One layer call; the numbers in it follow from `seed`."""

    cell: str
    steps: int
    rows: int
    inputs: int
    hidden: int
    outputs: int
    both: bool
    bias: bool
    lengths: list[int] | None
    masked: bool
    states: bool
    layout: str
    wanted: tuple[bool, bool, bool]
    dtype: str
    isa: str
    threads: int
    seed: int


@st.composite
def cases(draw):
    cell = draw(st.sampled_from(sorted(CELLS)))
    steps, rows = draw(st.integers(1, 7)), draw(st.sampled_from([1, 1, 2, 3, 4, 5, 9, 17, 40]))
    hidden = draw(SIZES)
    if cell == "projected":
        hidden = max(hidden, 2)
    return Case(
        cell=cell,
        steps=steps,
        rows=rows,
        inputs=draw(SIZES),
        hidden=hidden,
        outputs=draw(st.integers(1, hidden - 1)) if cell == "projected" else hidden,
        both=draw(st.booleans()),
        bias=draw(st.booleans()),
        lengths=draw(st.none() | st.lists(st.integers(0, steps), min_size=rows, max_size=rows)),
        masked=draw(st.booleans()),
        states=draw(st.booleans()),
        layout=draw(st.sampled_from(LAYOUTS)),
        wanted=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
        dtype=draw(st.sampled_from(sorted(DTYPES))),
        isa=draw(st.sampled_from(_native.available_isas())),
        threads=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 2**31)),
    )


def laid_out(x, layout):
    """Return the values of x [T, N, I] in another place and order of memory."""
    steps, rows, inputs = x.shape
    if layout == "time":
        return x.clone()
    if layout == "batch":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "units":
        return x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    if layout == "repeated":
        return x[:, :1].clone().expand(steps, rows, inputs)
    if layout == "misaligned":
        room = x.new_full((x.numel() + 1,), float("nan"))
        return room[1:].view(steps, rows, inputs).copy_(x)
    room = x.new_full((2 * steps, rows + 3, inputs + 5), float("nan"))
    return room[::2, 1 : rows + 1, 2 : inputs + 2].copy_(x)


def numbers(case):
    """Return spec, weights, inputs and mask in float64, as float32 holds them."""
    generator = torch.Generator().manual_seed(case.seed)

    def draw(*shape, scale=1.0):
        values = torch.randn(*shape, generator=generator) * scale
        return values.double()

    T, N, I, H, P = case.steps, case.rows, case.inputs, case.hidden, case.outputs  # noqa: E741
    choices = {**CELLS[case.cell], "proj_size": P if P != H else 0}
    spec = RecurrentSpec(
        input_size=I, hidden_sizes=(H,), bidirectional=case.both, bias=case.bias, **choices
    )
    D, G = spec.num_directions, spec.gates
    weights = tuple(
        LayerWeights(
            draw(G * H, I, scale=0.7 * I**-0.5),
            draw(G * H, P, scale=0.7 * P**-0.5),
            draw(G * H, scale=0.3) if case.bias else None,
            draw(G * H, scale=0.3) if case.bias else None,
            draw(P, H, scale=H**-0.5) if P != H else None,
        )
        for _ in range(D)
    )
    state = draw(D, N, P), draw(D, N, H) if spec.cell == "lstm" else None
    x = laid_out(draw(T, N, I), case.layout)
    mask = (torch.rand(D, N, P, generator=generator) > 0.3).double() / 0.75
    return spec, weights, x, state, mask if case.masked else None


def run(engine, case, dtype):
    """Return outputs, gradients of what is wanted, and the flow."""
    spec, weights, x, (h, c), mask = numbers(case)
    of_x, of_state, of_weights = case.wanted if any(case.wanted) else (True, True, True)

    def own(tensor, wanted):
        return None if tensor is None else tensor.to(dtype).requires_grad_(wanted)

    weights = tuple(LayerWeights(*(own(t, of_weights) for t in w)) for w in weights)
    x = laid_out(x.to(dtype), case.layout).requires_grad_(of_x)
    h, c = own(h, of_state), own(c, of_state)
    flow = torch.zeros(spec.num_directions, *x.shape[:2], 2, dtype=dtype)
    ragged = None
    if case.lengths is not None:
        ragged = Ragged(torch.tensor(case.lengths), case.steps)
    mask = None if mask is None else mask.to(dtype)
    result = engine(spec, weights, x, h, c, ragged=ragged, mask=mask, states=case.states, flow=flow)
    outputs = [t for t in result if t is not None]
    generator = torch.Generator().manual_seed(case.seed + 1)
    loss = sum((t * torch.randn(t.shape, generator=generator).to(dtype)).sum() for t in outputs)
    every = (x, h, c, *(t for w in weights for t in w))
    wanted = [t for t in every if t is not None and t.requires_grad]
    return outputs, torch.autograd.grad(loss, wanted), flow


@pytest.fixture(scope="module", autouse=True)
def engine():
    """Scratch and outputs full of NaN before they are written, and work shared however small."""
    threads = _native.num_threads()
    _native.poison_scratch(True)
    _native.share_always(True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    _native.share_always(False)
    _native.poison_scratch(False)
    _native.set_num_threads(threads)
    _native.set_isa("")


def agree(found, expected, kind, again):
    """Compare by the table; where float32 itself is worse in this case, by four times its error.

    `again` computes the same in torch's float32. Sums that nearly cancel and saturated gates are
    rare, but not in thousands of cases.
    """
    try:
        close(found, expected, kind)
    except AssertionError:
        if found.dtype != torch.float32:
            raise
        event("float32 is worse than the table")
        error = (again().double() - expected).abs().max()
        assert error > TOLERANCES["float32", kind] / 8 * expected.abs().max()
        assert (found.double() - expected).abs().max() <= 4 * error


@given(case=cases())
def test_outputs_states_gradients_and_flow_agree(case):
    _native.set_isa(case.isa)
    _native.set_num_threads(case.threads)
    expected = run(reference.layer, case, torch.float64)
    found = run(native.layer, case, DTYPES[case.dtype])
    single = case.dtype == "float32"
    for part, kind in enumerate(("forward", "gradient")):
        # Rounding may move a relu across its bend, where the gradient jumps.
        if kind == "gradient" and single and case.cell == "relu":
            break
        for k, (mine, theirs) in enumerate(zip(found[part], expected[part], strict=True)):
            agree(
                mine,
                theirs,
                kind,
                lambda part=part, k=k: run(reference.layer, case, torch.float32)[part][k],
            )
    else:
        agree(
            found[2],
            expected[2],
            "gradient",
            lambda: run(reference.layer, case, torch.float32)[2],
        )


@given(case=cases())
def test_packed_layers_agree_with_the_training_layers(case):
    _native.set_isa(case.isa)
    _native.set_num_threads(case.threads)
    spec, weights, x, (h, c), _ = numbers(case)
    dtype = DTYPES[case.dtype]
    weights = tuple(LayerWeights(*(None if t is None else t.to(dtype) for t in w)) for w in weights)
    x, h, c = (None if t is None else t.to(dtype) for t in (x, h, c))
    lengths = None if case.lengths is None else torch.tensor(case.lengths)
    ragged = None if lengths is None else Ragged(lengths, case.steps)
    expected = native.layer(spec, weights, x, h, c, ragged=ragged)
    packed = runtime.pack(
        spec, [tuple(None if t is None else t.numpy() for t in w) for w in weights]
    )
    # Past a row's end there may be anything.
    x = laid_out(x, case.layout)
    rows = x.transpose(0, 1).numpy()
    if lengths is not None and case.layout != "repeated":
        for n, length in enumerate(case.lengths):
            rows[n, length:] = np.nan
    found = runtime.run(
        packed,
        rows,
        h.numpy(),
        None if c is None else c.numpy(),
        None if lengths is None else lengths.numpy(),
    )
    for mine, theirs in zip(
        found, (expected.y.transpose(0, 1), expected.h, expected.c), strict=True
    ):
        if mine is not None:
            close(mine, theirs, "forward")


@given(case=cases())
def test_any_number_of_threads_gives_the_same_bits(case):
    _native.set_isa(case.isa)
    found = []
    for threads in (1, case.threads):
        _native.set_num_threads(threads)
        outputs, gradients, flow = run(native.layer, case, DTYPES[case.dtype])
        found.append([*outputs, *gradients, flow])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
