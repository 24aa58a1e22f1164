"""FT: clean fine-tuning with CLIP's own loss. Pre-training and poisoning use it as well."""

from __future__ import annotations

from torch import Tensor, nn

from taclean.losses import clip_loss
from taclean.models import encode_images, encode_tokens
from taclean.train import Batch


class FT:
    """L_clip on clean pairs (Radford et al. 2021)."""

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its parts; `total` is what is minimised."""
        images = encode_images(model, batch.images)
        texts = encode_tokens(model, batch.tokens)
        return {"total": clip_loss(images, texts, model.logit_scale.exp())}
