"""A tagger that reads one sequence step by step and tags each as it comes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.errors import ConfigError, DataError, ModelError
from unrolled.runtime.lookahead import LookaheadSession
from unrolled.runtime.session import Session, SessionPool
from unrolled.runtime.state import SessionState, fingerprint
from unrolled.runtime.tagger import TaggerNetwork
from unrolled.runtime.weights import Array, log_softmax

if TYPE_CHECKING:
    from unrolled.runtime.tagger_model import Tagged, TaggerModel


@dataclass(frozen=True)
class RunningTag:
    """The tag of step `position`, counted from 0, and p(tag at `position` | x read so far) [K]."""

    position: int
    tag: str
    probability: float
    probabilities: Array


class TaggerSession:
    """One sequence, read as it arrives; `model.stream()` makes it.

    Without `lag`, a step is answered at once, with its filtering marginals (the forward recursion
    of Rabiner 1989, section III A): p(y_t | x_1..t), and the likeliest tag by them. With `lag` k
    the answer to x_t is of step t - k: the tag on the best path that ends in t, and the smoothed
    p(y_{t-k} | x_1..t). How a sequence ends is counted by `finish` only, which gives what
    `model.tag` gives of the whole; emissions are kept for it, K numbers a step.

    A tagger that reads in both directions needs a `lookahead`, as `LookaheadSession` does, and is
    then approximate. Raises ModelError where direction and `lookahead` do not fit, ConfigError for
    a negative `lag`, ValueError for a `pool` of another layer.
    """

    def __init__(
        self,
        model: TaggerModel,
        *,
        lag: int | None = None,
        lookahead: int | None = None,
        pool: SessionPool | None = None,
    ) -> None:
        if lag is not None and lag < 0:
            raise ConfigError(f"lag is {lag}, expected 0 or more")
        self.model = model
        self.lag = lag
        self._network = model.network
        self._scores = model.network.scores.where(model.legal)
        self._session = _open(model.network, lookahead, pool)
        self._forget()

    def reset(self) -> None:
        """Begin with another sequence."""
        self._session.reset()
        self._forget()

    def _forget(self) -> None:
        self._emissions: list[Array] = []
        self._alphas: list[Array] = []  # log p(x_1..t, y_t), but for a constant of t
        self._best: Array = np.zeros(0)  # the score of the best path into each tag
        self._before: list[Array] = []  # and where it came from
        self._peak: Array | None = None  # over time, where the tagger names an intent

    @property
    def steps_read(self) -> int:
        """How many steps have been scored; with a `lookahead` those that wait are not counted."""
        return len(self._emissions)

    def step(self, x: Any) -> RunningTag | None:
        """Read one word, or one frame [I]; return the tag that is ready, if any.

        Raises DataError for what the model cannot read, and then reads nothing.
        """
        y = self._session.step(self._inputs([x])[0])
        return None if y is None else self._take(y)

    def run(self, xs: str | Sequence[Any] | Array) -> list[RunningTag]:
        """Read a chunk: words, a text that is split at white space, or frames [T, I]."""
        given = xs.split() if isinstance(xs, str) else list(xs)
        if not given:
            return []
        y = self._session.run(self._inputs(given))
        return [found for each in y if (found := self._take(each)) is not None]

    def finish(self) -> Tagged:
        """Return the answer for all that was read, as `model.tag` with marginals gives it.

        With a `lookahead` the steps that wait are read to the end. The session stays as it is.
        Raises DataError where nothing was read.
        """
        whole = self
        if isinstance(self._session, LookaheadSession):
            whole = self.fork()
            for each in whole._session.flush():  # type: ignore[union-attr]
                whole._take(each)
        if not whole._emissions:
            raise DataError("the sequence is empty so far; expected at least one step to tag")
        intent = None
        if self._network.intent is not None:
            intent = log_softmax(self._network.intent(np.asarray(whole._peak)[None]))[0]
        return self.model.answers(np.array(whole._emissions), intent)

    def fork(self) -> TaggerSession:
        """Return another session that goes on from here; the two do not touch each other."""
        other = copy.copy(self)
        other._session = self._session.fork()
        for name in ("_emissions", "_alphas", "_before"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def close(self) -> None:
        """End the session; its row of a pool serves another."""
        if isinstance(self._session, Session):
            self._session.close()

    @property
    def state(self) -> SessionState:
        """The state at this moment, to keep, to send or to set another session to.

        Setting it raises DataError where it is of another model, or of another `lookahead`.
        """
        held = self._session.state.values[0]
        peak = np.zeros(0) if self._network.intent is None else self._peak_or_lowest()
        row = np.concatenate([held, peak, *self._emissions]).astype(held.dtype)
        return SessionState(_mark(self._network), row[None])

    @state.setter
    def state(self, state: SessionState) -> None:
        session, mark = self._session, _mark(self._network)
        state.check_owner(mark)
        peak = 0 if self._network.intent is None else self._network.spec.recurrent.output_size
        tags, total = self._network.spec.num_tags, state.values.shape[-1]
        width = session.state.values.shape[1]
        if isinstance(session, LookaheadSession):
            width = session._width(state.values[:1, : max(0, total - peak)].ravel())
        steps = max(0, total - width - peak) // tags
        like = np.empty((1, width + peak + steps * tags), self._network.recurrent.dtype)
        state.check(mark, like)
        held, top, emissions = np.split(state.values[0], [width, width + peak])
        session.state = SessionState(self._network.recurrent.fingerprint, held[None])
        self._forget()
        for each in emissions.reshape(steps, tags):
            self._chain(each)
        self._peak = top.copy() if peak else None

    def _plain_session(self) -> Session:
        if isinstance(self._session, LookaheadSession):
            raise ModelError("sessions with a lookahead are not of a pool: step each on its own")
        return self._session

    def _peak_or_lowest(self) -> Array:
        if self._peak is None:
            return np.full(self._network.spec.recurrent.output_size, -np.inf)
        return self._peak

    def _inputs(self, xs: Sequence[Any]) -> Array:
        """Return what the stack reads of these steps, [T, I]."""
        batch = self.model.corpus([_steps(self.model, xs)]).batch([0])
        inputs: Array = self._network.read(batch)[0]
        return inputs

    def _take(self, y: Array) -> RunningTag | None:
        """Take the stack's output y [P] of one step; return the tag that is ready, if any."""
        if self._network.intent is not None:
            self._peak = np.maximum(self._peak_or_lowest(), y).astype(y.dtype)
        self._chain(self._network.emit(y[None])[0])
        return self._ready()

    def _chain(self, emission: Array) -> None:
        """Advance the chain by a step's emissions [K]."""
        scores, added = self._scores, emission.astype(np.float64)
        if not self._emissions:
            alpha = self._best = scores.start + added
        else:
            into = self._best[:, None] + scores.transitions
            self._before.append(into.argmax(axis=0))
            self._best = into.max(axis=0) + added
            alpha = added + np.logaddexp.reduce(
                self._alphas[-1][:, None] + scores.transitions, axis=0
            )
        self._alphas.append(alpha - alpha.max())
        self._emissions.append(emission)

    def _ready(self) -> RunningTag | None:
        last = self.steps_read - 1
        position = last - (self.lag or 0)
        if position < 0:
            return None
        beta = np.zeros(len(self._scores.start))
        for emission in reversed(self._emissions[position + 1 :]):
            beta = np.logaddexp.reduce(self._scores.transitions + emission + beta, axis=1)
        shares = self._alphas[position] + beta
        shares = np.exp(shares - np.logaddexp.reduce(shares))
        tag = int(shares.argmax() if self.lag is None else self._best.argmax())
        for before in reversed(self._before[position:]):
            tag = int(before[tag])
        return RunningTag(position, self.model.labels.label(tag), float(shares[tag]), shares)


def tag_many(sessions: Sequence[TaggerSession], xs: Sequence[Any]) -> list[RunningTag | None]:
    """Advance K sessions of one pool by a word or frame each, in one call of the engine.

    Raises ValueError where they are not K sessions of one model and pool, DataError as
    `TaggerSession.step` does; nothing is read then.
    """
    if not sessions or len(sessions) != len(xs):
        raise ValueError(f"expected a step for each session, got {len(xs)} for {len(sessions)}")
    first, held = sessions[0], [each._plain_session() for each in sessions]
    if any(each.model is not first.model for each in sessions):
        raise ValueError("the sessions are of different models")
    corpus = first.model.corpus([_steps(first.model, [x]) for x in xs])
    inputs = first._network.read(corpus.batch(range(len(xs))))[:, 0]
    y = held[0].pool.step(np.ascontiguousarray(inputs), held)
    return [session._take(each) for session, each in zip(sessions, y, strict=True)]


def _open(
    network: TaggerNetwork, lookahead: int | None, pool: SessionPool | None
) -> Session | LookaheadSession:
    both = network.spec.recurrent.bidirectional
    if both and lookahead is None:
        raise ModelError(
            "this tagger reads in both directions and cannot stream: its backward direction begins "
            "at the end of the sequence; train one with bidirectional false, or stream with "
            "lookahead=k, which runs it over the k steps ahead instead"
        )
    if lookahead is not None:
        if not both:
            raise ModelError("a tagger in one direction streams exactly: leave out lookahead")
        if pool is not None:
            raise ModelError("sessions with a lookahead are not of a pool: leave out one of them")
        if lookahead < 0:
            raise ConfigError(f"lookahead is {lookahead}, expected 0 or more")
        return network.recurrent.stream(lookahead=lookahead)
    if pool is None:
        return network.recurrent.stream()
    if pool.layer is not network.recurrent:
        raise ValueError("the pool is over another layer than this tagger's, network.recurrent")
    return pool.open()


def _steps(model: TaggerModel, xs: Sequence[Any]) -> Sequence[Any]:
    if not model.reads_frames:
        for x in xs:
            if not isinstance(x, str) or not x.strip():
                raise DataError(f"expected a word, got {x!r}")
    return xs


def _mark(network: TaggerNetwork) -> str:
    """Return the fingerprint of everything that a step passes on its way to the tags."""
    parts = {f"recurrent.{name}": value for name, value in network.recurrent.weights.items()}
    parts |= {"output.weight": network.output.weight, "output.bias": network.output.bias}
    parts |= {f"scores.{name}": value for name, value in network.scores._asdict().items()}
    if network.embedding is not None:
        parts["embedding"] = network.embedding
    if network.scaling is not None:
        parts |= {"frames.mean": network.scaling[0], "frames.scale": network.scaling[1]}
    if network.characters is not None:
        parts["characters.embedding"] = network.characters.embedding
        inner = network.characters.recurrent.weights
        parts |= {f"characters.{name}": value for name, value in inner.items()}
    if network.intent is not None:
        parts |= {"intent.weight": network.intent.weight, "intent.bias": network.intent.bias}
    return fingerprint(network.spec, parts)
