"""An LSTM with a projection as ONNX: a loop of the file's own, in every model that may have one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import captioning
import forecasting
import networks
import stacks
import tagging
from test_onnx_export_writers import forecaster, generator, network
from tolerances import close
from unrolled.interop.onnx import export, load
from unrolled.runtime.recurrent import Recurrent
from unrolled.spec import RecurrentSpec

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def projected(stack: RecurrentSpec, size: int = 2) -> RecurrentSpec:
    return msgspec.structs.replace(stack, proj_size=size)


def spelling():
    """A tagger whose words and whose spelling are both read by projected LSTMs."""
    plain = tagging.tagger("lstm", proj_size=3)
    characters = msgspec.structs.replace(
        plain.characters, recurrent=projected(plain.characters.recurrent)
    )
    stack = msgspec.structs.replace(plain.recurrent, input_size=4 + characters.output_size)
    return msgspec.structs.replace(plain, characters=characters, recurrent=stack)


def ahead(**choices):
    """A forecaster with projections in both of its stacks."""
    spec = forecasting.forecaster("rnn", "normal", "lstm", proj_size=3, **choices)
    return forecaster(spec)


MODELS = {
    "classifier": lambda: network(networks.classifier("last", "lstm", proj_size=3)),
    "attention": lambda: network(networks.classifier("attention", "lstm", proj_size=3)),
    "tagger": lambda: network(spelling()),
    "translator": lambda: network(
        networks.translator(
            "general", "lstm", encoder_hidden=(5, 6), decoder_hidden=(6, 7),
            encoder={"proj_size": 3}, decoder={"proj_size": 4, "residual": True},
        )
    ),
    "captioner": lambda: network(
        msgspec.structs.replace(
            found := captioning.spec("vector", "first", cell="lstm", layers=2),
            decoder=projected(found.decoder),
        )
    ),
    "generator": lambda: network(generator(recurrent={"proj_size": 4})),
    "widths": lambda: network(generator(recurrent={"proj_size": 4, "hidden_sizes": (8, 6)})),
    "forecaster": ahead,
    "both-ways": lambda: ahead(bidirectional=True),
    "autoregressive": lambda: forecaster(
        forecasting.forecaster("autoregressive", "normal", "lstm", proj_size=3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_model_with_a_projection_is_exported(name: str, tmp_path: Path) -> None:
    found = export(MODELS[name](), tmp_path / "model.onnx")
    assert found.onnxruntime is not None
    assert max(found.reader, found.onnxruntime) < 1e-5


@pytest.mark.parametrize("directions", [1, 2])
def test_onnxruntime_gives_torchs_numbers(directions: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    H, P, L = 5, 2, 2
    theirs = torch.nn.LSTM(
        stacks.I, H, L, proj_size=P, bidirectional=directions == 2, batch_first=True
    )
    weights = {name: value.detach().numpy() for name, value in theirs.named_parameters()}
    spec = RecurrentSpec(
        cell="lstm", input_size=stacks.I, hidden_sizes=(H,) * L, proj_size=P,
        bidirectional=directions == 2,
    )  # fmt: skip
    path = tmp_path / "layer.onnx"
    export(Recurrent(spec, weights), path)
    lengths = np.array([6, 1, 4])
    x = stacks.random(3, 6, stacks.I, dtype=torch.float32)
    h = stacks.random(L * directions, 3, P, dtype=torch.float32, seed=1)
    c = stacks.random(L * directions, 3, H, dtype=torch.float32, seed=2)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        y, (h_n, c_n) = theirs(packed, (h, c))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
    # What lies behind a row's length is not read.
    given = np.where((np.arange(6) < lengths[:, None])[..., None], x, np.nan).astype(np.float32)
    feeds = {"x": given, "lengths": lengths, "h": h.numpy(), "c": c.numpy()}
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    for made in (dict(zip(names, session.run(names, feeds), strict=True)), load(path).run(feeds)):
        for name, expected in {"y": y, "h_n": h_n, "c_n": c_n}.items():
            assert close(made[name], expected, "forward"), name
