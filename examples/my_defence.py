"""A template: copy it, change the loss, and run `taclean bench my_defence.py` (docs/bench.md)."""

from torch import Tensor

from taclean.clip import CLIP
from taclean.config.section import key
from taclean.defenses import Defense
from taclean.training.loader import Batch


class MyDefence(Defense):
    """L_clip plus a penalty on confident pairs."""

    label = "My defence"
    colour = "#8c564b"

    weight: float = key(0.1, "Weight of the penalty.", ge=0)

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss of a batch; `total` is minimised.

        `batch.images` (B, 3, H, W) uint8 and `batch.tokens` (B, 77) are clean pairs, which
        `encode_images` and `encode_tokens` of taclean.clip.encode embed (docs/extending.md).
        """
        clip = super().loss(model, batch)["total"]
        penalty = model.logit_scale.exp() / 100
        return {"total": clip + self.weight * penalty, "clip": clip, "penalty": penalty}
