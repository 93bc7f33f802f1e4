"""`unrolled explain` with methods, files and units."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import explaining
from commands import Command
from unrolled import artifact

TEXT = "w0 w1 w2 good w3 w4 w5"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The planted classifier as a folder, and a file of texts beside it."""
    monkeypatch.chdir(tmp_path)
    found = explaining.planted()
    artifact.save(
        tmp_path / "model",
        config=found.config,
        weights=found.network.weights,
        vocabularies={"source": found.vocabulary, "target": found.labels},
        metrics={},
        card="",
    )
    Path("texts.csv").write_text(f"source,n\nw0 w1,1\n{TEXT},2\nbad,3\n")
    return "model"


def test_methods_and_their_numbers(run: Command, model: str) -> None:
    said = run("explain", model, TEXT, "--methods", "occlusion,integrated,memory", "--json")
    (example,) = json.loads(said.out)
    found = example["explanation"]
    assert [each["method"] for each in found["attributions"]] == ["occlusion", "integrated"]
    assert found["steps"] == TEXT.split()
    assert found["memory"]["length_e"] == 1
    assert example["predicted"] == "up"
    assert "Which step mattered" in Path("report.html").read_text()


def test_the_default_needs_no_choice(run: Command, model: str) -> None:
    (example,) = json.loads(run("explain", model, TEXT, "--json", "--quiet").out)
    found = example["explanation"]
    assert [each["method"] for each in found["attributions"]] == ["attention", "occlusion"]
    assert (len(found["states"]), found["memory"]) == (1, None)


def test_target_how_and_seed(run: Command, model: str) -> None:
    flags = ("--target", "down", "--how", "replace", "--seed", "7", "--json", "--quiet")
    (example,) = json.loads(run("explain", model, TEXT, *flags).out)
    found = example["explanation"]
    assert (found["answer"], found["how"], found["seed"]) == ("label down", "replace", 7)
    values = found["attributions"][1]["values"]
    assert min(values) == values[3]


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_a_picture_of_the_attributions(name: str, run: Command, model: str) -> None:
    pytest.importorskip("matplotlib")
    assert run("explain", model, TEXT, "--png", name).code == 0
    assert Path(name).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_every_figure_as_png_and_svg(run: Command, model: str) -> None:
    pytest.importorskip("matplotlib")
    said = run("explain", model, TEXT, "--methods", "all", "--figures", "drawn")
    assert "6 figures are in drawn" in said.err
    for name in ("attributions", "states", "memory"):
        assert Path(f"drawn/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in Path(f"drawn/{name}.svg").read_text()


def test_figures_of_several_inputs_are_numbered(run: Command, model: str) -> None:
    pytest.importorskip("matplotlib")
    flags = ("--methods", "occlusion", "--figures", "drawn", "--png", "first.png")
    said = run("explain", model, TEXT, "bad w0", *flags)
    assert "4 figures of 2 inputs are in drawn" in said.err
    assert "first.png is of the first of 2 inputs" in said.err
    assert sorted(path.name for path in Path("drawn").iterdir()) == [
        "1-attributions.png", "1-attributions.svg", "2-attributions.png", "2-attributions.svg",
    ]  # fmt: skip
    svg = [Path(f"drawn/{k}-attributions.svg").read_text() for k in (1, 2)]
    assert ["label up" in one for one in svg] == [True, False]
    assert ["label down" in one for one in svg] == [False, True]
    assert "is of the first" not in run("explain", model, TEXT, *flags).err


def test_inputs_from_a_file(run: Command, model: str) -> None:
    said = run("explain", model, "--data", "texts.csv", "--rows", "2,3", "--json")
    found = json.loads(said.out)
    assert [len(each["explanation"]["steps"]) for each in found] == [7, 1]


def test_the_inputs_that_excite_a_unit(run: Command, model: str) -> None:
    said = run("explain", model, "--data", "texts.csv", "--unit", "L0:0")
    first, *_ = said.lines()
    assert first == "0.7616\trow 2\tw0 w1 w2 [good] w3 w4 w5"
    best, *_ = json.loads(
        run("explain", model, "--data", "texts.csv", "--unit", "L0:0", "--json").out
    )
    assert (best["row"], best["place"], best["step"]) == (2, 4, "good")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (TEXT, "--data", "texts.csv"),
            "explain takes texts, or a file by --data; give one of them",
        ),
        (("--data", "texts.csv", "--rows", "9"), "--rows 9: the file has sequences 1 to 3"),
        ((TEXT, "--unit", "L0:0"), "--unit needs --data: a file with the inputs to look through"),
        (
            ("--data", "texts.csv", "--unit", "L0:5"),
            "unit 'L0:5': layer L0 has units 0 to 1",
        ),
        ((TEXT, "--target", "dwn"), "no label 'dwn'. Did you mean 'down'?"),
    ],
)
def test_what_can_be_asked_wrongly(
    arguments: tuple[str, ...],
    message: str,
    run: Command,
    model: str,
) -> None:
    assert run.error("explain", model, *arguments) == message
