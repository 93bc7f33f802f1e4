"""Whether encoder and decoder should have parameters of their own.

Sutskever et al. 2014 (section 2) use two different LSTMs, "because doing so increases the number of
model parameters at negligible computational cost". The other way is one set of recurrent weights
for both.

    own      h_enc[t] = GRU_1(x[t], h_enc[t-1]),   h_dec[t] = GRU_2(y[t], h_dec[t-1])
    shared   GRU_1 = GRU_2

Compared at equal width, and with the shared one made wider until it has as many parameters.
Sequences are to be written the other way round, with Luong's dot attention and without any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unrolled.data.vocab import SPECIALS
from unrolled.lab import translation
from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.training import fit, size

WIDER = 1.36


@dataclass(frozen=True)
class Settings:
    """Lengths, symbols, width, steps of training."""

    lengths: tuple[int, int]
    symbols: int
    hidden: int
    steps: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each variant with and without attention."""
    rows = []
    for attention in ("none", "dot"):
        for variant in ("own", "shared", "shared, wider"):
            hidden = int(WIDER * settings.hidden) if "wider" in variant else settings.hidden
            torch.manual_seed(seed)
            random = torch.Generator().manual_seed(seed)
            model = translation.network(
                settings.symbols + len(SPECIALS),
                hidden_size=hidden,
                embedding_size=32,
                bidirectional=False,
                attention=attention,
                share_parameters=variant != "own",
            )

            def loss(model: Any = model, random: torch.Generator = random) -> torch.Tensor:
                pairs = translation.reversal(32, settings.lengths, settings.symbols, random)
                return translation.loss(model, pairs)

            fit(model.parameters(), loss, settings.steps)
            pairs = translation.reversal(400, settings.lengths, settings.symbols, random)
            rows.append(
                {
                    "attention": attention,
                    "variant": variant,
                    "right": float(translation.right(model, model.spec, pairs).float().mean()),
                    "size": size(model),
                }
            )
    return rows


def judge(results: Results) -> Verdict:
    """Holds where own parameters are better at equal width; depends where not at equal size."""
    words, better, fair = [], 0, 0
    kinds = results.values("attention")
    for kind in kinds:
        width = results.difference(
            "right", {"variant": "own"}, {"variant": "shared"}, attention=kind
        )
        equal = results.difference(
            "right", {"variant": "own"}, {"variant": "shared, wider"}, attention=kind
        )
        better += width.low > 0
        fair += equal.low > 0
        words.append(f"attention {kind}: {width} at equal width, {equal} at equal parameters")
    said = "Right answers gained by parameters of their own: " + "; ".join(words) + "."
    if fair == len(kinds):
        return Verdict("holds", said)
    if better or fair:
        return Verdict(
            "depends", f"{said} What is gained is gained by size more than by being apart."
        )
    return Verdict("does not hold", said)


EXPERIMENT = Experiment(
    name="shared-parameters",
    title="One set of weights for encoder and decoder?",
    claim="Encoder and decoder should have parameters of their own.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("attention", "variant"),
    numbers=("right", "size"),
    plots=(
        Plot(
            number="right",
            x="variant",
            by="attention",
            title="Right answers",
            x_title="recurrent weights",
            y_title="share right",
            reading="Higher is better; compare marks of one kind.",
        ),
    ),
    quick=Settings((2, 6), 8, 48, 500),
    full=Settings((2, 10), 16, 96, 1500),
)
