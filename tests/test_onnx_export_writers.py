"""Generators, forecasters and captioners as ONNX: ONNX Runtime gives our runtime's numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import NormalDist

import msgspec
import numpy as np
import pytest
import torch

import captioning
import forecasting
import tiny
import unrolled
from tolerances import close
from unrolled import cli
from unrolled.config import DataSpec, ForecastingSpec, ModelConfig, TrainSpec
from unrolled.data.captions import Described
from unrolled.data.streams import text_lines
from unrolled.data.vocab import BOS, EOS, Vocabulary
from unrolled.errors import InteropError
from unrolled.interop.onnx import export, load
from unrolled.nn.build import build as build_torch
from unrolled.options import GenerateOptions
from unrolled.runtime.build import build
from unrolled.runtime.forecaster_model import ForecastModel
from unrolled.runtime.generator_model import frame_losses
from unrolled.spec import ForecasterSpec, GeneratorSpec, RecurrentSpec
from unrolled.tasks.base import Run
from unrolled.tasks.caption import train as train_captioner
from unrolled.tasks.forecast import train as train_forecaster
from unrolled.tasks.generate import train_text


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


@pytest.fixture
def ort(onnx):
    return pytest.importorskip("onnxruntime")


def network(spec, std: float = 0.5):
    """A network of random weights, its buffers (means, deviations) too."""
    torch.manual_seed(0)
    module = build_torch(spec)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    for buffer in module.buffers():
        torch.nn.init.uniform_(buffer, 0.5, 2.0)
    return build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})


def session(ort, path: Path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    made = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(feeds):
        names = [value.name for value in made.get_outputs()]
        wanted = {value.name for value in made.get_inputs()}
        feeds = {name: value for name, value in feeds.items() if name in wanted}
        return dict(zip(names, made.run(names, feeds), strict=True))

    return run


def metadata(onnx, path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


def after(made):
    """The states that a graph gave, as its next inputs."""
    return {
        name.replace("_n_", "_").removesuffix("_n"): value
        for name, value in made.items()
        if name.endswith("_n") or "_n_" in name
    }


def check(model, path: Path, files: list[str]) -> None:
    found = export(model, path)
    assert [each.name for each in found.paths] == files
    assert all(each.exists() for each in found.paths)
    assert found.onnxruntime is not None
    assert max(found.reader, found.onnxruntime) < 2e-5
    # Runs of the same shapes, too, which our reader makes a program of.
    assert max(load(each).check().largest for each in found.paths) < 2e-5


def generator(cell="lstm", **choices) -> GeneratorSpec:
    stack = {"cell": cell, "input_size": 6, "hidden_sizes": (8, 8)}
    stack |= choices.pop("recurrent", {})
    given = {"recurrent": RecurrentSpec(**stack), "vocab_size": 11, "embedding_size": 6, **choices}
    if choices.get("frame_size"):
        given |= {"vocab_size": 0, "embedding_size": 0}
    return GeneratorSpec(**given)


GENERATORS = {
    **{f"text-{cell}": generator(cell) for cell in ("rnn", "gru", "lstm")},
    "tied": generator(tied=True),
    "widths": generator(recurrent={"hidden_sizes": (8, 6)}, tied=True),
    "learned": generator("gru", recurrent={"initial_state": "learned"}),
    "frames": generator("gru", frame_size=6),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_is_exported_and_compared(name: str, ort, tmp_path: Path) -> None:
    check(network(GENERATORS[name]), tmp_path / "model.onnx", ["model.onnx"])


CAPTIONERS = captioning.specs()


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_captioner_is_exported_and_compared(name: str, ort, tmp_path: Path) -> None:
    files = ["model-encoder.onnx", "model-decoder.onnx"]
    check(network(CAPTIONERS[name]), tmp_path / "model.onnx", files)


READS = {
    "freq": "h",
    "calendar": ("hour",),
    "future": ("promo",),
    "static": ("size", "kind"),
    "statistics": {"load": (210.0, 4.0), "promo": (0.5, 0.25), "size": (-3.0, 1e3)},
    "categories": {"kind": ("a", "b")},
}


def forecaster(spec, **choices) -> ForecastModel:
    """A forecaster of random weights that reads as many columns as its spec has numbers."""
    given = dict(READS) if spec.static_size else {}
    if spec.past_size:
        given["past"] = ("load",)
    reads = ForecastingSpec(**{"window": 9, **given, **choices})
    config = ModelConfig(
        format_version=1, task="forecast", network=spec, training=TrainSpec(),
        data=DataSpec(forecasting=reads),
    )  # fmt: skip
    return ForecastModel(config, network(spec))


def changed(spec: ForecasterSpec, **choices) -> ForecasterSpec:
    return msgspec.structs.replace(spec, **choices)


def alone(decoder: str) -> ForecasterSpec:
    """A forecaster that reads nothing but values."""
    spec = forecasting.forecaster(decoder, "normal", "lstm")
    stack = changed(spec.recurrent, input_size=2)
    ahead = None if decoder != "rnn" else changed(spec.decoder_recurrent, input_size=1)
    sizes = dict.fromkeys(("past_size", "known_size", "static_size"), 0)
    return changed(spec, recurrent=stack, decoder_recurrent=ahead, **sizes)


DRAWN = forecasting.forecaster("autoregressive", "normal")
SEASONAL = changed(forecasting.forecaster("linear", "point"), residual="season")
LEARNED = forecasting.forecaster("mlp", "point", "lstm", initial_state="learned")
ONE_SIDED = changed(forecasting.forecaster(), quantiles=(0.5, 0.9, 0.99))
MANY = changed(forecasting.forecaster("linear"), quantiles=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9))
FORECASTERS = {
    **{name: (spec, {}) for name, spec in forecasting.forecasters().items()},
    **{f"alone-{d}": (alone(d), {}) for d in ("linear", "mlp", "rnn", "autoregressive")},
    "robust": (forecasting.forecaster(), {"scaling": "robust"}),
    "unscaled": (forecasting.forecaster("linear"), {"scaling": "none"}),
    "of-the-series": (forecasting.forecaster(), {"scale_by": "series"}),
    "of-the-series-drawn": (DRAWN, {"scale_by": "series"}),
    "season": (SEASONAL, {"season": 3}),
    "season-beyond-the-window": (SEASONAL, {"season": 11}),
    "none-added": (changed(DRAWN, residual="none"), {}),
    "learned": (LEARNED, {}),
    "one-sided": (ONE_SIDED, {}),
    "many-quantiles": (MANY, {}),
}


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_forecaster_is_exported_and_compared(name: str, ort, tmp_path: Path) -> None:
    spec, choices = FORECASTERS[name]
    files = ["model.onnx"]
    if spec.decoder == "autoregressive":
        files = ["model-encoder.onnx", "model-decoder.onnx"]
    check(forecaster(spec, **choices), tmp_path / "model.onnx", files)


def exported(folder: Path, out: Path, capsys) -> None:
    code = cli.run(["export", str(folder), "--to", "onnx", "--out", str(out)])
    said = capsys.readouterr()
    assert (code, said.out) == (0, "")
    assert "ONNX Runtime's largest difference from our numbers is " in said.err


def both(ort, *paths: Path):
    """The graphs in ONNX Runtime, then in our own reader."""
    return [[session(ort, path) for path in paths], [load(path).run for path in paths]]


def test_a_text_is_streamed_through_onnxruntime(onnx, ort, tmp_path: Path, capsys) -> None:
    options = GenerateOptions(hidden_size=8, embedding_size=6, bptt=7)
    text = "the cat sat on the mat.\nthe dog sat on the log.\n" * 30
    train_text(text_lines(text), options, tiny.training(), run=Run(tmp_path / "text"))
    path = tmp_path / "text.onnx"
    exported(tmp_path / "text", path, capsys)
    model, props = unrolled.load(tmp_path / "text"), metadata(onnx, path)
    assert props["task"] == "generate"
    assert props["fingerprint"] == model.config.fingerprint
    assert '"kind":"text"' in props["generation"]
    ids = [BOS, *Vocabulary.from_json(props["vocabulary.source"]).encode("the cat sat")]
    spec = model.network.spec.recurrent
    for (run,) in both(ort, path):
        shape = (spec.num_layers, 1, spec.hidden_sizes[0])
        state = {name: np.zeros(shape, np.float32) for name in ("h", "c")}
        found = []
        for part in (ids[:3], ids[3:4], ids[4:-1]):
            made = run({"tokens": np.array([part]), "lengths": np.array([len(part)]), **state})
            state = after(made)
            found.append(made["log_probs"][0])
        log_probs = np.concatenate(found)
        total = log_probs[np.arange(len(ids) - 1), ids[1:]].sum()
        assert total == pytest.approx(model.log_likelihood("the cat sat")[0], abs=1e-4)


def test_frames_are_streamed_through_onnxruntime(ort, tmp_path: Path) -> None:
    found, path = network(GENERATORS["frames"]), tmp_path / "music.onnx"
    export(found, path)
    frames = np.random.default_rng(3).integers(0, 2, (9, 6)).astype(np.float32)
    for (run,) in both(ort, path):
        state = {"h": np.zeros((2, 1, 8), np.float32)}
        before, losses = np.zeros((1, 1, 6), np.float32), []
        for frame in frames:
            made = run({"frames": before, "lengths": np.array([1]), **state})
            state, before = after(made), frame[None, None]
            share = made["probabilities"][0, 0]
            losses.append(-np.log(np.where(frame > 0, share, 1 - share)).sum())
        np.testing.assert_allclose(losses, frame_losses(found, frames), rtol=1e-4)


def test_learned_first_states_are_in_the_file(onnx, ort, tmp_path: Path) -> None:
    found, path = network(GENERATORS["learned"]), tmp_path / "model.onnx"
    export(found, path)
    props = metadata(onnx, path)
    first = [msgspec.json.decode(props[f"first.h0_l{k}"]) for k in range(2)]
    h = np.array(first, np.float32)[:, None]
    tokens = np.array([[2, 5, 7]])
    made = session(ort, path)({"tokens": tokens, "lengths": np.array([3]), "h": h})
    assert close(made["log_probs"], found.log_probs(tokens)[0], "forward")


def panel_windows(model: ForecastModel, data):
    """The last windows of two hourly series of a frame without covariates, and what is ahead."""
    window = model.forecasting.window
    stamps = np.array(data["ds"], "datetime64[s]").astype(np.float64).reshape(2, -1)
    y = np.reshape(data["y"], (2, -1))[:, -window:]
    ahead = stamps[:, -1:] + 3600 * np.arange(1, model.horizon + 1)
    return {"y": y, "lengths": np.full(2, window), "stamp": stamps[:, -window:]}, ahead


def test_a_forecaster_folder_forecasts_in_onnxruntime(onnx, ort, tmp_path: Path, capsys) -> None:
    panel = forecasting.panel(output="normal")
    options = forecasting.options(output="normal", decoder="linear")
    train_forecaster(panel, options, tiny.training(), run=Run(tmp_path / "model"))
    path = tmp_path / "next.onnx"
    exported(tmp_path / "model", path, capsys)
    model, props = unrolled.load(tmp_path / "model"), metadata(onnx, path)
    reads = msgspec.json.decode(props["forecasting"], type=ForecastingSpec)
    assert reads == model.forecasting
    assert msgspec.json.decode(props["network"], type=ForecasterSpec) == model.network.spec
    data = forecasting.frame()
    answer = model.predict(data, level=[80])
    feeds, ahead = panel_windows(model, data)
    for (run,) in both(ort, path):
        made = run({**feeds, "stamp_ahead": ahead})
        np.testing.assert_allclose(made["loc"].ravel(), answer["y_hat"], rtol=1e-5)
        edge = made["loc"] + made["scale"] * NormalDist().inv_cdf(0.9)
        np.testing.assert_allclose(edge.ravel(), answer["y_hat-hi-80"], rtol=1e-5)


def test_an_autoregressive_forecaster_goes_on_in_onnxruntime(ort, tmp_path: Path) -> None:
    choices = {"decoder": "autoregressive", "output": "point"}
    fitted = train_forecaster(
        forecasting.panel(**choices), forecasting.options(**choices), tiny.training()
    )
    model = ForecastModel.from_artifact(fitted)
    paths = export(model, tmp_path / "next.onnx").paths
    data = forecasting.frame()
    answer = np.reshape(model.predict(data)["y_hat"], (2, -1))
    given, ahead = panel_windows(model, data)
    for begin, step in both(ort, *paths):
        made = begin(given)
        held = after(made) | {k: v for k, v in made.items() if k.startswith("window_")}
        for t in range(model.horizon):
            made = step({**held, "stamp": ahead[:, t]})
            np.testing.assert_allclose(made["loc"], answer[:, t], rtol=1e-5)
            held |= after(made) | {"y": made["loc"]}


@pytest.mark.parametrize("condition", ["first", "every", "attend"])
def test_a_captioner_folder_is_decoded_greedily_in_onnxruntime(
    condition: str, onnx, ort, tmp_path: Path, capsys
) -> None:
    values, texts = captioning.vectors(60)
    things = Described("things", "vector", [each[None] for each in values], [[t] for t in texts])
    if condition == "attend":
        values, texts = captioning.regions(60)
        things = Described("things", "regions", values, [[text] for text in texts])
    options = captioning.options(condition=condition)
    train_captioner(things, options, captioning.training(), run=Run(tmp_path / "model"))
    exported(tmp_path / "model", tmp_path / "says.onnx", capsys)
    paths = [tmp_path / f"says-{part}.onnx" for part in ("encoder", "decoder")]
    model = unrolled.load(tmp_path / "model")
    target = Vocabulary.from_json(metadata(onnx, paths[1])["vocabulary.target"])
    assert model.network.spec.condition == condition
    for encode, decode in both(ort, *paths):
        for value in values[:5]:
            given = np.atleast_2d(value)[None]
            lengths = np.array([given.shape[1]])
            memory = encode({"features": given, "lengths": lengths})
            kept = {name: value for name, value in memory.items() if not name.endswith("_n")}
            wanted = {value.name for value in load(paths[1]).inputs}
            feeds = {"lengths": lengths, **kept, **after(memory)}
            token, written = BOS, []
            while len(written) < 2 * model.captioning.longest:
                feeds["token"] = np.array([token])
                made = decode({k: v for k, v in feeds.items() if k in wanted})
                made["log_probs"][:, [0, BOS]] = -np.inf
                token = int(made["log_probs"].argmax())
                if token == EOS:
                    break
                written.append(token)
                feeds |= after(made)
            assert target.decode(written) == model.predict(given[0])[0]


@pytest.mark.parametrize("places", [1, 5])
def test_more_regions_than_places_are_refused(places: int, ort, tmp_path: Path) -> None:
    spec = captioning.spec(positions=places)
    paths = export(network(spec), tmp_path / "model.onnx").paths
    features = {"features": np.ones((1, 6, 4), np.float32), "lengths": np.array([6])}
    with pytest.raises(Exception, match=r"must be within the inclusive range"):
        session(ort, paths[0])(features)
    with pytest.raises(InteropError, match="out of range for"):
        load(paths[0]).run(features)


def test_other_numbers_refuse_every_file(ort, tmp_path: Path, monkeypatch) -> None:
    steps = sys.modules["unrolled.interop.onnx.export_said"]
    monkeypatch.setattr(steps, "LEAST_SCALE", 0.5)
    with pytest.raises(InteropError, match=r"model-decoder\.onnx: not written: our own reader"):
        export(forecaster(DRAWN), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_forecaster_without_its_model_is_refused(onnx, tmp_path: Path) -> None:
    with pytest.raises(InteropError) as caught:
        export(network(DRAWN), tmp_path / "model.onnx")
    assert str(caught.value) == (
        "a ForecasterNetwork has no ONNX export: its model knows how windows are scaled; export "
        "that, or its folder"
    )
