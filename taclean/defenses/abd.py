"""ABD: alignment with adversarial examples (Kuang et al. 2024, arXiv 2409.15968)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from taclean.captions.artifacts import TextArtifact, Variants
from taclean.clip import CLIP
from taclean.clip.encode import encode_images, encode_tokens
from taclean.config.section import key
from taclean.defenses import Defense
from taclean.defenses.cleanclip import embed_both
from taclean.losses import clip_loss, self_loss
from taclean.training.distributed import gather
from taclean.training.loader import Batch


class ABD(Defense):
    """L_clip + lambda_self * L_self, with an adversarial example in place of the augmented picture.

    The paper finds that adversarial examples and triggered pictures are alike in a poisoned model's
    features. An example is the picture x, moved by gradient ascent on L_clip of the batch with its
    captions: x <- Clip(x + step * sign(grad L_clip)), within `epsilon` of the picture and [0, 1].
    docs/fidelity.md says what of this is ours.
    """

    label = "ABD"
    colour = "#56b4e9"
    texts: ClassVar[dict[str, type[TextArtifact]]] = {"variants": Variants}

    lambda_self: float = key(1.0, "Weight of L_self.", ge=0)
    epsilon: float = key(8.0, "Largest change of a pixel, in grey levels.", gt=0, le=255)
    step: float = key(2.0, "Change of a pixel in a step, in grey levels.", gt=0, le=255)
    steps: int = key(5, "Steps of the ascent.", ge=1)

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        variants = self.text("variants")[batch.epoch, batch.index]
        pictures, moved = batch.images.float() / 255, self.adversarial(model, batch)
        *views, _ = embed_both(model, batch, pictures, moved, variants)
        images, moved, texts, changed = gather(*views)
        scale = model.logit_scale.exp()
        clip, own = clip_loss(images, texts, scale), self_loss(images, moved, texts, changed, scale)
        return {"total": clip + self.lambda_self * own, "clip": clip, "self": own}

    def adversarial(self, model: CLIP, batch: Batch) -> Tensor:
        """Return adversarial examples (B, 3, H, W) in [0, 1] of the pictures of a batch.

        They are made for the model as it is used: in evaluation mode.
        """
        pictures = batch.images.float() / 255
        low, high = (pictures - self.epsilon / 255).clamp_min(0), pictures + self.epsilon / 255
        found, high = pictures, high.clamp_max(1)
        with evaluating(model):
            # Not under no_grad: autocast would cache weights without a gradient for the loss, too.
            texts = encode_tokens(model, batch.tokens).detach()
            for _ in range(self.steps):
                found = found.detach().requires_grad_(True)
                images, captions = gather(encode_images(model, found), texts)
                loss = clip_loss(images, captions, model.logit_scale.detach().exp())
                with torch.autocast(loss.device.type, enabled=False):
                    (gradient,) = torch.autograd.grad(loss * 1024, found)  # small ones, in fp16
                found = found.detach() + self.step / 255 * gradient.sign()
                found = torch.minimum(torch.maximum(found, low), high)
        return found


@contextmanager
def evaluating(model: CLIP) -> Iterator[None]:
    """Set evaluation mode, and then each part's own mode again."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    yield
    for part in training:
        part.training = True
