"""`python -m bench.quality --data FOLDER [NAME ...]`: run rows of the table and print it."""

from __future__ import annotations

import argparse
import fnmatch
import json
import resource
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.quality.row import Row
from bench.quality.rows import rows


def main() -> None:
    """Run the rows that were named (patterns allowed), all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["*"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("bench-out/quality"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--list", action="store_true", help="print the commands only")
    arguments = parser.parse_args()
    chosen = [r for r in rows() if any(fnmatch.fnmatch(r.name, n) for n in arguments.names)]
    absent = 0
    for row in chosen:
        work = arguments.out / row.name
        work.mkdir(parents=True, exist_ok=True)
        try:
            files = row.prepare(arguments.data, work)
        except FileNotFoundError as error:
            print(f"{row.name}: left out, {error}", file=sys.stderr)
            absent += 1
            continue
        if arguments.list:
            for command in commands(row, files, work, 0):
                print("unrolled", shlex.join(command))
            continue
        found = [run(row, files, work, seed) for seed in range(arguments.seeds)]
        print(line(row, found), flush=True)
    if absent:
        sys.exit(f"{absent} of {len(chosen)} rows were left out")


def commands(
    row: Row, files: dict[str, Path], work: Path, seed: int
) -> tuple[list[str], list[str]]:
    """Return the commands that train and that evaluate a row with a seed."""
    model = work / f"model-{seed}"
    train = ["train", row.task, str(files["train"]), "--out", str(model), "--seed", str(seed)]
    if "valid" in files:
        train += ["--valid", str(files["valid"])]
    if "vectors" in files:
        train += ["--vectors", str(files["vectors"])]
    train += [*shlex.split(row.options), "--overwrite", "--quiet"]
    evaluate = ["evaluate", str(model), str(files["test"]), *shlex.split(row.evaluate), "--json"]
    return train, evaluate


def run(row: Row, files: dict[str, Path], work: Path, seed: int) -> dict[str, Any]:
    """Train and evaluate one row with one seed; return the test metrics."""
    train, evaluate = commands(row, files, work, seed)
    start, used = time.monotonic(), _processor_seconds()
    _unrolled(train)
    seconds = {
        "train_seconds": time.monotonic() - start,
        "processor_seconds": _processor_seconds() - used,
    }
    metrics: dict[str, Any] = {**json.loads(_unrolled(evaluate)), **seconds}
    if row.measure is not None:
        metrics |= row.measure(files, work / f"model-{seed}")
    (work / f"metrics-{seed}.json").write_text(json.dumps(metrics, indent=2))
    return metrics


def line(row: Row, found: list[dict[str, Any]]) -> str:
    """Return a row of the table: mean and spread over the seeds of each metric and of the time.

    Times are those of training, in minutes: by the clock, and of all processors together.
    """
    parts = []
    for name in row.metrics:
        if isinstance(found[0][name], dict):
            beside = [f"{n} {found[0][name][n]:.4f}" for n in row.metrics if n in found[0][name]]
            parts.append(f"({name.replace('_', ' ')}: {', '.join(beside)})")
            continue
        values = [row.scale * metrics[name] for metrics in found]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        digits = 2 if row.scale > 1 else 4
        parts.append(f"{name} {statistics.mean(values):.{digits}f} +- {spread:.{digits}f}")
    clock, processor = (
        statistics.mean(m[key] for m in found) / 60
        for key in ("train_seconds", "processor_seconds")
    )
    times = f"{clock:.1f} min, {processor:.1f} of processors"
    return f"| {row.name} | {', '.join(parts)} | {row.published} | {times} |"


def _processor_seconds() -> float:
    """Return the processor time of all children so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _unrolled(arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", *arguments], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"unrolled {shlex.join(arguments)} failed with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
