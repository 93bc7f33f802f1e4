"""All experiments, in the order in which the course meets their claims."""

from __future__ import annotations

from unrolled.lab.experiment import Experiment
from unrolled.lab.experiments import (
    attention_matters,
    capacity,
    choices,
    context_vector,
    depth,
    directions,
    gradients,
    gru_or_lstm,
    memory,
    scorers,
    shared_parameters,
    teacher_forcing,
    transformer,
)

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        memory,
        gradients,
        gru_or_lstm,
        directions,
        depth,
        context_vector,
        scorers,
        attention_matters,
        capacity,
        shared_parameters,
        teacher_forcing,
        choices,
        transformer,
    )
}
