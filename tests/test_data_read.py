"""Reading: every format, to the same table."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import narwhals
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reading import failure, write
from unrolled.data.read import (
    Table,
    file_hash,
    labels,
    read_frame,
    read_pairs,
    read_parallel,
    read_sources,
    read_table,
    texts,
)
from unrolled.errors import DataError


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# What is read


def test_csv_columns_in_the_order_asked_for() -> None:
    path = write("reviews.csv", "id,review,stars\n1,good film,5\n2,bad film,1\n")
    table = read_table(path, columns=["stars", "review"])
    assert table.columns == {"stars": ["5", "1"], "review": ["good film", "bad film"]}
    assert len(table) == 2
    assert table.rows == [2, 3]
    assert table.where(1) == "reviews.csv, row 3"
    assert table.where(0, "stars") == "reviews.csv, row 2, column 'stars'"
    assert list(read_table(path).columns) == ["id", "review", "stars"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark(end: str, mark: bytes) -> None:
    content = mark + end.join(["text,label", '"a, b",x', "한국어,y", ""]).encode()
    table = read_table(write("a.csv", content))
    assert table.columns == {"text": ["a, b", "한국어"], "label": ["x", "y"]}
    assert table.rows == [2, 3]


def test_rows_count_lines_through_quoted_line_ends_and_blank_lines() -> None:
    path = write("a.csv", 'text,label\n"one\ntwo\r\nthree",x\n\n"say ""hi""",y\n')
    table = read_table(path)
    assert table.column("text") == ["one\ntwo\r\nthree", 'say "hi"']
    assert table.rows == [2, 6]


def test_a_field_longer_than_the_csv_modules_limit() -> None:
    before = csv.field_size_limit()
    long = "x" * (before + 10)
    assert read_table(write("a.csv", f"text,label\n{long},y\n")).column("text") == [long]
    assert csv.field_size_limit() == before


def test_separators_of_other_scripts_are_text_not_line_ends() -> None:
    line = "a\x0bb\x0cc\x85d\u2028e"
    assert read_table(write("a.txt", f"{line}\nz")).column("text") == [line, "z"]
    assert read_table(write("a.csv", f"text\n{line}\nz\n")).column("text") == [line, "z"]


@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff")).filter(
                lambda field: field.strip() == field and field
            ),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
    )
)
def test_what_the_csv_module_writes_is_read_back(rows: list[list[str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["text", "label"], *rows])
    stdin = io.BytesIO(buffer.getvalue().encode())
    table = read_table("-", format="csv", stdin=stdin)
    assert [list(row) for row in zip(*table.columns.values(), strict=True)] == rows


def test_tsv_quotes_are_characters_unless_told_otherwise() -> None:
    path = write("a.tsv", 'text\tlabel\n"Hello," he said.\tx\n')
    assert read_table(path).column("text") == ['"Hello," he said.']
    path = write("b.tsv", 'text\tlabel\n"a\tb\n""c"""\tx\n')
    assert read_table(path, quotes=True).column("text") == ['a\tb\n"c"']
    write("b.tsv", 'text\tlabel\n"a\tb"\tx\n')
    assert 'Quotes (") are read as they stand here; say quotes=True' in failure(path)


def test_without_a_header() -> None:
    path = write("a.csv", "good,5\nbad,1\n")
    assert read_table(path, header=False).columns == {"1": ["good", "bad"], "2": ["5", "1"]}
    table = read_table(path, columns=["text", "label"], header=False)
    assert table.columns == {"text": ["good", "bad"], "label": ["5", "1"]}
    assert table.rows == [1, 2]
    message = failure(path, columns=["text"], header=False)
    assert message == "a.csv, row 1: 2 fields, expected 1 (text)." + (
        ' A field that holds the separator must be in quotes (").'
    )


def test_jsonl() -> None:
    path = write(
        "a.jsonl", '{"text": "좋다", "n": 1, "more": 0}\r\n\r\n{"n": null, "text": "b"}\r\n'
    )
    table = read_table(path, columns=["text", "n"])
    assert table.columns == {"text": ["좋다", "b"], "n": [1, None]}
    assert table.rows == [1, 3]


def test_parquet() -> None:
    polars.DataFrame({"text": ["a", "b"], "label": [1, 2]}).write_parquet("a.parquet")
    table = read_table("a.parquet", columns=["label", "text"])
    assert table.columns == {"label": [1, 2], "text": ["a", "b"]}
    assert table.where(1) == "a.parquet, row 2"


def test_text_is_one_text_a_line_and_takes_the_name_asked_for() -> None:
    path = write("a.txt", "one\n\nthree\n")
    assert read_table(path).columns == {"text": ["one", "", "three"]}
    assert read_table(path, columns=["review"]).columns == {"review": ["one", "", "three"]}
    assert failure(path, columns=["source", "target"]) == (
        "a.txt: plain text holds one text a line, so it has one column;"
        " 2 were asked for: source, target"
    )


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_table("-", columns=["word"], stdin=io.BytesIO(b"one\ntwo"))
    assert table.columns == {"word": ["one", "two"]}
    assert table.where(1) == "stdin, row 2"
    table = read_table("-", format="jsonl", stdin=io.BytesIO(b'{"a": 1}'))
    assert table.columns == {"a": [1]}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("각\n".encode())))
    assert read_table("-").column("text") == ["각"]
    assert failure("-", stdin=io.BytesIO(b"")) == "stdin: the file is empty"


@pytest.mark.parametrize(
    "library",
    [
        pandas.DataFrame,
        polars.DataFrame,
        polars.LazyFrame,
        pyarrow.table,
        lambda columns: narwhals.from_native(polars.DataFrame(columns)),
    ],
    ids=["pandas", "polars", "lazy", "arrow", "narwhals"],
)
def test_data_frames_of_any_library(library: Callable[[dict[str, list[object]]], object]) -> None:
    frame = library({"text": ["a", None], "label": [1, 2]})
    table = read_frame(frame, ["label", "text"])
    assert labels(table, "label") == ["1", "2"]
    assert texts(table, "text", on_empty="keep") == ["a", ""]
    with pytest.raises(DataError, match=r"^data frame, row 2, column 'text': the text is missing$"):
        texts(table, "text")
    with pytest.raises(DataError, match=r"no column 'labl'.*text, label\. Did you mean 'label'\?"):
        read_frame(frame, ["labl"])


def test_what_is_no_data_frame() -> None:
    with pytest.raises(DataError, match=r"^data frame: expected a data frame, found a list$"):
        read_frame([1, 2])
    with pytest.raises(DataError, match="has columns and no rows"):
        read_frame(polars.DataFrame({"a": []}))


# Pairs


def test_pairs_without_a_header() -> None:
    path = write("pairs.tsv", "cat\tK AE T\ndog\tD AO G\n")
    table = read_pairs(path)
    assert table.columns == {"source": ["cat", "dog"], "target": ["K AE T", "D AO G"]}
    assert table.rows == [1, 2]
    assert read_sources(path).columns == {"source": ["cat", "dog"]}


def test_pairs_with_a_header() -> None:
    path = write("pairs.tsv", "target\tid\tsource\nK AE T\t1\tcat\n")
    assert read_pairs(path).columns == {"source": ["cat"], "target": ["K AE T"]}
    assert read_sources(path).columns == {"source": ["cat"]}
    path = write("own.tsv", "english\tgerman\ncat\tKatze\n")
    assert read_pairs(path, "german", "english").columns == {
        "german": ["Katze"],
        "english": ["cat"],
    }
    with pytest.raises(DataError, match=r"no column 'germn'.*Did you mean 'german'\?"):
        read_pairs(path, "germn", "english")
    path = write("pairs.csv", "cat,K AE T\n")
    with pytest.raises(DataError, match=r"no column 'source'; the columns are: cat, K AE T"):
        read_pairs(path)


def test_sources_alone() -> None:
    assert read_sources(write("a.tsv", "cat\ndog\n")).column("source") == ["cat", "dog"]
    assert read_sources("-", stdin=io.BytesIO(b"cat\n")).columns == {"source": ["cat"]}
    assert read_sources(write("a.csv", "source\ncat\n")).columns == {"source": ["cat"]}


def test_a_ragged_pair() -> None:
    path = write("pairs.tsv", "cat\tK AE T\ndog D AO G\n")
    with pytest.raises(DataError) as caught:
        read_pairs(path)
    assert str(caught.value) == "pairs.tsv, row 2: 1 field, expected 2 (source, target)."


def test_parallel_files() -> None:
    write("a.en", "one\ntwo\n")
    write("a.de", "eins\r\nzwei")
    table = read_parallel("a.en", "a.de")
    assert table.columns == {"source": ["one", "two"], "target": ["eins", "zwei"]}
    assert table.where(1) == "a.en and a.de, row 2"
    write("a.de", "eins\nzwei\ndrei\n")
    with pytest.raises(DataError) as caught:
        read_parallel("a.en", "a.de")
    assert str(caught.value) == (
        "a.en has 2 lines and a.de has 3; parallel files hold the same text on the same line"
    )


# Texts and labels


def test_empty_texts() -> None:
    table = read_table(write("reviews.csv", 'id,review\n1,good\n2,\n3," "\n'))
    with pytest.raises(DataError) as caught:
        texts(table, "review")
    assert str(caught.value) == "reviews.csv, row 3, column 'review': the text is empty"
    assert texts(table, "review", on_empty="keep") == ["good", "", " "]


def test_texts_that_are_not_text() -> None:
    table = Table("a.jsonl", {"text": ["a", 5]}, [1, 2])
    with pytest.raises(DataError) as caught:
        texts(table, "text")
    assert str(caught.value) == "a.jsonl, row 2, column 'text': expected text, found 5 (int)"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["x", " "], "row 3, column 'y': the label is empty"),
        (["x", None], "row 3, column 'y': the label is missing"),
        ([1.0, math.nan], "row 3, column 'y': the label is NaN; expected a class"),
        (["1", "NaN"], "row 3, column 'y': the label is NaN; expected a number"),
        (["x", ["y"]], "row 3, column 'y': expected a label, found ['y'] (list)"),
    ],
)
def test_labels_that_are_none(values: list[object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        labels(Table("a.csv", {"y": values}, [2, 3]), "y")
    assert str(caught.value) == f"a.csv, {message}"


def test_labels_become_text() -> None:
    table = Table("a.csv", {"y": [" good ", 3, True], "language": ["nan", "ko", "en"]}, [2, 3, 4])
    assert labels(table, "y") == ["good", "3", "True"]
    assert labels(table, "language") == ["nan", "ko", "en"]


def test_file_hash() -> None:
    path = write("a.csv", "a\n1\n")
    assert file_hash(path) == hashlib.sha256(b"a\n1\n").hexdigest()
    with pytest.raises(DataError, match="no such file"):
        file_hash("b.csv")
