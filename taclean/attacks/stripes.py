"""Stripes: a patch of dark and bright columns (PAR, arXiv 2412.00727)."""

from torch import Tensor

from taclean.attacks import Tensors
from taclean.attacks.patch import Patch, Place, side_of
from taclean.config.section import key
from taclean.util.rng import uniform

STREAM = 0x57A1  # random stream of the columns


class Stripes(Patch):
    """Patch of columns of 1 px, each 0 or 1 in each channel, drawn anew for each row.

    PAR's BadNet-Stripes has -1 or 1, which clipping to the range of pixels turns into 0 or 1.
    """

    label = "Stripes"
    marker = "X"

    place: Place = key("random", "Where the patch goes; random: another place for each row.")

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Put the patch on images (B, 3, H, W) in [0, 1]."""
        side = side_of(self.size, *images.shape[-2:])
        patch = columns(side, ids, seed).expand(-1, -1, side, -1)
        return self.paste(images, patch, ids, seed)


def columns(width: int, ids: Tensor, seed: int) -> Tensor:
    """Draw columns (B, 3, 1, width) of 0 and 1 for row ids (B,)."""
    return (uniform(ids, 3 * width, seed, STREAM) > 0.5).float().view(-1, 3, 1, width)
