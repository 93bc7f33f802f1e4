"""The protocol of the dialogue acts: marks, slot errors, BLEU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.quality import caption

ACT = "inform(name='the inn';near='hayes valley or chinatown';dogsallowed=no;area=dont_care)"


def test_an_act_without_its_values() -> None:
    act = caption.parse(ACT)
    assert caption.attributes(act) == [
        "act=inform", "area=dontcare", "dogsallowed=no", "name=_1", "near=_1",
    ]  # fmt: skip
    assert caption.parse("?request(price_range)") == ("?request", [("pricerange", "?")])
    assert caption.attributes(caption.parse("x(name=a;name=b)"))[1:] == ["name=_1", "name=_2"]
    assert caption.attributes(caption.parse("goodbye()")) == ["act=goodbye"]


def test_values_go_out_and_come_back() -> None:
    _, pairs = caption.parse(ACT)
    text = "the inn is near chinatown and hayes valley"
    marked = caption.delexicalised(text, pairs)
    assert marked == "SLOT_NAME is near SLOT_NEAR"
    assert (
        caption.lexicalised(marked, pairs, "hotel") == "the inn is near hayes valley or chinatown"
    )
    assert caption.lexicalised("a SLOT_TYPE", [], "hotel") == "a hotel"


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("SLOT_NAME near SLOT_NEAR has no dogs", 0),
        ("SLOT_NAME has no dogs", 1),
        ("SLOT_NAME SLOT_NAME near SLOT_NEAR has no dogs", 1),
        ("SLOT_PHONE near SLOT_NEAR", 3),
    ],
)
def test_slot_errors_are_missing_and_redundant_slots(text: str, errors: int) -> None:
    assert caption.slot_errors(caption.parse(ACT), text) == (errors, 3)
    assert caption.slot_errors(caption.parse("suggest(name=a)"), text) == (0, 0)


def test_bleu_is_sacrebleu_without_its_smoothing() -> None:
    metric = pytest.importorskip("sacrebleu").metrics.BLEU(tokenize="none", smooth_method="none")
    said = ["the inn is near the old town", "dogs are not allowed here"]
    known = [["the inn is near old town", "it is near the old town"], ["dogs are not allowed"] * 2]
    streams = [[row[k] for row in known] for k in range(2)]
    expected = metric.corpus_score(said, streams).score / 100
    assert caption.bleu(list(zip(said, known, strict=True))) == pytest.approx(expected)
