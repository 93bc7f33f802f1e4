"""Numbers brought to one scale by the mean and standard deviation of the training data."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Frames(nn.Module):
    """Numbers on one scale: (x - mean) / scale, both [I], of the training data.

    With `mask_missing` a NaN becomes 0, and indicators [I] stand beside the numbers, 1 where one
    was missing: the output is [..., 2 I] (Lipton et al. 2016, section 3.2).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int, *, mask_missing: bool = False) -> None:
        super().__init__()
        self.mask_missing = mask_missing
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., I] to the same shape, or to [..., 2 I] where it masks."""
        scaled = (x - self.mean) / self.scale
        if not self.mask_missing:
            return scaled
        missing = x.isnan()
        return torch.cat([scaled.masked_fill(missing, 0), missing.to(x.dtype)], dim=-1)

    def undo(self, x: Tensor) -> Tensor:
        """Map scaled numbers [..., I] back."""
        return x * self.scale + self.mean
