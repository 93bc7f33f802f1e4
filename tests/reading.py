"""Small files in the folder of a test, and the sentence that reading one ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.data.read import read_table
from unrolled.errors import DataError


def write(name: str, content: str | bytes) -> str:
    """Write a file; return its name."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def failure(path: str, **options: object) -> str:
    """Return the error that reading a file ends with."""
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    return str(caught.value)
