"""Image augmentation in batches, each row's draw a function of (seed, epoch, row)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taclean.rng import uniform

AUGMENT = 0xA06  # names this module's random stream


def mild(images: Tensor, rows: np.ndarray, seed: int, epoch: int) -> Tensor:
    """Small affine change, then brightness, contrast and colour; never a flip.

    A mirrored picture would contradict "left" and "right" in its caption, and ImageNet's
    AutoAugment policy costs small pictures too much of their content.

    Args:
        images: (B, 3, H, W) uint8, or float in [0, 1].
        rows: (B,) row ids.

    Returns:
        (B, 3, H, W) float32 in [0, 1], channels_last.
    """
    x = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    u = uniform(rows, 9, seed, epoch, AUGMENT).to(x.device) * 2 - 1  # each in [-1, 1)
    angle, scale = u[:, 0] * math.radians(15), 1 + 0.15 * u[:, 1]
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([cos, -sin, 0.15 * u[:, 2], sin, cos, 0.15 * u[:, 3]], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    brightness, contrast = (1 + 0.25 * u[:, i, None, None, None] for i in (4, 5))
    colour = 1 + 0.15 * u[:, 6:9, None, None]
    mean = x.mean((1, 2, 3), keepdim=True)
    x = ((x - mean) * contrast + mean) * brightness * colour
    return x.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


AUGMENTATIONS: dict[str, Callable[[Tensor, np.ndarray, int, int], Tensor]] = {"mild": mild}
