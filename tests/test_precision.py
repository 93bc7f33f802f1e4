"""Numbers of fewer bits, model folders that hold them, and `unrolled export --precision`."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import networks
import tagging
import test_runtime_model as models
import tiny
import unrolled
from test_decode import random_weights
from test_runtime_model import LABELS, SOURCE, TARGET, TEXTS
from unrolled import artifact, cli
from unrolled.errors import DataError, InteropError, ModelError
from unrolled.interop import onnx
from unrolled.precision import from_bf16, from_int8, restore, store, to_bf16, to_int8
from unrolled.tasks.export import lower


def save(folder, task, spec, vocabularies):
    """Write a model folder with random float32 weights."""
    weights = {name: value.astype(np.float32) for name, value in random_weights(spec).items()}
    return models.save(folder, task, spec, vocabularies, **weights)


@pytest.fixture
def classifier(tmp_path):
    vocabularies = {"source": SOURCE, "target": LABELS}
    return save(tmp_path / "classifier", "classify", networks.classifier(), vocabularies)


@pytest.fixture
def translator(tmp_path):
    vocabularies = {"source": SOURCE, "target": TARGET}
    return save(tmp_path / "words", "translate", networks.translator("additive"), vocabularies)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small classifier that knows its task, and the file that it learned from."""
    folder = tmp_path_factory.mktemp("trained")
    data = tiny.write_reviews(folder / "reviews.csv", 80)
    flags = [*tiny.FLAGS, "--epochs=12", "--quiet"]
    assert cli.run(["train", "classify", str(data), "--out", str(folder / "model"), *flags]) == 0
    return folder / "model", data


def test_int8_rounds_halves_to_even_and_keeps_the_largest():
    codes, factors = to_int8([[127, 2.5, 3.5, -0.5], [0, 0, 0, 0], [-2e-31, 0, 0, 1e-31]])
    assert codes.tolist() == [[127, 2, 4, 0], [0] * 4, [0] * 4]
    assert factors.tolist() == [1, 0, 0]
    values = np.random.default_rng(0).normal(size=(9, 50)).astype(np.float32)
    codes, factors = to_int8(values)
    assert (np.abs(codes).max(axis=1) == 127).all()
    assert (np.abs(from_int8(codes, factors) - values) <= factors[:, None] * 0.5001).all()


def test_bf16_is_what_torch_rounds_to():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    values[0, :3] = 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8 + 2**-20)
    rounded = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(from_bf16(to_bf16(values)), rounded)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("kind", ["classifier", "translator"])
def test_a_stored_model_answers_as_the_same_precision_does_at_load(
    request, tmp_path, kind, precision
):
    folder = request.getfixturevalue(kind)
    report = lower(folder, tmp_path / "small", precision)
    assert report.bytes[precision] < report.bytes["float32"]
    stored, chosen = (
        unrolled.load(tmp_path / "small"),
        unrolled.load(folder, precision=precision),
    )
    assert stored.config.precision == precision
    if kind == "classifier":
        assert stored.network.recurrent.precision == precision
        found, wanted = stored.predict_proba(TEXTS), chosen.predict_proba(TEXTS)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert np.abs(wanted - unrolled.load(folder).predict_proba(TEXTS)).max() > 1e-6
    else:
        assert stored.network.decoder.precision == precision
        assert stored.predict(TEXTS) == chosen.predict(TEXTS)
    full = unrolled.load(tmp_path / "small", precision="float32")
    assert full.predict(TEXTS)


def test_a_stored_weight_is_codes_and_a_factor_a_row(classifier, tmp_path):
    lower(classifier, tmp_path / "small", "int8")
    tensors = load_file(tmp_path / "small" / artifact.WEIGHTS)
    name = "recurrent.weight_hh_l0"
    assert name not in tensors
    assert tensors[f"{name}.int8"].dtype == np.int8
    assert tensors[f"{name}.scale"].shape == (len(tensors[f"{name}.int8"]),)
    assert tensors["embedding.weight"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, r"weight_hh_l0.int8 needs recurrent.weight_hh_l0.scale, float32 \[\d+\]"),
        ({"scale": np.ones(3, np.float32)}, "needs recurrent.weight_hh_l0.scale"),
        ({"int8": np.ones((4, 4), np.int32)}, "expected a matrix of int8"),
        ({"scale": np.full(3, np.nan, np.float32)}, "holds NaN or infinite"),
        ({"int4": np.ones((4, 4), np.int8)}, "int4 is no tensor of a weight of fewer bits"),
    ],
)
def test_damaged_tensors_are_named(classifier, tmp_path, change, message):
    lower(classifier, tmp_path / "small", "int8")
    place = tmp_path / "small" / artifact.WEIGHTS
    tensors = load_file(place)
    for end, value in change.items():
        tensors[f"recurrent.weight_hh_l0.{end}"] = value
    save_file({name: value for name, value in tensors.items() if value is not None}, place)
    config = json.loads((tmp_path / "small" / artifact.CONFIG).read_text())
    config["fingerprint"] = ""
    (tmp_path / "small" / artifact.CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        unrolled.load(tmp_path / "small")


def test_what_is_stored_comes_back():
    random = np.random.default_rng(0)
    weights = {
        "encoder.weight_ih_l0": random.normal(size=(8, 3)).astype(np.float32),
        "encoder.weight_hh_l1_reverse": random.normal(size=(8, 2)).astype(np.float32),
        "encoder.bias_ih_l0": random.normal(size=8).astype(np.float32),
        "attention.weight": random.normal(size=(8, 3)).astype(np.float32),
    }
    for precision, off in (("float32", 0), ("bf16", 2**-8), ("int8", 1 / 250)):
        stored = store(weights, precision)
        back = restore(stored, "file")
        assert sorted(back) == sorted(weights)
        for name, value in weights.items():
            far = np.abs(back[name] - value).max() / np.abs(value).max()
            assert far <= (off if "weight_" in name else 0)
        again = restore(store(back, precision), "file")
        for name, value in back.items():
            np.testing.assert_allclose(again[name], value, rtol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_the_report_compares_both_models_on_the_data(trained, tmp_path, capsys, precision):
    model, data = trained
    arguments = ["export", model, "--precision", precision, "--check", data, "--quiet"]
    assert cli.run([*map(str, arguments), "--out", str(tmp_path / "a"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    full, low = report["metrics"]["float32"], report["metrics"][precision]
    assert full["accuracy"] > 0.9
    assert abs(full["accuracy"] - low["accuracy"]) <= 0.03
    assert abs(full["log_loss"] - low["log_loss"]) <= 0.05
    assert report["agreement"] >= 0.97
    assert report["examples"] == 80
    assert report["bytes"][precision] == (tmp_path / "a" / artifact.WEIGHTS).stat().st_size

    assert cli.run([*map(str, arguments), "--out", str(tmp_path / "b")]) == 0
    text = capsys.readouterr().out
    assert text.split()[:2] == ["float32", precision]
    assert "equal answers" in text
    assert f"| metric | float32 | {precision} |" in (tmp_path / "b" / artifact.CARD).read_text()

    assert cli.run(["evaluate", str(tmp_path / "b"), str(data), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["accuracy"] == pytest.approx(low["accuracy"], abs=0.02)


def test_a_translator_is_compared_too(translator, tmp_path):
    data = tmp_path / "pairs.tsv"
    data.write_text("source\ttarget\n" + "".join(f"{text}\twx\n" for text in TEXTS))
    report = lower(translator, tmp_path / "small", "int8", check=str(data))
    assert set(report.metrics) == {"float32", "int8"}
    assert report.metrics["int8"]["per"] > 0
    assert 0 <= report.agreement <= 1
    assert report.examples == len(TEXTS)


def test_a_tagger_is_compared_too(tmp_path, capsys):
    model, data = tmp_path / "tags", tagging.write_conll(tmp_path / "orders.conll", intent=True)
    learn = [*tagging.FLAGS, "--epochs=12", "--lr=0.03", "--intent", "intent", "--quiet"]
    assert cli.run(["train", "tag", str(data), "--out", str(model), *learn]) == 0
    small = tmp_path / "small"
    report = lower(model, small, "int8", check=str(data))
    full, low = report.metrics["float32"], report.metrics["int8"]
    assert full["accuracy"] > 0.9
    assert abs(full["accuracy"] - low["accuracy"]) <= 0.05
    assert {"span_f1", "intent_accuracy", "sentence_accuracy"} <= low.keys()
    assert report.agreement >= 0.8
    assert report.examples == 40
    assert report.bytes["int8"] < report.bytes["float32"]

    sentences = ["get rice in oslo", "fly to new york"]
    stored, chosen = unrolled.load(small), unrolled.load(model, precision="int8")
    assert stored.network.recurrent.precision == "int8"
    assert stored.network.characters.recurrent.precision == "int8"
    pairs = zip(stored.predict_proba(sentences), chosen.predict_proba(sentences), strict=True)
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    exact = unrolled.load(model).predict_proba(sentences)
    assert np.abs(exact[0] - chosen.predict_proba(sentences)[0]).max() > 1e-7

    capsys.readouterr()
    assert cli.run(["evaluate", str(small), str(data), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["accuracy"] == pytest.approx(low["accuracy"], abs=0.02)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to", "folder"], "--to folder needs --precision: bf16 or int8"),
        (["--to", "onnx", "--precision", "int8"], "--precision is for --to folder; this export"),
        (["--precision", "int8", "--seed", "0"], "--seed is for --to onnx; this export is --to fo"),
        (["--check", "a.csv"], "--check is for --to folder; this export is --to onnx"),
        (["--beam", "1"], "--beam is for --to folder; this export is --to onnx"),
        (["--overwrite"], "--overwrite is for --to folder; this export is --to onnx"),
        (["--json"], "--json is for --to folder; this export is --to onnx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_the_other_format_are_errors(classifier, tmp_path, capsys, flags, message):
    out = tmp_path / "out"
    assert cli.run(["export", str(classifier), "--out", str(out), *flags]) != 0
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_of_low_precision_is_exported_as_onnx_in_float32(classifier, tmp_path, capsys):
    pytest.importorskip("onnx")
    lower(classifier, tmp_path / "small", "int8")
    path = tmp_path / "model.onnx"
    assert cli.run(["export", str(tmp_path / "small"), "--out", str(path), "--quiet"]) == 0
    tokens = {"tokens": np.array([[4, 5, 6]]), "lengths": np.array([3])}
    found = onnx.load(path).run(tokens)["probabilities"]
    network = unrolled.load(tmp_path / "small", precision="float32").network
    wanted = network.probabilities(tokens["tokens"], tokens["lengths"])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    loaded = unrolled.load(tmp_path / "small")
    for low in (loaded, loaded.network, loaded.network.recurrent):
        with pytest.raises(InteropError, match="'int8' has no ONNX export; load the model with"):
            onnx.export(low, tmp_path / "low.onnx")


def test_errors_leave_nothing_behind(classifier, tmp_path):
    small, wrong = tmp_path / "small", tmp_path / "wrong.csv"
    wrong.write_text("source,target\nabc,nobody\n")
    with pytest.raises(DataError, match="nobody"):
        lower(classifier, small, "int8", check=str(wrong))
    assert not small.exists()
    with pytest.raises(ModelError, match="is the model itself"):
        lower(classifier, classifier, "int8", overwrite=True)
    lower(classifier, small, "int8")
    with pytest.raises(ModelError, match="holds int8 weights already"):
        lower(small, tmp_path / "more", "bf16")
    with pytest.raises(ModelError, match="holds another model; give --overwrite"):
        lower(classifier, small, "bf16")


def test_a_model_with_a_projection_stays_float32(tmp_path):
    spec = networks.classifier()
    recurrent = msgspec.structs.replace(spec.recurrent, cell="lstm", proj_size=2)
    spec = msgspec.structs.replace(spec, recurrent=recurrent, pooling="mean", attention=None)
    folder = save(tmp_path / "m", "classify", spec, {"source": SOURCE, "target": LABELS})
    with pytest.raises(ModelError, match=r"'recurrent'.*projection runs in float32 only"):
        unrolled.load(folder, precision="int8")
