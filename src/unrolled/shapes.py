"""Names and shapes of a recurrent stack's parameters, as torch.nn writes them; no framework needed.

Both `unrolled.nn` and `unrolled.runtime` allocate and check weights with these functions, so that a
name or a layout exists once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from unrolled.errors import did_you_mean
from unrolled.spec import (
    GATES,
    AttentionKind,
    AttentionSpec,
    Cell,
    Init,
    InitialState,
    Merge,
    Nonlinearity,
    RecurrentSpec,
    Reset,
)

_CHOICES: dict[str, tuple[str, ...]] = {
    "cell": get_args(Cell),
    "nonlinearity": get_args(Nonlinearity),
    "merge": get_args(Merge),
    "reset": get_args(Reset),
    "initial_state": get_args(InitialState),
    "init": get_args(Init),
}


def check_choice(field: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(
            f"{field} must be one of {', '.join(map(repr, allowed))}, got {value!r}."
            + (did_you_mean(value, allowed) if isinstance(value, str) else "")
        )


def check_spec(spec: RecurrentSpec) -> None:
    """Raise ValueError where `spec` names no network: unknown choices or unfit sizes."""
    for field, allowed in _CHOICES.items():
        check_choice(field, getattr(spec, field), allowed)
    if spec.input_size < 1:
        raise ValueError(f"input_size must be at least 1, got {spec.input_size}")
    if not spec.hidden_sizes or min(spec.hidden_sizes) < 1:
        raise ValueError(
            f"hidden_sizes must hold one width of at least 1 per layer, got {spec.hidden_sizes}"
        )
    for field in ("dropout", "recurrent_dropout"):
        if not 0.0 <= getattr(spec, field) <= 1.0:
            raise ValueError(f"{field} must be a probability in [0, 1], got {getattr(spec, field)}")
    if spec.proj_size and spec.cell != "lstm":
        raise ValueError(f"proj_size is for LSTM only, got {spec.proj_size} with {spec.cell!r}")
    if not 0 <= spec.proj_size < min(spec.hidden_sizes):
        raise ValueError(
            f"proj_size must be at least 0 and below every hidden size {spec.hidden_sizes}, "
            f"got {spec.proj_size}"
        )
    if spec.reset != "after" and spec.cell != "gru":
        raise ValueError(f"reset={spec.reset!r} is for GRU only, got it with {spec.cell!r}")
    for layer in range(1, spec.num_layers if spec.residual else 0):
        read, written = spec.layer_input_size(layer), spec.layer_output_size(layer)
        if read != written:
            raise ValueError(
                f"residual adds a layer's input to its output: layer {layer} reads width {read} "
                f"but writes {written}"
            )


def suffixes(spec: RecurrentSpec, layer: int) -> tuple[str, ...]:
    """Return what ends the parameter names of `layer`, one per direction: `_l0`, `_l0_reverse`."""
    return (f"_l{layer}", f"_l{layer}_reverse")[: spec.num_directions]


def parameter_shapes(spec: RecurrentSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its torch name, in torch's order.

    With G gates, H units, P = proj_size or H, I the layer's input: weight_ih [G*H, I],
    weight_hh [G*H, P], bias_ih and bias_hh [G*H], weight_hr [P, H]; learned initial states h0 [P]
    and c0 [H] come last.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, hidden in enumerate(spec.hidden_sizes):
        rows = spec.gates * hidden
        for suffix in suffixes(spec, layer):
            shapes["weight_ih" + suffix] = (rows, spec.layer_input_size(layer))
            shapes["weight_hh" + suffix] = (rows, spec.state_size(layer))
            if spec.bias:
                shapes["bias_ih" + suffix] = (rows,)
                shapes["bias_hh" + suffix] = (rows,)
            if spec.proj_size:
                shapes["weight_hr" + suffix] = (spec.proj_size, hidden)
    if spec.initial_state == "learned":
        for layer, hidden in enumerate(spec.hidden_sizes):
            for suffix in suffixes(spec, layer):
                shapes["h0" + suffix] = (spec.state_size(layer),)
                if spec.cell == "lstm":
                    shapes["c0" + suffix] = (hidden,)
    return shapes


def check_shapes(spec: RecurrentSpec, given: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError naming the first parameter that is missing, unexpected or misshapen."""
    wanted = parameter_shapes(spec)
    for name, shape in wanted.items():
        if name not in given:
            raise ValueError(
                f"missing parameter {name!r} of shape {list(shape)}; given: {', '.join(given)}"
            )
        if tuple(given[name]) != shape:
            raise ValueError(
                f"parameter {name!r} must have shape {list(shape)}, got {list(given[name])}"
            )
    for name in given:
        if name not in wanted:
            raise ValueError(f"unexpected parameter {name!r}.{did_you_mean(name, wanted)}")


def spec_from_shapes(
    given: Mapping[str, tuple[int, ...]],
    *,
    nonlinearity: Nonlinearity = "tanh",
    merge: Merge = "concat",
    reset: Reset = "after",
    residual: bool = False,
) -> RecurrentSpec:
    """Return the spec whose parameters have the names and shapes `given` (a torch state_dict's).

    What shapes cannot tell is passed by keyword. Raises ValueError where they fit no network.
    """
    layers = 0
    while f"weight_ih_l{layers}" in given:
        layers += 1
    if not layers:
        raise ValueError(
            f"no recurrent weights: expected a key 'weight_ih_l0', got {', '.join(given) or 'none'}"
        )
    for layer in range(layers):
        if f"weight_hh_l{layer}" not in given:
            raise ValueError(f"missing parameter 'weight_hh_l{layer}'")
    projected = "weight_hr_l0" in given
    hidden = tuple(
        given[f"weight_hr_l{layer}"][1] if projected else given[f"weight_hh_l{layer}"][1]
        for layer in range(layers)
    )
    rows = given["weight_ih_l0"][0]
    cells: dict[int, Cell] = {GATES["rnn"]: "rnn", GATES["gru"]: "gru", GATES["lstm"]: "lstm"}
    gates = rows // hidden[0] if rows % hidden[0] == 0 else 0
    if gates not in cells:
        raise ValueError(
            f"'weight_ih_l0' has {rows} rows for {hidden[0]} units: expected 1 (RNN), 3 (GRU) or "
            "4 (LSTM) rows per unit"
        )
    spec = RecurrentSpec(
        cell=cells[gates],
        input_size=given["weight_ih_l0"][1],
        hidden_sizes=hidden,
        nonlinearity=nonlinearity,
        bidirectional="weight_ih_l0_reverse" in given,
        merge=merge,
        bias="bias_ih_l0" in given,
        proj_size=given["weight_hr_l0"][0] if projected else 0,
        reset=reset,
        residual=residual,
        initial_state="learned" if "h0_l0" in given else "zeros",
    )
    check_spec(spec)
    check_shapes(spec, given)
    return spec


def check_attention(spec: AttentionSpec) -> None:
    """Raise ValueError where `spec` names no attention: unknown kind or unfit sizes."""
    check_choice("kind", spec.kind, get_args(AttentionKind))
    if spec.query_size < 1 or spec.key_size < 1:
        raise ValueError(
            f"query_size and key_size must be at least 1, got {spec.query_size}, {spec.key_size}"
        )
    if spec.kind in ("additive", "concat") and spec.size < 1:
        raise ValueError(f"attention {spec.kind!r} needs a size of at least 1, got {spec.size}")
    if spec.kind == "dot" and spec.query_size != spec.key_size:
        raise ValueError(
            "attention 'dot' needs queries and keys of one size, "
            f"got query_size {spec.query_size} and key_size {spec.key_size}; use 'general'"
        )


def attention_shapes(spec: AttentionSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of an attention by its name."""
    if spec.kind == "dot":
        return {}
    if spec.kind == "general":
        return {"key.weight": (spec.query_size, spec.key_size)}
    return {
        "query.weight": (spec.size, spec.query_size),
        "key.weight": (spec.size, spec.key_size),
        "key.bias": (spec.size,),
        "score.weight": (1, spec.size),
    }


def cell_name(spec: RecurrentSpec) -> str:
    """Return the name that the compiled engine gives the cell of `spec`."""
    if spec.cell == "rnn":
        return f"rnn_{spec.nonlinearity}"
    return f"gru_{spec.reset}" if spec.cell == "gru" else "lstm"
