"""Names for the tensors of a nested checkpoint: wrappers and prefixes off, optimizers left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.errors import InteropError
from unrolled.interop.pytorch.pickles import Global, ScriptObject
from unrolled.interop.pytorch.tensors import Tensor

MAX_DEPTH, MAX_VALUES = 64, 1_000_000
# Keys at the top of a checkpoint whose tensors are the training's, not the model's.
TRAINING = (
    "optimizer",
    "optimizers",
    "optimizer_state",
    "optimizer_states",
    "optimizer_state_dict",
    "optim",
    "opt",
    "lr_scheduler",
    "lr_schedulers",
    "scheduler",
    "scheduler_state_dict",
    "loops",
    "callbacks",
    "scaler",
    "rng_state",
    "cuda_rng_state",
    "hparams",
    "hyper_parameters",
)
# What data parallel training and compilation put before every name.
PREFIXES = ("module.", "_orig_mod.")


def flatten(tree: Any, where: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the model's tensors by dotted name, and notes of what was left out.

    A wrapper such as `state_dict` or `model` that alone holds tensors is taken off, then `module.`
    and `_orig_mod.` where every name begins so. With two wrappers (a model and its average) their
    names stay. Raises InteropError where there are no tensors or too many levels.
    """
    left_out: list[str] = []
    while isinstance(tree, dict):
        parts = {str(key): walk(value, where) for key, value in tree.items()}
        training = [key for key in parts if key in TRAINING]
        full = [key for key, part in parts.items() if part and key not in TRAINING]
        left_out += [key for key, part in parts.items() if key in training or not part]
        if len(full) != 1 or not isinstance(tree.get(full[0]), (dict, ScriptObject)):
            tree = {key: value for key, value in tree.items() if str(key) in full}
            break
        tree = tree[full[0]]
    found = walk(tree, where)
    if not found:
        raise InteropError(f"{where}: holds no tensors of a model")
    return unwrapped(found), (f"left out: {', '.join(left_out)}",) if left_out else ()


def unwrapped(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is named without the wrappers that every name begins with, however many."""
    found = dict(named)
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in found)), None):
        if not found:
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def walk(tree: Any, where: str) -> dict[str, Tensor]:
    """Return every tensor in nested dicts, lists and script objects by its dotted path."""
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any, int]] = [("", tree, 0)]
    visited = 0
    while waiting:
        name, value, depth = waiting.pop()
        visited += 1
        if visited > MAX_VALUES or depth > MAX_DEPTH:
            raise InteropError(f"{where}: holds too many values, or values nested without end")
        if isinstance(value, Tensor):
            found[name or "tensor"] = value
            continue
        dot = f"{name}." if name else ""
        parts = [(f"{dot}{key}", part, depth + 1) for key, part in _parts(value)]
        waiting += reversed(parts)
    return found


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, ScriptObject):
        # A recurrent layer keeps its parameters a second time in a list of this name.
        own = value.attributes.items()
        return [(str(key), part) for key, part in own if key != "_flat_weights"]
    if isinstance(value, dict):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, (list, tuple)) and not isinstance(value, Global):
        return [(str(place), part) for place, part in enumerate(value)]
    return []
