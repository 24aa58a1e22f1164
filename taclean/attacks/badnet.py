"""BadNet: an opaque noise patch (Gu et al. 2017; as in CleanCLIP, arXiv 2303.03323)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from taclean.attacks.patch import corners, paste, side_of
from taclean.rng import uniform

CAPTION = "template"
PREFIX = ""
UINT8 = True  # an opaque patch goes onto the pixels as it is: x / 255 * 255 rounds to x
NOISE = 0xBAD  # names the random stream of the pattern


def trigger(
    images: Tensor,
    ids: Tensor,
    seed: int,
    *,
    size: float = 16,
    place: str = "random",
    redraw: bool = False,
) -> Tensor:
    """Put a noise patch on each image.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        ids: (B,) row ids; they decide a random place.
        seed: fixes the pattern.
        size: side in px at 224.
        place: "random" (CleanCLIP), "centre" or "corner".
        redraw: a new pattern per row, as CleanCLIP's code does, instead of one for all.
    """
    side = side_of(size, *images.shape[-2:])
    patch = _noise(ids, side, seed) if redraw else _pattern(side, seed)
    return paste(images, patch, *corners(place, ids, seed, side, *images.shape[-2:]))


def _noise(ids: Tensor, side: int, seed: int) -> Tensor:
    return uniform(ids, 3 * side * side, seed, NOISE).view(-1, 3, side, side)


@functools.lru_cache(maxsize=4)  # drawn once, not for every batch
def _pattern(side: int, seed: int) -> Tensor:
    """(1, 3, side, side) noise that is the same for all rows."""
    return _noise(torch.zeros(1, dtype=torch.int64), side, seed)
