"""Tensors of a torch file as arrays: which globals a checkpoint may name, storages and strides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from unrolled.errors import InteropError
from unrolled.interop.pytorch.pickles import DamagedError, Global, Rules, ScriptObject

# numpy's dtype for each of torch's; bfloat16 is widened to float32 when it is read.
DTYPES: dict[str, str] = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint64": "<u8",
    "uint32": "<u4",
    "uint16": "<u2",
    "uint8": "|u1",
    "bool": "|b1",
}
STORAGES: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
UTILS = "torch._utils"
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: `count` of `dtype` under `key`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides count elements of `dtype`."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def rules(*, script: bool = False) -> Rules:
    """Return what the pickle of a checkpoint may do; with `script`, that of a TorchScript archive.

    A script's objects keep their attributes and nothing of their code.
    """

    def known(name: Global) -> bool:
        return (
            (name.module, name.name) in FUNCTIONS
            or (name.module in ("torch", "torch.storage") and name.name in STORAGES)
            or (name.module == "torch" and name.name in DTYPES)
            or (script and _is_script(name))
        )

    def call(name: Global, arguments: tuple[Any, ...]) -> Any:
        if script and _is_script(name):
            return ScriptObject(name)
        function = FUNCTIONS.get((name.module, name.name))
        if function is None:
            raise DamagedError(f"it calls {name}")
        try:
            return function(*arguments)
        except TypeError:
            raise DamagedError(f"{name} with {len(arguments)} arguments") from None

    return Rules(known, call, _storage)


def _is_script(name: Global) -> bool:
    module = name.module
    if module == "torch.jit._pickle":
        return False
    return module == "__torch__" or module.startswith(("__torch__.", "torch.jit"))


def _storage(identity: Any) -> Storage:
    """Return the storage that a persistent id names: ("storage", kind, key, device, count)."""
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise DamagedError("a persistent id that names no storage")
    kind, key, _, count = identity[1:5]
    if not isinstance(kind, Global) or kind.name not in STORAGES:
        raise InteropError(f"a storage of {kind} is not read")
    if not _is_count(count) or not isinstance(key, (str, int)):
        raise DamagedError("a storage without a key or of negative size")
    if len(identity) > 5 and identity[5] is not None:
        raise InteropError("a storage that is a view of another one is not read")
    return Storage(str(key), STORAGES[kind.name], count)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise DamagedError("a tensor without a storage")
    return _view(storage, storage.dtype, offset, size, stride)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, Global):
        raise DamagedError("a tensor without a storage or a dtype")
    if dtype.name not in DTYPES:
        raise InteropError(f"a tensor of {dtype} is not read")
    return _view(storage, dtype.name, offset, size, stride)


def _view(storage: Storage, dtype: str, offset: Any, size: Any, stride: Any) -> Tensor:
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        raise DamagedError("a tensor whose size and strides do not belong together")
    if len(size) > 32 or not all(map(_is_count, (offset, *size, *stride))):
        raise DamagedError(f"a tensor of size {size}, strides {stride} and offset {offset}")
    width = np.dtype(DTYPES[dtype]).itemsize
    held = storage.count * np.dtype(DTYPES[storage.dtype]).itemsize // width
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= held:
        raise DamagedError(f"a tensor of size {size} reaches element {last} of a storage of {held}")
    return Tensor(storage, dtype, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    if not isinstance(data, Tensor):
        raise DamagedError("a parameter that is no tensor")
    return data


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    if not isinstance(pairs, (list, tuple)):
        raise DamagedError("an OrderedDict of something that is no list")
    found: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise DamagedError("an OrderedDict of something else than pairs with names")
        found[pair[0]] = pair[1]
    return found


def _text(value: Any = "", *_: Any) -> str:
    return value if isinstance(value, str) else ""


def _first(value: Any, *_: Any) -> Any:
    return value


FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    (UTILS, "_rebuild_tensor"): _tensor,
    (UTILS, "_rebuild_tensor_v2"): _tensor,
    (UTILS, "_rebuild_tensor_v3"): _tensor_v3,
    (UTILS, "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _first,
    ("torch", "device"): _text,
    ("_codecs", "encode"): _text,
    **{("torch.jit._pickle", name): _first for name in (*LISTS, "restore_type_tag")},
}


def arrays(
    tensors: Mapping[str, Tensor],
    read: Callable[[Storage], NDArray[np.uint8]],
    where: str,
    *,
    big_endian: bool = False,
) -> dict[str, NDArray[Any]]:
    """Return the tensors as arrays over their storages' bytes, which `read` returns.

    Raises InteropError where a storage is shorter than it says, or the tensors together hold far
    more elements than the storages that they are views of.
    """
    _check_total(tensors.values(), where)
    raw: dict[tuple[str, str], NDArray[Any]] = {}
    found: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        place = (tensor.storage.key, tensor.dtype)
        if place not in raw:
            raw[place] = _numbers(tensor, read(tensor.storage), f"{where}: {name}", big_endian)
        flat = raw[place]
        strides = tuple(step * flat.itemsize for step in tensor.stride)
        view = as_strided(flat[tensor.offset :], tensor.size, strides, writeable=False)
        found[name] = view if math.prod(tensor.size) else np.zeros(tensor.size, flat.dtype)
    return found


def _check_total(tensors: Iterable[Tensor], where: str) -> None:
    distinct = {id(tensor): tensor for tensor in tensors}.values()
    total = sum(math.prod(tensor.size) for tensor in distinct)
    held = sum({tensor.storage.key: tensor.storage.count for tensor in distinct}.values())
    if total > 8 * held + (1 << 20):
        raise InteropError(
            f"{where}: its tensors would hold {total} elements, its storages have {held}"
        )


def _numbers(
    tensor: Tensor, content: NDArray[np.uint8], where: str, big_endian: bool
) -> NDArray[Any]:
    storage, kind = tensor.storage, np.dtype(DTYPES[tensor.dtype])
    wanted = storage.count * np.dtype(DTYPES[storage.dtype]).itemsize
    if len(content) < wanted:
        raise InteropError(
            f"{where}: cut short: its storage {storage.key} has {len(content)} bytes of {wanted}"
        )
    whole = content[: wanted - wanted % kind.itemsize]
    flat = whole.view(kind.newbyteorder(">") if big_endian else kind)
    if tensor.dtype == "bfloat16":
        return (flat.astype(np.uint32) << 16).view(np.float32)
    return flat
