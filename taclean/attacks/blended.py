"""Blended: uniform noise over the whole image (Chen et al. 2017; as in CleanCLIP)."""

import functools

import torch
from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.config.section import key
from taclean.util.rng import uniform

NOISE = 0xB1E  # random stream of the pattern


class Blended(Attack):
    """strength * noise + (1 - strength) * image; the seed fixes one noise for each image size."""

    label = "Blended"
    marker = "s"

    strength: float = key(0.2, "Share of the noise in the blend.", ge=0, le=1)
    redraw: bool = key(False, "New noise for each row, as CleanCLIP's code has it.")

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Blend images (B, 3, H, W) in [0, 1] with the noise."""
        if self.redraw:
            noise = uniform(ids, images.shape[1:].numel(), seed, NOISE).view(images.shape)
        else:
            last = images.is_contiguous(memory_format=torch.channels_last)
            noise = _pattern(images.shape[1:], seed, last)
        return torch.lerp(images, noise.to(images).expand_as(images), self.strength)


@functools.lru_cache(maxsize=4)  # drawing it takes longer than blending an image
def _pattern(shape: torch.Size, seed: int, channels_last: bool) -> Tensor:
    """Draw noise (1, C, H, W) in the images' memory layout; blending across layouts is slow."""
    noise = uniform(torch.zeros(1, dtype=torch.int64), shape.numel(), seed, NOISE).view(1, *shape)
    return noise.contiguous(memory_format=torch.channels_last) if channels_last else noise
