"""FT: fine-tuning on clean pairs with CLIP's own loss."""

from dataclasses import replace

from torch import Tensor

from taclean.clip import CLIP
from taclean.config.section import key
from taclean.data.augment import AUGMENTATIONS, Augmentation
from taclean.defenses import Defense
from taclean.training.loader import Batch


class FT(Defense):
    """L_clip on clean pairs (Radford et al. 2021)."""

    label = "FT"
    colour = "#de8f05"

    augment: Augmentation = key(
        "none",
        "Image augmentation, to measure its own effect: none, as in the literature, mild, or "
        "ImageNet's AutoAugment for 224 px.",
    )

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the loss as `total`."""
        if self.augment == "none":
            return super().loss(model, batch)
        view = AUGMENTATIONS[self.augment]
        images = view(batch.images, batch.index, self.seed, batch.epoch)
        return super().loss(model, replace(batch, images=images))
