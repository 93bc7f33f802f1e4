"""Every reader of files that others wrote, with small whole files to begin damage from.

Nothing here imports torch: the readers are run in a process of bounded memory.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import onnx_writer as write
import unrolled
from unrolled import artifact
from unrolled.config import DataSpec, ModelConfig, TrainSpec, VocabularySpec
from unrolled.data.read import read_table
from unrolled.data.sequences import read_sequences
from unrolled.data.vectors import read_vectors
from unrolled.data.vocab import LabelVocabulary, Vocabulary
from unrolled.errors import UnrolledError
from unrolled.interop import keras, onnx, pytorch
from unrolled.interop.archives import read_npz
from unrolled.interop.arrays import recurrent
from unrolled.interop.onnx import plan
from unrolled.runtime import Recurrent, SessionState
from unrolled.shapes import parameter_shapes
from unrolled.spec import ClassifierSpec, RecurrentSpec

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Reader:
    """What reads a file, its whole files by name, the words of its format, how slow it is."""

    read: Callable[[Path], Any]
    seeds: Callable[[], dict[str, bytes]]
    tokens: str
    # Of a run's time, and of a short run's examples.
    share: float = 1.0
    mend: Callable[[bytes], bytes] | None = None


def golden(folder: str, *endings: str) -> dict[str, bytes]:
    paths = sorted((GOLDEN / folder).iterdir())
    return {path.name: path.read_bytes() for path in paths if path.name.endswith(endings)}


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def unpacked(read: Callable[[Path], Any], path: Path) -> Any:
    """Read a folder that was packed for the journey, where what packs it is whole."""
    with TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    (Path(folder) / Path(name).name).write_bytes(archive.read(name))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError):
            return None
        return read(Path(folder))


def run_onnx(path: Path) -> None:
    """Load a model and run it three times, as a program at last, on ones."""
    # A million rounds are let through, and take their time.
    plan.MAX_ROUNDS = 10_000
    model = onnx.load(path, max_bytes=1 << 22)
    inputs = {}
    for value in model.inputs:
        shape = [dim if isinstance(dim, int) else 2 for dim in value.shape or ()]
        if np.prod(shape, dtype=float) > 1 << 16:
            return
        inputs[value.name] = np.ones(shape, value.dtype)
    for _ in range(3):
        model.run(inputs)


def onnx_seeds() -> dict[str, bytes]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    x, y = write.value("x", (None, 2, 3)), write.value("y", (None,) * 4)
    weights = {"W": normal(1, 8, 3), "R": normal(1, 8, 2), "B": normal(1, 16)}
    layer = write.node("LSTM", ["x", "W", "R", "B"], ["y", "h", "c"], hidden_size=2)
    flag = write.value("flag", (), "b1")
    branches = {
        "then_branch": write.graph([write.node("Relu", ["x"], ["a"])], [], [write.value("a")]),
        "else_branch": write.graph([write.node("Neg", ["x"], ["b"])], [], [write.value("b")]),
    }
    body = write.graph(
        [write.node("Identity", ["on"], ["off"]), write.node("Add", ["v", "v"], ["w"])],
        [write.value("i", (), "i8"), write.value("on", (), "b1"), write.value("v", (None,))],
        [write.value("off", (), "b1"), write.value("w", (None,))],
    )
    glue = [
        write.node("Transpose", ["x"], ["t"], perm=[1, 2, 0]),
        write.node("Conv", ["t", "k"], ["u"], pads=[1, 1], strides=[2]),
        write.node("Softmax", ["u"], ["s"], axis=1),
        write.node("Shape", ["s"], ["n"]),
        write.node("Reshape", ["s", "n"], ["r"]),
        write.node("Slice", ["r", "zero", "end"], ["c"]),
        write.node("Pad", ["c", "pads"], ["p"], mode="edge"),
        write.node("ReduceMean", ["p"], ["y"], axes=[1]),
    ]
    ints = {
        "zero": np.array([0]), "end": np.array([1]), "pads": np.array([0, 0, 1, 0, 0, 2]),
        "k": normal(4, 3, 3),
    }  # fmt: skip
    return {
        "lstm.onnx": write.model([layer], [x], [y], weights),
        "if.onnx": write.model([write.node("If", ["flag"], ["y"], **branches)], [x, flag], [y], {}),
        "loop.onnx": write.model(
            [write.node("Loop", ["n", "", "x"], ["y"], body=body)],
            [write.value("x", (None,))], [write.value("y", (None,))], {"n": np.array(3)},
        ),
        "glue.onnx": write.model(glue, [x], [y], ints),
    }  # fmt: skip


def layer() -> Recurrent:
    spec = RecurrentSpec(cell="lstm", input_size=2, hidden_sizes=(3, 2))
    shapes = parameter_shapes(spec)
    return Recurrent(spec, {name: np.full(shape, 0.1, "f4") for name, shape in shapes.items()})


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def layer_folder() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        layer().save(folder)
        return {"layer.zip": packed(files_of(Path(folder)))}


def model_folder() -> dict[str, bytes]:
    """A classifier whose weights carry no fingerprint, so that damaged ones are looked at."""
    inner = RecurrentSpec(cell="gru", input_size=2, hidden_sizes=(3,))
    spec = ClassifierSpec(
        vocab_size=7, embedding_size=2, recurrent=inner, num_classes=2, pooling="last"
    )
    shapes = {f"recurrent.{name}": shape for name, shape in parameter_shapes(inner).items()}
    shapes |= {"embedding.weight": (7, 2), "output.weight": (2, 3), "output.bias": (2,)}
    with TemporaryDirectory() as folder:
        artifact.save(
            Path(folder),
            config=ModelConfig(
                format_version=artifact.FORMAT_VERSION,
                task="classify",
                network=spec,
                data=DataSpec(),
                training=TrainSpec(),
            ),
            weights={name: np.full(shape, 0.1, "f4") for name, shape in shapes.items()},
            vocabularies={
                "source": Vocabulary.build(["a b c"], VocabularySpec()),
                "target": LabelVocabulary(("x", "y")),
            },
            metrics={},
            card="",
        )
        files = files_of(Path(folder))
    config = json.loads(files["config.json"]) | {"fingerprint": ""}
    return {"model.zip": packed(files | {"config.json": json.dumps(config).encode()})}


def use_model(path: Path) -> None:
    unrolled.load(path).predict(["a b", "c"])


def state() -> dict[str, bytes]:
    session = layer().stream()
    session.step(np.ones(2, np.float32))
    return {"state.bin": session.state.to_bytes()}


def read_state(path: Path) -> None:
    session = layer().stream()
    session.state = SessionState.from_bytes(path.read_bytes())
    session.step(np.ones(2, np.float32))


def checksummed(content: bytes) -> bytes:
    """Damage that the checksum at the end does not give away."""
    return content[:-4] + struct.pack("<I", zlib.crc32(content[:-4]))


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def frames() -> dict[str, bytes]:
    arrays = {
        "x": np.ones((2, 3, 2), np.float32),
        "lengths": np.array([3, 2]),
        "y": np.array([["a", "b", "a"], ["b", "a", ""]]),
    }
    return {"frames.npz": packed({f"{name}.npy": npy(value) for name, value in arrays.items()})}


def gru() -> dict[str, bytes]:
    shapes = {"weight_ih": (6, 3), "weight_hh": (6, 2), "bias_ih": (6,), "bias_hh": (6,)}
    return {
        "gru.npz": packed({f"{n}.npy": npy(np.ones(shape, "f4")) for n, shape in shapes.items()})
    }


def read_arrays(path: Path) -> None:
    """Read arrays, and a recurrent layer from them where they make one."""
    arrays = read_npz(path)
    recurrent(arrays, cell="gru")


CONLLU = b"# intent = x\n1\tA\ta\tDET\t_\t_\t0\t_\t_\t_\n2-3\tbc\t_\t_\t_\t_\t_\t_\t_\t_\n"
CONLLU += b"2\tb\tb\tNOUN\t_\t_\t1\t_\t_\t_\n\n1\tc\tc\tVERB\t_\t_\t0\t_\t_\t_\n\n"


def text(name: str, content: bytes) -> Callable[[], dict[str, bytes]]:
    return lambda: {name: content}


READERS: dict[str, Reader] = {
    "onnx": Reader(run_onnx, onnx_seeds, "onnx", 4),
    "torch": Reader(pytorch.load, lambda: golden("pytorch", ".pt", ".safetensors"), "torch", 3),
    # Each of these starts a process where it comes to HDF5.
    "keras": Reader(keras.load, lambda: golden("keras", ".keras", ".h5"), "json", 2),
    "npz": Reader(read_arrays, gru, "numpy"),
    "frames": Reader(read_sequences, frames, "numpy"),
    "model": Reader(partial(unpacked, use_model), model_folder, "json", 2),
    "layer": Reader(partial(unpacked, Recurrent.load), layer_folder, "json"),
    "state": Reader(read_state, state, "numpy", 0.5, checksummed),
    "conllu": Reader(read_sequences, text("x.conllu", CONLLU), "text", 0.5),
    "conll": Reader(read_sequences, text("x.conll", b"a DET\nb NOUN\n\nc VERB\n"), "text", 0.5),
    "jsonl": Reader(
        read_sequences,
        text(
            "x.jsonl",
            b'{"tokens": ["a", "b"], "tags": ["X", "Y"]}\n{"tokens": ["c"], "tags": ["X"]}',
        ),
        "text",
        0.5,
    ),
    "csv": Reader(read_table, text("x.csv", b'text,label\n"a, ""b""",x\nc,"y\nz"\n'), "text", 0.5),
    "vectors": Reader(
        partial(read_vectors, known={"a"}, further=2),
        text("x.vec", b"3 2\na 1 2\nb 0.5 -1e3\nc 1 2\n"),
        "text",
        0.5,
    ),
}


def survives(reader: Reader, content: bytes, name: str, folder: Path) -> None:
    """Read the content under that name: what is raised and is no UnrolledError passes through."""
    path = folder / name
    path.write_bytes(content)
    try:
        reader.read(path)
    except UnrolledError:
        return
