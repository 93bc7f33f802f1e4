"""What the explainers need to know of one answer to one input, whatever the task: a `Subject`.

A task becomes explainable by one adapter in `explain/subjects/` that returns a `Subject`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled.data.batch import pad
from unrolled.data.vocab import UNK
from unrolled.runtime.recurrent import Recurrent

Array = NDArray[Any]
Mask = NDArray[np.bool_]
How = Literal["remove", "replace"]
Stack = Literal["encoder", "decoder"]
# Steps, counted over all rows, that are scored in one batch.
STEPS_AT_ONCE = 1 << 15


class Reading(NamedTuple):
    """What a recurrent stack reads: the names of its steps, x [S, I], and its first state.

    `start` is the state as `Recurrent.step` takes it, for one row; None is the stack's own.
    """

    steps: tuple[str, ...]
    x: Array
    start: Any = None


# A recurrent stack, and what maps an input to what the stack reads.
Reader: TypeAlias = tuple[Recurrent, Callable[[Any], Reading]]


@dataclass(frozen=True)
class Recalled:
    """How what a stack wrote depends on what it read of its own writing. Needs torch.

    `x` [T, E] stands for the T units that were read, `nothing` [T, E] for units that say nothing.
    `last` maps tensors [N, T, E] to the top layer's last state [N, P] and the answer's score [N],
    by every way that leads there: the states, the attention and what is fed back.
    """

    x: Array
    nothing: Array
    last: Callable[[Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Differentiable:
    """An answer's score as a differentiable function of what the recurrent stack reads.

    `x` [S, I] is what it reads, `baseline` [S, I] the same without information; `gradient` maps
    [N, S, I] to scores [N] and their gradients [N, S, I], in evaluation mode. `note` says what is
    differentiated where the score itself has no slope.
    """

    x: Array
    baseline: Array
    gradient: Callable[[Array], tuple[Array, Array]]
    note: str = ""


@dataclass(frozen=True)
class Subject:
    """One answer of a model to one input.

    `steps` names the S input steps and `answer` what is explained. `score` maps the steps that are
    kept, [N, S], to the answer's score [N]: the log-probability of this same answer, or a
    forecast's value, in `quantity`. The other steps are removed, or replaced by `<unk>` or a mean,
    as `how` says; an answer that sits at a step (a tag) is not `removable`. `attention` [S] are the
    shares of the steps, `alignment` [T, S] those of each of `written` target steps, and `each` maps
    masks to the scores [N, T] of these steps by themselves. `stack` is the recurrent stack that
    reads the steps and `read` [S, I] what it reads, after `before` [B, I] that is no step of the
    input; None where parts are read at once. `differentiable` needs torch, and is None where the
    score has no slope. `name` is what the input is called where its steps do not say it; `series`
    that steps are places in time rather than units of a text; `either_way` that a score is a value
    which matters as much where it rises as where it falls. Where the stack that is looked into
    reads what it wrote itself instead of the input, `wrote` is what it read, `read` the same
    vectors, and `recalled` how the answer depends on them.
    """

    steps: tuple[str, ...]
    answer: str
    quantity: str
    removable: bool
    score: Callable[[Mask, How], Array]
    stack: Recurrent | None
    read: Array | None
    differentiable: Callable[[], Differentiable] | None
    attention: Array | None = None
    alignment: Array | None = None
    written: tuple[str, ...] = ()
    each: Callable[[Mask, How], Array] | None = None
    before: Array | None = None
    name: str = ""
    series: bool = False
    either_way: bool = False
    wrote: Reading | None = None
    recalled: Callable[[], Recalled] | None = None

    @property
    def how(self) -> How:
        """How steps leave this input unless it is told otherwise."""
        return "remove" if self.removable else "replace"

    @property
    def lead(self) -> int:
        """B, the steps that the stack reads before the first of the input."""
        return 0 if self.before is None else len(self.before)

    @property
    def whole(self) -> Array:
        """All that the stack reads, [B + S, I]."""
        assert self.read is not None
        return self.read if self.before is None else np.concatenate([self.before, self.read])


def scores(subject: Subject, keep: Mask, how: How) -> Array:
    """Return the score of each of the masks `keep` [N, S]; equal masks are scored once."""
    different, place = np.unique(keep, axis=0, return_inverse=True)
    rows = max(1, STEPS_AT_ONCE // keep.shape[1])
    found = [subject.score(different[at : at + rows], how) for at in range(0, len(different), rows)]
    scored: Array = np.concatenate(found).astype(np.float64)[place.reshape(-1)]
    return scored


def without(order: Array, ks: Sequence[int]) -> Mask:
    """Return the masks [K, S] that drop the first k steps of `order` [S], for each k."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    kept: Mask = rank[None, :] >= np.asarray(ks)[:, None]
    return kept


def token_rows(ids: Sequence[int], keep: Mask, how: How) -> tuple[Array, Array]:
    """Return the padded tokens [N, S'] and lengths [N] of `ids` [S] with only some steps kept.

    Replaced steps read `<unk>`. Where nothing is kept, one `<unk>` is left to read.
    """
    given = np.asarray(ids)
    if how == "replace":
        lengths = np.full(len(keep), len(given))
        return np.where(keep, given, UNK), lengths
    return pad([given[row].tolist() or [UNK] for row in keep])


def token_baseline(embedding: Array, ids: Sequence[int], token_dropout: float) -> Array:
    """Return what says nothing at every step, [S, I]: `<unk>` where training hid tokens behind it.

    Elsewhere `<unk>` may never have been read, and the mean of all embeddings stands for it.
    """
    none = embedding[UNK] if token_dropout > 0 else embedding[UNK + 1 :].mean(axis=0)
    repeated: Array = np.repeat(none[None], len(ids), axis=0)
    return repeated
