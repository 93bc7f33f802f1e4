"""Damaged files for every reader, each an answer or an UnrolledError; anything else is a finding.

    python tests/fuzz.py --seconds 120
    python tests/fuzz.py onnx torch --seed 7 --examples 200

The readers work in a process of bounded memory, so that what ends or hangs it is seen from outside.
The file of a finding is written to tests/corpus/READER/, where it stays once the reader is mended:
`tests/test_fuzz.py` reads the corpus again, and damage begins from its files too. The seed is new
each time unless one is given; the same seed and count of examples give the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz_damage import damage
from fuzz_readers import READERS, survives

CORPUS = Path(__file__).parent / "corpus"
# Beyond what the process has when it starts; and seconds of a processor for one file.
MEMORY, HANG = 1 << 30, 30.0


def seeds_of(name: str) -> dict[str, bytes]:
    """Return the whole files of a reader, and what is in its corpus."""
    kept = sorted((CORPUS / name).iterdir()) if (CORPUS / name).is_dir() else []
    return READERS[name].seeds() | {path.name: path.read_bytes() for path in kept}


def files(name: str, seed: int):
    """Yield damaged files of a reader without end, each with its name."""
    from fuzz_readers import READERS

    reader, found = READERS[name], seeds_of(name)
    dice = random.Random(f"{name} {seed}")
    others = list(found.values())
    while True:
        chosen = dice.choice(sorted(found))
        content = damage(found[chosen], others, reader.tokens, dice)
        if reader.mend is not None and dice.random() < 0.5:
            content = reader.mend(content)
        yield chosen, content


def bound_memory() -> None:
    with open("/proc/self/statm") as status:
        now = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def child(names: list[str], seed: int, seconds: float, examples: int, place: Path) -> None:
    """Read damaged files until the time or the count is up; the one at hand lies in `place`."""
    warnings.simplefilter("ignore")
    shares = sum(READERS[name].share for name in names)
    bound_memory()
    for name in names:
        reader, begun, count = READERS[name], time.monotonic(), 0
        share = reader.share / shares
        for file, content in files(name, seed):
            enough = round(examples * share * len(names))
            if (examples and count >= enough) or time.monotonic() - begun > seconds * share:
                break
            (place / "now").write_text(f"{name}/{file}")
            (place / "content").write_bytes(content)
            survives(reader, content, file, place / "work")
            count += 1
        print(f"{name:<10}{count:>7} files in {time.monotonic() - begun:.0f} s", flush=True)


def replay(place: Path) -> None:
    """Read every file of the corpus."""
    warnings.simplefilter("ignore")
    bound_memory()
    for path in sorted(CORPUS.glob("*/*")):
        (place / "now").write_text(f"{path.parent.name}/{path.name}")
        (place / "content").write_bytes(path.read_bytes())
        survives(READERS[path.parent.name], path.read_bytes(), path.name, place / "work")


def spent(process: int) -> float:
    """Return the seconds of a processor that a process has had: a machine's load counts nothing."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(arguments: list[str]) -> str:
    """Run a child and return what is wrong, or nothing; its output goes where ours goes."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "work").mkdir()
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--child", folder, *arguments]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        wrong, now, seen = "", place / "now", (0.0, 0.0)
        while not wrong:
            try:
                _, said = process.communicate(timeout=1)
                if process.returncode:
                    wrong = said.strip() or f"the process ended with {process.returncode}"
                break
            except subprocess.TimeoutExpired:
                begun, used = now.stat().st_mtime if now.exists() else 0.0, spent(process.pid)
                if begun != seen[0]:
                    seen = begun, used
                if used - seen[1] > HANG:
                    process.kill()
                    process.communicate()
                    wrong = f"no answer within {HANG:.0f} s"
        if not wrong:
            return ""
        if not now.exists():
            return wrong
        name, content = now.read_text(), (place / "content").read_bytes()
        return f"{wrong}\nfinding: {kept(name, content)}"


def kept(name: str, content: bytes) -> Path:
    """Write the file of a finding into the corpus, unless it is there, and return its place."""
    reader, file = name.split("/")
    mark, _, ending = hashlib.sha256(content).hexdigest()[:8], *file.partition(".")[1:]
    path = CORPUS / reader / f"{mark}.{ending}"
    for known in (CORPUS / reader).glob("*"):
        if known.read_bytes() == content:
            return known
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", help="some of them; all where none is named")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--examples", type=int, default=0, help="files a reader, beside the time")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--together", action="store_true", help="in one process")
    parser.add_argument("--replay", action="store_true", help="the corpus only")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    if given.child is not None:
        if given.replay:
            replay(given.child)
        else:
            names = given.readers or list(READERS)
            child(names, seed, given.seconds, given.examples, given.child)
        return 0
    arguments = [f"--seed={seed}", f"--examples={given.examples}"]
    if given.replay:
        groups = [["--replay"]]
    elif given.together:
        groups = [[*given.readers, *arguments, f"--seconds={given.seconds}"]]
    else:
        names = given.readers or list(READERS)
        whole = sum(READERS[name].share for name in names)
        groups = [
            [name, *arguments, f"--seconds={given.seconds * READERS[name].share / whole}"]
            for name in names
        ]
    print(f"seed {seed}", flush=True)
    wrong = [found for group in groups if (found := watched(group))]
    for found in wrong:
        print(found, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
