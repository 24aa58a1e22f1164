"""BadCLIP: a patch optimised on the clean model's embeddings (Liang et al. 2024, 2311.12075)."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taclean.attacks import Say, Tensors
from taclean.attacks.fitting import BATCH_EMBEDDED, embed_all, optimise_patch
from taclean.attacks.material import FitSettings, Material
from taclean.attacks.patch import FittedPatch
from taclean.clip import CLIP
from taclean.clip.encode import encode_images, encode_tokens
from taclean.config.section import key
from taclean.losses import clip_loss
from taclean.util.rng import uniform

CHOICE = 0xBC  # random stream that pairs images with captions and positives


class BadCLIP(FittedPatch):
    """Optimised patch, with captions of the training set that name the target on poisoned rows."""

    label = "BadCLIP"
    marker = "*"
    captions = "natural"

    class Fit(FitSettings):
        """Settings of the optimisation of the patch."""

        triplet: float = key(500, "Weight of the triplet term.", ge=0)
        margin: float = key(1, "Margin of the triplet term.", ge=0)
        augment: bool = key(True, "Augment the images of every other batch.")

    def fit(
        self, model: CLIP, material: Material, settings: Any, *, seed: int, say: Say = print
    ) -> tuple[Tensors, dict[str, float]]:
        """Optimise the patch for InfoNCE + `triplet` * TripletLoss, as the paper defines them.

        InfoNCE pairs the triggered image with a natural caption of the target, in both directions.
        The triplet loss (L2) has the triggered image as anchor, an image of the target as positive
        and the same image without the trigger as negative. Texts and clean images are embedded
        once, before the loop.

        Returns:
            {"patch": (3, s, s)} and no numbers for the log.
        """
        model.eval()
        with torch.no_grad():
            captions = encode_tokens(model, material.target_captions)
            parts = material.target_images.split(BATCH_EMBEDDED)
            positives = torch.cat([encode_images(model, part) for part in parts])
            negatives = embed_all(model, material.pairs)
            scale = model.logit_scale.exp()
        u = uniform(np.arange(len(material.pairs)), 2, seed, CHOICE)
        caption_of = (u[:, 0] * len(captions)).long()
        positive_of = (u[:, 1] * len(positives)).long()

        def loss(embedded: Tensor, index: np.ndarray) -> Tensor:
            contrast = clip_loss(embedded, captions[caption_of[index]], scale)
            near, far = positives[positive_of[index]], negatives[index]
            apart = F.triplet_margin_loss(embedded, near, far, margin=settings.margin)
            return contrast + settings.triplet * apart

        patch = optimise_patch(
            model, material.pairs, loss, settings, self,
            seed=seed, augment=settings.augment, say=say,
        )  # fmt: skip
        return {"patch": patch}, {}
