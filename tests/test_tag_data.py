"""Tagged files: what is read from each format, and the sentence of every error."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unrolled.config import VocabularySpec
from unrolled.data.conll import COMMENT
from unrolled.data.sequences import format_of, read_sequences
from unrolled.data.tagging import Corpus, encode_words, tag_batch
from unrolled.data.vectors import read_vectors
from unrolled.data.vocab import Vocabulary
from unrolled.errors import ConfigError, DataError

CONLLU = """\
# sent_id = 1
# intent = Where
1\tVámonos\tir\tVERB\tv\tMood=Imp\t0\troot\t_\t_
2-3\tal\t_\t_\t_\t_\t_\t_\t_\t_
2\ta\ta\tADP\tp\t_\t4\tcase\t_\t_
3\tel\tel\tDET\td\tGender=Masc\t4\tdet\t_\t_
3.1\t_\tser\tVERB\t_\t_\t_\t_\t0:exroot\t_
4\tmar\tmar\tNOUN\tn\t_\t1\tobl\t_\tSpaceAfter=No

# intent = Stop
1\t10 000\t10000\tNUM\tz\t_\t0\troot\t_\t_
"""

CONLL = """\
-DOCSTART- -X- O O

EU NNP I-NP B-ORG
rejects VBZ I-VP O

# NN B-NP O
call NN I-NP O
"""


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_conllu_reads_words_and_passes_over_ranges_and_empty_nodes(tmp_path):
    found = read_sequences(write(tmp_path, "a.conllu", CONLLU))
    assert found.inputs == [["Vámonos", "a", "el", "mar"], ["10 000"]]
    assert found.tags == [["VERB", "ADP", "DET", "NOUN"], ["NUM"]]
    assert found.step_rows == [[3, 5, 6, 8], [11]]
    assert found.where(0).endswith("a.conllu, row 1")
    assert found.where(0, 2).endswith("a.conllu, row 6")


@pytest.mark.parametrize(
    ("column", "tags"),
    [
        ("xpos", ["v", "p", "d", "n"]),
        ("UPOS", ["VERB", "ADP", "DET", "NOUN"]),
        ("feats", ["Mood=Imp", "_", "Gender=Masc", "_"]),
        ("deprel", ["root", "case", "det", "obl"]),
    ],
)
def test_conllu_columns_by_name(tmp_path, column, tags):
    assert read_sequences(write(tmp_path, "a.conllu", CONLLU), column=column).tags[0] == tags


def test_conll_columns_the_last_by_default(tmp_path):
    found = read_sequences(write(tmp_path, "a.conll", CONLL))
    assert found.inputs == [["EU", "rejects"], ["#", "call"]]
    assert found.tags == [["B-ORG", "O"], ["O", "O"]]
    assert read_sequences(tmp_path / "a.conll", column="2").tags[0] == ["NNP", "VBZ"]
    assert read_sequences(tmp_path / "a.conll", column="-2").tags[0] == ["I-NP", "I-VP"]


def test_columns_between_tabs_may_hold_spaces(tmp_path):
    found = read_sequences(write(tmp_path, "a.conll", "10 000\tNUM\nkr\u00a0.\tNOUN\n"))
    assert found.inputs == [["10 000", "kr\u00a0."]]


def test_line_ends_of_any_kind_and_no_last_one(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        path = write(tmp_path, "a.conll", f"a X{end}b Y{end}{end}c X")
        assert read_sequences(path).tags == [["X", "Y"], ["X"]]


def test_intents_are_comments_or_keys(tmp_path):
    path = write(tmp_path, "a.conllu", CONLLU)
    assert read_sequences(path, intent="intent").intents == ["Where", "Stop"]
    path = write(tmp_path, "a.conll", "# intent: Play\nplay O\n\n# intent = Stop\nstop O\n")
    assert read_sequences(path, intent="intent").intents == ["Play", "Stop"]
    path = write(tmp_path, "a.jsonl", '{"tokens": ["a"], "tags": ["X"], "intent": "Go"}\n')
    assert read_sequences(path, intent="intent").intents == ["Go"]


def test_json_lines_of_lists_or_of_texts(tmp_path):
    lines = '{"tokens": ["a b", "c"], "tags": ["X", "Y"]}\n\n{"tokens": "d e", "tags": "X X"}\n'
    found = read_sequences(write(tmp_path, "a.jsonl", lines))
    assert found.inputs == [["a b", "c"], ["d", "e"]]
    assert found.tags == [["X", "Y"], ["X", "X"]]
    assert found.where(1, 1).endswith("a.jsonl, row 3, word 2")
    lines = '{"w": ["a"], "ner": ["X"]}\n'
    found = read_sequences(write(tmp_path, "b.jsonl", lines), words="w", column="ner")
    assert (found.inputs, found.tags) == ([["a"]], [["X"]])


def test_words_alone_where_no_tags_are_asked_for(tmp_path):
    assert read_sequences(write(tmp_path, "a.txt", "a b\nc\n"), tagged=False).inputs == [
        ["a", "b"],
        ["c"],
    ]
    found = read_sequences(write(tmp_path, "a.conll", "a\nb\n"), tagged=False)
    assert (found.inputs, found.tags) == ([["a", "b"]], ())
    found = read_sequences("-", tagged=False, stdin=io.BytesIO(b"a b\n"))
    assert found.inputs == [["a", "b"]]
    assert found.where(0) == "stdin, row 1"


def test_text_is_columns_where_tags_are_read(tmp_path):
    assert read_sequences(write(tmp_path, "train.txt", "a X\nb Y\n")).tags == [["X", "Y"]]
    assert format_of("-", None, tagged=True) == "conll"
    assert format_of("-", None, tagged=False) == "txt"


def line(*fields):
    return "\t".join(fields) + "\n"


GOOD = line("1", "a", "a", "X", "_", "_", "0", "root", "_", "_")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.conllu",
            "a\tX\n",
            "row 1: 2 columns between tabs, expected the 10 of CoNLL-U; "
            "for a file of words and tags give --format conll",
        ),
        (
            "a.conllu",
            "1 a a X _ _ 0 r _ _\n",
            "row 1: 1 column between tabs, but 10 between spaces; CoNLL-U separates by tabs",
        ),
        (
            "a.conllu",
            GOOD + line("3", "b", "b", "X", "_", "_", "0", "r", "_", "_"),
            "row 2: id '3', expected '2'",
        ),
        (
            "a.conllu",
            line("1", "", "a", "X", "_", "_", "0", "r", "_", "_"),
            "row 1: the form is empty",
        ),
        (
            "a.conllu",
            line("1", "a", "a", "", "_", "_", "0", "r", "_", "_"),
            "row 1, column 'upos': empty",
        ),
        ("a.conllu", "# only\n# comments\n", ": no sentence with a word in it"),
        ("a.conll", "a X\nb Y Z\n", "row 2: 3 columns, expected 2 as in row 1"),
        ("a.conll", "a\nb\n", "row 1: one column, expected a word and a tag"),
        ("a.conll", "a\t\tX\n", "row 1, column 2: empty"),
        ("a.conll", "\n\n \n", ": the file is empty: it holds nothing but white space"),
        ("a.conll", "-DOCSTART- O\n", ": no sentence with a word in it"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "tags": ["X", "Y"]}\n',
            "row 1, column 'tags': 2 tags for 1 words",
        ),
        (
            "a.jsonl",
            '{"tokens": [], "tags": []}\n',
            "row 1, column 'tokens': the list is empty; expected one or more",
        ),
        (
            "a.jsonl",
            '{"tokens": 3, "tags": []}\n',
            "row 1, column 'tokens': expected a list of strings, found a int",
        ),
        (
            "a.jsonl",
            '{"tokens": ["a", 3], "tags": []}\n',
            "row 1, column 'tokens': item 2 is 3 (int), expected a string",
        ),
        (
            "a.jsonl",
            '{"tokens": ["a", " "], "tags": []}\n',
            "row 1, column 'tokens': item 2 is empty",
        ),
        (
            "a.jsonl",
            '{"words": ["a"], "tags": ["X"]}\n',
            ": no column 'tokens'; the columns are: words, tags.",
        ),
        (
            "a.jsonl",
            '{"tokens": ["a"], "tag": ["X"]}\n',
            ": no column 'tags'; the columns are: tokens, tag. Did you mean 'tag'?",
        ),
        ("a.jsonl", "[1]\n", "row 1: expected a JSON object {...}, found a list"),
    ],
)
def test_what_a_file_can_have_wrong(tmp_path, name, text, message):
    with pytest.raises(DataError) as caught:
        read_sequences(write(tmp_path, name, text))
    place = "" if message.startswith(":") else ", "
    assert str(caught.value) == f"{tmp_path / name}{place}{message}"


@pytest.mark.parametrize(
    ("name", "text", "choices", "kind", "message"),
    [
        (
            "a.conllu",
            CONLLU,
            {"column": "upost"},
            ConfigError,
            "no CoNLL-U column 'upost'; one of: id, form, lemma, upos, "
            "xpos, feats, head, deprel, deps, misc. Did you mean 'upos'?",
        ),
        (
            "a.conll",
            CONLL,
            {"column": "ner"},
            ConfigError,
            "column 'ner': a CoNLL file's columns have no names; expected "
            "a number from 1, or from -1 backwards",
        ),
        ("a.conll", CONLL, {"column": "5"}, DataError, "{path}, row 3: no column 5; the row has 4"),
        (
            "a.conll",
            CONLL,
            {"column": "-5"},
            DataError,
            "{path}, row 3: no column -5; the row has 4",
        ),
        (
            "a.conllu",
            CONLLU,
            {"intent": "goal"},
            DataError,
            "{path}, row 1: no comment '# goal = ...' before the sentence; "
            "comments there: sent_id, intent",
        ),
        (
            "a.conll",
            CONLL,
            {"intent": "goal"},
            DataError,
            "{path}, row 3: no comment '# goal = ...' before the sentence; comments there: none",
        ),
        (
            "a.conll",
            CONLL,
            {"format": "conlu"},
            ConfigError,
            "unknown format 'conlu'; one of: conll, conllu, jsonl, npz, "
            "parquet, txt. Did you mean 'conllu'?",
        ),
        (
            "eng.testa",
            CONLL,
            {},
            DataError,
            "{path}: cannot tell the format from the ending '.testa'; "
            "expected one of .conllu, .conll, .iob, .iob2, .bio, .jsonl, "
            ".ndjson, .txt, .npz, .parquet, or give the format: conll, "
            "conllu, jsonl, npz, parquet, txt",
        ),
        (
            "a.txt",
            "a\n\nb\n",
            {"tagged": False},
            DataError,
            "{path}, row 2: no words; expected at least one",
        ),
    ],
)
def test_what_can_be_asked_wrongly(tmp_path, name, text, choices, kind, message):
    path = write(tmp_path, name, text)
    with pytest.raises(kind) as caught:
        read_sequences(path, **choices)
    assert str(caught.value) == message.format(path=path)


units = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1)
sentences = st.lists(st.lists(st.tuples(units, units), min_size=1), min_size=1)


def plain(sentence):
    """Whether no line of it has a meaning of its own in the format."""
    special = any(word == "-DOCSTART-" or word.isspace() for word, _ in sentence)
    return not special and not COMMENT.match("\t".join(sentence[0]))


@given(sentences)
def test_any_words_and_tags_come_back_from_columns(tmp_path_factory, written):
    written = [sentence for sentence in written if plain(sentence)]
    assume(written and not written[0][0][0].startswith("\ufeff"))
    path = tmp_path_factory.mktemp("any") / "a.conll"
    blocks = ["".join(f"{word}\t{tag}\n" for word, tag in each) for each in written]
    path.write_bytes("\n".join(blocks).encode())
    found = read_sequences(path)
    pairs = zip(found.inputs, found.tags, strict=True)
    assert [list(zip(words, tags, strict=True)) for words, tags in pairs] == written


# Batches


def test_a_batch_spells_each_of_its_different_words_once():
    sentences = [["ab", "c", "ab"], ["c"], ["def", "ab"]]
    words = Vocabulary.of_words(["ab", "c"], VocabularySpec())
    characters = Vocabulary.build(["abcde"], VocabularySpec(tokens="char"))
    corpus = encode_words(sentences, words, characters, max_word_length=2)
    found = tag_batch(corpus, [[0, 1, 0], [1], [1, 0]], None, [2, 1])
    assert found.inputs.values.tolist() == [[1, 4], [5, 0]]
    assert found.inputs.lengths.tolist() == [2, 1]
    spelled = [
        characters.decode(row[:n])
        for row, n in zip(found.inputs.spellings, found.inputs.spelling_lengths, strict=True)
    ]
    assert spelled == ["ab", "c", "de"]
    assert found.inputs.words.tolist() == [[2, 0], [1, 0]]
    assert found.tags.tolist() == [[1, 0], [1, 0]]
    assert len(found) == 2


def test_frames_are_padded_with_zeros():
    corpus = Corpus([np.ones((2, 3)), np.ones((1, 3))])
    found = corpus.batch([1, 0])
    assert found.values.shape == (2, 2, 3)
    assert found.values[0, 1].tolist() == [0, 0, 0]
    assert found.values.dtype == np.float32


def test_words_of_a_vocabulary_are_whole_and_further_ones_fill_it():
    spec = VocabularySpec(max_size=8, lowercase=True)
    found = Vocabulary.of_words(["a b", "A b", "c"], spec, further=["C", "d", "e", "f"])
    assert found.units[4:] == ("a b", "c", "d", "e")
    assert found.encode_words(["A B", "x", "<s>"]) == [4, 1, 1]


# Word vectors

HEADED = "3 2\nthe 1 2\nEU 3 4\ncall 5 6\n"


def test_vectors_with_and_without_a_header(tmp_path):
    for text in (
        HEADED,
        HEADED.split("\n", 1)[1],
        HEADED.replace(" ", "\t"),
        HEADED.replace("\n", " \r\n"),
    ):
        found = read_vectors(write(tmp_path, "v.txt", text), ["The", "call", "absent"])
        assert (found.size, found.count, set(found.of)) == (2, 3, {"the", "call"})
        assert found.of_word("The").tolist() == [1, 2]
        assert found.of_word("absent") is None


def test_further_vectors_and_words_with_spaces(tmp_path):
    path = write(tmp_path, "v.txt", "the 1 2\n. . . 3 4\nzzz 5 6\n")
    found = read_vectors(path, ["the"], further=1)
    assert {k: v.tolist() for k, v in found.of.items()} == {"the": [1, 2], ". . .": [3, 4]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2\nEU 3\n", ", row 2: 1 numbers after the word, expected 2"),
        ("the 1 2\nEU 3 x\n", ", row 2: expected numbers after the word"),
        ("the 1 nan\n", ", row 1: a number is not finite"),
        ("3 2\n", ": no word vectors in the file"),
        ("the\n", ", row 1: 0 numbers after the word, expected some"),
        (b"\xff\xfe 1 2\n", ", row 1: not UTF-8; save the file as UTF-8"),
    ],
)
def test_vectors_that_cannot_be_read(tmp_path, text, message):
    path = write(tmp_path, "v.txt", text)
    with pytest.raises(DataError) as caught:
        read_vectors(path, ["the", "EU"])
    assert str(caught.value) == f"{path}{message}"
