"""Watching a run: its numbers are autograd's, it changes no bit of the run, and it is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import tiny
from stacks import random
from training_runs import SETTINGS, at, log, same_run, stopped
from unrolled import cli, nn
from unrolled.errors import ConfigError, ModelError
from unrolled.explain.field import even
from unrolled.explain.flow import flow_section, sentence
from unrolled.tasks import classify, translate
from unrolled.tasks.base import Run
from unrolled.train import measure
from unrolled.train.describe_flow import describe_flow, reach
from unrolled.train.flow import FlowWatch
from unrolled.train.history import FLOW, read_history, read_lines
from unrolled.train.measure import Call, align, gates, memory, radii, spectral_radius

T, N, I, H = 9, 5, 3, 4  # noqa: E741
LENGTHS = torch.tensor([9, 4, 6, 1, 9])
TORCH = {"rnn": torch.nn.RNNCell, "gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}


def watched(train, **options) -> list[dict]:
    found: list[dict] = []
    train(Run(watch=found.append, **options))
    return found


def call_of(layer, x, lengths=None, flow=None) -> Call:
    return Call("layer", layer, (x,), {"lengths": lengths}, flow if flow is not None else [])


def by_hand(layer, x, lengths, loss):
    """|dL/dh| of each row by lag: torch's own cell, and retain_grad."""
    theirs = TORCH[layer.spec.cell](I, H)
    theirs.load_state_dict({n.removesuffix("_l0"): v for n, v in layer.state_dict().items()})
    squares, count = np.zeros((2, T)), np.zeros(T)
    for n in range(len(x)):
        state, states = None, []
        for t in range(int(lengths[n])):
            state = theirs(x[n : n + 1, t], state)
            parts = state if isinstance(state, tuple) else (state,)
            for part in parts:
                part.retain_grad()
            states.append(parts)
        loss(states[-1][0][0], n).backward()
        for lag, parts in enumerate(reversed(states)):
            count[lag] += 1
            for kind, part in enumerate(parts):
                squares[kind, lag] += float(part.grad.norm()) ** 2
    return np.sqrt(squares / np.maximum(count, 1))


@pytest.mark.parametrize("cell", TORCH)
def test_flow_by_lag_is_what_retain_grad_finds_on_torchs_layers(cell):
    torch.manual_seed(0)
    layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](I, H, batch_first=True)
    x, pull = random(N, T, I, dtype=torch.float32), random(N, H, dtype=torch.float32)
    with nn.gradient_flow(layer) as flow:
        _, hx = layer(x, lengths=LENGTHS)
    h = hx[0] if cell == "lstm" else hx
    (h[0] * pull).sum().backward()
    expected = by_hand(layer, x, LENGTHS, lambda last, n: (last * pull[n]).sum())
    kinds = [flow.h_rows[0], *(flow.c_rows[:1])]
    for found, wanted in zip(kinds, expected, strict=False):
        curve = align(found[0], LENGTHS, reverse=False)
        rms = (curve.squares / curve.rows).sqrt().numpy()
        np.testing.assert_allclose(rms, wanted[: len(rms)], rtol=1e-5)


def test_the_backward_direction_is_aligned_where_it_ends():
    norms = torch.arange(1.0, 7.0).reshape(3, 2)
    ends = torch.tensor([3, 2])
    assert align(norms, ends, reverse=False).rms == [
        measure.rounded(np.sqrt((5**2 + 4**2) / 2)),
        measure.rounded(np.sqrt((3**2 + 2**2) / 2)),
        1.0,
    ]
    assert align(norms, ends, reverse=True).rms[0] == measure.rounded(np.sqrt((1 + 4) / 2))


def test_memory_of_a_linear_system_is_the_power_of_its_matrix():
    layer = nn.RNN(I, H, nonlinearity="relu", batch_first=True)
    matrix = torch.diag(torch.tensor([0.9, 0.5, 0.9, 0.5]))
    with torch.no_grad():
        layer.weight_hh_l0.copy_(matrix)
        layer.weight_ih_l0.zero_()
        layer.bias_ih_l0.fill_(1.0)  # every unit is above zero: relu is the identity
        layer.bias_hh_l0.zero_()
    found = memory(call_of(layer, torch.zeros(3, 20, I)), pulls=400)["forward"].rms
    lags = np.arange(20)
    np.testing.assert_allclose(
        found, np.sqrt((0.9 ** (2 * lags) + 0.5 ** (2 * lags)) / 2), rtol=0.06
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_spectral_radius_is_numpys(seed):
    matrix = torch.randn(24, 24, generator=torch.Generator().manual_seed(seed)) * 0.3
    wanted = max(abs(np.linalg.eigvals(matrix.double().numpy())))
    assert spectral_radius(matrix) == pytest.approx(wanted, rel=2e-3)
    assert spectral_radius(torch.zeros(3, 3)) == 0.0
    assert spectral_radius(torch.triu(torch.ones(3, 3), 1)) == 0.0


def test_radii_are_by_gate_and_direction():
    layer = nn.LSTM(I, H, proj_size=2, bidirectional=True)
    found = radii(layer)
    assert list(found) == ["l0", "l0_reverse"]
    product = layer.weight_hh_l0[H : 2 * H] @ layer.weight_hr_l0
    wanted = max(abs(np.linalg.eigvals(product.detach().double().numpy())))
    assert found["l0"]["f"] == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_are_those_of_the_cell(cell):
    """A bias that opens one gate wide and shuts another shows as saturation, and only there."""
    layer = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](I, H, 2, batch_first=True, bidirectional=True)
    with torch.no_grad():
        layer.bias_ih_l1_reverse[H : 2 * H] = 40.0
    found = gates(call_of(layer, random(N, T, I, dtype=torch.float32), LENGTHS))
    gate = "f" if cell == "lstm" else "z"
    assert found["l1_reverse"][gate] == 1.0
    assert found["l1_reverse"][f"{gate}_mean"] == 1.0
    assert found["l1"][gate] < 0.2


@pytest.mark.parametrize("start", ["zeros", "learned", "given"])
def test_gate_values_carry_the_states_that_the_layer_has(start):
    """From the sums of a tanh cell its own states must come back, at every step inside a row."""
    layer = nn.RNN(
        I, H, batch_first=True, bidirectional=True,
        initial_state="learned" if start == "learned" else "zeros",
    )  # fmt: skip
    with torch.no_grad():
        for name, value in layer.named_parameters():
            if name.startswith("h0"):
                value.fill_(0.7)
    given = random(2, N, H, dtype=torch.float32) if start == "given" else None
    call = Call("layer", layer, (random(N, T, I, dtype=torch.float32), given), {}, [])
    call.kwargs["lengths"] = LENGTHS
    _, _, states = layer(call.x, given, lengths=LENGTHS, return_states=True)
    inside = torch.arange(T) < LENGTHS.unsqueeze(1)
    for d, suffix in enumerate(("_l0", "_l0_reverse")):
        h = states[0]["h"][:, :, d]
        first = measure._first_state(call, 0, d, suffix)
        sums = measure._gate_values(layer, suffix, call.x, h, first, inside, reverse=d == 1)
        torch.testing.assert_close(sums.tanh()[inside], h[inside])


def test_dead_relu_units_are_counted():
    layer = nn.RNN(I, H, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        layer.bias_ih_l0[:3] = -100.0
        layer.bias_ih_l0[3] = 100.0
    assert gates(call_of(layer, random(N, T, I, dtype=torch.float32)))["l0"]["dead"] == 0.75


@pytest.mark.parametrize("name", ["lstm, recurrent dropout", "scheduled sampling"])
def test_a_watched_run_is_the_same_run_bit_for_bit(name, tmp_path: Path):
    train = SETTINGS[name]
    train(Run(tmp_path / "plain"))
    found: list[dict] = []
    train(Run(tmp_path / "watched", watch=found.append))
    assert same_run(tmp_path / "plain", tmp_path / "watched")
    assert [record["epoch"] for record in found] == [1, 2, 3]
    written = read_lines(tmp_path / "watched", FLOW)
    assert written == msgspec.json.decode(msgspec.json.encode(found))
    assert not (tmp_path / "plain" / FLOW).exists()


def test_what_an_epoch_holds():
    options = tiny.classify_options(cell="lstm", layers=2)
    found = watched(lambda run: classify.train(tiny.examples(), options, tiny.training(), run=run))
    record = found[-1]
    heads = [(r["name"], r["layer"], r["direction"]) for r in record["layers"]]
    assert heads == [("recurrent", k, d) for k in (0, 1) for d in ("forward", "backward")]
    for layer in record["layers"]:
        assert len(layer["h"]) == len(layer["c"]) == 3
        assert min(layer["h"]) > 0
        assert ("memory" in layer) == (layer["layer"] == 1)
    assert record["sampled_steps"] == 3
    assert record["clipped_share"] is not None
    assert 0 < record["update_ratio"]["recurrent.weight_hh_l0"] < 1
    assert set(record["radius"]["recurrent"]) == {"l0", "l0_reverse", "l1", "l1_reverse"}
    assert 0 < record["watch_share"] < 1
    line = describe_flow(record)
    assert "recurrent layer 2 backward: " in line
    assert "of the pull left at lag 2" in line


def test_a_decoder_is_aligned_where_its_targets_end():
    options = tiny.translate_options(attention="general")
    found = watched(lambda run: translate.train(tiny.pairs(), options, tiny.training(), run=run))
    layers = {r["name"]: r for r in found[-1]["layers"]}
    assert set(layers) == {"encoder", "decoder"}
    assert layers["decoder"]["h"][0] > 0


def test_a_run_that_stopped_goes_on_with_its_lines(tmp_path: Path):
    import signal

    name = "adamw, dropout"
    watch = {"watch": lambda record: None}
    folder = tmp_path / "model"
    train = SETTINGS[name]
    stopped(lambda run: train(Run(run.out, watchers=run.watchers, **watch)), folder,
            at("step", 8, signal.SIGINT))  # fmt: skip
    assert [r["epoch"] for r in read_lines(folder, FLOW)] == [1]
    train(Run(folder, resume=True, **watch))
    assert [r["epoch"] for r in read_lines(folder, FLOW)] == [1, 2, 3]
    assert [("flow" in record) for record in read_history(folder)] == [True] * 3
    assert len(log(folder)) == 3


def test_the_hooks_are_gone_when_the_run_is_over():
    layer = nn.GRU(I, H)
    watch = FlowWatch(layer, lambda record: None)
    watch.begin(1, type("Counters", (), {"epoch": 0})())
    assert layer._forward_pre_hooks
    watch.end()
    assert not layer._forward_pre_hooks


def test_an_engine_that_cannot_tell_is_refused():
    with pytest.raises(ConfigError, match=r"--watch needs .* engine 'torch' does not give"):
        FlowWatch(nn.GRU(I, H, engine="torch"), lambda record: None)


def test_a_damaged_file_names_itself(tmp_path: Path):
    (tmp_path / "training").mkdir()
    (tmp_path / FLOW).write_text('{"epoch": 1\n')
    with pytest.raises(ModelError, match=r"flow\.jsonl: is not valid JSON"):
        read_lines(tmp_path, FLOW)


def test_the_command_says_a_line_an_epoch_and_the_report_draws_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_reviews(tmp_path / "reviews.csv")
    arguments = ["train", "classify", "reviews.csv", "--out", "model", *tiny.FLAGS, "--watch"]
    assert cli.run(arguments) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  flow: ")]
    assert len(said) == 2
    assert cli.run(["explain", "model", "good film 3", "--out", "page.html", "--quiet"]) == 0
    html = (tmp_path / "page.html").read_text()
    assert html.count('<svg class="field"') == 4  # memory and h, in two directions
    assert "What is left of a pull at the last state" in html
    assert json.loads((tmp_path / "model" / FLOW).read_text().splitlines()[0])["epoch"] == 1


def test_what_a_curve_says():
    curve = [1.0, 0.5, 0.05, 0.2, 0.01]
    assert reach(curve, 0.1) == 4
    assert reach([1.0, 0.9], 0.5) is None
    assert reach([0.0, 0.0], 0.5) is None
    assert "at lag 4 is 1.0e-02 of that at lag 0; it stays below a tenth from lag 4" in sentence(
        curve
    )
    assert sentence([0.0, 1.0]) == "At lag 0 the gradient is zero."
    layer = {"name": "r", "layer": 0, "direction": "forward", "memory": [1.0, 10.0, 1e9]}
    record = {"epoch": 1, "sampled_steps": 1, "gradient_norm": 1.0, "clipped_share": 0.0, "lr": 1.0}
    rest = {"layers": [layer], "radius": {}, "update_ratio": {}, "gates": {}}
    html = flow_section([record | rest])
    shades = re.findall(r'fill="var\(--accent\)" fill-opacity="([0-9.]+)"', html)
    assert [float(shade) for shade in shades] == [0.0, 0.0, 1.0]
    rest["layers"] = [layer | {"memory": [1.0, 1.02, 0.01, 0.0]}]
    shades = re.findall(r'fill-opacity="([0-9.]+)"', flow_section([record | rest]))
    assert [float(shade) for shade in shades] == [0.999, 1.0, 0.749, 0.0]


@pytest.mark.parametrize("last", [0, 5, 9, 12, 60, 511, 4000])
def test_lags_are_labelled_evenly(last: int) -> None:
    found = even(last, 7)
    assert found[0] == 0
    assert len(found) <= 7
    assert len(set(np.diff(found))) <= 1
    assert last - found[-1] < max(1, found[1] if len(found) > 1 else 1)
