"""A trained model runs where torch is not: nothing on the way imports it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import captioning
import signals
import tagging
import tiny
from unrolled.data.captions import read_described
from unrolled.tasks import Classifier, Regressor
from unrolled.tasks.base import Run
from unrolled.tasks.caption import train as train_captioner
from unrolled.tasks.classify import train as train_classifier
from unrolled.tasks.tag import train as train_tagger
from unrolled.tasks.translate import train as train_translator

BLOCK = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, NoTorch())
"""

USE = """
import sys
from pathlib import Path
import unrolled
from unrolled.cli import run

folder, data, out = sys.argv[1:]
model = unrolled.load(folder)
column = open(data).readline().split(",")[0]
texts = [line.split(",")[0] for line in open(data)][1:]
print(len(model.predict(texts)))
for arguments in (
    ["predict", folder, data],
    ["evaluate", folder, data, "--json"],
    ["explain", folder, texts[0], "--out", out, "--quiet"],
    ["explain", folder, texts[0], "--methods", "occlusion,timeshap", "--out", out, "--quiet"],
    ["export", folder, "--precision", "int8", "--check", data, "--out", out + "-8", "--quiet"],
    ["inspect", folder],
    ["inspect", "--engine"],
):
    assert run(arguments) == 0, arguments
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A model folder and a CSV file for each task."""
    root = tmp_path_factory.mktemp("models")
    train_classifier(
        tiny.examples(), tiny.classify_options(), tiny.training(), run=Run(root / "classify")
    )
    train_translator(
        tiny.pairs(), tiny.translate_options(), tiny.training(), run=Run(root / "translate")
    )
    (root / "pairs.csv").write_text(
        "source,target\n" + "".join(f"{a},{b}\n" for a, b in zip(*tiny.words(10), strict=True))
    )
    tiny.write_reviews(root / "reviews.csv", 10)
    return {
        "classify": (root / "classify", root / "reviews.csv"),
        "translate": (root / "translate", root / "pairs.csv"),
    }


def test_import_unrolled_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, unrolled; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    assert tiny.python(code).stdout == "[]\n"


@pytest.mark.parametrize(
    "module",
    [
        "unrolled.runtime",
        "unrolled.artifact",
        "unrolled.data.read",
        "unrolled.data.vocab",
        "unrolled.explain.report",
        "unrolled.explain.explaining",
        "unrolled.tasks",
        "unrolled.train.metrics",
        "unrolled.train.spans",
        "unrolled.data.sequences",
        "unrolled.data.captions",
        "unrolled.explain.captioning",
        "unrolled.data.panel",
        "unrolled.data.windows",
        "unrolled.runtime.forecaster_model",
        "unrolled.tasks.forecast_evaluate",
        "unrolled.explain.forecasting",
        "unrolled.runtime.crf_reference",
        "unrolled.cli",
        "unrolled.interop.onnx",
        "unrolled.interop.keras",
        "unrolled.interop.pytorch",
        "unrolled.interop.arrays",
    ],
)
def test_no_room_but_the_training_ones_imports_torch(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    assert tiny.python(code).stdout == "False\n"


@pytest.mark.parametrize("task", ["classify", "translate"])
@pytest.mark.parametrize("block", ["", BLOCK], ids=["torch there", "torch blocked"])
def test_every_use_of_a_model_without_torch(task: str, block: str, models, tmp_path) -> None:
    found = tiny.python(block + USE, *models[task], tmp_path / "report.html")
    assert found.stderr == ""
    assert found.returncode == 0
    assert found.stdout.startswith("10\n")
    assert (tmp_path / "report.html").stat().st_size > 1000


USE_TAGGER = """
import sys
import unrolled
from unrolled.cli import run

folder, data, out = sys.argv[1:]
model = unrolled.load(folder)
print(len(model.predict(["fly to oslo", "get rice"])), model.tag("fly", n_best=2).intents[0].label)
for arguments in (
    ["predict", folder, data],
    ["evaluate", folder, data, "--json"],
    ["explain", folder, "fly to oslo", "--out", out, "--quiet"],
    ["inspect", folder],
):
    assert run(arguments) == 0, arguments
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("block", ["", BLOCK], ids=["torch there", "torch blocked"])
def test_every_use_of_a_tagger_without_torch(block: str, tmp_path: Path) -> None:
    data = tagging.write_conll(tmp_path / "orders.conll", intent=True)
    options = tagging.options(intent="intent")
    train_tagger(tagging.sentences(), options, tiny.training(), run=Run(tmp_path / "model"))
    found = tiny.python(block + USE_TAGGER, tmp_path / "model", data, tmp_path / "report.html")
    assert found.stderr == ""
    assert found.returncode == 0
    assert found.stdout.startswith("2 ")
    assert (tmp_path / "report.html").stat().st_size > 1000


USE_FRAMES = """
import sys
import numpy as np
import unrolled
from unrolled.cli import run

folder, data, out = sys.argv[1:]
model = unrolled.load(folder)
print(np.shape(model.predict([np.ones((1, 2)), np.ones((4, 2))]))[0])
for arguments in (
    ["predict", folder, data],
    ["evaluate", folder, data, "--report", out],
    ["explain", folder, "--data", data, "--out", out, "--quiet"],
    ["inspect", folder],
):
    assert run(arguments) == 0, arguments
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("block", ["", BLOCK], ids=["torch there", "torch blocked"])
@pytest.mark.parametrize("task", ["classify", "regress"])
def test_every_use_of_a_model_of_numbers_without_torch(task: str, block: str, tmp_path) -> None:
    inputs, labels = signals.recordings()
    data = tmp_path / "data.npz"
    np.savez(data, **signals.padded(inputs), label=labels, target=np.arange(40.0))
    kind = Classifier if task == "classify" else Regressor
    choices = {**signals.LEARN, "epochs": 1}
    y = labels if task == "classify" else np.arange(40.0)
    kind(**choices).fit(inputs, y).save(tmp_path / "model")
    found = tiny.python(block + USE_FRAMES, tmp_path / "model", data, tmp_path / "report.html")
    assert found.stderr == ""
    assert found.returncode == 0
    assert found.stdout.startswith("2\n")


USE_CAPTIONER = """
import json
import sys
import unrolled
from unrolled.cli import run

folder, data, out = sys.argv[1:]
model = unrolled.load(folder)
print(len(model.caption([json.loads(line)["attributes"] for line in open(data)], beam=2)))
for arguments in (
    ["predict", folder, data],
    ["evaluate", folder, data, "--json"],
    ["explain", folder, data, "--out", out, "--quiet"],
    ["inspect", folder],
):
    assert run(arguments) == 0, arguments
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("block", ["", BLOCK], ids=["torch there", "torch blocked"])
def test_every_use_of_a_captioner_without_torch(block: str, tmp_path: Path) -> None:
    data = captioning.write_jsonl(tmp_path / "places.jsonl", captioning.attributes())
    train_captioner(
        read_described(data), captioning.options(), tiny.training(), run=Run(tmp_path / "model")
    )
    found = tiny.python(block + USE_CAPTIONER, tmp_path / "model", data, tmp_path / "report.html")
    assert found.stderr == ""
    assert found.returncode == 0
    assert found.stdout.startswith("12\n")
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_training_without_torch_says_which_package_to_install(tmp_path: Path) -> None:
    data = tiny.write_reviews(tmp_path / "reviews.csv")
    code = BLOCK + "from unrolled.cli import main; main(sys.argv[1:])"
    found = tiny.python(code, "train", "classify", data, "--out", tmp_path / "model")
    assert found.returncode == 2
    assert found.stderr == (
        "unrolled: error: training needs the package torch: pip install 'unrolled[train,text]'\n"
    )
