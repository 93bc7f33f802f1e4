"""The deletion test: whether an explanation ranks the steps better than chance.

Steps leave the input in the order of the explanation, and the model answers again. An explanation
that is right about the answer makes its score fall early, and its reverse late. Random orders are
the yardstick: a falling score alone says nothing, since any input falls apart when steps go
(after Samek et al. 2017, section 3, and DeYoung et al. 2020, section 4).
"""

from __future__ import annotations

import numpy as np

from unrolled.explain.labels import counted
from unrolled.explain.results import DeletionTest, Verdict, numbers
from unrolled.explain.subject import Array, How, Subject, scores, without

ORDERS = 40
POINTS, FIRST = 8, 3
LEAST_STEPS = 5
SURE, LUCKY = 0.95, 1 / 3
FLAT, TIE = 1e-6, 1e-4
SPREAD = (5, 95)


def deletion_test(
    subject: Subject, values: Array, how: How, *, seed: int = 0, orders: int = ORDERS
) -> DeletionTest:
    """Drop the steps that `values` [S] ranks highest, lowest, and at random, and watch the score.

    At k = 1, 2, 3 and up to 8 numbers evenly spread. 'trust' means that at most 5 % of the random
    orders do better than the highest, at most a third do as well (where one step decides, chance
    finds it too), and the lowest do worse than random ones. Inputs of fewer than 5 steps are 'too
    short' to tell. The random orders are the same for every method with the same seed. Where the
    score may go either way, steps are ranked by size, and a fall is how far it moved.
    """
    steps, size = len(values), np.asarray(values)
    if subject.either_way:
        size = np.abs(size)
    spread = np.linspace(0, steps - 1, min(steps, POINTS + 1)).round()
    ks = np.unique([*range(min(steps, FIRST + 1)), *map(int, spread)])
    draw = np.random.default_rng(seed)
    ranked = np.argsort(-size, kind="stable")
    every = [ranked, ranked[::-1], *(draw.permutation(steps) for _ in range(orders))]
    keep = np.concatenate([without(order, ks.tolist()) for order in every])
    curves = scores(subject, keep, how).reshape(len(every), len(ks))
    if subject.either_way:
        curves = curves[:, :1] - np.abs(curves[:, :1] - curves)
    falls = curves[:, :1] - curves
    areas = falls[:, 1:].mean(axis=1) if len(ks) > 1 else np.zeros(len(every))
    top, bottom, random = areas[0], areas[1], areas[2:]
    tie = TIE * float(np.abs(falls).max())
    above, chance = float((random <= top + tie).mean()), float((random >= top - tie).mean())
    verdict, sentence = _judge(subject, steps, falls, areas, above, chance)
    low, high = np.percentile(curves[2:], SPREAD, axis=0)
    return DeletionTest(
        ks=tuple(map(int, ks)),
        top=numbers(curves[0]),
        bottom=numbers(curves[1]),
        random=numbers(curves[2:].mean(axis=0)),
        random_low=numbers(low),
        random_high=numbers(high),
        area_top=float(top),
        area_bottom=float(bottom),
        area_random=float(random.mean()),
        above_random=above,
        by_chance=chance,
        orders=orders,
        verdict=verdict,
        sentence=sentence,
    )


def _judge(
    subject: Subject, steps: int, falls: Array, areas: Array, above: float, chance: float
) -> tuple[Verdict, str]:
    if steps < LEAST_STEPS:
        return (
            "too short",
            f"Too short to tell: {counted(steps, 'step')}; a test needs {LEAST_STEPS}.",
        )
    if float(np.abs(falls).max()) < FLAT:
        return "do not trust", "Do not trust it here: no step that goes moves the answer."
    top, bottom, random = areas[0], areas[1], areas[2:].mean()
    name = subject.quantity.partition(" [")[0]
    verb, other = (
        "moves" if subject.either_way else "falls" if area >= 0 else "rises"
        for area in (top, random)
    )
    told = (
        f"without the steps that it ranks highest the {name} {verb} by {abs(top):.3g} on average,"
        f" without random ones it {other} by {abs(random):.3g};"
        f" {100 * chance:.0f}\u00a0% of random orders do as well or better"
    )
    if above < SURE or chance > LUCKY or top <= random:
        return "do not trust", f"Do not trust it here: {told}."
    if bottom > random:
        return "do not trust", (
            "Do not trust it here: the steps that it ranks lowest matter more than random ones:"
            f" the {name} moves by {bottom:.3g} without them, by {random:.3g} without others."
        )
    return "trust", f"Trust it here: {told}."
