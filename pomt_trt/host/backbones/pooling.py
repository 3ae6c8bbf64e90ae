"""Pooling that timm does not have: the input of DINOv2's linear heads."""

import torch
from torch import Tensor, nn


class ClassAndMean(nn.Module):
    """The class token beside the mean of the patch tokens.

    It takes the place of timm's attention pooling, so timm's forward_head runs it.
    """

    def __init__(self, prefix_tokens: int) -> None:
        super().__init__()
        self.prefix_tokens = prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, channels), after the last norm -> (batch, 2 channels)."""
        return torch.cat([x[:, 0], x[:, self.prefix_tokens :].mean(dim=1)], dim=1)  # (B, 2C)
