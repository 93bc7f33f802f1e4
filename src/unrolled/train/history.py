"""What a run wrote about itself, read back from its model folder. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unrolled.artifact import TRAINING, decode_json

LOG = f"{TRAINING}/log.jsonl"
FLOW = f"{TRAINING}/flow.jsonl"


def read_lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the records of a JSON Lines file, none where there is no such file.

    Raises ModelError for a line that is not a JSON object.
    """
    path = folder / name
    if not path.exists():
        return []
    return [decode_json(line, path) for line in path.read_bytes().splitlines()]


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return a record an epoch; of a watched run each holds its gradient flow as `flow`."""
    flow = {record["epoch"]: record for record in read_lines(folder, FLOW)}
    return [
        {**record, "flow": flow[record["epoch"]]} if record["epoch"] in flow else record
        for record in read_lines(folder, LOG)
    ]
