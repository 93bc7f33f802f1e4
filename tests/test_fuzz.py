"""A short run of `make fuzz` with a seed that stays, and the files that it once found."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

import fuzz
import fuzz_readers
from fuzz_damage import damage


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, fuzz.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def test_what_was_found_before_is_an_answer_or_an_error() -> None:
    done = run("--replay")
    assert done.returncode == 0, done.stderr


def test_damaged_files_are_an_answer_or_an_error() -> None:
    done = run("--together", "--seed=1", "--examples=40", "--seconds=500")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(fuzz_readers.READERS)


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_files_are_whole_before_they_are_damaged(name: str, tmp_path: Path) -> None:
    """No reader refuses its seeds: else nothing behind its first check would be tried."""
    reader = fuzz_readers.READERS[name]
    for file, content in reader.seeds().items():
        path = tmp_path / file
        path.write_bytes(content)
        reader.read(path)


def test_damage_is_drawn_by_its_seed() -> None:
    content = fuzz_readers.onnx_seeds()["glue.onnx"]
    one, same, other = (
        [damage(content, [content], "onnx", dice) for _ in range(50)]
        for dice in (random.Random(1), random.Random(1), random.Random(2))
    )
    assert one == same
    assert one != other
    assert sum(each != content for each in one) > 40


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise KeyError('odd')", "KeyError: 'odd'"),
        ("bytearray(8 << 30)", "MemoryError"),
        ("import os; os.abort()", "ended with -6"),
        ("while True: pass", "no answer within 2 s"),
    ],
)
def test_a_reader_that_breaks_is_a_finding(tmp_path: Path, body: str, expected: str) -> None:
    """What ends, hangs or swells a reader is seen, named and kept."""
    script = f"""
import sys
from pathlib import Path
import fuzz, fuzz_readers
def broken(path):
    {body}
fuzz_readers.READERS["csv"] = fuzz_readers.Reader(broken, lambda: {{"x.csv": b"a"}}, "text")
fuzz.CORPUS, fuzz.HANG, fuzz.__file__ = Path({str(tmp_path)!r}), 2, __file__
sys.exit(fuzz.main())
"""
    place = tmp_path / "broken.py"
    place.write_text(script)
    done = subprocess.run(
        [sys.executable, str(place), "csv", "--seed=1", "--examples=1"],
        env={"PYTHONPATH": str(Path(fuzz.__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert str(tmp_path / "csv") in done.stderr
    assert [path.suffix for path in (tmp_path / "csv").iterdir()] == [".csv"]
