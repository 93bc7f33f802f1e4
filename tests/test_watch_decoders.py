"""Watching decoders whose cell reads what was just looked at: the flow is autograd's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import captioning
import tiny
from test_compare import described
from unrolled.nn import decoder as decoding
from unrolled.nn.attention import Attention, sequence_mask
from unrolled.nn.decoder import Decoder, Memory, Seen
from unrolled.nn.rnn import recurrent
from unrolled.spec import AttentionSpec, CaptionerSpec, RecurrentSpec
from unrolled.tasks import caption, translate
from unrolled.tasks.base import Run
from unrolled.validation import readout_input_size

N, S, T, E, M, H = 3, 5, 7, 3, 4, 6


def additive(cell: str, layers: int = 1, **choices) -> tuple[Decoder, tuple]:
    """An additive decoder in float64, and what it is run on."""
    torch.manual_seed(0)
    stack = RecurrentSpec(cell=cell, input_size=E + M, hidden_sizes=(H,) * layers, **choices)
    attention = AttentionSpec(kind="additive", query_size=H, key_size=M, size=5)
    spec = CaptionerSpec(
        inputs="regions", feature_size=2, memory_size=M, target_vocab_size=5,
        target_embedding_size=E, decoder=stack, readout_size=4, condition="attend",
        attention=attention,
    )  # fmt: skip
    module = recurrent(stack, batch_first=True).double()
    scorer = Attention(attention).double()
    readout = torch.nn.Linear(readout_input_size(spec), 4).double()
    parts = Decoder(spec, module, scorer, readout, training=True)
    values = torch.randn(N, S, M, dtype=torch.float64)
    mask = sequence_mask(torch.tensor([5, 2, 4]), values)
    values = values * mask.unsqueeze(-1)
    memory = Memory(values, mask, scorer.precompute(values).detach())
    embedded = torch.randn(N, T, E, dtype=torch.float64)
    h = tuple(torch.randn(N, H, dtype=torch.float64, requires_grad=True) for _ in range(layers))
    c = None
    if cell == "lstm":
        c = tuple(torch.randn(N, H, dtype=torch.float64) for _ in range(layers))
    return parts, (embedded, h, c, memory)


def pulled(readouts: torch.Tensor) -> torch.Tensor:
    """A loss whose rows end at steps 7, 4 and 2."""
    ends = torch.tensor([7, 4, 2])
    weights = torch.randn(readouts.shape, generator=torch.Generator().manual_seed(1)).double()
    inside = torch.arange(T) < ends[:, None]
    return (readouts * weights * inside.unsqueeze(-1)).sum()


def by_hand(parts: Decoder, given: tuple, monkeypatch) -> np.ndarray:
    """|dL/dh[t]| and |dL/dc[t]|, [L, T, N, 2], by retain_grad on the plain loop's states."""
    embedded, h, c, memory = given
    states: list[tuple] = []
    plain = decoding._stack

    def kept(*arguments):
        y, new_h, new_c = plain(*arguments)
        for state in (*new_h, *(new_c or ())):
            state.retain_grad()
        states.append((new_h, new_c))
        return y, new_h, new_c

    monkeypatch.setattr(decoding, "_stack", kept)
    steps = embedded.unbind(1)
    pulled(decoding.stepwise(parts, lambda t, _: steps[t], T, h, c, memory)[0]).backward()
    monkeypatch.setattr(decoding, "_stack", plain)
    found = np.zeros((len(h), T, N, 2))
    for t, (new_h, new_c) in enumerate(states):
        for column, several in enumerate((new_h, new_c or ())):
            for layer, state in enumerate(several):
                if state.grad is not None:
                    found[layer, t, :, column] = state.grad.norm(dim=1)
    return found


@pytest.mark.parametrize("way", ["additive", "stepwise"])
@pytest.mark.parametrize(
    ("cell", "layers", "choices"),
    [
        ("rnn", 1, {}),
        ("rnn", 1, {"nonlinearity": "relu"}),
        ("gru", 1, {}),
        ("gru", 1, {"reset": "before"}),
        ("lstm", 1, {}),
        ("gru", 2, {}),
        ("lstm", 2, {"residual": True}),
    ],
)
def test_the_flow_of_an_additive_decoder_is_autograds(
    cell, layers, choices, way, monkeypatch
) -> None:
    parts, given = additive(cell, layers, **choices)
    expected = by_hand(parts, given, monkeypatch)
    seen: list[Seen] = []
    watched = replace(parts, watch=seen.append)
    embedded, h, c, memory = given
    if way == "additive":
        readouts = decoding.additive(watched, embedded, h, c, memory)
    else:
        steps = embedded.unbind(1)
        readouts = decoding.stepwise(watched, lambda t, _: steps[t], T, h, c, memory)[0]
    pulled(readouts).backward()
    (found,) = seen
    flow = torch.stack(found.flow)[:, 0].numpy()
    np.testing.assert_allclose(flow, expected, rtol=1e-10, atol=1e-14)
    assert (expected[:, 0, :, 0] > 0).all()
    assert (flow[:, 4:, 1] == 0).all(), "nothing enters after the row's last step"
    # What it read, run by the decoder's own module, gives the states that it had.
    y, _ = watched.recurrent(found.x, found.state)
    joined = torch.cat([y, found.x[..., E:], embedded], dim=-1)
    torch.testing.assert_close(torch.tanh(parts.readout(joined)), readouts)


def test_watching_changes_no_gradient() -> None:
    parts, given = additive("lstm")
    gradients = []
    for watch in (None, lambda seen: None):
        for each in (parts.recurrent, parts.attention, parts.readout):
            each.zero_grad()
        run = replace(parts, watch=watch)
        pulled(decoding.additive(run, *given)).backward()
        modules = (parts.recurrent, parts.attention, parts.readout)
        gradients.append(
            [p.grad.clone() for m in modules for p in m.parameters() if p.grad is not None]
        )
    for first, second in zip(*gradients, strict=True):
        assert torch.equal(first, second)


def lines_of(train) -> list[dict]:
    found: list[dict] = []
    train(Run(watch=found.append))
    return found


TRAINED = {
    "additive": lambda run: translate.train(
        tiny.pairs(), tiny.translate_options(cell="lstm"), tiny.training(), run=run
    ),
    "two layers": lambda run: translate.train(
        tiny.pairs(), tiny.translate_options(decoder_layers=2), tiny.training(), run=run
    ),
    "input feeding": lambda run: translate.train(
        tiny.pairs(),
        tiny.translate_options(attention="general", input_feeding=True),
        tiny.training(),
        run=run,
    ),
    "sampled": lambda run: translate.train(
        tiny.pairs(),
        tiny.translate_options(attention="none"),
        tiny.training(teacher_forcing=0.5),
        run=run,
    ),
    "captions": lambda run: caption.train(
        described(), captioning.options(), captioning.training(epochs=2), run=run
    ),
}


@pytest.mark.parametrize("kind", TRAINED)
def test_a_run_tells_of_its_decoder(kind: str) -> None:
    for line in lines_of(TRAINED[kind]):
        layers = [each for each in line["layers"] if each["name"] == "decoder"]
        assert len(layers) == (2 if kind == "two layers" else 1)
        assert all(len(each["h"]) > 2 and min(each["h"]) > 0 for each in layers)
        assert ("c" in layers[0]) == (kind == "additive")
        (memory,) = [each["memory"] for each in layers if "memory" in each]
        assert memory[0] == 1
        assert "decoder" in line["gates"]


def test_the_run_is_the_same_watched_or_not() -> None:
    made = [
        translate.train(tiny.pairs(), tiny.translate_options(), tiny.training(), run=run)
        for run in (Run(), Run(watch=lambda line: None))
    ]
    first, second = (each.weights for each in made)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_memory_of_a_leaky_decoder_falls_as_its_matrix_says() -> None:
    """relu above zero with nothing read and U = 0.8: a pull at h_T is 0.8^k of itself k back."""
    from unrolled.train.measure import Call, memory

    layer = recurrent(
        RecurrentSpec(cell="rnn", nonlinearity="relu", input_size=2, hidden_sizes=(3,)),
        batch_first=True,
    )
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            weight.zero_()
            if name == "weight_hh_l0":
                weight.copy_(0.8 * torch.eye(3))
            if name == "bias_ih_l0":
                weight.fill_(1.0)
    state = (torch.ones(1, 4, 3),)
    call = Call("decoder", layer, (torch.zeros(4, 9, 2), state), {}, [])
    curve = memory(call)["forward"].rms
    for near, far in pairwise(curve):
        assert far / near == pytest.approx(0.8, rel=1e-3)
