"""Vocabularies: the order of units, Unicode, round trips, and damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import unicodedata

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.config import VocabularySpec
from unrolled.data.vocab import (
    BOS,
    EOS,
    PAD,
    UNK,
    LabelVocabulary,
    Vocabulary,
    from_json,
    normalise,
    suggest_tokens,
)
from unrolled.errors import ConfigError, DataError, ModelError

TOKENS = ["char", "word", "bpe"]
CORPUS = ["the cat sat on the mat", "the dog", "한국어 문장을 나눕니다", "한국어 사전"]
UNICODE = {
    "hangul": "한국어",
    "conjoining jamo": unicodedata.normalize("NFD", "한국어 값"),
    "old hangul, which has no precomposed form": "\u1112\u119e\u11ab",
    "compatibility jamo": "ㅋㅋㅋ ㅠㅠ",
    "emoji joined by U+200D": "👩‍👩‍👧‍👦 🏳️‍🌈",
    "combining accents": "cafe\u0301 a\u0323\u0302",
    "right to left": "שלום عالم \u200f!",
    "beyond the first plane": "𝒳𐍈",
    "phonemes": "t͡ɕʰ e̞ ɡ i m",
}


def build(texts: list[str], **spec: object) -> Vocabulary:
    return Vocabulary.build(texts, VocabularySpec(**spec))


@pytest.mark.parametrize("tokens", ["char", "word"])
def test_texts_are_counted_and_not_held(tokens: str) -> None:
    texts = (f"{'abc ' * 5000}{k % 10}" for k in range(100))
    tracemalloc.start()
    try:
        found = build(texts, tokens=tokens)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) >= 5
    # One text is 20 KB, its words ten times that; all of them are 2 MB or more.
    assert most < 1_000_000


def test_specials_come_first_then_counts_then_code_points() -> None:
    vocabulary = build(["b a c a", "c b a z"], tokens="word")
    assert vocabulary.units == ("<pad>", "<unk>", "<s>", "</s>", "a", "b", "c", "z")
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert vocabulary.encode("z a new a") == [7, 4, UNK, 4]
    assert vocabulary.unit(7) == "z"
    assert len(vocabulary) == 8
    for outside in (-1, 8):
        with pytest.raises(IndexError, match=f"id {outside} is outside a vocabulary of 8 units"):
            vocabulary.unit(outside)


@pytest.mark.parametrize("tokens", TOKENS)
def test_order_does_not_depend_on_the_order_of_texts(tokens: str) -> None:
    rare = [chr(0xAC00 + 7 * k) for k in range(300)]
    forward = build([*CORPUS, *rare], tokens=tokens, max_size=150)
    backward = build([*rare[::-1], *CORPUS[::-1]], tokens=tokens, max_size=150)
    assert forward == backward
    assert len(forward) == 150


@pytest.mark.parametrize("tokens", TOKENS)
def test_min_count(tokens: str) -> None:
    vocabulary = build(["ab ab ab", "q"], tokens=tokens, min_count=2)
    assert UNK not in vocabulary.encode("ab")
    assert UNK in vocabulary.encode("q")


def test_max_size_counts_the_specials() -> None:
    assert build(["a a b b b c"], tokens="word", max_size=6).units[4:] == ("b", "a")


@pytest.mark.parametrize("text", UNICODE.values(), ids=UNICODE)
@pytest.mark.parametrize("tokens", TOKENS)
def test_round_trip_of_any_script(tokens: str, text: str) -> None:
    vocabulary = build([text], tokens=tokens)
    ids = vocabulary.encode(text)
    assert UNK not in ids
    assert vocabulary.decode(ids) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("tokens", TOKENS)
def test_precomposed_and_jamo_spellings_meet(tokens: str) -> None:
    jamo = unicodedata.normalize("NFD", "값싼 사전")
    assert jamo != "값싼 사전"
    vocabulary = build(["값싼 사전"], tokens=tokens)
    assert vocabulary.encode(jamo) == vocabulary.encode("값싼 사전")
    assert vocabulary == build([jamo], tokens=tokens)


def test_a_hangul_syllable_is_one_unit_and_compatibility_jamo_are_others() -> None:
    vocabulary = build(["각"], tokens="char")
    assert vocabulary.units[4:] == ("각",)
    assert vocabulary.encode("ㄱ") == [UNK]
    assert normalise("ㄱㅏㄱ") == "ㄱㅏㄱ"


def test_an_emoji_is_its_code_points() -> None:
    vocabulary = build(["👩‍👧"], tokens="char")
    assert sorted(vocabulary.units[4:]) == sorted(["👩", "\u200d", "👧"])


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="▁"), min_size=1), min_size=1)
)
def test_decoding_undoes_encoding(texts: list[str]) -> None:
    for tokens in ("char", "bpe"):
        vocabulary = build(texts, tokens=tokens)
        for text in texts:
            assert vocabulary.decode(vocabulary.encode(text)) == normalise(text)


@given(st.lists(st.text(min_size=1), min_size=1).filter(lambda texts: any(map(str.strip, texts))))
def test_words_come_back_with_single_spaces(texts: list[str]) -> None:
    vocabulary = build([*texts, "x"], tokens="word")
    for text in texts:
        assert vocabulary.decode(vocabulary.encode(text)) == " ".join(normalise(text).split())


def test_lowercase() -> None:
    vocabulary = build(["Straße ÉTÉ İ"], tokens="word", lowercase=True)
    assert vocabulary.decode(vocabulary.encode("STRAße été İ")) == "straße été i\u0307"
    assert normalise("E\u0301", lowercase=True) == "é"


@pytest.mark.parametrize("tokens", TOKENS)
def test_a_text_cannot_spell_a_special_unit(tokens: str) -> None:
    text = "<s> a </s> <pad> <unk>"
    vocabulary = build([text, text], tokens=tokens)
    assert not {PAD, BOS, EOS} & set(vocabulary.encode(text))
    assert not {PAD, BOS, EOS} & set(build(["abc"], tokens=tokens).encode(text))


def test_decoding_leaves_out_padding_and_shows_unknown() -> None:
    vocabulary = build(["a b"], tokens="word")
    assert vocabulary.decode(np.array([BOS, 4, UNK, 5, EOS, PAD])) == "a <unk> b"


@pytest.mark.parametrize("tokens", TOKENS)
def test_the_empty_text(tokens: str) -> None:
    vocabulary = build(CORPUS, tokens=tokens)
    assert vocabulary.encode("") == []
    assert vocabulary.decode([]) == ""


def test_bpe_units_read_as_text() -> None:
    vocabulary = build(CORPUS * 3, tokens="bpe", max_size=200)
    units = [vocabulary.unit(k) for k in vocabulary.encode("the cat")]
    assert units == ["▁the", "▁cat"]
    assert vocabulary.decode(vocabulary.encode("  the  cat ")) == "  the  cat "


def test_bpe_keeps_punctuation_apart_from_words() -> None:
    vocabulary = build(["the cat.", '"the cat" sat.'] * 9, tokens="bpe")
    units = [vocabulary.unit(k) for k in vocabulary.encode('the "cat".')]
    assert units == ["▁the", "▁", '"', "cat", '"', "."]


@pytest.mark.parametrize("tokens", TOKENS)
def test_json_round_trip(tokens: str) -> None:
    vocabulary = build(CORPUS, tokens=tokens)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary
    assert again.encode(CORPUS[2]) == vocabulary.encode(CORPUS[2])
    assert from_json(vocabulary.to_json()) == vocabulary


def test_sizes_out_of_range() -> None:
    with pytest.raises(ConfigError, match="min_count is 0; expected 1 or more"):
        build(CORPUS, min_count=0)
    with pytest.raises(ConfigError, match="max_size is 4; expected more than 4"):
        build(CORPUS, max_size=4)


@pytest.mark.parametrize("tokens", TOKENS)
def test_nothing_left_to_know(tokens: str) -> None:
    message = rf"none of 2 texts holds a {tokens} that occurs at least 9 times \(min_count\)"
    with pytest.raises(DataError, match=message):
        build(["a b", "c"], tokens=tokens, min_count=9)


def damage(tokens: str, **changes: object) -> bytes:
    content = msgspec.json.decode(build(CORPUS, tokens=tokens).to_json())
    return msgspec.json.encode({**content, **changes})


SPECIAL_UNITS = ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b'{"kind": "vocabulary", "units": []}', "missing required field `spec`"),
        (damage("word", more=1), "unknown field `more`"),
        (damage("word", units=[1]), "Expected `str`, got `int`"),
        (damage("word", spec={"tokens": "letters"}), "Invalid enum value 'letters'"),
        (damage("word", units=["a"]), "its units do not begin with <pad> <unk> <s> </s>"),
        (damage("word", units=SPECIAL_UNITS), "it holds no units"),
        (damage("word", units=[*SPECIAL_UNITS, "a", "a"]), "a unit is there twice"),
        (damage("bpe", tokenizer=None), "only BPE has a tokenizer"),
        (damage("bpe", tokenizer={}), "its tokenizer: "),
        (damage("bpe", units=[*SPECIAL_UNITS, "a"]), "its units are not those of its tokenizer"),
        (b'{"kind": "labels", "labels": ["a"]}', "it holds fewer than two labels"),
        (b'{"kind": "labels", "labels": ["a", "a"]}', "a label is there twice"),
        (b'{"kind": "labels", "labels": ["a", "\xff"]}', "utf-8"),
    ],
)
def test_damaged_vocabulary(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        from_json(content, name="model/vocab.json")
    message = str(caught.value)
    assert message.startswith("model/vocab.json: the vocabulary is damaged: ")
    assert reason in message


def test_labels_where_units_are_expected_and_the_reverse() -> None:
    with pytest.raises(ModelError, match="expected a vocabulary, found class labels"):
        Vocabulary.from_json(LabelVocabulary(("a", "b")).to_json())
    with pytest.raises(ModelError, match="expected class labels, found a vocabulary"):
        LabelVocabulary.from_json(build(CORPUS).to_json())


def test_bpe_without_its_library() -> None:
    code = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from unrolled.data.vocab import Vocabulary\n"
        "from unrolled.errors import ConfigError\n"
        "from unrolled.config import VocabularySpec\n"
        "Vocabulary.build(['a'], VocabularySpec(tokens='char'))\n"
        "try: Vocabulary.build(['a'], VocabularySpec(tokens='bpe'))\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == (
        "tokens 'bpe' needs the tokenizers library: pip install 'unrolled[text]'"
    )


def test_suggest_tokens() -> None:
    assert suggest_tokens(["cat", "dog", "K AE T"]) == "char"
    assert suggest_tokens(["the cat sat", "a dog", "dog"]) == "word"
    assert suggest_tokens(["日本語の文", "中文句子"]) == "char"
    assert suggest_tokens([]) == "word"


# Labels


def test_labels_are_ordered_and_indexed() -> None:
    vocabulary = LabelVocabulary.build(["b", "a", "c", "a"])
    assert vocabulary.labels == ("a", "b", "c")
    assert (len(vocabulary), vocabulary.index("b"), vocabulary.label(2)) == (3, 1, "c")
    assert vocabulary.encode(["c", "a"]).tolist() == [2, 0]
    assert vocabulary.encode(["c"]).dtype == np.int64
    assert LabelVocabulary.build(["10", "9", "-1"]).labels == ("-1", "9", "10")
    assert LabelVocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_too_few_classes() -> None:
    with pytest.raises(DataError) as caught:
        LabelVocabulary.build(["5", "5"], name="reviews.csv, column 'stars'")
    assert str(caught.value) == (
        "reviews.csv, column 'stars': one class only ('5'); expected at least two"
    )
    with pytest.raises(DataError, match="no labels; expected at least two classes"):
        LabelVocabulary.build([])


def test_an_unseen_label_names_its_row_and_the_known_ones() -> None:
    vocabulary = LabelVocabulary.build(["positive", "negative"])
    with pytest.raises(DataError) as caught:
        vocabulary.encode(["negative", "positve"], lambda i: f"test.csv, row {i + 2}")
    assert str(caught.value) == (
        "test.csv, row 3: label 'positve' was not seen in training;"
        " the labels are: negative, positive. Did you mean 'positive'?"
    )
    with pytest.raises(DataError, match=r"^label 'x' was not seen"):
        vocabulary.index("x")
