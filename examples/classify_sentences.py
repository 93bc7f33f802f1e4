"""Learn whether a sentence praises or complains, negation included, and show what it looked at.

The sentences are generated, so nothing is downloaded. Needs the extra `train`.
"""

import random

from unrolled.tasks import Classifier

THINGS = ("soup", "waiter", "room", "view", "bread", "music", "garden", "coffee")
GOOD, BAD = ("lovely", "warm", "kind", "great"), ("awful", "cold", "rude", "dull")


def sentences(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Return sentences such as `the soup was not awful` with their labels, praise or complaint."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        praise, negated = draw.random() < 0.5, draw.random() < 0.4
        word = draw.choice(GOOD if praise != negated else BAD)
        texts.append(f"the {draw.choice(THINGS)} was {'not ' * negated}{word} today")
        labels.append("praise" if praise else "complaint")
    return texts, labels


classifier = Classifier(
    cell="lstm", hidden_size=32, embedding_size=16, epochs=6, batch_size=32, lr=0.01
)
classifier.fit(*sentences(800, seed=0))

texts, labels = sentences(200, seed=1)
print(f"accuracy: {100 * classifier.score(texts, labels):.1f} % of {len(texts)} sentences\n")

asked = ["the soup was great today", "the soup was not great today", "the view was not dull today"]
labels, probabilities = classifier.predict(asked), classifier.predict_proba(asked)
for text, label, row in zip(asked, labels, probabilities, strict=True):
    print(f"{text:<32} {label:<10} {row.max():.3f}")

print("\nwhat each word weighed in the label:")
for seen in classifier.model_.attention(asked):
    print("  " + "  ".join(f"{u} {w:.2f}" for u, w in zip(seen.units, seen.weights, strict=True)))
