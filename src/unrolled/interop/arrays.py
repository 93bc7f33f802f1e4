"""Plain arrays to `Recurrent`: a mapping or an .npz file in whatever layout it was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import InteropError, did_you_mean
from unrolled.interop.archives import read_npz
from unrolled.runtime.recurrent import Recurrent
from unrolled.spec import Cell, Nonlinearity, RecurrentSpec, Reset

__all__ = ["recurrent"]

Array = NDArray[np.floating]
Bias = Literal["both", "input", "recurrent", "single", "none"]
Layout = Literal["rows", "columns"]
UpdateGate = Literal["keep", "new"]

# The letters of each cell in our order, and other letters in use for the same gate.
LETTERS: dict[str, str] = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}
SYNONYMS: dict[str, dict[str, str]] = {"lstm": {"c": "g", "j": "g"}, "gru": {"h": "n", "u": "z"}}
BIASES: dict[str, tuple[str, ...]] = {
    "both": ("bias_ih", "bias_hh"),
    "input": ("bias_ih",),
    "recurrent": ("bias_hh",),
    "single": ("bias",),
    "none": (),
}
ROLES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "bias", "h0", "c0")


def recurrent(
    mapping: Mapping[str, ArrayLike] | str | Path,
    *,
    cell: Cell,
    gate_order: str | None = None,
    bias: Bias = "both",
    layout: Layout = "rows",
    update_gate: UpdateGate = "keep",
    reset: Reset = "after",
    nonlinearity: Nonlinearity = "tanh",
    names: Mapping[str, str] | None = None,
) -> Recurrent:
    """Return one forward layer over arrays written in another layout than torch's.

    `mapping` is arrays by name, or the path of an .npz file. With G gates in `gate_order`:

    * `weight_ih` [G*H, I] and `weight_hh` [G*H, H]; with `layout="columns"` [I, G*H] and [H, G*H]
    * `bias="both"`: `bias_ih` and `bias_hh` [G*H]; `"input"`, `"recurrent"`: that one; `"none"`
    * `bias="single"`: `bias` [G*H], the input's in a GRU; or [2, G*H], input first
    * `h0` [H] and, for LSTM, `c0` [H]: learned first states, read where they are there

    `names` says what these are called in `mapping`: `{"weight_ih": "enc_w_ih"}`. Arrays that no
    name leads to are left alone. `gate_order` is written with i f g o (c or j for g) for LSTM and
    r z n (u for z, h for n) for GRU; left out it is torch's, `"ifgo"` and `"rzn"`.

    `update_gate` tells which share z scales in a GRU: `"keep"` is h[t] = (1 - z) n + z h[t-1], as
    torch and Keras write it (Cho et al. 2014, eq. 7); `"new"` is h[t] = z n + (1 - z) h[t-1]
    (Chung et al. 2014, eq. 5). As 1 - sigmoid(a) = sigmoid(-a), it is read by negating z's rows.

    Raises InteropError naming the array that is missing, misshapen or not of finite numbers.
    """
    where = "the arrays" if isinstance(mapping, Mapping) else str(mapping)
    given = mapping if isinstance(mapping, Mapping) else read_npz(mapping)
    _check_choices(cell, bias, layout, update_gate)
    order = _gate_order(cell, gate_order)
    found = _pick(given, names or {}, ("weight_ih", "weight_hh", *BIASES[bias]), where)
    gates = len(order)
    weights = {
        "weight_ih_l0": found["weight_ih"].T if layout == "columns" else found["weight_ih"],
        "weight_hh_l0": found["weight_hh"].T if layout == "columns" else found["weight_hh"],
    }
    hidden = _check_weights(weights, gates, where)
    weights |= _biases(found, bias, gates * hidden, where)
    weights = {name: _sort_gates(value, order) for name, value in weights.items()}
    if update_gate == "new":
        weights = {name: _negate(value, 1, gates) for name, value in weights.items()}
    learned = _first_states(found, cell, hidden, where)
    spec = RecurrentSpec(
        cell=cell,
        input_size=weights["weight_ih_l0"].shape[1],
        hidden_sizes=(hidden,),
        nonlinearity=nonlinearity,
        bias=bias != "none",
        reset=reset,
        initial_state="learned" if learned else "zeros",
    )
    try:
        return Recurrent(spec, weights | learned)
    except ValueError as error:
        raise InteropError(f"{where}: {error}") from None


def _check_choices(cell: str, bias: str, layout: str, update_gate: str) -> None:
    choices = (
        ("cell", cell, tuple(LETTERS)),
        ("bias", bias, tuple(BIASES)),
        ("layout", layout, ("rows", "columns")),
        ("update_gate", update_gate, ("keep", "new")),
    )
    for name, value, allowed in choices:
        if value not in allowed:
            raise InteropError(
                f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}."
                + did_you_mean(str(value), allowed)
            )
    if update_gate == "new" and cell != "gru":
        raise InteropError(f"update_gate='new' is for GRU only, got it with {cell!r}")


def _gate_order(cell: str, given: str | None) -> list[int]:
    """Return for each of our gates where it stands in the given order."""
    letters = LETTERS[cell]
    if given is None:
        return list(range(len(letters)))
    synonyms = SYNONYMS.get(cell, {})
    plain = "".join(synonyms.get(letter, letter) for letter in given.lower())
    if sorted(plain) != sorted(letters):
        raise InteropError(
            f"gate_order must have each of the letters {letters!r} once for {cell!r}, got {given!r}"
        )
    return [plain.index(letter) for letter in letters]


def _pick(
    given: Mapping[str, ArrayLike], names: Mapping[str, str], wanted: tuple[str, ...], where: str
) -> dict[str, Array]:
    """Return the wanted arrays, and first states where there are some, by our names."""
    for role in names:
        if role not in ROLES:
            raise InteropError(f"names: unknown key {role!r}.{did_you_mean(role, ROLES)}")
    found: dict[str, Array] = {}
    for role in (*wanted, "h0", "c0"):
        name = names.get(role, role)
        if name in given:
            found[role] = _numbers(given[name], f"{where}: {name}")
        elif role in wanted or role in names:
            have = ", ".join(map(str, given)) or "nothing"
            near = did_you_mean(name, map(str, given))
            raise InteropError(f"{where}: no array {name!r} for {role}; there is {have}.{near}")
    return found


def _numbers(value: ArrayLike, where: str) -> Array:
    try:
        # A tensor that is trained gives its numbers only without its history.
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InteropError(f"{where}: not an array of numbers ({error})") from None
    if array.dtype.kind not in "fiu":
        raise InteropError(f"{where}: holds {array.dtype}, expected real numbers")
    if not np.isfinite(array).all():
        raise InteropError(f"{where}: holds NaN or infinity")
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)


def _check_weights(weights: Mapping[str, Array], gates: int, where: str) -> int:
    """Return H, or raise InteropError where the two matrices do not belong together."""
    ih, hh = weights["weight_ih_l0"], weights["weight_hh_l0"]
    if ih.ndim != 2 or hh.ndim != 2 or len(ih) != len(hh) or len(hh) != gates * hh.shape[1]:
        raise InteropError(
            f"{where}: with {gates} gate{'s' * (gates > 1)} weight_ih must be [{gates}*H, I] and "
            f"weight_hh [{gates}*H, H] (layout 'columns': [I, {gates}*H] and [H, {gates}*H]); as "
            f"read they are {list(ih.shape)} and {list(hh.shape)}"
        )
    if not ih.size or not hh.size:
        raise InteropError(f"{where}: weights of shapes {list(ih.shape)}, {list(hh.shape)}: empty")
    return int(hh.shape[1])


def _biases(found: Mapping[str, Array], bias: str, rows: int, where: str) -> dict[str, Array]:
    if bias == "none":
        return {}
    zeros = np.zeros(rows, found["weight_ih"].dtype)
    shapes: tuple[tuple[int, ...], ...] = ((rows,), (2, rows)) if bias == "single" else ((rows,),)
    for role in BIASES[bias]:
        if found[role].shape not in shapes:
            allowed = " or ".join(str(list(each)) for each in shapes)
            raise InteropError(
                f"{where}: {role} must have shape {allowed}, got {list(found[role].shape)}"
            )
    if bias == "single":
        both = found["bias"] if found["bias"].ndim == 2 else (found["bias"], zeros)
        return {"bias_ih_l0": both[0], "bias_hh_l0": both[1]}
    return {
        "bias_ih_l0": found.get("bias_ih", zeros),
        "bias_hh_l0": found.get("bias_hh", zeros),
    }


def _sort_gates(value: Array, order: list[int]) -> Array:
    parts: list[Any] = np.split(value, len(order))
    return np.concatenate([parts[place] for place in order])


def _negate(value: Array, gate: int, gates: int) -> Array:
    parts: list[Any] = np.split(value, gates)
    parts[gate] = -parts[gate]
    return np.concatenate(parts)


def _first_states(
    found: Mapping[str, Array], cell: str, hidden: int, where: str
) -> dict[str, Array]:
    """Return learned first states; for LSTM one that is not there is zero where the other is."""
    roles = ("h0", "c0") if cell == "lstm" else ("h0",)
    if not any(role in found for role in roles):
        return {}
    states = {}
    for role in roles:
        value = found.get(role, np.zeros(hidden, found["weight_ih"].dtype)).reshape(-1)
        if value.shape != (hidden,):
            raise InteropError(f"{where}: {role} must have shape [{hidden}], got {value.shape[0]}")
        states[f"{role}_l0"] = value
    return states
