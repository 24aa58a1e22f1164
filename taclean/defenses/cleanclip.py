"""CleanCLIP: self-supervision within each modality (Bansal et al. 2023, arXiv 2303.03323)."""

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from taclean.captions.artifacts import TextArtifact, Variants
from taclean.clip import CLIP
from taclean.clip.encode import encode_images, encode_tokens
from taclean.config.section import key
from taclean.data.augment import AUGMENTATIONS, Augmentation
from taclean.defenses import Defense
from taclean.losses import clip_loss, info_nce, self_loss
from taclean.training.distributed import gather
from taclean.training.loader import Batch


def embed_both(
    model: CLIP, batch: Batch, images: Tensor, views: Tensor, *texts: np.ndarray
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Embed images, captions and other views of both in one pass through each tower.

    Args:
        images, views: (B, 3, H, W) in [0, 1], the batch's images and their other views.
        texts: tokens (B, 77) of the captions' variants, then (M_i, 77) of further texts.

    Returns:
        I, I~, T and T~, each (B, d), and the embeddings (sum of M_i, d) of the further texts.
    """
    n = len(images)
    seen = encode_images(model, torch.cat([images, views]))
    rows = torch.from_numpy(np.concatenate(texts).astype(np.int64)).to(batch.tokens.device)
    read = encode_tokens(model, torch.cat([batch.tokens, rows]))
    return seen[:n], seen[n:], read[:n], read[n : 2 * n], read[2 * n :]


class CleanCLIP(Defense):
    """L_clip + lambda_self * L_self."""

    label = "CleanCLIP"
    colour = "#0173b2"
    texts: ClassVar[dict[str, type[TextArtifact]]] = {"variants": Variants}

    lambda_self: float = key(1.0, "Weight of L_self.", ge=0)
    augment: Augmentation = key(
        "mild", "Image augmentation: none, mild, or ImageNet's AutoAugment for 224 px."
    )
    modality: Literal["both", "images", "texts"] = key(
        "both", "Modality with self-supervision; the half of L_self for the other one is left out."
    )

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        *views, _ = self.both_views(model, batch)
        images, augmented, texts, variants = gather(*views)
        scale = model.logit_scale.exp()
        clip = clip_loss(images, texts, scale)
        self_term = self.self_term(images, augmented, texts, variants, scale)
        return {"total": clip + self.lambda_self * self_term, "clip": clip, "self": self_term}

    def self_term(
        self, images: Tensor, augmented: Tensor, texts: Tensor, variants: Tensor, scale: Tensor
    ) -> Tensor:
        """Return L_self, or the half of it that `modality` selects."""
        if self.modality == "both":
            return self_loss(images, augmented, texts, variants, scale)
        pair = (images, augmented) if self.modality == "images" else (texts, variants)
        return info_nce(*pair, scale) / 2

    def both_views(
        self, model: CLIP, batch: Batch, *more_texts: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Augment this process's part of the batch and embed both views: see `embed_both`."""
        images = batch.images.float() / 255
        views = AUGMENTATIONS[self.augment](images, batch.index, self.seed, batch.epoch)
        variants = self.text("variants")[batch.epoch, batch.index]
        return embed_both(model, batch, images, views, variants, *more_texts)
