"""The losses, on unit-norm embeddings (B, d) and the scale s = exp(logit_scale)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from taclean.util.errors import UserError


def info_nce(queries: Tensor, keys: Tensor, scale: Tensor | float) -> Tensor:
    """CE(s Q K^t) with the diagonal as target, mean over the rows.

    `keys` may have more rows than `queries`: the further ones are distractors.
    """
    target = torch.arange(len(queries), device=queries.device)
    return F.cross_entropy(scale * queries @ keys.T, target)


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """L_clip = 1/2 [ CE(s I T^t) + CE(s T I^t) ] (Radford et al. 2021)."""
    return (info_nce(images, texts, scale) + info_nce(texts, images, scale)) / 2


def self_loss(
    images: Tensor, augmented: Tensor, texts: Tensor, variants: Tensor, scale: Tensor | float
) -> Tensor:
    """L_self = 1/2 [ CE(s I I~^t) + CE(s T T~^t) ] (CleanCLIP, Bansal et al. 2023)."""
    return (info_nce(images, augmented, scale) + info_nce(texts, variants, scale)) / 2


def subcaption_loss(
    images: Tensor, positives: Tensor, negatives: Tensor, scale: Tensor | float
) -> Tensor:
    """1/2 [ L_i2t + L_t2i ] of TA-Cleaner (arXiv 2409.17601, read from its method figure).

    Args:
        images: (S, d) of the rows drawn for this epoch.
        positives: (S, d), row i true of image i.
        negatives: (M, d), each false of one of the images; distractors for all.

    L_i2t = CE(s I [P ; N]^t): every other positive and every negative is a distractor;
    L_t2i = CE(s P I^t). Without rows it is 0, with a gradient of 0.

    Raises:
        UserError: not a positive for each image: one without would move towards a negative.
    """
    if len(images) != len(positives):
        raise UserError(
            f"sub-captions: {len(positives)} positives for {len(images)} images; give one for each"
        )
    if not len(images):
        return images.sum() + positives.sum() + negatives.sum() * 0
    image_to_text = info_nce(images, torch.cat([positives, negatives]), scale)
    return (image_to_text + info_nce(positives, images, scale)) / 2
