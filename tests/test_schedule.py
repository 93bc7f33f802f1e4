"""The learning rate and the teacher's share over a run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unrolled.config import TrainSpec
from unrolled.train.schedule import learning_rate, teacher_forcing

SCHEDULES = ("cosine", "linear", "plateau", "constant")


def rates(shares: list[float], plateau: float = 1.0, **choices: object) -> list[float]:
    spec = TrainSpec(**{"lr": 2.0, "warmup": 0.0, **choices})
    return [learning_rate(spec, share, plateau) for share in shares]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warm_up_is_a_line_from_nothing_to_the_peak(schedule: str) -> None:
    found = rates([0.0, 0.05, 0.1, 0.2], schedule=schedule, warmup=0.2)
    assert found == pytest.approx([0.0, 0.5, 1.0, 2.0])


def test_cosine_falls_to_nothing_along_half_a_wave() -> None:
    assert rates([0.0, 0.25, 0.5, 0.75, 1.0], schedule="cosine") == pytest.approx(
        [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5), 0.0], abs=1e-12
    )


def test_cosine_is_torchs() -> None:
    """`torch.optim.lr_scheduler.CosineAnnealingLR` over ten steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    expected = []
    for _ in range(11):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates([step / 10 for step in range(11)], schedule="cosine") == pytest.approx(
        expected, abs=1e-12
    )


def test_linear_falls_to_nothing_after_the_warm_up() -> None:
    found = rates([0.2, 0.4, 0.6, 1.0], schedule="linear", warmup=0.2)
    assert found == pytest.approx([2.0, 1.5, 1.0, 0.0])


def test_constant_stays_and_plateau_takes_its_factor() -> None:
    assert rates([0.0, 0.5, 1.0], schedule="constant", plateau=0.1) == [2.0, 2.0, 2.0]
    assert rates([0.0, 0.5, 1.0], schedule="plateau", plateau=0.25) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_past_the_end_it_is_as_at_the_end(schedule: str) -> None:
    before, at, past = rates([-0.5, 1.0, 1.5], schedule=schedule, warmup=0.1)
    assert before == 0.0
    assert past == at >= 0.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_rises_then_never_rises_again(schedule: str) -> None:
    found = np.array(rates([k / 200 for k in range(201)], schedule=schedule, warmup=0.25))
    assert (np.diff(found[:51]) > 0).all()
    assert (np.diff(found[50:]) <= 1e-12).all()
    assert found.max() == pytest.approx(2.0)


def test_the_teachers_share_is_a_line() -> None:
    spec = TrainSpec(teacher_forcing=1.0, teacher_forcing_end=0.4)
    assert [teacher_forcing(spec, s) for s in (-1, 0, 0.5, 1, 2)] == pytest.approx(
        [1.0, 1.0, 0.7, 0.4, 0.4]
    )
    assert teacher_forcing(TrainSpec(), 0.7) == 1.0
