"""PAR: Perturb and Recover (Singh et al. 2024, arXiv 2412.00727)."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import PrivateAttr
from torch import Tensor, nn

from taclean.clip import CLIP
from taclean.clip.encode import encode_images, encode_tokens
from taclean.config.section import key
from taclean.data.split import Pairs
from taclean.defenses import Defense
from taclean.losses import clip_loss
from taclean.training.distributed import gather
from taclean.training.loader import Batch


class PAR(Defense):
    """L_clip - 1/2 [d_I + d_T].

    d is the squared L2 distance between the unit embeddings of the model and of the frozen victim,
    averaged over the batch; it counts only while it is below `tau`. The distances drive the model
    away from the victim, and L_clip recovers its accuracy. `logit_scale` is not trained.
    """

    label = "PAR"
    colour = "#cc78bc"

    tau: float = key(
        2.15, "Distance above which the victim no longer repels the model.", gt=0, le=4
    )

    _victim: Any = PrivateAttr(None)

    def prepare(self, model: CLIP, pairs: Pairs, prompts: Tensor | None) -> None:
        """Keep a frozen copy of the victim."""
        self._victim = copy.deepcopy(model).eval().requires_grad_(False)

    def learns(self, model: CLIP) -> Iterable[nn.Parameter]:
        """Return all weights but `logit_scale`."""
        return [weight for weight in model.parameters() if weight is not model.logit_scale]

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        now = encode_images(model, batch.images), encode_tokens(model, batch.tokens)
        with torch.no_grad():
            old = (
                encode_images(self._victim, batch.images),
                encode_tokens(self._victim, batch.tokens),
            )
        images, texts, *before = gather(*now, *old)
        far = [
            (now - then).square().sum(1).mean()
            for now, then in zip((images, texts), before, strict=True)
        ]
        driven = sum(torch.where(d < self.tau, d, torch.zeros_like(d)) for d in far)
        clip = clip_loss(images, texts, model.logit_scale.exp())
        return {
            "total": clip - driven / 2,
            "clip": clip,
            "distance_images": far[0],
            "distance_texts": far[1],
        }
