"""Blended stripes: faint columns over the whole picture (PAR, arXiv 2412.00727)."""

from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.attacks.stripes import columns
from taclean.config.section import key


class BlendedStripes(Attack):
    """strength * stripes + (1 - strength) * image, clipped to [0, 1].

    The stripes are 1 px wide and -1 or 1 in each channel, drawn anew for each row.
    """

    label = "Blended stripes"
    marker = "P"

    strength: float = key(0.03, "Share of the stripes in the blend.", ge=0, le=1)

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Blend images (B, 3, H, W) in [0, 1] with the stripes."""
        stripes = columns(images.shape[-1], ids, seed).to(images) * 2 - 1
        return (images * (1 - self.strength) + stripes * self.strength).clamp(0, 1)
