"""Real data sets, where they lie beside the repository: read whole, and one tiny epoch each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import forecasting
import tagging
import tiny
from unrolled.data.panel import Columns, read_panel
from unrolled.data.read import labels, read_pairs, read_table, texts
from unrolled.data.sequences import Sequences, read_sequences
from unrolled.errors import DataError
from unrolled.tasks.base import Run
from unrolled.tasks.classify import Examples
from unrolled.tasks.classify import train as train_classifier
from unrolled.tasks.forecast import train as train_forecaster
from unrolled.tasks.tag import train as train_tagger
from unrolled.tasks.translate import Pairs
from unrolled.tasks.translate import train as train_translator

DATA = Path(__file__).parents[2] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")


def pairs(name: str) -> Pairs:
    table = read_pairs(DATA / "g2p" / f"{name}.tsv")
    return Pairs(texts(table, "source"), texts(table, "target"), table.path, table.rows)


def sentences(name: str) -> Examples:
    """Lines of a label, a space and a sentence."""
    table = read_table(DATA / "textclass" / name, format="txt")
    split = [line.split(" ", 1) for line in texts(table, "text")]
    return Examples([s for _, s in split], [label for label, _ in split], name, table.rows)


@pytest.mark.parametrize("language", ["fre", "kor", "hin"])
def test_pronunciations_are_read_whole(language: str) -> None:
    sizes = [len(pairs(f"{language}_{part}")) for part in ("train", "dev", "test")]
    assert sizes == [3600, 450, 450]


def test_french_pronunciations_train(tmp_path: Path) -> None:
    train, dev = pairs("fre_train"), pairs("fre_dev")
    fitted = train_translator(
        train.take(range(0, 3600, 10)),
        tiny.translate_options(),
        tiny.training(epochs=1),
        validation=dev.take(range(20)),
        run=Run(tmp_path / "model"),
    )
    assert fitted.config.data.source_vocabulary.tokens == "char"
    assert fitted.config.data.target_vocabulary.tokens == "word"
    assert fitted.metrics["per"] > 0


@pytest.mark.parametrize(
    ("name", "count", "classes"),
    [("stsa.binary.train", 6920, 2), ("stsa.binary.dev", 872, 2)],
)
def test_sentences_are_read_whole(name: str, count: int, classes: int) -> None:
    found = sentences(name)
    assert (len(found), len(set(found.targets))) == (count, classes)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("TREC.train.all", "byte 0xf0 at offset 3173 (row 66) is not UTF-8"),
        ("subj.all", "byte 0xe9 at offset 2603 (row 21) is not UTF-8"),
    ],
)
def test_sentences_in_latin_1_are_refused_with_their_byte_and_row(name: str, place: str) -> None:
    with pytest.raises(DataError) as caught:
        sentences(name)
    assert place in str(caught.value)


def test_sentences_train_from_a_file_of_columns(tmp_path: Path) -> None:
    found = sentences("stsa.binary.dev").take(range(0, 872, 4))
    rows = zip(found.targets, found.inputs, strict=True)
    path = tmp_path / "reviews.tsv"
    path.write_text("label\ttext\n" + "".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    table = read_table(path, columns=["text", "label"])
    data = Examples(texts(table, "text"), labels(table, "label"), table.path, table.rows)
    assert list(data.inputs) == list(found.inputs)
    fitted = train_classifier(data, tiny.classify_options(), tiny.training(epochs=1))
    assert fitted.config.data.source_vocabulary.tokens == "word"
    assert 0 <= fitted.metrics["accuracy"] <= 1


def test_danish_sentences_are_read_whole_and_train(tmp_path: Path) -> None:
    folder = DATA / "tagging" / "ud_danish"
    found = {
        part: read_sequences(folder / f"da-ud-{part}.conllu", format="conll")
        for part in ("train", "dev", "test")
    }
    assert [len(sentences) for sentences in found.values()] == [4868, 322, 322]
    assert len({tag for tags in found["train"].tags for tag in tags}) == 17
    fitted = train_tagger(
        found["train"].take(range(0, 4868, 40)),
        tagging.options(),
        tiny.training(epochs=1),
        validation=found["dev"].take(range(20)),
        run=Run(tmp_path / "model"),
    )
    assert fitted.config.data.tagging.scheme == "none"
    assert fitted.metrics["accuracy"] > 0


def test_snips_spells_spans_in_bio(tmp_path: Path) -> None:
    folder = DATA / "tagging" / "snips" / "valid"
    words, tags = ((folder / name).read_text().splitlines() for name in ("seq.in", "seq.out"))
    given = Sequences(
        "snips", [line.split() for line in words], [line.split() for line in tags],
        (folder / "label").read_text().split(),
    )  # fmt: skip
    fitted = train_tagger(
        given.take(range(0, 700, 7)), tagging.options(intent="intent"), tiny.training(epochs=1)
    )
    assert fitted.config.data.tagging.scheme == "bio"
    assert fitted.config.data.tagging.constrained
    assert len(fitted.vocabularies["intent"]) == 7


def test_the_oil_temperature_is_one_regular_series_and_trains() -> None:
    table = read_table(DATA / "forecast" / "ETTh1.csv")
    covariates = ("HUFL", "HULL")
    panel = read_panel(table, Columns("unique_id", "date", "OT", past=covariates))
    assert (len(panel), str(panel.freq), panel.notices) == (1, "h", ())
    (series,) = panel.series
    assert (len(series), bool(np.isfinite(series.y).all())) == (17420, True)
    part = replace(panel, series=(series.head(900),))
    options = forecasting.options(past="HUFL,HULL", windows_per_epoch=50, output="point")
    fitted = train_forecaster(part, options, tiny.training(epochs=1))
    assert fitted.config.data.forecasting.calendar == ("hour", "weekday")
    assert fitted.config.data.forecasting.season == 24
    assert fitted.metrics["mase"] > 0
