"""Learn to write dates as year-month-day from dates as people write them, and show the alignment.

The pairs are generated, so nothing is downloaded. Needs the extras `train` and `text`.
"""

import datetime
import random

import numpy as np

from unrolled.tasks import Translator

WAYS = ("%d %B %Y", "%B %d, %Y", "%d/%m/%Y")


def pairs(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Return `count` dates in a random one of `WAYS`, and the same dates as 2021-03-01."""
    draw = random.Random(seed)
    first = datetime.date(1990, 1, 1)
    days = [first + datetime.timedelta(draw.randrange(15_000)) for _ in range(count)]
    return [day.strftime(draw.choice(WAYS)) for day in days], [day.isoformat() for day in days]


def show(weights: np.ndarray, source: tuple[str, ...], target: tuple[str, ...]) -> None:
    """Print an alignment [T, S]: a row for each written unit, darker where it looked more."""
    print("     " + "".join(source))
    for unit, row in zip(target, weights, strict=True):
        print(f"  {unit}  " + "".join(" .:*#"[min(4, int(5 * weight))] for weight in row))


translator = Translator(
    hidden_size=48, embedding_size=24, source_tokens="char", epochs=8, batch_size=32, lr=0.01
)
translator.fit(*pairs(1200, seed=0))

sources, targets = pairs(200, seed=1)
print(f"exactly right: {100 * translator.score(sources, targets):.1f} % of {len(sources)} dates\n")
answers = translator.predict(sources[:5])
for source, target, answer in zip(sources[:5], targets[:5], answers, strict=True):
    print(f"{source:<20} -> {answer}  {'' if answer == target else 'expected ' + target}")

best = translator.model_.translate("17 August 2024").answers[0][0]
print("\nwhich character each written one looked at:")
show(best.alignment, best.source_units, best.target_units)
