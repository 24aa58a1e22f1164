"""Stripes: a patch of dark and bright columns (PAR, arXiv 2412.00727)."""

import torch
from torch import Tensor

from taclean.attacks import Tensors
from taclean.attacks.patch import Patch, Place, side_of
from taclean.config.section import key
from taclean.util.rng import uniform

STREAM = 0x57A1  # random stream of the columns


class Stripes(Patch):
    """Patch of columns of 1 px, each 0 or 1 in each channel; the seed fixes the columns.

    PAR's BadNet-Stripes has -1 or 1, which clipping to the range of pixels turns into 0 or 1.
    """

    label = "Stripes"
    marker = "X"

    place: Place = key("random", "Where the patch goes; random: another place for each row.")

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Put the patch on images (B, 3, H, W) in [0, 1]."""
        side = side_of(self.size, *images.shape[-2:])
        patch = columns(side, seed).expand(3, side, side)
        return self.paste(images, patch, ids, seed)


def columns(width: int, seed: int) -> Tensor:
    """Draw a row of columns (3, 1, width) of 0 and 1."""
    drawn = uniform(torch.zeros(1, dtype=torch.int64), 3 * width, seed, STREAM)
    return (drawn > 0.5).float().view(3, 1, width)
