"""The model folder: what it holds, how it is written without losing the old one, how it is read.

```
config.json  model.safetensors  vocab.json  metrics.json  README.md  training/
```

All files are first written whole beside their places and then renamed, so that a full disk leaves
the model that was there before. What is to be renamed stands in a list of its own by then: where a
kill came between two renames, whoever opens the folder next does the rest. No pickle is ever read
or written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from unrolled.config import FORMAT_VERSION, ModelConfig
from unrolled.data import vocab
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import ModelError, TrainingError
from unrolled.precision import restore, store

CONFIG, WEIGHTS, VOCAB, METRICS, CARD = (
    "config.json",
    "model.safetensors",
    "vocab.json",
    "metrics.json",
    "README.md",
)
TRAINING = "training"
RENAMES = ".renames.json"


@dataclass(frozen=True)
class Artifact:
    """A model folder in memory."""

    config: ModelConfig
    weights: Mapping[str, NDArray[Any]]
    vocabularies: Mapping[str, Vocabulary | LabelVocabulary]
    metrics: Mapping[str, Any]
    folder: Path


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all `files` under `folder`, or none: stage each beside its place, then rename all.

    Raises TrainingError, the old files untouched, where a file cannot be written (a full disk).
    """
    staged: list[tuple[str, Path]] = []
    try:
        finish_renames(folder)
        for name, content in files.items():
            _stage(folder / name, content, staged)
        if len(staged) > 1:
            names = (os.path.relpath(temporary, folder) for temporary, _ in staged)
            renames = dict(zip(names, files, strict=True))
            _stage(folder / RENAMES, pretty(renames), staged)
            os.replace(staged.pop()[0], folder / RENAMES)
        for temporary, place in staged:
            os.replace(temporary, place)
        (folder / RENAMES).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TrainingError(
            f"{folder}: could not save ({reason}); what was saved before is untouched"
        ) from error
    finally:
        for temporary, _ in staged:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _stage(place: Path, content: bytes, staged: list[tuple[str, Path]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    staged.append((temporary, place))
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, 0o644)


def finish_renames(folder: Path) -> None:
    """Do what is left of the renames of a write that was killed among them.

    Raises ModelError where the list of them is damaged or names a file outside the folder.
    """
    path = folder / RENAMES
    if not path.exists():
        return
    renames = decode_json(path.read_bytes(), path)
    for temporary, name in renames.items():
        inside = isinstance(name, str) and not any(
            os.path.isabs(part) or ".." in Path(part).parts for part in (temporary, name)
        )
        if not inside:
            raise ModelError(f"{path}: names a file outside the folder ({temporary!r})")
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder / temporary, folder / name)
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder for one run, by a lock that ends with the process.

    Raises ModelError where another run holds it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(
                f"{folder}: another run is writing to it; wait for it, or choose another --out"
            ) from None
        yield
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()
        os.close(held)


def claim(folder: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """Make sure that `folder` may be written: new, empty, ours to resume, or to overwrite.

    Raises ModelError where it holds a model or anything else and neither flag is given.
    """
    if folder.is_file():
        raise ModelError(f"{folder}: is a file; --out names a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    holds_model = (folder / CONFIG).exists() or (folder / TRAINING).is_dir()
    if not holds_model:
        raise ModelError(f"{folder}: is not empty and holds no model; choose another --out")
    if not (overwrite or resume):
        raise ModelError(
            f"{folder}: holds another model; give --overwrite to replace it, "
            "--resume to go on training it, or another --out"
        )


def save(
    folder: Path,
    *,
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]],
    vocabularies: Mapping[str, Vocabulary | LabelVocabulary],
    metrics: Mapping[str, Any],
    card: str,
) -> ModelConfig:
    """Write a model folder and return its config with the fingerprint of the weights filled in.

    Recurrent weights are stored in `config.precision`; see `unrolled.precision`.
    """
    stored = store(weights, config.precision)
    ordered = {name: np.ascontiguousarray(stored[name]) for name in sorted(stored)}
    tensors = save_tensors(ordered, metadata={"format": "unrolled"})
    config = msgspec.structs.replace(config, fingerprint=hashlib.sha256(tensors).hexdigest())
    write_files(
        folder,
        {
            WEIGHTS: tensors,
            VOCAB: _pack_vocabularies(vocabularies),
            METRICS: pretty(metrics),
            CARD: card.encode(),
            CONFIG: pretty(config),
        },
    )
    return config


def load(folder: str | Path) -> Artifact:
    """Read and check a model folder.

    Raises ModelError, naming the file and what was expected, where a file is missing, damaged,
    from a newer format, or does not belong to the others.
    """
    path = Path(folder)
    if not path.is_dir():
        what = "is a file, not a model folder" if path.exists() else "no such model folder"
        raise ModelError(f"{path}: {what}")
    try:
        finish_renames(path)
    except OSError as error:
        raise ModelError(f"{path}: a write was cut short; {error.strerror or error}") from None
    content = {name: _read(path, name) for name in (CONFIG, WEIGHTS, VOCAB)}
    config = _config(path / CONFIG, content[CONFIG])
    weights = _weights(path / WEIGHTS, content[WEIGHTS], config.fingerprint)
    vocabularies = _vocabularies(path / VOCAB, content[VOCAB])
    metrics_path = path / METRICS
    metrics: dict[str, Any] = {}
    if metrics_path.exists():
        metrics = decode_json(metrics_path.read_bytes(), metrics_path)
    return Artifact(config, weights, vocabularies, metrics, path)


def pretty(value: Any) -> bytes:
    """Return `value` as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def decode_json(content: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in `content`, or raise ModelError naming `path`."""
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ModelError(f"{path}: is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        have = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise ModelError(f"{folder}: no {name} in this folder (it holds: {have})") from None
    except OSError as error:
        raise ModelError(f"{folder / name}: cannot be read ({error.strerror})") from None


def _config(path: Path, content: bytes) -> ModelConfig:
    version = decode_json(content, path).get("format_version")
    if not isinstance(version, int):
        raise ModelError(f"{path}: no format_version; expected {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{path}: format_version {version} is newer than this unrolled reads "
            f"({FORMAT_VERSION}); upgrade unrolled"
        )
    try:
        return msgspec.json.decode(content, type=ModelConfig)
    except msgspec.ValidationError as error:
        raise ModelError(f"{path}: {error}") from None


def _weights(path: Path, content: bytes, fingerprint: str) -> dict[str, NDArray[Any]]:
    try:
        weights = load_tensors(content)
    except SafetensorError as error:
        raise ModelError(f"{path}: damaged or cut short ({error})") from None
    if fingerprint and hashlib.sha256(content).hexdigest() != fingerprint:
        raise ModelError(f"{path}: does not match the fingerprint in {CONFIG}; copy both again")
    for name, value in weights.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(f"{path}: {name} holds NaN or infinite weights")
    return restore(weights, str(path))


def _pack_vocabularies(vocabularies: Mapping[str, Vocabulary | LabelVocabulary]) -> bytes:
    return pretty({role: msgspec.Raw(found.to_json()) for role, found in vocabularies.items()})


def _vocabularies(path: Path, content: bytes) -> dict[str, Vocabulary | LabelVocabulary]:
    try:
        parts = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ModelError(f"{path}: is not a JSON object of vocabularies ({error})") from None
    return {
        role: vocab.from_json(bytes(part), name=f"{path} ({role})") for role, part in parts.items()
    }
