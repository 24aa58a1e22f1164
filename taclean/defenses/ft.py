"""FT: clean fine-tuning with CLIP's own loss. Pre-training and poisoning use it as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from open_clip import CLIP
from torch import Tensor

from taclean.distributed import gather
from taclean.losses import clip_loss
from taclean.models import encode_images, encode_tokens
from taclean.train import Batch


@dataclass(frozen=True)
class FT:
    """L_clip on clean pairs (Radford et al. 2021)."""

    NEEDS: ClassVar[tuple[str, ...]] = ()
    seed: int = 0

    def check(self, epochs: int, rows: int) -> None:
        """FT needs no text artifacts."""

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the loss as `total`, which is what is minimised."""
        own = encode_images(model, batch.images), encode_tokens(model, batch.tokens)
        images, texts = gather(*own)
        return {"total": clip_loss(images, texts, model.logit_scale.exp())}
