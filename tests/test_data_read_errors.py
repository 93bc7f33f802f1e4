"""Files that cannot be read: the sentence a user gets for each thing that may be wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import polars
import pytest

from reading import failure, write
from unrolled.data import captions, sequences, source
from unrolled.data.read import (
    read_table,
)
from unrolled.data.streams import file_lines
from unrolled.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_missing_file_and_folder() -> None:
    write("reviews.csv", "a\n1\n")
    assert failure("review.csv") == "review.csv: no such file. Did you mean 'reviews.csv'?"
    assert failure("nowhere/a.csv") == "nowhere/a.csv: no such file."
    assert failure("reviews") == "reviews: no such file. Did you mean 'reviews.csv'?"
    with pytest.raises(
        DataError, match=r"^review\.txt: no such file\. Did you mean 'reviews\.csv'\?$"
    ):
        list(file_lines("review.txt")())
    Path("data.csv").mkdir()
    assert failure("data.csv") == "data.csv: is a folder; expected a file"
    assert failure("reviews.csv/a.csv") == "reviews.csv/a.csv: cannot be read: Not a directory"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "txt"])
def test_empty_file(ending: str) -> None:
    assert failure(write(f"a.{ending}", "")) == f"a.{ending}: the file is empty"


@pytest.mark.parametrize("content", [" \n\n", "\ufeff", "\ufeff\r\n"])
def test_nothing_but_white_space(content: str) -> None:
    message = "a.csv: the file is empty: it holds nothing but white space"
    assert failure(write("a.csv", content)) == message


def test_unknown_ending_and_format() -> None:
    message = failure(write("a.xlsx", "x"))
    assert message.startswith(
        "a.xlsx: cannot tell the format from the ending '.xlsx'; expected one"
    )
    Path("parts").mkdir()
    for find in (source.format_of, captions.format_of, partial(sequences.format_of, tagged=True)):
        with pytest.raises(DataError, match=r"^parts: is a folder; expected a file$"):
            find("parts", None)
    with pytest.raises(DataError, match=r"^parts: is a folder; expected a file$"):
        next(file_lines("parts")())
    with pytest.raises(ConfigError, match=r"unknown format 'cvs'; one of: .*Did you mean 'csv'\?"):
        read_table("a.xlsx", format="cvs")


def test_header_only() -> None:
    assert failure(write("a.csv", "text,label\n")) == (
        "a.csv: the file has a header (text, label) and no rows"
    )
    polars.DataFrame({"a": []}).write_parquet("a.parquet")
    assert failure("a.parquet") == "a.parquet: the file has columns and no rows"


def test_missing_column() -> None:
    path = write("reviews.csv", "review,stars\ngood,5\n")
    assert failure(path, columns=["reviw"]) == (
        "reviews.csv: no column 'reviw'; the columns are: review, stars. Did you mean 'review'?"
    )
    polars.DataFrame({"review": ["a"]}).write_parquet("a.parquet")
    assert failure("a.parquet", columns=["text"]) == (
        "a.parquet: no column 'text'; the columns are: review."
    )
    with pytest.raises(
        DataError, match=r"^reviews.csv: no column 'x'; the columns are: review, st"
    ):
        read_table(path).column("x")
    wide = write("wide.csv", ",".join(f"c{k}" for k in range(30)) + "\n")
    assert failure(wide, columns=["x"]).endswith("c18, c19 and 10 more.")


def test_duplicate_columns() -> None:
    assert failure(write("a.csv", "text,id,text\na,1,b\n")) == (
        "a.csv: two columns are named 'text' (fields 1 and 3); each column needs a name of its own"
    )
    assert read_table(write("b.csv", "text,,\na,,\n"), columns=["text"]).column("text") == ["a"]


def test_ragged_row() -> None:
    path = write("a.csv", 'text,label\n"one\ntwo",x\na, b,y\n')
    assert failure(path) == (
        "a.csv, row 4: 3 fields, expected 2 (text, label)."
        ' A field that holds the separator must be in quotes (").'
    )
    path = write("b.csv", "text,label\nlonely\n")
    assert failure(path) == "b.csv, row 2: 1 field, expected 2 (text, label)."


def test_quotes_out_of_place() -> None:
    assert failure(write("a.csv", 'text,label\na,x\n"b,y\nc,z\n')) == (
        'a.csv, row 3: a quote (") is opened in this row and never closed'
    )
    assert failure(write("a.csv", 'text,label\n"b,y\nc" d,z\n')) == (
        'a.csv, row 2: a closing quote (") must be followed by a comma or the end of the row'
        ' (the field runs on to row 3); write a quote inside a quoted field as ""'
    )


def test_wrong_encoding() -> None:
    path = write("a.csv", "text,label\r\ngut,x\r\ncafé,y\r\n".encode("latin-1"))
    assert failure(path) == (
        "a.csv: byte 0xe9 at offset 22 (row 3) is not UTF-8; save the file as UTF-8"
    )
    path = write("a.csv", "text,label\n".encode("utf-16"))
    assert failure(path) == "a.csv: the file is UTF-16 (byte offset 0, row 1); save it as UTF-8"
    path = write("a.txt", "가나다\n한국어\n".encode("cp949"))
    assert "is not UTF-8" in failure(path)


def test_nul_byte() -> None:
    path = write("a.csv", b"text,label\nab\0c,x\n")
    assert failure(path) == "a.csv: NUL byte at offset 13 (row 2); expected text"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "row 2: not JSON: "),
        ('{"a": "\\ud800"}', "row 2: not JSON: "),
        ("[1]", "row 2: expected a JSON object {...}, found a list"),
        ('{"text": 1}', "row 2: no key 'a'; the keys are: text."),
        ('{"A": 1, "ab": 2}', "row 2: no key 'a'; the keys are: A, ab."),
    ],
)
def test_damaged_jsonl(line: str, message: str) -> None:
    path = write("a.jsonl", f'{{"a": 1}}\n{line}\n')
    assert failure(path).startswith(f"a.jsonl, {message}")


def test_damaged_parquet() -> None:
    polars.DataFrame({"a": list(range(100))}).write_parquet("a.parquet")
    whole = Path("a.parquet").read_bytes()
    for content in (b"not parquet at all", whole[: len(whole) // 2], whole[:-20] + b"x" * 20):
        message = failure(write("a.parquet", content))
        assert message.startswith("a.parquet: not a Parquet file, or a damaged one: ")


@pytest.mark.parametrize(
    ("module", "action"),
    [("polars", "read_table('a.parquet')"), ("narwhals", "read_frame({})")],
)
def test_a_library_that_is_not_installed(module: str, action: str) -> None:
    polars.DataFrame({"a": [1]}).write_parquet("a.parquet")
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from unrolled.data.read import read_frame, read_table\n"
        "from unrolled.errors import DataError\n"
        f"try: {action}\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert f"needs {module}: pip install 'unrolled[train]'" in done.stdout
