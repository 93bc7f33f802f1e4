"""Whether one context vector loses information as sequences grow, and attention repairs it.

An encoder-decoder reads a sequence of random symbols and writes it the other way round. Without
attention all that crosses is the encoder's last state, H numbers for 4 symbols and for 16
(Sutskever et al. 2014). With attention the decoder looks at every source step:

    context[t] = sum over s of softmax_s(score(q[t], m[s])) m[s]

    additive  v . tanh(W q + U m)   Bahdanau et al. 2015
    dot       q . m                 Luong et al. 2015
    general   q . (W m)             Luong et al. 2015
    concat    v . tanh(W [q; m])    Luong et al. 2015

An answer counts as right if every symbol is. Random symbols cannot be guessed from their
neighbours, so this is the worst case for a single vector; sentences are kinder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unrolled.data.vocab import SPECIALS
from unrolled.lab import translation
from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.training import fit, size


@dataclass(frozen=True)
class Settings:
    """Kinds of attention, lengths to test at, symbols, width, steps of training."""

    kinds: tuple[str, ...]
    lengths: tuple[int, ...]
    symbols: int
    hidden: int
    steps: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each kind on all lengths together, and test it at each length."""
    rows = []
    span = (min(settings.lengths), max(settings.lengths))
    for kind in settings.kinds:
        torch.manual_seed(seed)
        random = torch.Generator().manual_seed(seed)
        model = translation.network(
            settings.symbols + len(SPECIALS), hidden_size=settings.hidden, attention=kind
        )

        def loss(model: Any = model, random: torch.Generator = random) -> torch.Tensor:
            pairs = translation.reversal(32, span, settings.symbols, random)
            return translation.loss(model, pairs)

        fit(model.parameters(), loss, settings.steps)
        for length in settings.lengths:
            pairs = translation.reversal(200, (length, length), settings.symbols, random)
            right = translation.right(model, model.spec, pairs).float().mean()
            rows.append(
                {"attention": kind, "length": length, "right": float(right), "size": size(model)}
            )
    return rows


def judge(results: Results) -> Verdict:
    """Holds where the fixed vector falls with length, and all kinds of attention beat it there."""
    shortest, longest = min(results.values("length")), max(results.values("length"))
    fall = results.difference("right", {"length": shortest}, {"length": longest}, attention="none")
    gains = {
        kind: results.difference(
            "right", {"attention": kind}, {"attention": "none"}, length=longest
        )
        for kind in results.values("attention")
        if kind != "none"
    }
    told = ", ".join(f"{kind} {gain}" for kind, gain in gains.items())
    words = (
        f"From {shortest} to {longest} symbols the fixed vector loses {fall} of its right "
        "answers. At "
        f"{longest} symbols attention adds: {told}."
    )
    if fall.low > 0 and all(gain.low > 0 for gain in gains.values()):
        return Verdict("holds", words)
    if fall.low > 0 and any(gain.low > 0 for gain in gains.values()):
        weak = ", ".join(kind for kind, gain in gains.items() if gain.low <= 0)
        return Verdict("depends", f"{words} In these steps of training not so for: {weak}.")
    return Verdict("does not hold", words)


EXPERIMENT = Experiment(
    name="context-vector",
    title="One context vector, or attention?",
    claim="One context vector loses information as sentences grow; attention repairs it.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("attention", "length"),
    numbers=("right", "size"),
    plots=(
        Plot(
            number="right",
            x="length",
            by="attention",
            title="Right answers by length",
            x_title="symbols of the source",
            y_title="share right",
            reading="A line that stays up does not care how long the source is.",
        ),
    ),
    quick=Settings(("none", "additive", "dot", "general"), (2, 4, 7, 10), 8, 48, 500),
    full=Settings(("none", "additive", "dot", "general", "concat"), (2, 5, 10, 15), 16, 96, 1500),
)
