"""CleanCLIP: each modality also learns from itself (Bansal et al. 2023, arXiv 2303.03323)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.augment import AUGMENTATIONS
from taclean.distributed import gather
from taclean.errors import UserError
from taclean.losses import clip_loss, self_loss
from taclean.models import encode_images, encode_tokens
from taclean.text.artifacts import SubCaptions
from taclean.train import Batch


def pick_augmentation(name: str) -> None:
    """Check an augmentation's name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in AUGMENTATIONS:
        raise UserError(f"augment: {name!r} is unknown; known are {', '.join(AUGMENTATIONS)}")


@dataclass(frozen=True)
class CleanCLIP:
    """L_clip + lambda_self * L_self.

    Attributes:
        variants: (E, N, 77) uint16 tokens of an EDA variant of every caption, new in each epoch.
        lambda_self: weight of L_self.
        augment: image augmentation, a key of AUGMENTATIONS.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("variants",)
    variants: np.ndarray
    seed: int = 0
    lambda_self: float = 1.0
    augment: str = "mild"

    def __post_init__(self) -> None:
        pick_augmentation(self.augment)

    def check(self, epochs: int, rows: int) -> None:
        """Check that the text artifacts were made for this run.

        Raises:
            UserError: they are of another split, or of fewer epochs.
        """
        check_texts(epochs, rows, self.variants)

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is what is minimised."""
        variants = self.variants[batch.epoch, batch.index]
        *views, _ = both_views(model, batch, self.augment, self.seed, variants)
        images, augmented, texts, texts_augmented = gather(*views)
        scale = model.logit_scale.exp()
        clip = clip_loss(images, texts, scale)
        own = self_loss(images, augmented, texts, texts_augmented, scale)
        return {"total": clip + self.lambda_self * own, "clip": clip, "self": own}


def check_texts(
    epochs: int, rows: int, variants: np.ndarray, subcaptions: SubCaptions | None = None
) -> None:
    """Check text artifacts against a run of `epochs` passes over `rows` rows.

    Raises:
        UserError: they are of another split, or of fewer epochs.
    """
    if variants.shape[1] != rows:
        raise UserError(
            f"variants: made for {variants.shape[1]} rows, the split has {rows}; make them again"
        )
    found = [len(variants)] + ([len(subcaptions.rows)] if subcaptions else [])
    if min(found) < epochs:
        raise UserError(
            f"text artifacts: made for {min(found)} epochs of {epochs}; make them again"
        )
    if subcaptions and subcaptions.rows.max() >= rows:
        raise UserError("sub-captions: name rows that the split does not have; make them again")


def both_views(
    model: CLIP,
    batch: Batch,
    augment: str,
    seed: int,
    variants: np.ndarray,
    *more_texts: np.ndarray,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Embed both views of images and texts, and more texts, in one pass through each tower.

    Args:
        batch: this process's part of the whole batch; so are the other rows.
        variants: (B, 77) tokens of the captions' variants.
        more_texts: further tokens (M_i, 77).

    Returns:
        I, I~, T, T~ of (B, d) and the embeddings (sum of M_i, d) of the further texts.
    """
    images = batch.images.float() / 255
    views = AUGMENTATIONS[augment](images, batch.index, seed, batch.epoch)
    embedded = encode_images(model, torch.cat([images, views]))
    rows = np.concatenate([variants, *more_texts]).astype(np.int64)
    tokens = torch.cat([batch.tokens, torch.from_numpy(rows).to(batch.tokens.device)])
    texts = encode_tokens(model, tokens)
    n = len(images)
    return embedded[:n], embedded[n:], texts[:n], texts[n : 2 * n], texts[2 * n :]
