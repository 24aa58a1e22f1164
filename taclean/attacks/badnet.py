"""BadNet: an opaque noise patch (Gu et al. 2017; as in CleanCLIP, arXiv 2303.03323)."""

from __future__ import annotations

import torch
from torch import Tensor

from taclean.attacks.patch import corners, paste, side_of
from taclean.rng import uniform

CAPTION = "template"
PREFIX = ""
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
    keys = ids if redraw else torch.zeros(1, dtype=torch.int64)
    patch = uniform(keys, 3 * side * side, seed, NOISE).view(-1, 3, side, side)
    return paste(images, patch, *corners(place, ids, seed, side, *images.shape[-2:]))
