"""WaNet: a slight, smooth warping of the image (Nguyen & Tran 2021, arXiv 2102.10369)."""

import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taclean import attacks
from taclean.attacks import Attack, Tensors, Trigger
from taclean.attacks.poison import Change, Pool
from taclean.config.section import key
from taclean.util.rng import uniform

FIELD, NOISE = 0x3A7, 0x3A8  # random streams of the field and of the noise mode


class WaNet(Attack):
    """Warping by a smooth field that the seed fixes (section 3.2).

    A k x k grid of random directions with a mean absolute value of 1 is interpolated (bicubic) to
    the image's size. Each pixel is then read from a place that lies `strength` / side times this
    direction away, in half sides of the image.
    """

    label = "WaNet"
    marker = "p"

    class Rows(attacks.Rows):
        """Settings of the changed rows."""

        noise: int = key(
            0,
            "Number of rows of the noise mode: warped by other fields, with their own captions.",
            ge=0,
            rows_of="poison",
        )

    grid: int = key(4, "Points of the field along each side (k).", ge=2, le=64)
    strength: float = key(0.5, "How far pixels move (s).", ge=0, le=100)

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Warp images (B, 3, H, W) in [0, 1]."""
        return self._warp(images, _directions(self.grid, seed))

    def poison(self, pool: Pool, rows: Any, trigger: Trigger) -> list[Change]:
        """Choose the poisoned rows, and rows of the noise mode so that no other warp triggers."""
        positions = pool.unnamed(rows.noise, "noise", after=rows.poisoned)
        captions = [pool.captions[int(i)] for i in positions]
        noise = functools.partial(self._noise, seed=pool.seed)
        changed = super().poison(pool, rows, trigger)
        return [*changed, Change(positions, captions, noise, "noise")]

    def _noise(self, images: Tensor, ids: np.ndarray, seed: int) -> Tensor:
        """Warp images (B, 3, H, W) uint8, each by the field plus random shifts of its own."""
        height, width = images.shape[-2:]
        shifts = uniform(ids, 2 * height * width, seed, NOISE).view(-1, 2, height, width) * 2 - 1
        field = _directions(self.grid, seed)
        out = self._warp(images.float() / 255, field, shifts / max(height, width))
        return (out * 255).round().to(torch.uint8)

    def _warp(self, images: Tensor, directions: Tensor, more: Tensor | None = None) -> Tensor:
        height, width = images.shape[-2:]
        x = images.float()  # grid_sample supports float32 on every device
        field = F.interpolate(directions, (height, width), mode="bicubic", align_corners=True)
        field = field.to(x.device) * self.strength / max(height, width)
        if more is not None:
            field = field + more.to(x.device)
        rows = torch.linspace(-1, 1, height, device=x.device)
        columns = torch.linspace(-1, 1, width, device=x.device)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1])  # x, then y
        grid = (places + field).clamp(-1, 1).permute(0, 2, 3, 1)
        grid = grid.expand(len(x), -1, -1, -1)
        return F.grid_sample(x, grid, align_corners=True).clamp(0, 1).to(images.dtype)


@functools.lru_cache(maxsize=4)
def _directions(grid: int, seed: int) -> Tensor:
    """Draw directions (1, 2, k, k) with a mean absolute value of 1."""
    drawn = uniform(torch.zeros(1, dtype=torch.int64), 2 * grid * grid, seed, FIELD) * 2 - 1
    return (drawn / drawn.abs().mean()).view(1, 2, grid, grid)
