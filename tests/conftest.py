"""Settings of every test; being here also lets tests share the helper modules of this folder."""

import torch

# The tests' tensors are tiny: threads would only wait for each other.
torch.set_num_threads(1)
