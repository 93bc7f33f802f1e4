"""Write a sentence about the attributes of a place, and show which attribute each word came from.

The places are generated, so nothing is downloaded. Needs the extra `train`.
"""

import random

from unrolled.tasks import Captioner

FOODS = ("italian", "thai", "indian", "french")
AREAS = ("the north", "the centre", "the harbour")
DOGS = {True: " and welcomes dogs", False: " and allows no dogs"}


def places(count: int, seed: int) -> tuple[list[dict[str, object]], list[list[str]]]:
    """Return attributes of places, and two texts about each."""
    draw = random.Random(seed)
    found, texts = [], []
    for _ in range(count):
        place = {"food": draw.choice(FOODS), "area": draw.choice(AREAS)}
        if draw.random() < 0.5:
            place["dogs"] = draw.choice([True, False])
        dogs = DOGS.get(place.get("dogs"), "")
        found.append(place)
        texts.append(
            [
                f"{place['food']} food in {place['area']}{dogs}",
                f"in {place['area']} there is {place['food']} food{dogs}",
            ]
        )
    return found, texts


captioner = Captioner(tokens="word", hidden_size=48, epochs=5, batch_size=32, lr=0.01)
captioner.fit(*places(300, seed=0))
print(f"right: {100 * captioner.score(*places(100, seed=1)):.1f} % of 100 places\n")

(answers,) = captioner.model_.caption({"food": "thai", "area": "the harbour", "dogs": False})
print(f"{answers[0].text!r}, log p {answers[0].log_prob:.2f}")
print("which attribute each word came from:")
print(" " * 10 + "  ".join(answers[0].parts))
for word, row in zip(answers[0].units, answers[0].alignment, strict=True):
    cells = (f"{share:<{len(part)}.2f}" for share, part in zip(row, answers[0].parts, strict=True))
    print(f"{word:10}" + "  ".join(cells))
