"""Whether attention tells which step mattered.

A classifier pools its steps by attention: the weights a[t] sum to 1 and seem to say what it looked
at. The test is to take steps away. If the two steps with the most weight matter, taking them moves
the answer more than taking two others.

    drop(steps) = p(answer | all) - p(answer | without these steps)

The label depends on two planted steps: whether two marked symbols, anywhere in a sequence of noise,
are alike. Two classifiers learn it. In one attention pools the outputs of a recurrent layer over
the whole sequence, where each output knows of its neighbours. In the other a recurrent layer reads
one symbol at a time with an empty memory (its sequences have one step each), so that a step's
vector knows that step alone; its label is of which of two kinds the marked symbol is, which needs
no memory.

Jain and Wallace 2019 say that attention is not explanation, Wiegreffe and Pinter 2019 that it can
be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.training import fit, recurrent
from unrolled.nn.attention import AttentionPooling
from unrolled.spec import AttentionSpec

SYMBOLS, NOISE = 6, 24


@dataclass(frozen=True)
class Settings:
    """Steps of a sequence, width, steps of training."""

    length: int
    hidden: int
    steps: int


class Pooled(nn.Module):
    """Embedding, recurrent layer, attention pooling, one logit."""

    def __init__(self, hidden: int, *, memory: bool) -> None:
        super().__init__()
        self.memory = memory
        self.embedding = nn.Embedding(2 * SYMBOLS + NOISE, 24)
        self.layer = recurrent("gru", 24, hidden, bidirectional=True, merge="sum")
        spec = AttentionSpec(kind="additive", query_size=hidden, key_size=hidden, size=hidden)
        self.pooling = AttentionPooling(spec)
        self.output = nn.Linear(hidden, 1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens [N, T] to logits [N] and weights [N, T]."""
        x = self.embedding(tokens)
        y, _ = self.layer(x if self.memory else x.flatten(0, 1)[:, None])
        y = y if self.memory else y.view(*tokens.shape, -1)
        lengths = torch.full((len(tokens),), tokens.shape[1])
        pooled, weights = self.pooling(y, lengths)
        return self.output(pooled)[:, 0], weights


def planted(n: int, length: int, *, pairs: bool, random: torch.Generator) -> tuple[Tensor, ...]:
    """Return tokens [n, length], labels [n] and the two planted places [n, 2].

    With `pairs` the label is whether the two marked symbols are alike; else of which of two kinds
    the marked symbol is, which stands in both places.
    """
    tokens = 2 * SYMBOLS + torch.randint(NOISE, (n, length), generator=random)
    places = torch.rand(n, length, generator=random).topk(2).indices
    label = torch.randint(2, (n,), generator=random)
    first = torch.randint(SYMBOLS, (n,), generator=random)
    other = (first + torch.randint(1, SYMBOLS, (n,), generator=random)) % SYMBOLS
    rows = torch.arange(n)
    if pairs:
        tokens[rows, places[:, 0]] = first
        tokens[rows, places[:, 1]] = torch.where(label == 1, first, other)
    else:
        kind = torch.where(label == 1, first, first + SYMBOLS)
        tokens[rows, places[:, 0]], tokens[rows, places[:, 1]] = kind, kind
    return tokens, label.float(), places


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train both classifiers and take steps away by attention, by chance, and by truth."""
    rows = []
    for memory in (True, False):
        torch.manual_seed(seed)
        random = torch.Generator().manual_seed(seed)
        model = Pooled(settings.hidden, memory=memory)

        def loss(
            model: Pooled = model, memory: bool = memory, random: torch.Generator = random
        ) -> Tensor:
            tokens, label, _ = planted(64, settings.length, pairs=memory, random=random)
            return F.binary_cross_entropy_with_logits(model(tokens)[0], label)

        fit(model.parameters(), loss, settings.steps)
        tokens, label, places = planted(400, settings.length, pairs=memory, random=random)
        with torch.no_grad():
            logits, weights = model(tokens)
            chosen = {
                "most attention": weights.topk(2).indices,
                "least attention": (-weights).topk(2).indices,
                "by chance": torch.rand(tokens.shape, generator=random).topk(2).indices,
                "planted": places,
            }
            for removed, steps in chosen.items():
                drop = _drop(model, tokens, logits, steps)
                found = (steps[:, :, None] == places[:, None]).any(1).float().mean()
                rows.append(
                    {
                        "classifier": "with memory" if memory else "without memory",
                        "removed": removed,
                        "drop": float(drop),
                        "planted_found": float(found),
                        "accuracy": float(((logits > 0) == (label > 0.5)).float().mean()),
                    }
                )
    return rows


def _drop(model: Pooled, tokens: Tensor, logits: Tensor, steps: Tensor) -> Tensor:
    """How far p(answer) falls, on average, when these steps are cut out of the sequences."""
    kept = torch.ones(tokens.shape, dtype=torch.bool).scatter_(1, steps, value=False)
    without, _ = model(tokens[kept].view(len(tokens), -1))
    sign = torch.where(logits > 0, 1.0, -1.0)
    return (torch.sigmoid(sign * logits) - torch.sigmoid(sign * without)).mean()


def judge(results: Results) -> Verdict:
    """Holds where the most attended steps move the answer as the planted ones do, in both."""
    words, shares = [], {}
    for kind in results.values("classifier"):
        told = {r: results.mean("drop", classifier=kind, removed=r) for r in _REMOVED}
        gain = results.difference(
            "drop", {"removed": "most attention"}, {"removed": "by chance"}, classifier=kind
        )
        shares[kind] = gain.low > 0 and told["most attention"].mean > 0.7 * told["planted"].mean
        found = results.mean("planted_found", classifier=kind, removed="most attention")
        words.append(
            f"{kind} (accuracy {results.mean('accuracy', classifier=kind).mean:.2f}): taking "
            "the two most "
            f"attended steps costs {told['most attention']}, two by chance {told['by chance']}, "
            "the two "
            f"planted {told['planted']}; {found} of the planted steps are among the most attended"
        )
    said = "Fall of the answer's probability. " + "; ".join(words) + "."
    if all(shares.values()):
        return Verdict("holds", said)
    if any(shares.values()):
        return Verdict(
            "depends", f"{said} It depends on what a step's vector knows of other steps."
        )
    return Verdict("does not hold", said)


_REMOVED = ("most attention", "by chance", "planted")

EXPERIMENT = Experiment(
    name="attention-matters",
    title="Does attention tell which step mattered?",
    claim="Attention tells which time step mattered.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("classifier", "removed"),
    numbers=("drop", "planted_found", "accuracy"),
    plots=(
        Plot(
            number="drop",
            x="removed",
            by="classifier",
            title="What taking two steps away costs",
            x_title="which two steps",
            y_title="fall of p(answer)",
            reading="Where attention is right, its mark is as high as that of the planted steps.",
        ),
    ),
    quick=Settings(length=12, hidden=32, steps=1000),
    full=Settings(length=20, hidden=64, steps=5000),
)
