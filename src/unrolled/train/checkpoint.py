"""Everything that a run needs to go on as if it had never stopped, in one safetensors file.

Tensors: the weights (`model.`), the optimizer's moments (`optimizer.`), the averaged weights
(`average.`), what is carried from batch to batch (`carried.`) and torch's random state. Counters
and the log travel as JSON in the file's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from unrolled.errors import ModelError

LAST = "training/last.safetensors"


class Counters(msgspec.Struct):
    """Where a run stands. `batch` counts the batches of `epoch` that are done."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    clipped: int = 0
    seconds: float = 0.0
    lr: float = 0.0
    loss_sum: float = 0.0
    loss_count: float = 0
    norm_sum: float = 0.0
    epoch_steps: int = 0
    epoch_clipped: int = 0
    plateau: float = 1.0
    stale: int = 0
    best_score: list[float] = []
    best_epoch: int = 0
    log: list[dict[str, Any]] = []


def pack(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None,
    counters: Counters,
    signature: str,
    carried: Mapping[str, Tensor] | None = None,
) -> bytes:
    """Return a checkpoint as bytes. `signature` names the configuration it belongs to."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if value is not None:
                tensors[f"optimizer.{index}.{slot}"] = value
    for name, value in (average or {}).items():
        tensors[f"average.{name}"] = value
    for name, value in (carried or {}).items():
        tensors[f"carried.{name}"] = value
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    metadata = {"counters": msgspec.json.encode(counters).decode(), "signature": signature}
    return save_tensors(
        {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, metadata
    )


def restore(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor] | None,
    signature: str,
    carried: dict[str, Tensor] | None = None,
) -> Counters:
    """Load a checkpoint into `model`, `optimizer`, `average`, `carried` and torch's random state.

    Raises ModelError where the file is missing, damaged or of another configuration.
    """
    if not path.exists():
        raise ModelError(f"{path}: no checkpoint to resume from")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path}: damaged or cut short ({error})") from None
    if metadata.get("signature") != signature:
        raise ModelError(
            f"{path}: belongs to a run with other options or data; resume with the ones it was "
            "started with, or start anew with --overwrite"
        )
    model.load_state_dict(_under(tensors, "model."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        index, slot = name.split(".", 1)
        state.setdefault(int(index), {})[slot] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    if average is not None:
        for name, value in _under(tensors, "average.").items():
            average[name].copy_(value)
    if carried is not None:
        device = next(model.parameters()).device
        found = _under(tensors, "carried.")
        carried.update({name: value.to(device) for name, value in found.items()})
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return msgspec.json.decode(metadata["counters"], type=Counters)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
