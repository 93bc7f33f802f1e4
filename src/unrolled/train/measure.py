"""What is measured of a recurrent layer while it trains: flow by lag, memory, radii, gates.

Shapes: T steps, N rows, D directions, L layers, H units. A lag is the number of steps between t and
the last step that the direction reads of that row, so that rows of different lengths are aligned
where the gradient enters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.nn.flow import gradient_flow
from unrolled.nn.recurrent import Recurrent, merge
from unrolled.nn.state import split_state
from unrolled.shapes import suffixes

DIRECTIONS = ("forward", "backward")
GATE_NAMES = {"rnn": ("h",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}
SATURATED = 0.05
SQUARINGS = 12
MEASURED_ROWS = 16


@dataclass(frozen=True)
class Call:
    """A call of a layer in a watched step: what it was given, and the flow that it records."""

    name: str
    layer: Recurrent
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    flow: list[Tensor]

    def without_graph(self) -> Call:
        """Return the call with its first rows only, none of them tied to a graph."""
        x, state = self.x.detach(), self.state
        rows = slice(0, MEASURED_ROWS)
        x = x[rows] if self.layer.batch_first else x[:, rows]
        lengths = None if self.lengths is None else self.lengths[rows]
        state = _cut(state, rows)
        return replace(self, args=(x, state), kwargs={"lengths": lengths}, flow=[])

    @property
    def x(self) -> Tensor:
        """The input, in the layer's layout."""
        value: Tensor = self.args[0]
        return value

    @property
    def state(self) -> Any:
        """The first state as it was given, None where it was left out."""
        return self.args[1] if len(self.args) > 1 else self.kwargs.get("hx")

    @property
    def lengths(self) -> Tensor | None:
        """The lengths [N], None where all rows have T steps."""
        given = self.kwargs.get("lengths")
        return None if given is None else torch.as_tensor(given)


def _cut(state: Any, rows: slice) -> Any:
    if isinstance(state, Tensor):
        return state.detach()[:, rows].contiguous()
    return state if state is None else tuple(_cut(part, rows) for part in state)


@dataclass(frozen=True)
class ByLag:
    """Sums of squared norms and how many rows had each lag; `rms` [lags] is the mean's root."""

    squares: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    def __add__(self, other: ByLag) -> ByLag:
        size = max(len(self.rows), len(other.rows))
        pairs = ((self.squares, other.squares), (self.rows, other.rows))
        return ByLag(*(_padded(a, size) + _padded(b, size) for a, b in pairs))

    @property
    def rms(self) -> list[float]:
        """The root mean square norm at each lag."""
        return [rounded(v) for v in (self.squares / self.rows.clamp(min=1)).sqrt().tolist()]


def relative(curve: Sequence[float]) -> list[float]:
    """Return a curve divided by its value at lag 0; as it is where that is 0."""
    return [rounded(v / curve[0]) for v in curve] if curve and curve[0] > 0 else list(curve)


def _padded(values: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, size - len(values)))


def rounded(value: float) -> float:
    """Return four significant digits: what a log of measurements can say."""
    return float(f"{value:.4g}")


def align(norms: Tensor, lengths: Tensor | None, *, reverse: bool) -> ByLag:
    """Return norms [T, N] of one direction by lag, over rows of their own lengths [N]."""
    steps, rows = norms.shape
    ends = torch.full((rows,), steps) if lengths is None else lengths.cpu().to(torch.int64)
    t = torch.arange(steps).unsqueeze(1)
    inside = t < ends
    lag = t.expand(steps, rows) if reverse else ends - 1 - t
    squares = norms.detach().cpu().double().square()
    size = int(ends.max()) if rows else 0
    total = torch.zeros(size, dtype=torch.float64).index_add(0, lag[inside], squares[inside])
    count = torch.bincount(lag[inside], minlength=size).double()
    return ByLag(total, count)


def by_lag(call: Call) -> Iterator[tuple[tuple[int, str, str], ByLag]]:
    """Yield (layer, direction, "h" or "c") and the flow by lag, after the backward pass."""
    kinds = ("h", "c") if call.layer.spec.cell == "lstm" else ("h",)
    lengths = call.lengths
    if lengths is None and call.state is not None:
        lengths = _ends(call.flow[-1])
    for k, norms in enumerate(call.flow):
        for d in range(len(norms)):
            for kind, column in zip(kinds, (0, 1), strict=False):
                found = align(norms[d, :, :, column], lengths, reverse=d == 1)
                yield (k, DIRECTIONS[d], kind), found


def _ends(flow: Tensor) -> Tensor:
    """Return where the gradient enters last in each row, [N], of a layer's flow [D, T, N, 2].

    A decoder is not told where its rows end: the loss leaves out what is past them.
    """
    steps = torch.arange(1, flow.shape[1] + 1).unsqueeze(1)
    return ((flow[0, :, :, 0].cpu() > 0) * steps).amax(0)


def layers(
    flow: Mapping[tuple[str, int, str, str], ByLag], calls: Mapping[str, Call]
) -> list[dict[str, Any]]:
    """Return a record a layer and direction: `h`, `c` and, of the top layer, `memory` by lag."""
    records: dict[tuple[str, int, str], dict[str, Any]] = {}
    for (name, layer, direction, kind), found in flow.items():
        head = {"name": name, "layer": layer, "direction": direction}
        records.setdefault((name, layer, direction), head)[kind] = found.rms
    for name, call in calls.items():
        top = call.layer.spec.num_layers - 1
        for direction, curve in memory(call).items():
            records[(name, top, direction)]["memory"] = relative(curve.rms)
    return list(records.values())


def memory(call: Call, *, pulls: int = 2) -> dict[str, ByLag]:
    """Return how strongly the last h of the top layer hangs on its states before, by direction.

    The root mean square over rows and over `pulls` random unit vectors v of |d(v . h[T])/ds[t]|,
    relative to lag 0. s is h, or an LSTM's c, which carries what it remembers. No loss enters, so
    that it says how far the layer can remember whatever reads its outputs. Vectors come from a
    generator of their own; dropout is off.
    """
    layer, generator = call.layer, torch.Generator().manual_seed(0)
    found = {name: ByLag() for name in DIRECTIONS[: layer.spec.num_directions]}
    with evaluating(layer), torch.enable_grad():
        for _ in range(pulls):
            for d, name in enumerate(found):
                x = call.x.detach().requires_grad_()
                with gradient_flow(layer) as flow:
                    _, hx = layer(x, call.state, lengths=call.lengths)
                h = top_state(layer, hx)[d]
                v = torch.randn(h.shape, generator=generator).to(h)
                torch.autograd.grad((h * v / v.norm(dim=-1, keepdim=True)).sum(), x)
                norms = (flow.c_rows or flow.h_rows)[-1][d]
                found[name] = found[name] + align(norms, call.lengths, reverse=d == 1)
    return found


class evaluating:  # noqa: N801
    """A block in which a module is in evaluation mode; afterwards it is as it was."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.was = module, module.training

    def __enter__(self) -> None:
        self.module.training = False

    def __exit__(self, *error: object) -> None:
        self.module.training = self.was


def top_state(layer: Recurrent, hx: Any) -> Tensor:
    """Return the last h of the top layer, [D, N, P], from what the layer returned."""
    h = hx[0] if layer.spec.cell == "lstm" else hx
    last: Tensor = h[-1] if isinstance(h, tuple) else h[-layer.spec.num_directions :]
    return last


def radii(layer: Recurrent) -> dict[str, dict[str, float]]:
    """Return the spectral radius of each gate's recurrent weights, by suffix (`l0`, `l0_reverse`).

    Of an LSTM with projection that of U_gate W_hr, the map from h to the gate through the
    projection.
    """
    found = {}
    names = GATE_NAMES[layer.spec.cell]
    for k in range(layer.spec.num_layers):
        for suffix in suffixes(layer.spec, k):
            weight = getattr(layer, f"weight_hh{suffix}").detach()
            blocks = list(weight.chunk(layer.spec.gates))
            if layer.spec.proj_size:
                blocks = [block @ getattr(layer, f"weight_hr{suffix}").detach() for block in blocks]
            each = zip(names, blocks, strict=True)
            found[suffix.removeprefix("_")] = {g: rounded(spectral_radius(b)) for g, b in each}
    return found


def spectral_radius(matrix: Tensor) -> float:
    """Return max |eigenvalue| of a square matrix by Gelfand's formula, |A^n|^(1/n), n = 4096.

    Squaring a matrix a dozen times costs far less than its eigenvalues; the error is within
    ln(H) / n and, for a matrix that is far from normal, a few such steps.
    """
    power, log_scale = matrix.double(), 0.0
    for _ in range(SQUARINGS):
        norm = float(power.norm())
        if norm == 0.0:
            return 0.0
        power = power / norm
        power, log_scale = power @ power, 2 * (log_scale + math.log(norm))
    norm = float(power.norm())
    return math.exp((log_scale + math.log(norm)) / 2**SQUARINGS) if norm > 0 else 0.0


def update_ratios(before: Mapping[str, Tensor], model: nn.Module) -> dict[str, float]:
    """Return |w' - w| / |w| of every weight matrix over one step; biases may start at zero."""
    with torch.no_grad():
        return {
            name: float((value - before[name]).norm() / before[name].norm().clamp(min=1e-12))
            for name, value in model.named_parameters()
            if value.dim() > 1 and value.requires_grad
        }


def gates(call: Call) -> dict[str, dict[str, Any]]:
    """Return the share of saturated gates and, of relu, of dead units, by suffix.

    A gate is saturated where it is within 0.05 of 0 or 1 (tanh: of -1 or 1); the share is over
    units, rows and steps. A relu unit is dead where it is 0 at every step of every row. All states
    come from one pass of the engine, all gates from one product.
    """
    layer, spec = call.layer, call.layer.spec
    found: dict[str, dict[str, Any]] = {}
    with evaluating(layer), torch.no_grad():
        _, _, states = layer(call.x, call.state, lengths=call.lengths, return_states=True)
        x = call.x if layer.batch_first else call.x.transpose(0, 1)
        inside = _inside(call.lengths, x)
        for k, of in enumerate(states):
            h = of["h"] if layer.batch_first else of["h"].transpose(0, 1)
            for d, suffix in enumerate(suffixes(spec, k)):
                first = _first_state(call, k, d, suffix)
                values = _gate_values(layer, suffix, x, h[:, :, d], first, inside, reverse=d == 1)
                found[suffix.removeprefix("_")] = _saturation(spec, values[inside], h[:, :, d])
            y = merge(spec, h.flatten(2))
            x = y + x if spec.residual and k else y
    return found


def _inside(lengths: Tensor | None, x: Tensor) -> Tensor:
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool)
    return torch.arange(x.shape[1]) < lengths.cpu().unsqueeze(1)


def _first_state(call: Call, k: int, d: int, suffix: str) -> Tensor:
    """Return h before the first step of one direction of layer k, [N, P] or [1, P]."""
    layer = call.layer
    if call.state is not None:
        x = call.x.transpose(0, 1) if layer.batch_first else call.x
        given: Tensor = split_state(layer.spec, call.state, x, batched=True)["h"][k][d]
        return given
    if layer.spec.initial_state == "learned":
        learned: Tensor = getattr(layer, f"h0{suffix}").unsqueeze(0)
        return learned
    return call.x.new_zeros(1, layer.spec.state_size(k))


def _gate_values(
    layer: Recurrent,
    suffix: str,
    x: Tensor,
    h: Tensor,
    first: Tensor,
    inside: Tensor,
    *,
    reverse: bool,
) -> Tensor:
    """Return the gates' sums before their functions, [N, T, G * H], from every state [N, T, P]."""
    first = first.unsqueeze(1)
    edge = first.expand_as(h[:, :1])
    before = torch.cat([edge, h[:, :-1]], 1)
    if reverse:
        before = torch.cat([torch.where(inside.unsqueeze(2), h, first)[:, 1:], edge], 1)
    value: Tensor = x @ getattr(layer, f"weight_ih{suffix}").T
    value = value + before @ getattr(layer, f"weight_hh{suffix}").T
    if layer.spec.bias:
        value = value + getattr(layer, f"bias_ih{suffix}") + getattr(layer, f"bias_hh{suffix}")
    return value


def _saturation(spec: Any, sums: Tensor, h: Tensor) -> dict[str, float]:
    """Return the share of saturated values of each gate from their sums [*, G * H]."""
    if spec.cell == "rnn":
        if spec.nonlinearity == "relu":
            return {"dead": rounded(float((h.flatten(0, 1) <= 0).all(0).float().mean()))}
        return {"h": rounded(float((sums.tanh().abs() > 1 - SATURATED).float().mean()))}
    shares = {}
    for name, value in zip(GATE_NAMES[spec.cell], sums.chunk(spec.gates, -1), strict=True):
        if name in ("g", "n"):
            continue
        gate = value.sigmoid()
        closed, opened = (gate < SATURATED).float().mean(), (gate > 1 - SATURATED).float().mean()
        shares[name] = rounded(float(closed + opened))
        if name in ("f", "z"):
            shares[f"{name}_mean"] = rounded(float(gate.mean()))
    return shares
