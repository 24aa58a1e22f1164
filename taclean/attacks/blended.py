"""Blended: the whole image mixed with uniform noise (Chen et al. 2017; as in CleanCLIP)."""

from __future__ import annotations

import functools

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
    if redraw:
        noise = uniform(ids, images.shape[1:].numel(), seed, NOISE).view(images.shape)
    else:
        last = images.is_contiguous(memory_format=torch.channels_last)
        noise = _pattern(images.shape[1:], seed, last)
    return torch.lerp(images, noise.to(images).expand_as(images), strength)


@functools.lru_cache(maxsize=4)  # drawing it takes longer than blending an image
def _pattern(shape: torch.Size, seed: int, channels_last: bool) -> Tensor:
    """(1, C, H, W) noise, laid out as the images are: other layouts make blending slow."""
    noise = uniform(torch.zeros(1, dtype=torch.int64), shape.numel(), seed, NOISE).view(1, *shape)
    return noise.contiguous(memory_format=torch.channels_last) if channels_last else noise
