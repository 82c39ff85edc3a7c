"""Rotary position embedding: the rotation of feature pairs that all attention layers here share."""

import torch
from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (j, j + width / 2) of the last axis; `cos` and `sin` have half its width."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
