"""Settings of every test; being here also lets tests share the helper modules of this folder."""

import hypothesis
import torch

# The tests' tensors are tiny: threads would only wait for each other.
torch.set_num_threads(1)

# What a test checks is never how long it took: machines are shared.
hypothesis.settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# `make fuzz`: as many examples as patience allows, new ones each time.
hypothesis.settings.register_profile(
    "fuzz",
    parent=hypothesis.settings.get_profile("unhurried"),
    max_examples=5000,
    derandomize=False,
)
hypothesis.settings.load_profile("unhurried")
