"""Run an experiment for some seeds, two at a time, and keep what each seed found."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from unrolled import __version__
from unrolled.artifact import decode_json, pretty, write_files
from unrolled.errors import ConfigError
from unrolled.lab.catalogue import EXPERIMENTS
from unrolled.lab.experiment import Experiment, Results

Notify = Callable[[str], None]


def folder_of(out: Path, experiment: Experiment, *, quick: bool) -> Path:
    """Return the folder that holds what the seeds of an experiment found."""
    return out / f"{experiment.name}-{'quick' if quick else 'full'}"


def run(
    experiment: Experiment,
    seeds: Sequence[int],
    out: Path,
    *,
    quick: bool,
    notify: Notify,
    workers: int = 2,
) -> Results:
    """Run the seeds that `out` does not hold yet, each in a process with one thread.

    A seed's rows are written as soon as it is done, so that a run that is stopped goes on where it
    was. Rows of other settings or another version of unrolled are not taken over.
    """
    folder = folder_of(out, experiment, quick=quick)
    missing = [seed for seed in seeds if _read(folder, seed, experiment, quick=quick) is None]
    context = get_context("spawn")
    size = max(1, min(workers, len(missing)))
    with ProcessPoolExecutor(size, context, initializer=os.nice, initargs=(5,)) as pool:
        waiting = {pool.submit(_seed, experiment.name, seed, quick): seed for seed in missing}
        for done in as_completed(waiting):
            seed, (rows, seconds) = waiting[done], done.result()
            record = {**_signature(experiment, quick=quick), "seconds": seconds, "rows": rows}
            write_files(folder, {f"seed-{seed}.json": pretty(record)})
            notify(f"{experiment.name}, seed {seed}: {seconds:.0f} s")
    return read(experiment, out, quick=quick, seeds=seeds)


def read(
    experiment: Experiment, out: Path, *, quick: bool, seeds: Iterable[int] | None = None
) -> Results:
    """Return the rows that a folder holds, of these seeds or of all.

    Raises ConfigError where it holds none, or not all of these seeds.
    """
    folder = folder_of(out, experiment, quick=quick)
    if seeds is None:
        seeds = sorted(int(path.stem.removeprefix("seed-")) for path in folder.glob("seed-*.json"))
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        found = _read(folder, seed, experiment, quick=quick)
        if found is None:
            raise ConfigError(f"{folder}: no results of seed {seed} with the settings of now")
        rows += [{"seed": seed, **row} for row in found]
    if not rows:
        raise ConfigError(f"{folder}: no results; run `unrolled lab run {experiment.name}` first")
    return Results(rows)


def seconds_of(experiment: Experiment, out: Path, *, quick: bool) -> float:
    """Return the processor time that all kept seeds took together."""
    paths = folder_of(out, experiment, quick=quick).glob("seed-*.json")
    return sum(float(decode_json(path.read_bytes(), path)["seconds"]) for path in paths)


def settings_of(experiment: Experiment, *, quick: bool) -> dict[str, Any]:
    """Return the settings of a quick or a full run, as JSON has them."""
    settings = asdict(experiment.quick if quick else experiment.full)
    return {name: _plain(value) for name, value in settings.items()}


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _signature(experiment: Experiment, *, quick: bool) -> dict[str, Any]:
    return {"version": __version__, "settings": settings_of(experiment, quick=quick)}


def _read(
    folder: Path, seed: int, experiment: Experiment, *, quick: bool
) -> list[dict[str, Any]] | None:
    path = folder / f"seed-{seed}.json"
    if not path.exists():
        return None
    record = decode_json(path.read_bytes(), path)
    signature = _signature(experiment, quick=quick)
    if any(record.get(name) != value for name, value in signature.items()):
        return None
    rows: list[dict[str, Any]] = record["rows"]
    return rows


def _seed(name: str, seed: int, quick: bool) -> tuple[list[dict[str, Any]], float]:
    """Run one seed, in a process of its own: with one thread two seeds do not share cores."""
    import torch

    from unrolled import set_num_threads

    torch.set_num_threads(1)
    set_num_threads(1)
    experiment = EXPERIMENTS[name]
    start = time.process_time()
    rows = experiment.run(seed, experiment.quick if quick else experiment.full)
    return rows, time.process_time() - start
