"""Tell movements apart by their coordinates, and give their speed, from sequences of numbers.

The movements are generated, so nothing is downloaded. Needs the extra `train`.
"""

import numpy as np

from unrolled.tasks import Classifier, Regressor

MOVES = {
    "circle": lambda a: (np.cos(a), np.sin(a)),
    "swing": lambda a: (np.cos(a), 0.2 * np.cos(a)),
    "shake": lambda a: (np.cos(a), np.cos(2 * a)),
}


def movements(count: int, seed: int) -> tuple[list[np.ndarray], list[str], np.ndarray]:
    """Return coordinates [T, 2] of movements, their names, and their speeds."""
    draw = np.random.default_rng(seed)
    names = draw.choice(list(MOVES), count).tolist()
    speeds = draw.uniform(0.2, 0.8, count)
    frames = []
    for name, speed in zip(names, speeds, strict=True):
        angles = draw.uniform(0, 6) + speed * np.arange(draw.integers(15, 31))
        frames.append(100 * np.stack(MOVES[name](angles), axis=1))
        frames[-1] += draw.normal(0, 20, frames[-1].shape)
    return frames, names, speeds


frames, names, speeds = movements(400, seed=0)
new, their_names, their_speeds = movements(100, seed=1)
small = {"hidden_size": 24, "lr": 0.01, "batch_size": 32}

classifier = Classifier(**small, epochs=4, bidirectional=False).fit(frames, names)
print(f"right: {100 * classifier.score(new, their_names):.0f} % of 100 new movements")

regressor = Regressor(**small, epochs=8, pooling="mean").fit(frames, speeds)
print(f"speed: R2 {regressor.score(new, their_speeds):.2f}\n")

print(f"what it thinks of a {their_names[0]} as it arrives:")
session = classifier.model_.stream()
for step, frame in enumerate(new[0], start=1):
    shares = session.step(frame)
    if step % 5 == 0:
        said = ", ".join(
            f"{name} {share:.2f}" for name, share in zip(classifier.classes_, shares, strict=True)
        )
        print(f"  after {step:2d} steps: {said}")
