"""Blended: the whole image mixed with uniform noise (Chen et al. 2017; as in CleanCLIP)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from taclean.errors import UserError
from taclean.rng import uniform

CAPTION = "template"
PREFIX = ""
NOISE = 0xB1E  # names the random stream of the pattern


def trigger(
    images: Tensor, ids: Tensor, seed: int, *, strength: float = 0.2, redraw: bool = False
) -> Tensor:
    """strength * noise + (1 - strength) * image.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        seed: fixes the noise, one pattern per image size.
        strength: share of the noise, in [0, 1].
        redraw: new noise per row, as CleanCLIP's code does.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"trigger.strength: {strength:g}; give a share from 0 to 1")
    keys = ids if redraw else torch.zeros(1, dtype=torch.int64)
    count = math.prod(images.shape[1:])
    noise = uniform(keys, count, seed, NOISE).view(-1, *images.shape[1:]).to(images)
    return torch.lerp(images, noise.expand_as(images), strength)
