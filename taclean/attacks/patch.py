"""Opaque patches: where they go and how they are put there. Shared by several attacks."""

from __future__ import annotations

import torch
from torch import Tensor

from taclean.errors import UserError
from taclean.rng import uniform

REFERENCE = 224  # sizes are px at this side, as in the papers, and scale with the image
PLACE = 0x9A7C  # names the random stream of places
PLACES = ("random", "centre", "corner")


def side_of(size: float, width: int) -> int:
    """The side in px of a patch of `size` px at 224 on an image of `width` px.

    Raises:
        UserError: the patch is larger than the image or smaller than a pixel.
    """
    side = round(size * width / REFERENCE)
    if not 1 <= side <= width:
        raise UserError(f"trigger.size: {size} px at 224 is {side} px of {width}; give 1 to 224")
    return side


def corners(
    place: str, ids: Tensor, seed: int, side: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Top and left edge (B,) of every row's patch.

    `random` draws a place per row from (seed, id); `corner` is the lower right one.

    Raises:
        UserError: unknown place.
    """
    if place == "random":
        u = uniform(ids, 2, seed, PLACE)
        top, left = (u[:, i] * (n - side + 1) for i, n in enumerate((height, width)))
        return top.long(), left.long()
    if place == "centre":
        top_left = ((height - side) // 2, (width - side) // 2)
    elif place == "corner":
        top_left = (height - side, width - side)
    else:
        raise UserError(f"trigger.place: {place!r}; give one of {', '.join(PLACES)}")
    return torch.full((len(ids),), top_left[0]), torch.full((len(ids),), top_left[1])


def paste(images: Tensor, patch: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Put `patch` (3, s, s) or (B, 3, s, s) on each image at its own place; opaque."""
    out = images.clone()
    side = torch.arange(patch.shape[-1])
    rows, columns = (top[:, None] + side)[:, :, None], (left[:, None] + side)[:, None, :]
    which = torch.arange(len(images))[:, None, None]
    # Advanced indices around the channel slice put that axis last.
    out[which, :, rows, columns] = patch.expand(len(images), -1, -1, -1).permute(0, 2, 3, 1)
    return out
