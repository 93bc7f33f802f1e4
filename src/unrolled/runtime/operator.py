"""What ONNX's RNN, LSTM and GRU operators may ask of a cell, for inference: `CellOptions`.

Their activations, clip, coupled gates and peepholes are those of the ONNX specification, opset 7
to 22. Nothing here trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec.structs import force_setattr

from unrolled.errors import did_you_mean
from unrolled.shapes import suffixes
from unrolled.spec import Cell, RecurrentSpec, Struct

PEEPHOLE = "weight_peephole"

# How many functions a direction has: f, g and h as far as the cell uses them.
FUNCTIONS: dict[Cell, int] = {"rnn": 1, "gru": 2, "lstm": 3}

# What each function takes, with ONNX's defaults; None where ONNX has none.
_TAKES: dict[str, dict[str, float | None]] = {
    "Affine": {"alpha": 1.0, "beta": 0.0},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "Relu": {},
    "ScaledTanh": {"alpha": None, "beta": None},
    "Sigmoid": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": 1.0},
}

ACTIVATIONS = tuple(_TAKES)


class Activation(Struct, frozen=True):
    """An activation function by its ONNX name.

    Of x, with ONNX's defaults: Relu max(0, x); Tanh; Sigmoid 1 / (1 + exp(-x)); Softsign
    x / (1 + abs(x)); Softplus log(1 + exp(x)); Affine alpha x + beta (1, 0); ScaledTanh
    alpha tanh(beta x) (none: both must be given); HardSigmoid min(max(alpha x + beta, 0), 1)
    (0.2, 0.5, which is Keras 2's; Keras 3's is 1/6, 0.5); LeakyRelu x, or alpha x below 0 (0.01);
    Elu x, or alpha (exp(x) - 1) below 0 (1); ThresholdedRelu x, or 0 below alpha (1).

    `alpha` and `beta` left out are ONNX's defaults. Raises ValueError for an unknown name, and for
    an alpha or beta that the function does not take, lacks, or that is not finite.
    """

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _TAKES:
            raise ValueError(
                f"activation {self.name!r}: expected one of {', '.join(_TAKES)}."
                + did_you_mean(str(self.name), _TAKES)
            )
        takes = _TAKES[self.name]
        for key in ("alpha", "beta"):
            value = getattr(self, key)
            if key not in takes:
                if value is not None:
                    raise ValueError(f"activation {self.name!r} takes no {key}, got {value}")
                continue
            value = takes[key] if value is None else value
            if value is None:
                raise ValueError(f"activation {self.name!r} needs its {key}: ONNX has no default")
            if not math.isfinite(value):
                raise ValueError(f"{key} of activation {self.name!r} must be finite, got {value}")
            force_setattr(self, key, float(value))


class CellOptions(Struct, frozen=True, kw_only=True):
    """How every layer of a `Recurrent` differs from the standard cell.

    `activations` holds for each direction f, g and h as far as the cell has them: RNN (f,), GRU
    (f, g), LSTM (f, g, h). f is of the gates (of the RNN's sum), g of the candidate, h of the
    LSTM's c. Empty: the cell's own, and `nonlinearity` for an RNN. `clip` bounds the sums that f
    and g act on to [-clip, clip], peepholes included; the LSTM's c is not bounded, as in ONNX
    Runtime. `input_forget` couples an LSTM's gates: f = 1 - i.

    Peepholes are weights, `weight_peephole_l0` and so on, [3, H] in the order i f o (ONNX's P has
    the order i o f): i and f see c[t-1], o sees c[t].
    """

    activations: tuple[tuple[Activation, ...], ...] = ()
    clip: float | None = None
    input_forget: bool = False


STANDARD = CellOptions()


def check_options(spec: RecurrentSpec, options: CellOptions) -> None:
    """Raise ValueError where `options` do not fit the cell and the directions of `spec`."""
    if options == STANDARD:
        return
    if spec.proj_size:
        raise ValueError("a layer with a projection takes no options: ONNX's LSTM has none")
    for each in (each for direction in options.activations for each in direction):
        if not isinstance(each, Activation):
            raise ValueError(f"activations must be of type Activation, got {each!r}")
    wanted, given = FUNCTIONS[spec.cell], [len(each) for each in options.activations]
    if given and given != [wanted] * spec.num_directions:
        raise ValueError(
            f"activations must be {wanted} for each of {spec.num_directions} directions of "
            f"{spec.cell!r}, got {given}"
        )
    if options.clip is not None and not options.clip > 0:
        raise ValueError(f"clip must be above 0, got {options.clip}")
    if options.input_forget and spec.cell != "lstm":
        raise ValueError(f"input_forget is for LSTM only, got it with {spec.cell!r}")


def check_peepholes(spec: RecurrentSpec, given: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError where peepholes do not fit: a layer has them in every direction or none."""
    names = [name for name in given if name.startswith(PEEPHOLE)]
    if names and (spec.cell != "lstm" or spec.proj_size):
        raise ValueError(f"{names[0]!r}: only an LSTM without a projection has peepholes")
    for layer, hidden in enumerate(spec.hidden_sizes):
        wanted = [PEEPHOLE + suffix for suffix in suffixes(spec, layer)]
        for name in wanted if any(name in given for name in wanted) else ():
            if name not in given:
                raise ValueError(f"missing parameter {name!r} of shape {[3, hidden]}")
            if tuple(given[name]) != (3, hidden):
                raise ValueError(
                    f"parameter {name!r} must have shape {[3, hidden]}, got {list(given[name])}"
                )
            names.remove(name)
    if names:
        raise ValueError(f"unexpected parameter {names[0]!r}")


def onnx_activations(
    cell: Cell,
    directions: int,
    names: Sequence[str] = (),
    alphas: Sequence[float] = (),
    betas: Sequence[float] = (),
) -> tuple[tuple[Activation, ...], ...]:
    """Return `CellOptions.activations` from an ONNX node's attributes.

    `names` are of all directions, one after the other. Functions that take an alpha consume
    `alphas` in order, likewise `betas`; where these run out the defaults hold, and what is left
    over has no meaning, as in ONNX Runtime. Raises ValueError for a wrong count or an unknown name.
    """
    wanted = FUNCTIONS[cell]
    if names and len(names) != wanted * directions:
        raise ValueError(
            f"activations must be {wanted * directions} names, {wanted} for each of {directions} "
            f"directions of {cell!r}, got {len(names)}"
        )
    left = {"alpha": iter(alphas), "beta": iter(betas)}
    found = [
        Activation(name, **{key: next(left[key], None) for key in _TAKES.get(name, ())})
        for name in names
    ]
    return tuple(tuple(found[k : k + wanted]) for k in range(0, len(found), wanted))
