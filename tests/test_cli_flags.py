"""No flag is ignored: every flag of a verb is refused by a task, or changes what comes out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest

import captioning
import forecasting
import tagging
import tiny
from commands import Command
from unrolled import artifact
from unrolled.cli.flags import FLAGS, kind_of
from unrolled.data.captions import Described
from unrolled.data.items import Corpus
from unrolled.data.sequences import Sequences
from unrolled.data.streams import text_lines
from unrolled.options import GenerateOptions, RegressOptions
from unrolled.tasks import caption, classify, forecast, generate, regress, tag, translate
from unrolled.tasks.base import Run
from unrolled.tasks.classify import Examples

DRAW = np.random.default_rng(0)
FRAMES = [DRAW.normal(size=(6, 3)).astype(np.float32) for _ in range(12)]
KEYS = [(DRAW.random((6, 4)) < 0.4).astype(np.float32) for _ in range(12)]
ITEMS = [[f"i{(s + k) % 9}" for k in range(5)] for s in range(20)]
TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 10
LABELS = ["up" if k % 2 else "down" for k in range(12)]


def train(folder: Path) -> None:
    """One folder a row of the table, each trained for a moment, and a file that it reads."""
    training = tiny.training(epochs=1)

    def place(kind: str) -> Run:
        return Run(folder / kind)

    texts, labels = tiny.reviews()
    lengths = [np.array([float(len(text))]) for text in texts]
    classify.train(tiny.examples(), tiny.classify_options(), training, run=place("classify"))
    regress.train(Examples(texts, lengths), RegressOptions(**tiny.SIZES), training,
                  run=place("regress"))  # fmt: skip
    frames = Examples(FRAMES, LABELS, features=("a", "b", "c"))
    numbers = Examples(FRAMES, [np.array([x.sum()]) for x in FRAMES], features=("a", "b", "c"))
    classify.train(frames, tiny.classify_options(), training, run=place("classify frames"))
    regress.train(numbers, RegressOptions(**tiny.SIZES), training, run=place("regress frames"))
    translate.train(tiny.pairs(), tiny.translate_options(), training, run=place("translate"))
    tag.train(tagging.sentences(), tagging.options(), training, run=place("tag"))
    steps = Sequences("frames", FRAMES, [["x", "y"] * 3] * len(FRAMES), features=("a", "b", "c"))
    tag.train(steps, tagging.options(), training, run=place("tag frames"))
    values, said = captioning.regions(40)
    things = Described("things", "regions", values, [[text] for text in said])
    caption.train(things, captioning.options(), captioning.training(epochs=2), run=place("caption"))
    forecast.train(forecasting.panel(), forecasting.options(output="normal"), training,
                   run=place("forecast"))  # fmt: skip
    options = GenerateOptions(**tiny.SIZES)
    generate.train_text(text_lines(TEXT), options, training, run=place("generate text"))
    for kind, sequences in (("items", ITEMS), ("frames", KEYS)):
        corpus = Corpus(kind, sequences)
        generate.train_sequences(corpus, kind, options, training, run=place(f"generate {kind}"))
    files(folder, texts, labels, values, said)


def files(folder, texts, labels, values, said) -> None:
    rows = "".join(
        f"{text},{label},{len(text)}\n" for text, label in zip(texts, labels, strict=True)
    )
    (folder / "classify.csv").write_text("text,label,target\n" + rows)
    tiny.write_words(folder / "translate.tsv")
    tagging.write_jsonl(folder / "tag.jsonl")
    x = np.stack(FRAMES)
    np.savez(folder / "classify.npz", x=x, label=np.array(LABELS))
    np.savez(folder / "regress.npz", x=x, target=x.sum(axis=(1, 2)))
    np.savez(folder / "tag.npz", x=x, y=np.array([["x", "y"] * 3] * len(FRAMES)))
    records = [
        {"features": v.tolist(), "caption": text} for v, text in zip(values, said, strict=True)
    ]
    captioning.write_jsonl(folder / "caption.jsonl", records[:6])
    forecasting.write(folder / "forecast.csv", forecasting.frame())
    (folder / "prompt.txt").write_text("the cat\n")
    captioning.write_jsonl(folder / "items.jsonl", [{"items": items} for items in ITEMS[:3]])
    np.savez(folder / "keys.npz", x=np.stack(KEYS[:3]))


DATA = {
    "classify": "classify.csv",
    "classify frames": "classify.npz",
    "regress": "classify.csv",
    "regress frames": "regress.npz",
    "translate": "translate.tsv",
    "tag": "tag.jsonl",
    "tag frames": "tag.npz",
    "caption": "caption.jsonl",
    "forecast": "forecast.csv",
    "generate text": "prompt.txt",
    "generate items": "items.jsonl",
    "generate frames": "keys.npz",
}
TEXTS = {
    "classify": "good film 3 of many",
    "regress": "good film 3 of many",
    "translate": "abcab",
    "tag": "get hot soup in new york",
    "generate text": "the cat sat",
    "generate items": "i1 i2 i3 i4 i5",
}
# A value by which a flag that is read must show; the flags that need it beside them.
VALUES = {
    "--format": ("nosuch",), "--source": ("nosuch",), "--target": ("nosuch",), "--column": ("c",),
    "--beam": ("3",), "--n-best": ("3",), "--stream": (), "--json": (), "--quiet": (),
    "--level": ("80",), "--horizon": ("2",), "--future": ("nosuch.csv",), "--max-length": ("3",),
    "--temperature": ("0.05",), "--top-k": ("1",), "--top-p": ("0.05",), "--seed": ("7",),
    "--repetition-penalty": ("9",), "--report": ("r.html",), "--windows": ("3",),
    "--stride": ("2",), "--step": ("1",), "--methods": ("timeshap",), "--how": ("replace",),
    "--unit": ("L0:1",), "--data": ("nosuch.csv",), "--rows": ("2",), "--out": ("other",),
    "--png": ("a.png",), "--figures": ("drawn",), "--to": ("pytorch",), "--precision": ("bf16",),
    "--check": ("nosuch.csv",), "--overwrite": (), "--stack": ("decoder",),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    train(folder)
    return folder


def options_of(verb: str) -> Iterator[str]:
    for each in import_module(f"unrolled.cli.{verb}").command.params:
        if isinstance(each, click.Option):
            yield max(each.opts, key=len)


def arguments(verb: str, kind: str, root: Path) -> list[object]:
    """A call of the verb that succeeds, as short as it may be."""
    given: list[object] = [verb, root / kind]
    if verb == "export":
        return (
            [*given, "--precision", "int8", "--out", "low", "--check", root / DATA[kind]]
            if ("--check" in FLAGS[verb][kind])
            else [*given, "--precision", "int8", "--out", "low"]
        )
    if verb == "explain":
        given += ["--methods", "occlusion"]
        return [*given, TEXTS[kind]] if kind in TEXTS else [*given, "--data", root / DATA[kind]]
    return [*given, root / DATA[kind]]


def outcome(run: Command, place: Path, *given: object) -> tuple[object, ...]:
    """What a call does that anyone can see: its code, its words and the files that it wrote."""
    place.mkdir(exist_ok=True)
    run.patch.chdir(place)
    said = run(*given)
    written = {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }
    return said.code, said.out, said.err, written


def test_the_table_has_every_task_and_names_only_flags_that_there_are(root: Path) -> None:
    kinds = {path.name for path in root.iterdir() if path.is_dir()}
    assert kinds == set(DATA)
    for verb, rows in FLAGS.items():
        assert set(rows) == kinds, verb
        for kind, flags in rows.items():
            assert set(flags.split()) <= set(options_of(verb)), (verb, kind)
    for kind in kinds:
        assert kind_of(artifact.load(root / kind).config) == kind


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("verb", FLAGS)
def test_flags_of_other_tasks_are_refused(verb, kind, root, run) -> None:
    applies = FLAGS[verb][kind].split()
    for flag in options_of(verb):
        if flag in applies:
            continue
        given = arguments(verb, kind, root)
        if (verb, flag) == ("export", "--seed"):
            given = [verb, root / kind, "--to", "onnx", "--out", "m.onnx"]
        value = {"--data": (root / DATA[kind],)}.get(flag, VALUES[flag])
        assert run.error(*given, flag, *value) == (
            f"{flag} does not apply to task {kind!r}; unrolled {verb} takes for it: "
            f"{', '.join(applies)}"
        )


# Steps of these are replaced as it is; removing them is what an answer says no to.
REPLACED = {"classify frames", "regress frames", "tag", "tag frames", "forecast", "generate frames"}
# Flags that show only beside another one, and what stands for the bare call then.
BESIDE = {
    ("explain", "--format"): ("--data",),
    ("explain", "--rows"): ("--data",),
    ("explain", "--stack"): ("--methods", "states"),
    ("evaluate", "--stride"): ("--windows", "3"),
}
# What only an autoregressive forecaster draws; the one here draws nothing.
DRAWN = {("predict", "forecast", "--seed")}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("verb", FLAGS)
def test_flags_that_apply_change_what_comes_out(verb, kind, root, run, tmp_path) -> None:
    given = arguments(verb, kind, root)
    plain = outcome(run, tmp_path / "plain", *given)
    assert plain[0] == 0, plain
    for flag in FLAGS[verb][kind].split():
        place, base = tmp_path / f"with{flag}", given
        beside = BESIDE.get((verb, flag), ())
        if beside:
            wanted = (*beside, root / DATA[kind]) if beside == ("--data",) else beside
            base = [*(given[:4] if wanted is not beside else given), *wanted]
        if flag == "--quiet" and not plain[2]:
            continue
        if (verb, kind, flag) in DRAWN:
            continue
        if flag == "--overwrite":
            outcome(run, place, *given)
        bare = outcome(run, tmp_path / f"beside{flag}", *base) if beside else plain
        value = ("remove",) if flag == "--how" and kind in REPLACED else VALUES[flag]
        found = outcome(run, place, *base, flag, *value)
        if flag == "--overwrite":
            assert found[0] == 0
            assert run(*base).code == 2
            continue
        if flag == "--json" and found == bare:
            assert all(json.loads(line) for line in bare[1].splitlines()), "it is JSON as it is"
            continue
        assert found != bare, (flag, found[:3])
        assert "this is a bug" not in found[2], flag


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("predict", "classify", "classify.csv", "--level", "80", "--horizon", "2"),
            "--level and --horizon do not apply to task 'classify'; unrolled predict takes for it: "
            "--format, --source, --column, --json, --quiet",
        ),
        (
            ("evaluate", "forecast", "forecast.csv", "--stride", "2"),
            "--stride needs --windows: one origin has no distance to another",
        ),
        (
            ("explain", "classify", "good film", "--rows", "2"),
            "--rows needs --data: a file with the inputs to explain",
        ),
        (
            ("export", "translate", "--precision", "int8", "--out", "low", "--beam", "2",
             "--target", "t"),
            "--target and --beam need --check: a file to measure on",
        ),
        (
            ("predict", "generate items", "items.jsonl", "--format", "txt"),
            "items.jsonl: the model reads items, the file holds text",
        ),
    ],
)  # fmt: skip
def test_what_is_said(given, message, root, run, monkeypatch) -> None:
    monkeypatch.chdir(root)
    assert run.error(*given) == message


def test_a_continuation_as_json(root, run, monkeypatch) -> None:
    monkeypatch.chdir(root)
    plain = run("predict", "generate text", "prompt.txt", "--max-length", "9").out
    said = run("predict", "generate text", "prompt.txt", "--max-length", "9", "--json").out
    assert json.loads(said) == {"prediction": plain.removesuffix("\n")}
