"""Export to ONNX: ONNX Runtime gives the numbers that our runtime gives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import networks
import stacks
import tagging
import tiny
from tolerances import close
from unrolled import cli, nn
from unrolled.data.vocab import BOS, EOS, LabelVocabulary, Vocabulary
from unrolled.errors import InteropError
from unrolled.interop.onnx import export, load
from unrolled.nn.build import build as build_torch
from unrolled.runtime.build import build
from unrolled.runtime.model import load as load_folder
from unrolled.runtime.recurrent import Recurrent
from unrolled.tasks.base import Run
from unrolled.tasks.classify import train as train_classifier
from unrolled.tasks.tag import train as train_tagger
from unrolled.tasks.translate import train as train_translator

# Every attention and cell; the deep ones by their own names further on in the list.
NETWORKS = {
    name: spec
    for name, spec in {
        **networks.classifiers(),
        **networks.translators(),
        **{f"tagger-{name}": spec for name, spec in tagging.taggers().items()},
    }.items()
    if not name.endswith(("-2", "rnn-1", "rnn-feeding"))
}


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


@pytest.fixture
def ort(onnx):
    return pytest.importorskip("onnxruntime")


def network(spec):
    torch.manual_seed(0)
    module = build_torch(spec)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})


def layer(cell: str, stack: str) -> Recurrent:
    torch.manual_seed(0)
    return stacks.randomise(nn.recurrent(stacks.spec(cell, stack))).runtime()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_exported_and_compared(name: str, ort, tmp_path: Path) -> None:
    found = export(network(NETWORKS[name]), tmp_path / "model.onnx")
    assert found.onnxruntime is not None
    assert max(found.reader, found.onnxruntime) < 1e-5
    assert [path.name for path in found.paths] == sorted(p.name for p in tmp_path.iterdir())[::-1]


@pytest.mark.parametrize("stack", stacks.STACKS)
@pytest.mark.parametrize("cell", stacks.CELLS)
def test_a_recurrent_stack_takes_and_gives_its_state(cell, stack, ort, tmp_path: Path) -> None:
    path = tmp_path / "layer.onnx"
    found = export(layer(cell, stack), path)
    assert found.paths == (path,)
    assert found.onnxruntime is not None
    assert found.onnxruntime < 1e-5


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


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_stream_in_onnxruntime_is_the_whole_sequence(cell: str, ort, tmp_path: Path) -> None:
    whole = layer(cell, "widths")
    path = tmp_path / "layer.onnx"
    export(whole, path)
    run = session(ort, path)
    x = np.random.default_rng(1).normal(size=(2, 9, stacks.I)).astype(np.float32)
    expected, _ = whole(x)
    names = [f"{kind}_{k}" for kind in ("h", "c")[: 1 + (cell == "lstm")] for k in range(3)]
    sizes = whole.spec.hidden_sizes
    state = {name: np.zeros((1, 2, sizes[int(name[-1])]), np.float32) for name in names}
    found = []
    for start, end in ((0, 1), (1, 5), (5, 9)):
        lengths = np.full(2, end - start)
        made = run({"x": x[:, start:end], "lengths": lengths, **state})
        state = {name: made[name.replace("_", "_n_")] for name in names}
        found.append(made["y"])
    assert close(np.concatenate(found, axis=1), expected, "forward")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    train_classifier(
        tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(root / "classify")
    )
    train_translator(
        tiny.pairs(), tiny.translate_options(), tiny.training(), run=Run(root / "translate")
    )
    train_tagger(tagging.sentences(), tagging.options(), tiny.training(), run=Run(root / "tag"))
    return {task: root / task for task in ("classify", "translate", "tag")}


def exported(folder: Path, out: Path, capsys) -> str:
    code = cli.run(["export", str(folder), "--to", "onnx", "--out", str(out)])
    said = capsys.readouterr()
    assert (code, said.out) == (0, "")
    return said.err


def metadata(onnx, path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


def test_a_classifier_folder_answers_the_same_in_onnxruntime(
    onnx, ort, folders, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "model.onnx"
    said = exported(folders["classify"], path, capsys)
    assert said.startswith(f"{path}: ONNX Runtime's largest difference from our numbers is ")
    model, props = load_folder(folders["classify"]), metadata(onnx, path)
    vocabulary = Vocabulary.from_json(props["vocabulary.source"])
    labels = LabelVocabulary.from_json(props["vocabulary.target"])
    assert props["task"] == "classify"
    assert props["fingerprint"] == model.config.fingerprint
    texts = ["good film 3", "bad", "film film film film"]
    ids = [vocabulary.encode(text) for text in texts]
    lengths = np.array([len(row) for row in ids])
    tokens = np.zeros((3, lengths.max()), np.int64)
    for row, each in enumerate(ids):
        tokens[row, : len(each)] = each
    feeds = {"tokens": tokens, "lengths": lengths}
    for found in (session(ort, path)(feeds), load(path).run(feeds)):
        np.testing.assert_allclose(
            found["probabilities"], model.predict_proba(texts), rtol=0, atol=1e-5
        )
        best = found["logits"].argmax(axis=1)
        assert [labels.label(int(each)) for each in best] == model.predict(texts)


def test_a_tagger_folder_finds_the_same_tags_in_onnxruntime(
    onnx, ort, folders, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "tags.onnx"
    exported(folders["tag"], path, capsys)
    model, props = load_folder(folders["tag"]), metadata(onnx, path)
    labels = LabelVocabulary.from_json(props["vocabulary.target"])
    words, characters = (
        Vocabulary.from_json(props[f"vocabulary.{role}"]) for role in ("source", "characters")
    )
    sentences = [text.split() for text in ("fly to new york", "get rice in rio", "oslo")]
    known = sorted({word for sentence in sentences for word in sentence})

    def padded(rows):
        lengths = np.array([len(row) for row in rows])
        filled = np.zeros((len(rows), lengths.max()), np.int64)
        for place, row in enumerate(rows):
            filled[place, : len(row)] = row
        return filled, lengths

    feeds = {}
    feeds["tokens"], feeds["lengths"] = padded([words.encode_words(each) for each in sentences])
    feeds["words"], _ = padded([[known.index(word) for word in each] for each in sentences])
    spellings = padded([characters.encode(word) for word in known])
    feeds["spellings"], feeds["spelling_lengths"] = spellings
    for found in (session(ort, path)(feeds), load(path).run(feeds)):
        for row, expected in zip(found["tags"], model.predict(sentences), strict=True):
            assert [labels.label(int(k)) for k in row if k >= 0] == expected


def test_a_translator_folder_is_decoded_greedily_in_onnxruntime(
    onnx, ort, folders, tmp_path: Path, capsys
) -> None:
    exported(folders["translate"], tmp_path / "words.onnx", capsys)
    paths = [tmp_path / f"words-{part}.onnx" for part in ("encoder", "decoder")]
    model, props = load_folder(folders["translate"]), metadata(onnx, paths[1])
    source = Vocabulary.from_json(props["vocabulary.source"])
    target = Vocabulary.from_json(props["vocabulary.target"])
    text = "ab"
    for encode, decode in (
        [session(ort, path) for path in paths],
        [load(path).run for path in paths],
    ):
        ids = np.array([source.encode(text)])
        lengths = np.array([ids.shape[1]])
        memory = encode({"source": ids, "lengths": lengths})
        feeds = {"token": np.array([BOS]), "lengths": lengths}
        feeds |= {name.removesuffix("_n"): value for name, value in memory.items()}
        written = []
        for _ in range(2 * int(lengths[0]) + 20):
            made = decode(feeds)
            log_probs = made["log_probs"][0]
            log_probs[[0, BOS]] = -np.inf
            token = int(log_probs.argmax())
            if token == EOS:
                break
            written.append(token)
            feeds["token"] = np.array([token])
            feeds |= {n.removesuffix("_n"): v for n, v in made.items() if n.endswith("_n")}
        assert target.decode(written) == model.predict(text)[0]


def test_other_numbers_refuse_the_file(onnx, tmp_path: Path, monkeypatch) -> None:
    found = layer("gru", "one")
    monkeypatch.setitem(
        sys.modules["unrolled.interop.onnx.export_layers"].GATE_ORDER, "gru", (0, 1, 2)
    )
    path = tmp_path / "layer.onnx"
    with pytest.raises(InteropError) as caught:
        export(found, path)
    assert str(caught.value).startswith(
        f"{path}: not written: our own reader differs from our numbers by "
    )
    assert not path.exists()


def test_it_is_said_where_onnxruntime_is_not_there(onnx, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = tmp_path / "layer.onnx"
    found = export(layer("lstm", "one"), path)
    assert path.exists()
    assert found.onnxruntime is None
    assert "; not compared with ONNX Runtime, which is not installed: pip install" in str(found)


def test_without_the_onnx_package_export_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnx.helper", None)
    with pytest.raises(InteropError) as caught:
        export(layer("lstm", "one"), tmp_path / "layer.onnx")
    assert str(caught.value) == (
        "export to ONNX needs the package onnx: pip install 'unrolled[onnx]'"
    )


def test_what_has_no_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(InteropError, match="a dict has no ONNX export"):
        export({}, tmp_path / "x.onnx")  # type: ignore[arg-type]


class Tagger(torch.nn.Module):
    """What people export: embedding, convolution, two recurrent layers, linear."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(9, 5)
        self.norm = torch.nn.LayerNorm(5)
        self.conv = torch.nn.Conv1d(5, 5, 3, padding=1)
        self.layers = getattr(torch.nn, kind)(5, 6, 2, batch_first=True, bidirectional=True)
        self.output = torch.nn.Linear(12, 3)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(self.embedding(tokens)).transpose(1, 2)
        x = torch.nn.functional.gelu(self.conv(x)).transpose(1, 2)
        y, _ = self.layers(x)
        return torch.softmax(self.output(y), -1), y.max(1).values


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", [9, 13, 17])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_what_torch_exports_is_read(kind: str, version: int, onnx, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Tagger(kind).eval(), str(tmp_path / "torch.onnx")
    sizes = {"tokens": {0: "n", 1: "t"}}
    tokens = torch.randint(0, 9, (2, 7))
    torch.onnx.export(
        module, (tokens,), path, opset_version=version, dynamo=False, input_names=["tokens"],
        output_names=["tags", "best"], dynamic_axes=sizes,
    )  # fmt: skip
    model, tokens = load(path), torch.randint(0, 9, (3, 11))
    found = model.run({"tokens": tokens.numpy()})
    assert len(model.recurrent) == 2
    for value, expected in zip(found.values(), module(tokens), strict=True):
        assert close(value, expected.detach(), "forward")
