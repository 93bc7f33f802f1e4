"""GRU or LSTM, on text and on words.

A GRU has three gates' worth of weights where an LSTM has four, and one state instead of two. Is it
as good? Two real sets, whose data comes with Python packages:

* text: the next character of Python's help topics, bits a character;
* sounds: how many vowels an English word of the CMU dictionary has when it is spoken, read from
  its letters, share of words that are wrong.

Both at equal width and at equal parameters, the vanilla RNN beside them. Time is that of training
steps, memory is what the engine keeps of a unit and token for the backward pass, h included: 6
numbers for LSTM (i f g o c h), 5 for GRU (r z n, the reset product, h), 1 for RNN (h).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.problems import Spoken, dictionary, spellings
from unrolled.lab.text import CharacterModel, Corpus, bits, corpus
from unrolled.lab.training import fit, last, recurrent, size, width

VOWELS = "AEIOU"
KEPT = {"rnn": 1, "gru": 5, "lstm": 6}


@dataclass(frozen=True)
class Settings:
    """Width of the LSTM, steps of training, words to learn from and to test on."""

    hidden: int
    steps: int
    words: int
    tested: int


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train each cell on each set, at the LSTM's width and at its number of parameters."""
    budget = 4 * settings.hidden * (settings.hidden + 32 + 2)
    known, text = dictionary(), corpus()
    rows = []
    for equal in ("width", "parameters"):
        for cell in ("rnn", "gru", "lstm"):
            hidden = settings.hidden if equal == "width" else width(cell, 32, budget)
            for data in ("text", "sounds"):
                if data == "text":
                    found = _text(seed, cell, hidden, text, settings)
                else:
                    found = _sounds(seed, cell, hidden, known, settings)
                kept = KEPT[cell] * hidden
                common = {"data": data, "equal": equal, "cell": cell, "hidden": hidden}
                rows.append({**common, **found, "kept": kept})
    return rows


def _text(seed: int, cell: str, hidden: int, text: Corpus, settings: Settings) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = CharacterModel(cell, hidden, text.characters)
    start = time.process_time()
    fit(model.parameters(), lambda: model.loss(text.batch(16, 64, random)), settings.steps)
    seconds = time.process_time() - start
    return {"error": bits(model, text.held_out), "size": size(model), "seconds": seconds}


def _sounds(
    seed: int, cell: str, hidden: int, known: list[Spoken], settings: Settings
) -> dict[str, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(known), generator=random)[: settings.words + settings.tested]
    words = [known[i] for i in order.tolist()]
    letters, lengths = spellings([word for word, _ in words])
    wanted = torch.tensor([sum(p[0] in VOWELS for p in spoken) for _, spoken in words])
    embedding, layer = nn.Embedding(27, 32), recurrent(cell, 32, hidden)
    head = nn.Linear(hidden, int(wanted.max()) + 1)

    def answers(rows: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = head(last(layer(embedding(letters[rows]), lengths=lengths[rows])[1]))
        return said

    def loss() -> torch.Tensor:
        rows = torch.randint(settings.words, (64,), generator=random)
        return F.cross_entropy(answers(rows), wanted[rows])

    parts = (embedding, layer, head)
    start = time.process_time()
    fit([p for part in parts for p in part.parameters()], loss, settings.steps)
    seconds = time.process_time() - start
    with torch.no_grad():
        rows = torch.arange(settings.words, len(words))
        wrong = float((answers(rows).argmax(-1) != wanted[rows]).float().mean())
    return {"error": wrong, "size": size(*parts), "seconds": seconds}


def judge(results: Results) -> Verdict:
    """The GRU should be no worse beyond the interval at equal width, with less of everything."""
    words, worse, better = [], 0, 0
    for data in results.values("data"):
        for equal in results.values("equal"):
            change = results.difference(
                "error", {"cell": "gru"}, {"cell": "lstm"}, data=data, equal=equal
            )
            worse += change.low > 0
            better += change.high < 0
            words.append(f"{data}, equal {equal}: {change}")
    faster = results.mean("seconds", cell="lstm", equal="width").mean / (
        results.mean("seconds", cell="gru", equal="width").mean
    )
    said = (
        "Error of the GRU minus that of the LSTM (below 0: the GRU is better): "
        + "; ".join(words)
        + ". "
        f"At equal width a training step of the LSTM takes {faster:.2f} times as long and keeps "
        "1.2 "
        "times the numbers."
    )
    if worse == 0:
        return Verdict("holds", said)
    return Verdict("depends" if better or worse < len(words) else "does not hold", said)


EXPERIMENT = Experiment(
    name="gru-or-lstm",
    title="GRU or LSTM?",
    claim="GRU does about as well as LSTM with fewer parameters, less memory and less time.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("data", "equal", "cell"),
    numbers=("error", "size", "seconds", "kept"),
    plots=(
        Plot(
            number="error",
            x="cell",
            by="equal",
            panels="data",
            title="Error by cell",
            x_title="cell",
            y_title="bits a character, or share wrong",
            reading="Lower is better; one mark keeps the LSTM's width, the other its parameters.",
        ),
    ),
    quick=Settings(hidden=64, steps=400, words=6000, tested=1500),
    full=Settings(hidden=96, steps=1500, words=40_000, tested=5000),
)
