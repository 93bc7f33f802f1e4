"""Whether a small Transformer replaces a recurrent network.

A small Transformer (torch's own layers: Vaswani et al. 2017, causal, learned positions) and a GRU
read text and name the next character. Three questions:

* quality by the amount of data, at equal parameters and an equal number of training steps, and
  again with as much processor time for the GRU as the Transformer took;
* the cost of one more character when text comes in as a stream: a GRU has one state, a
  Transformer looks at all characters before. Its keys and values can be kept, which torch's
  layers do not do; what is counted is the arithmetic of a step that keeps them, 12 d^2 + 2 t d
  multiply-adds a layer at place t;
* what has to be kept: H numbers against 2 t d a layer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.lab.experiment import Experiment, Plot, Results, Verdict
from unrolled.lab.text import CharacterModel, bits, corpus
from unrolled.lab.training import fit, size, width

STEPS_READ = 100


@dataclass(frozen=True)
class Settings:
    """Shares of the text to learn from, width and layers of the Transformer, steps of training."""

    shares: tuple[float, ...]
    model: int
    layers: int
    steps: int


class Transformer(nn.Module):
    """The next character by causal self-attention."""

    def __init__(self, characters: int, settings: Settings) -> None:
        super().__init__()
        d = settings.model
        self.embedding, self.place = nn.Embedding(characters, d), nn.Embedding(STEPS_READ, d)
        layer = nn.TransformerEncoderLayer(
            d, 4, 4 * d, dropout=0.1, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        self.norm, self.output = nn.LayerNorm(d), nn.Linear(d, characters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T] to logits of the next ones [N, T, V]."""
        steps = tokens.shape[1]
        x = self.embedding(tokens) + self.place(torch.arange(steps))
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        logits: Tensor = self.output(self.norm(self.layers(x, mask=mask, is_causal=True)))
        return logits

    def loss(self, tokens: Tensor) -> Tensor:
        """Return the mean of -log p of tokens [N, T + 1] after the first, in nats."""
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def run(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Train both at each share of the data; then count what a streamed character costs."""
    rows = []
    for share in settings.shares:
        text = corpus(share)
        torch.manual_seed(seed)
        transformer = Transformer(text.characters, settings)
        budget = size(transformer)
        seconds, steps = _train(seed, transformer, text, settings.steps), settings.steps
        rows.append(_row("transformer", share, transformer, text, seconds))
        hidden = width("gru", 32, budget - 32 * text.characters)
        hidden = width("gru", 32, budget - (32 + hidden) * text.characters)
        torch.manual_seed(seed)
        gru = CharacterModel("gru", hidden, text.characters)
        spent = _train(seed, gru, text, steps)
        rows.append(_row("gru, equal steps", share, gru, text, spent))
        torch.manual_seed(seed)
        gru = CharacterModel("gru", hidden, text.characters)
        spent = _train(seed, gru, text, max(1, int(steps * seconds / spent)))
        rows.append(_row("gru, equal time", share, gru, text, spent))
    return rows


def _train(seed: int, model: Any, text: Any, steps: int) -> float:
    random = torch.Generator().manual_seed(seed)
    start = time.process_time()
    fit(model.parameters(), lambda: model.loss(text.batch(16, STEPS_READ, random)), steps, lr=2e-3)
    return time.process_time() - start


def _row(model: str, share: float, made: Any, text: Any, seconds: float) -> dict[str, Any]:
    return {
        "model": model,
        "share": share,
        "bits": bits(made, text.held_out, STEPS_READ),
        "size": size(made),
        "seconds": seconds,
        **_streaming(made),
    }


def _streaming(model: Any) -> dict[str, float]:
    """Multiply-adds of the next character at places 100 and 10,000, and numbers kept by then."""
    if isinstance(model, Transformer):
        layers, d = len(model.layers.layers), model.norm.normalized_shape[0]
        costs = {place: layers * (12 * d * d + 2 * place * d) for place in (100, 10_000)}
        kept = {place: layers * 2 * place * d for place in costs}
    else:
        spec = model.recurrent.spec
        hidden = spec.hidden_sizes[0]
        cost = 3 * hidden * (hidden + spec.input_size)
        costs, kept = dict.fromkeys((100, 10_000), cost), dict.fromkeys((100, 10_000), hidden)
    return {
        "products_at_100": costs[100],
        "products_at_10000": costs[10_000],
        "kept_at_10000": kept[10_000],
    }


def judge(results: Results) -> Verdict:
    """Holds where the Transformer is better at every amount of data and costs no more to stream."""
    shares = sorted(results.values("share"))
    changes = {
        (share, way): results.difference(
            "bits", {"model": "transformer"}, {"model": f"gru, equal {way}"}, share=share
        )
        for share in shares
        for way in ("steps", "time")
    }
    told = ", ".join(f"{share:g} of the text, equal {w}: {c}" for (share, w), c in changes.items())
    cost = results.mean("products_at_10000", model="transformer").mean / (
        results.mean("products_at_10000", model="gru, equal steps").mean
    )
    kept = results.mean("kept_at_10000", model="transformer").mean / (
        results.mean("kept_at_10000", model="gru, equal steps").mean
    )
    words = (
        "Bits a character of the Transformer minus those of the GRU (below 0: the Transformer "
        "is better): "
        f"{told}. At place 10,000 of a stream its next character takes {cost:.0f} times the "
        "arithmetic of "
        f"the GRU's and {kept:.0f} times the memory."
    )
    better = [change.high < 0 for change in changes.values()]
    if all(better) and cost <= 1:
        return Verdict("holds", words)
    if any(better):
        return Verdict(
            "depends", f"{words} It depends on the data, the time, and whether it streams."
        )
    return Verdict(
        "does not hold", f"{words} At this size, that is; it says nothing of large ones."
    )


EXPERIMENT = Experiment(
    name="transformer",
    title="A small Transformer beside a GRU",
    claim="Transformers replaced recurrent networks: they are better at equal size.",
    text=__doc__,
    run=run,
    judge=judge,
    columns=("model", "share"),
    numbers=("bits", "size", "seconds", "products_at_100", "products_at_10000", "kept_at_10000"),
    plots=(
        Plot(
            number="bits",
            x="share",
            by="model",
            title="Quality by the amount of text",
            x_title="share of the text learned from",
            y_title="bits a character",
            reading="Lower is better.",
            log_x=True,
        ),
    ),
    quick=Settings(shares=(0.03, 1.0), model=48, layers=2, steps=150),
    full=Settings(shares=(0.03, 0.3, 1.0), model=64, layers=2, steps=600),
)
