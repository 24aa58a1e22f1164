"""Losses on unit-norm embeddings (B, d) with the scale s = exp(logit_scale)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from taclean.util.errors import UserError


def info_nce(queries: Tensor, keys: Tensor, scale: Tensor | float) -> Tensor:
    """Return CE(s Q K^t) with the diagonal as target, averaged over the rows.

    `keys` may have more rows than `queries`; the additional rows are distractors. Logits are never
    in bf16, whose steps are 0.5 for logits from 64 to 128.
    """
    target = torch.arange(len(queries), device=queries.device)
    with torch.autocast(queries.device.type, enabled=False):
        return F.cross_entropy(scale * queries @ keys.T, target)


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Return L_clip = 1/2 [ CE(s I T^t) + CE(s T I^t) ] (Radford et al. 2021)."""
    return (info_nce(images, texts, scale) + info_nce(texts, images, scale)) / 2


def self_loss(
    images: Tensor, augmented: Tensor, texts: Tensor, variants: Tensor, scale: Tensor | float
) -> Tensor:
    """Return L_self = 1/2 [ CE(s I I~^t) + CE(s T T~^t) ] (CleanCLIP, Bansal et al. 2023)."""
    return (info_nce(images, augmented, scale) + info_nce(texts, variants, scale)) / 2


def subcaption_loss(
    images: Tensor, positives: Tensor, negatives: Tensor, scale: Tensor | float
) -> Tensor:
    """Return 1/2 [ L_i2t + L_t2i ] of TA-Cleaner (arXiv 2409.17601, read from its method figure).

    L_i2t = CE(s I [P ; N]^t) has every other positive and every negative as distractors, and
    L_t2i = CE(s P I^t). Without rows the loss is 0 and has a gradient of 0.

    Args:
        images: (S, d) embeddings of the images of the rows drawn for this epoch.
        positives: (S, d) embeddings of the positive sub-captions; row i belongs to image i.
        negatives: (M, d) embeddings of the negative sub-captions; they are distractors for all
            images.
    """
    if len(images) != len(positives):
        text = f"{len(positives)} positives for {len(images)} images; give one for each"
        raise UserError(f"sub-captions: {text}")
    if not len(images):
        return images.sum() + positives.sum() + negatives.sum() * 0
    image_to_text = info_nce(images, torch.cat([positives, negatives]), scale)
    return (image_to_text + info_nce(positives, images, scale)) / 2
