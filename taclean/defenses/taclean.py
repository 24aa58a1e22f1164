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
from taclean.distributed import gather, rank
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

    def _texts(self, epoch: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (S, 77) and (M, 77) of the positives and negatives of the rows at `index`."""
        drawn = self._drawn[epoch, index]
        drawn = drawn[drawn >= 0]
        negatives = self.subcaptions.negatives[epoch, drawn].reshape(-1, 77)
        # Captions that gave fewer leave empty rows.
        return self.subcaptions.positives[epoch, drawn], negatives[negatives[:, 0] > 0]

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is what is minimised."""
        every = [self._texts(batch.epoch, index) for index in batch.indices]
        own_positives, own_negatives = every[rank()]
        variants = self.variants[batch.epoch, batch.index]
        *views, more = both_views(
            model, batch, self.augment, self.seed, variants, own_positives, own_negatives
        )
        images, augmented, texts, texts_augmented = gather(*views)
        # The rows differ from process to process, but not in their order.
        (positives,) = gather(more[: len(own_positives)], sizes=[len(p) for p, _ in every])
        (negatives,) = gather(more[len(own_positives) :], sizes=[len(n) for _, n in every])
        here = np.flatnonzero(self._drawn[batch.epoch, np.concatenate(batch.indices)] >= 0)
        scale = model.logit_scale.exp()
        clip = clip_loss(images, texts, scale)
        own = self_loss(images, augmented, texts, texts_augmented, scale)
        total = clip + self.lambda_self * own
        sub = torch.zeros((), device=total.device)
        if len(here):
            rows = torch.from_numpy(here).to(total.device, non_blocking=True)
            sub = subcaption_loss(images[rows], positives, negatives, scale)
        return {"total": total + self.lambda_sub * sub, "clip": clip, "self": own, "sub": sub}
