"""When both directions help, and how they should be joined.

The first letter of an English word is to be spoken: the c of "city" as S, that of "cat" as K. The
answer is read from the output at step 1. A layer that reads forward has seen one letter by then; a
bidirectional one has seen the word. The same for the last letter, read at the last step, where the
forward layer has seen everything already.

    y[t] = [h>[t]; h<[t]]  (concat)      y[t] = h>[t] + h<[t]  (sum)

Words and sounds are those of the CMU dictionary. "concat" has the width of "sum" in each direction;
a "forward" of equal parameters is there too, so that width is not the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.problems import dictionary, spellings
from unrolled.lab.training import fit, recurrent, size

LETTERS = 27
VARIANTS: dict[str, dict[str, Any]] = {
    "forward": {},
    "forward, wider": {},
    "concat": {"bidirectional": True, "merge": "concat"},
    "sum": {"bidirectional": True, "merge": "sum"},
}


@dataclass(frozen=True)
class Settings:
    """Words to learn from and to test on, width of a direction, steps of training."""

    words: int
    tested: int
    hidden: int
    steps: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each variant on each end of the words."""
    random = torch.Generator().manual_seed(seed)
    known = dictionary()
    order = torch.randperm(len(known), generator=random)[: settings.words + settings.tested]
    words = [known[i] for i in order.tolist()]
    sounds = sorted({spoken[i] for _, spoken in words for i in (0, -1)})
    letters, lengths = spellings([word for word, _ in words])
    rows = []
    for end, place in (("first", torch.zeros_like(lengths)), ("last", lengths - 1)):
        wanted = torch.tensor([sounds.index(s[0 if end == "first" else -1]) for _, s in words])
        for variant in VARIANTS:
            found = _train(seed, variant, (letters, lengths, place, wanted), len(sounds), settings)
            rows.append({"letter": end, "variant": variant, **found})
    return rows


def _train(
    seed: int,
    variant: str,
    data: tuple[torch.Tensor, ...],
    sounds: int,
    settings: Settings,
) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    hidden = int(1.45 * settings.hidden) if variant == "forward, wider" else settings.hidden
    embedding = nn.Embedding(LETTERS, 32)
    layer = recurrent("gru", 32, hidden, **VARIANTS[variant])
    head = nn.Linear(layer.spec.output_size, sounds)

    def answers(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        letters, lengths, place, wanted = (part[rows] for part in data)
        y, _ = layer(embedding(letters), lengths=lengths)
        return head(y[torch.arange(len(rows)), place]), wanted

    def loss() -> torch.Tensor:
        rows = torch.randint(settings.words, (64,), generator=random)
        said, wanted = answers(rows)
        return F.cross_entropy(said, wanted)

    fit([*embedding.parameters(), *layer.parameters(), *head.parameters()], loss, settings.steps)
    with torch.no_grad():
        said, wanted = answers(torch.arange(settings.words, settings.words + settings.tested))
    share = float((said.argmax(-1) == wanted).float().mean())
    return {"accuracy": share, "size": size(embedding, layer, head)}


def judge(results: Results) -> Verdict:
    """Both directions should help at the first letter and not at the last, and sum not be worse."""

    def gain(letter: str, this: str, that: str) -> Any:
        return results.difference("accuracy", {"variant": this}, {"variant": that}, letter=letter)

    needed = gain("first", "concat", "forward, wider")
    useless = gain("last", "concat", "forward, wider")
    joined = {end: gain(end, "sum", "concat") for end in ("first", "last")}
    words = (
        "Both directions instead of a forward layer of as many parameters change the accuracy "
        f"by {needed} "
        f"where the answer needs what follows, and by {useless} where it does not. Sum instead "
        "of concat: "
        f"{joined['first']} and {joined['last']}, with fewer weights after it."
    )
    worse = any(difference.high < 0 for difference in joined.values())
    if needed.low > 0 and useless.low <= 0.01 and not worse:
        return Verdict("holds", words)
    return Verdict("depends" if needed.low > 0 else "does not hold", words)


EXPERIMENT = Experiment(
    name="directions",
    title="One direction or both?",
    claim="Both directions help where the answer needs the future; sum does as well as concat.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("letter", "variant"),
    numbers=("accuracy", "size"),
    plots=(
        Plot(
            number="accuracy",
            x="letter",
            by="variant",
            title="Which sound does the letter stand for?",
            x_title="letter of the word",
            y_title="share right",
            reading="At the first letter a forward layer knows one letter, at the last all.",
        ),
    ),
    quick=Settings(words=6000, tested=1500, hidden=48, steps=400),
    full=Settings(words=40_000, tested=5000, hidden=96, steps=2500),
)
