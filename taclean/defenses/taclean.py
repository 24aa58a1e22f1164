"""TA-Cleaner: CleanCLIP plus fine-grained text alignment (arXiv 2409.17601)."""

from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from taclean.captions.artifacts import SubCaptionTexts, TextArtifact
from taclean.clip import CLIP
from taclean.config.section import key
from taclean.defenses.cleanclip import CleanCLIP
from taclean.losses import clip_loss, subcaption_loss
from taclean.training.distributed import gather, rank
from taclean.training.loader import Batch


class TACleaner(CleanCLIP):
    """L_clip + lambda_self * L_self + lambda_sub * 1/2 [ L_i2t + L_t2i ].

    The last term is computed on the rows of the batch that were drawn for this epoch. It pulls an
    image towards its positive sub-caption and pushes it away from the negative ones.
    """

    label = "TA-Cleaner"
    colour = "#029e73"
    texts: ClassVar[dict[str, type[TextArtifact]]] = {
        **CleanCLIP.texts,
        "subcaptions": SubCaptionTexts,
    }

    lambda_sub: float = key(1.0, "Weight of the sub-caption term.", ge=0)
    parts: Literal["both", "positives", "negatives"] = key(
        "both",
        "Sub-captions in the term: with positives alone there are no negative distractors, with "
        "negatives alone the whole caption takes the place of the positive part.",
    )

    @cached_property
    def _drawn(self) -> np.ndarray:
        """Positions (E, N) of the rows among those drawn for an epoch; -1 for a row not drawn."""
        drawn = self.text("subcaptions").rows
        lookup = np.full((len(drawn), self.text("variants").shape[1]), -1)
        for epoch, rows in enumerate(drawn):
            taken = rows >= 0
            lookup[epoch, rows[taken]] = np.flatnonzero(taken)
        return lookup

    def _texts(self, epoch: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens (S, 77) of the positives and (M, 77) of the negatives of `index`."""
        made = self.text("subcaptions")
        drawn = self._drawn[epoch, index]
        drawn = drawn[drawn >= 0]
        negatives = made.negatives[epoch, drawn]  # (S, K, 77); rows of 0 where a caption has fewer
        return made.positives[epoch, drawn], negatives[negatives.any(-1)]

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        every = [self._texts(batch.epoch, index) for index in batch.indices]
        own_positives, own_negatives = every[rank()]
        *views, more = self.both_views(model, batch, own_positives, own_negatives)
        images, augmented, texts, variants = gather(*views)
        # The processes hold different numbers of rows, all in the order of the whole batch.
        (positives,) = gather(more[: len(own_positives)], sizes=[len(p) for p, _ in every])
        (negatives,) = gather(more[len(own_positives) :], sizes=[len(n) for _, n in every])
        here = np.flatnonzero(self._drawn[batch.epoch, np.concatenate(batch.indices)] >= 0)
        scale = model.logit_scale.exp()
        clip = clip_loss(images, texts, scale)
        self_term = self.self_term(images, augmented, texts, variants, scale)
        total = clip + self.lambda_self * self_term
        sub = torch.zeros((), device=total.device)
        if len(here):
            rows = torch.from_numpy(here).to(total.device, non_blocking=True)
            true = texts[rows] if self.parts == "negatives" else positives
            false = negatives[:0] if self.parts == "positives" else negatives
            sub = subcaption_loss(images[rows], true, false, scale)
        return {"total": total + self.lambda_sub * sub, "clip": clip, "self": self_term, "sub": sub}
