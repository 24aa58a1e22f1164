"""TA-Cleaner: CleanCLIP plus fine-grained text alignment (arXiv 2409.17601)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.defenses.cleanclip import both_views, check_texts, pick_augmentation
from taclean.losses import clip_loss, self_loss, subcaption_loss
from taclean.text.artifacts import SubCaptions
from taclean.train import Batch


@dataclass(frozen=True)
class TACleaner:
    """L_clip + lambda_self * L_self + lambda_sub * 1/2 [ L_i2t + L_t2i ].

    The last term is over the rows of the batch that were drawn for this epoch: an image moves
    towards its positive sub-caption and away from the negative ones.

    Attributes:
        variants: (E, N, 77) uint16, as for CleanCLIP.
        subcaptions: tokens of the rows drawn for each epoch.
        lambda_self, lambda_sub: weights of L_self and of the sub-caption term.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("variants", "subcaptions")
    variants: np.ndarray
    subcaptions: SubCaptions
    seed: int = 0
    lambda_self: float = 1.0
    lambda_sub: float = 1.0
    augment: str = "mild"

    def __post_init__(self) -> None:
        pick_augmentation(self.augment)

    def check(self, epochs: int, rows: int) -> None:
        """Check that the text artifacts were made for this run.

        Raises:
            UserError: they are of another split, or of fewer epochs.
        """
        check_texts(epochs, rows, self.variants, self.subcaptions)

    @cached_property
    def _drawn(self) -> np.ndarray:
        """(E, N) position of every row among those drawn for the epoch, -1 where it was not."""
        lookup = np.full((len(self.subcaptions.rows), self.variants.shape[1]), -1)
        for epoch, rows in enumerate(self.subcaptions.rows):
            taken = rows >= 0
            lookup[epoch, rows[taken]] = np.flatnonzero(taken)
        return lookup

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is what is minimised."""
        drawn = self._drawn[batch.epoch, batch.index]
        here = np.flatnonzero(drawn >= 0)
        positives = self.subcaptions.positives[batch.epoch, drawn[here]]
        negatives = self.subcaptions.negatives[batch.epoch, drawn[here]].reshape(-1, 77)
        negatives = negatives[negatives[:, 0] > 0]  # captions that gave fewer leave empty rows
        variants = self.variants[batch.epoch, batch.index]
        images, augmented, texts, texts_augmented, more = both_views(
            model, batch, self.augment, self.seed, variants, positives, negatives
        )
        scale = model.logit_scale.exp()
        clip = clip_loss(images, texts, scale)
        own = self_loss(images, augmented, texts, texts_augmented, scale)
        total = clip + self.lambda_self * own
        sub = torch.zeros((), device=total.device)
        if len(here):
            sub = subcaption_loss(images[here], more[: len(here)], more[len(here) :], scale)
        return {"total": total + self.lambda_sub * sub, "clip": clip, "self": own, "sub": sub}
