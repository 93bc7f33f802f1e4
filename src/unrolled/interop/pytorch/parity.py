"""Imported layers beside torch's own: the one module of `interop` that imports torch."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.errors import InteropError
from unrolled.interop.imported import Imported, count
from unrolled.interop.pytorch.checkpoint import Contents
from unrolled.runtime.recurrent import Recurrent

TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
ROWS, STEPS = 3, 7


def compare(path: Path, contents: Contents, found: Imported) -> str:
    """Return a sentence on how our arrays and layers compare with torch's.

    torch reads the file itself where it can do so without running code of the file. Each layer
    runs as torch.nn on random input. Raises InteropError where an array or an output differs.
    """
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return "not checked: torch is not installed"
    said = []
    if contents.kind == "TorchScript":
        said.append("arrays not compared, as torch would run code of the archive to read them")
    else:
        said.append(_compare_arrays(torch, path, contents))
    worst, skipped = 0.0, []
    for name, layer in found.layers.items():
        reason = _why_not(layer)
        if reason:
            skipped.append(f"{name} not run: torch.nn has no {reason}")
        else:
            worst = max(worst, _compare_layer(torch, f"{path}: {name}", layer))
    if len(skipped) < len(found.layers):
        said.append(f"outputs and states of torch.nn reproduced, largest difference {worst:.1e}")
    return "; ".join([*said, *skipped])


def _compare_arrays(torch: Any, path: Path, contents: Contents) -> str:
    """Compare each array with a tensor of the same content that torch reads."""
    if contents.kind == "safetensors":
        theirs = importlib.import_module("safetensors.torch").load_file(path)
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds, and its reasons are for the user
            return f"arrays not compared: torch does not read the file ({type(error).__name__})"
    tensors: list[Any] = []
    _collect(torch, theirs, tensors)
    known = {(tuple(t.shape), _bytes(t)) for t in tensors}
    for name, value in contents.arrays.items():
        if (value.shape, np.ascontiguousarray(value).tobytes()) not in known:
            raise InteropError(f"{path}: {name} differs from what torch reads")
    return f"{count(len(contents.arrays), 'array')} equal to what torch reads"


def _collect(torch: Any, value: Any, tensors: list[Any]) -> None:
    if isinstance(value, torch.Tensor):
        tensors.append(value.detach())
    elif isinstance(value, dict):
        for part in value.values():
            _collect(torch, part, tensors)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _collect(torch, part, tensors)


def _bytes(tensor: Any) -> bytes:
    wide = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    return bytes(wide.contiguous().numpy().tobytes())


def _why_not(layer: Recurrent) -> str:
    """Return what torch.nn lacks to run the layer, or nothing."""
    spec = layer.spec
    if len(set(spec.hidden_sizes)) > 1:
        return "stack of several widths"
    if spec.residual or spec.merge != "concat" or spec.initial_state != "zeros":
        return "residual, merge or learned first state"
    return "reset before the product" if spec.reset != "after" else ""


def _compare_layer(torch: Any, where: str, layer: Recurrent) -> float:
    """Return the largest difference between our layer and torch.nn's on random input."""
    spec = layer.spec
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[spec.cell]
    options: dict[str, Any] = {"proj_size": spec.proj_size} if spec.cell == "lstm" else {}
    if spec.cell == "rnn":
        options["nonlinearity"] = spec.nonlinearity
    module = kind(
        spec.input_size,
        spec.hidden_sizes[0],
        spec.num_layers,
        bias=spec.bias,
        batch_first=True,
        bidirectional=spec.bidirectional,
        dtype=torch.float64 if layer.dtype == np.float64 else torch.float32,
        **options,
    )
    module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in layer.weights.items()})
    x = np.random.default_rng(0).standard_normal((ROWS, STEPS, spec.input_size))
    with torch.no_grad():
        y, hx = module(torch.from_numpy(x.astype(layer.dtype)))
    ours, state = layer(x)
    pairs: list[tuple[Any, Any]] = [(ours, y)]
    pairs += zip(state, hx, strict=True) if isinstance(hx, tuple) else [(state, hx)]
    worst = max(float(np.abs(a - b.numpy()).max(initial=0.0)) for a, b in pairs)
    allowed = TOLERANCE[layer.dtype.name] * max(1.0, float(y.abs().max()))
    if not worst <= allowed:
        raise InteropError(f"{where}: differs from torch.nn by {worst:.3g}, allowed {allowed:.3g}")
    return worst
