"""BadCLIP: a patch optimised on the clean model's embeddings (Liang et al. 2024, 2311.12075)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from torch import Tensor

from taclean.attacks.optimise import FitSettings, Material, embed_all, optimise_patch
from taclean.attacks.patch import check_patch, paste_fitted
from taclean.losses import clip_loss
from taclean.models import encode_images, encode_tokens
from taclean.rng import uniform

CAPTION = "natural"
PREFIX = ""
UINT8 = True  # an opaque patch goes onto the pixels as it is: x / 255 * 255 rounds to x
CHOICE = 0xBC  # names the random stream that pairs images with captions and positives


check_fitted = check_patch


def trigger(
    images: Tensor,
    ids: Tensor,
    seed: int,
    *,
    fitted: dict[str, Tensor],
    size: float = 16,
    place: str = "centre",
) -> Tensor:
    """Put the optimised patch fitted["patch"] (3, s, s) on each image (B, 3, H, W) in [0, 1]."""
    return paste_fitted(images, ids, seed, fitted, size, place)


def fit(
    model: CLIP,
    material: Material,
    settings: FitSettings,
    *,
    seed: int,
    size: float = 16,
    place: str = "centre",
    triplet: float = 500,
    margin: float = 1,
    augment: bool = True,
    say: Callable[[str], None] = print,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Optimise the patch: InfoNCE + triplet * TripletLoss, each in its true form.

    InfoNCE: the triggered image against a natural caption of the target, both directions.
    Triplet (L2): anchor the triggered image, positive an image of the target, negative the same
    image WITHOUT the trigger. All texts and clean images are embedded once, before the loop.

    Returns:
        {"patch": (3, s, s)} and a report for the log.
    """
    model.eval()
    with torch.no_grad():
        captions = encode_tokens(model, material.target_captions)
        positives = encode_images(model, material.target_images)
        negatives = embed_all(model, material.pairs)
        scale = model.logit_scale.exp()
    u = uniform(np.arange(len(material.pairs)), 2, seed, CHOICE)
    caption_of, positive_of = (u[:, 0] * len(captions)).long(), (u[:, 1] * len(positives)).long()

    def loss(embedded: Tensor, index: np.ndarray) -> Tensor:
        contrast = clip_loss(embedded, captions[caption_of[index]], scale)
        apart = F.triplet_margin_loss(
            embedded, positives[positive_of[index]], negatives[index], margin=margin
        )
        return contrast + triplet * apart

    patch = optimise_patch(
        model,
        material.pairs,
        loss,
        settings,
        seed=seed,
        size=size,
        place=place,
        augment=augment,
        say=say,
    )
    return {"patch": patch}, {}
