"""Every script in examples/ runs as it stands, in a process of its own, and prints its point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "classify_sentences": "what each word weighed in the label:",
    "continue_text": "after 'tha':",
    "forecast_shops": "a stream of the market's days says the same: True",
    "layers_in_torch": "The adding problem",
    "read_signals": "what it thinks of a",
    "runtime_without_torch": "torch was imported: False",
    "tag_questions": "the next best tags of 'rain in oslo':",
    "translate_dates": "which character each written one looked at:",
}


def test_every_example_is_listed() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(SAYS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SAYS))
def test_the_example_runs(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"
