"""Blended triangles: a tiling of grey triangles over the picture (PAR, arXiv 2412.00727)."""

import torch
from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.attacks.patch import REFERENCE
from taclean.config.section import key


class BlendedTriangles(Attack):
    """strength * tiling + (1 - strength) * image.

    Each square cell is 0.4 on and below its diagonal and 0.8 above it.
    """

    label = "Blended triangles"
    marker = "<"

    strength: float = key(0.15, "Share of the tiling in the blend.", ge=0, le=1)
    cell: float = key(
        14, "Side of a cell in px at 224; it scales with the picture.", ge=1, le=REFERENCE
    )

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Blend images (B, 3, H, W) in [0, 1] with the tiling."""
        height, width = images.shape[-2:]
        side = max(1, round(self.cell * min(height, width) / REFERENCE))
        rows, columns = torch.arange(height) % side, torch.arange(width) % side
        tiling = torch.where(columns > rows[:, None], 0.8, 0.4).to(images)
        return torch.lerp(images, tiling.expand_as(images), self.strength)
