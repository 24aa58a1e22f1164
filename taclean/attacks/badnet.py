"""BadNet: an opaque noise patch (Gu et al. 2017; as in CleanCLIP, arXiv 2303.03323)."""

import functools

import torch
from torch import Tensor

from taclean.attacks import Tensors
from taclean.attacks.patch import Patch, Place, side_of
from taclean.config.section import key
from taclean.util.rng import uniform

NOISE = 0xBAD  # random stream of the pattern


class BadNet(Patch):
    """Noise patch of a pattern that the seed fixes, by default at a random place (CleanCLIP)."""

    label = "BadNet"
    marker = "o"

    place: Place = key("random", "Where the patch goes; random: another place for each row.")
    redraw: bool = key(False, "New noise for each row, as CleanCLIP's code has it.")

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Put the patch on images (B, 3, H, W) in [0, 1]."""
        side = side_of(self.size, *images.shape[-2:])
        patch = _noise(ids, side, seed) if self.redraw else _pattern(side, seed)
        return self.paste(images, patch, ids, seed)


def _noise(ids: Tensor, side: int, seed: int) -> Tensor:
    return uniform(ids, 3 * side * side, seed, NOISE).view(-1, 3, side, side)


@functools.lru_cache(maxsize=4)  # drawn once, not for every batch
def _pattern(side: int, seed: int) -> Tensor:
    """Draw noise (1, 3, side, side) that is the same for all rows."""
    return _noise(torch.zeros(1, dtype=torch.int64), side, seed)
