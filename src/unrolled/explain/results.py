"""What an explanation says, in numbers: frozen structs that are JSON as they stand."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from unrolled.spec import Struct

Verdict = Literal["trust", "do not trust", "too short"]
Numbers = tuple[float, ...]


class DeletionTest(Struct, frozen=True, kw_only=True):
    """How the answer moves as steps go, in the order in which an explanation ranks them.

    `top`, `bottom` and `random` are the scores after the first `ks` steps are gone: those that the
    explanation ranks highest, those it ranks lowest, and the mean over random orders, of which 90 %
    lie from `random_low` to `random_high`. Where the score may go either way, they are what it was
    at first less how far it moved. An area is the mean fall of the score over k > 0;
    `above_random` is the share of random orders whose area is not above `area_top`, `by_chance`
    the share whose area is not below it.
    """

    ks: tuple[int, ...]
    top: Numbers
    bottom: Numbers
    random: Numbers
    random_low: Numbers
    random_high: Numbers
    area_top: float
    area_bottom: float
    area_random: float
    above_random: float
    by_chance: float
    orders: int
    verdict: Verdict
    sentence: str


class Attribution(Struct, frozen=True, kw_only=True):
    """What each step did for the answer, by one method.

    `values` has one number a step in `unit`: the higher, the more the step spoke for the answer.
    `details` are the method's own numbers, such as the completeness gap of integrated gradients.
    """

    method: str
    title: str
    unit: str
    values: Numbers
    reading: str
    details: dict[str, float]
    deletion: DeletionTest | None = None


class Alignment(Struct, frozen=True, kw_only=True):
    """Attention of each written step over the steps read, and what `explain.alignment` finds."""

    weights: tuple[Numbers, ...]
    written: tuple[str, ...]
    coverage: float
    entropy: float
    monotonicity: float
    overview: str


class Words(Struct, frozen=True, kw_only=True):
    """What each step did for each written unit: the fall of its log-probability without the step.

    `values` [T, S] in nats has a row for each of `written`, those before it given.
    """

    values: tuple[Numbers, ...]
    written: tuple[str, ...]


class Gate(Struct, frozen=True, kw_only=True):
    """Activity of a gate: its mean at each step and of each unit, and how often it saturates.

    `closed` and `open` are the shares of values below 0.1 and above 0.9, over time and units.
    """

    name: str
    over_time: Numbers
    by_unit: Numbers
    closed: float
    open: float


class LayerStates(Struct, frozen=True, kw_only=True):
    """The gates and states of one direction of one layer, step by step.

    `time_constants` [H] are in steps (see `explain.states.time_constants`), None where the cell has
    no gate that keeps, infinite ones as None. `units` are those that vary most, and `heat` [K][T]
    their states: c of an LSTM, h of other cells.
    """

    layer: int
    direction: Literal["forward", "backward"]
    cell: str
    gates: tuple[Gate, ...]
    time_constants: tuple[float | None, ...] | None
    median_time_constant: float | None
    units: tuple[int, ...]
    heat: tuple[Numbers, ...]
    state: Literal["h", "c"]

    def name_of(self, unit: int) -> str:
        """Return what a unit is called, as `--unit` takes it: `"L0:17"`, backward `"L0r:17"`."""
        return f"L{self.layer}{'r' if self.direction == 'backward' else ''}:{unit}"


class Memory(Struct, frozen=True, kw_only=True):
    """How long the stack remembers: the norm of d h_T / d x_(T - lag), from lag 0.

    `norms` are Frobenius norms, `errors` their standard errors where they are estimated (zero where
    exact). `length_e` and `length_1` are the first lags after that of the largest norm at which it
    is below 1/e and below 1 % of the largest; None where it stays above. `deletion` is the absolute
    change of the score when the step at that lag is gone, in the unit of the score.
    """

    norms: Numbers
    errors: Numbers
    exact: bool
    length_e: int | None
    length_1: int | None
    deletion: Numbers
    sentence: str


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a model gave an answer, and how far each method may be trusted with saying so.

    `score` is that of `answer` given all `steps`, in `quantity`, and `score_of_nothing` without
    any. Steps leave by `how`. What was not asked for is None or empty. `name` is what the input is
    called where its steps do not say it; those of a `series` are places in time. Where
    the score is a value that may go `either_way`, methods rank by size and their tests watch how
    far it moves. Where the stack that is looked into reads what it wrote, `wrote` names the units
    that it read, from `<s>`: `states` and `memory` are over these instead of `steps`.
    """

    answer: str
    quantity: str
    score: float
    score_of_nothing: float
    steps: tuple[str, ...]
    how: Literal["remove", "replace"]
    seed: int
    attributions: tuple[Attribution, ...] = ()
    alignment: Alignment | None = None
    words: Words | None = None
    states: tuple[LayerStates, ...] = ()
    memory: Memory | None = None
    name: str = ""
    series: bool = False
    either_way: bool = False
    wrote: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[str, ...]:
        """The steps that `states` and `memory` are over."""
        return self.wrote or self.steps

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as plain lists, numbers and texts."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def numbers(values: Any) -> Numbers:
    """Return an array's values as plain numbers."""
    return tuple(float(value) for value in values)
