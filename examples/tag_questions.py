"""Find the cities and days in questions to a travel agent, and what each question is about.

The questions are generated, so nothing is downloaded. Needs the extra `train`.
"""

import random

from unrolled.tasks import Tagger

CITIES = ("oslo", "rome", "lima", "new york", "hong kong", "rio de janeiro")
DAYS = ("monday", "friday", "next week")
ASKS = {
    "fly": ("a flight from CITY to CITY", "fly me to CITY DAY", "is there a plane to CITY"),
    "weather": ("will it rain in CITY DAY", "how warm is CITY", "the forecast for CITY DAY"),
}


def questions(count: int, seed: int) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """Return questions as words, their tags in BIO, and what each is about."""
    draw = random.Random(seed)
    words, tags, intents = [], [], []
    for _ in range(count):
        intents.append(draw.choice(list(ASKS)))
        words.append([])
        tags.append([])
        for word in draw.choice(ASKS[intents[-1]]).split():
            if word in ("CITY", "DAY"):
                first, *rest = draw.choice(CITIES if word == "CITY" else DAYS).split()
                words[-1] += [first, *rest]
                tags[-1] += [f"B-{word}", *[f"I-{word}"] * len(rest)]
            else:
                words[-1].append(word)
                tags[-1].append("O")
    return words, tags, intents


tagger = Tagger(intent="about", hidden_size=32, epochs=4, batch_size=32, lr=0.01)
words, tags, intents = questions(600, seed=0)
tagger.fit(words, tags, intents=intents)

words, tags, intents = questions(100, seed=1)
print(f"accuracy: {100 * tagger.score(words, tags):.1f} % of the words of 100 questions\n")

found = tagger.model_.tag(["is there a flight to new york friday", "how warm is rio de janeiro"])
for answers, intent in zip(found.answers, found.intents, strict=True):
    best = answers[0]
    print(f"about {intent.label} ({intent.probability:.2f})")
    print("  " + "  ".join(best.tags))
    print("  " + "  ".join(f"{share:.2f}" for share in best.confidences))

print("\nthe next best tags of 'rain in oslo':")
for answer in tagger.model_.tag("rain in oslo", n_best=3).answers[0]:
    print(f"  {answer.log_prob:7.3f}  {' '.join(answer.tags)}")
