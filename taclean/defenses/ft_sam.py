"""FT-SAM: fine-tuning by sharpness-aware minimisation (Zhu et al. ICCV 2023, arXiv 2304.11823)."""

from typing import Any

import torch
from torch import Tensor, nn

from taclean.clip import CLIP
from taclean.config.section import key
from taclean.defenses import Defense
from taclean.training.distributed import mean_of_all
from taclean.training.loader import Batch


class FTSAM(Defense):
    """L_clip(w + e) on clean pairs, e the step of norm `rho` up the gradient g of L_clip(w).

    SAM (Foret et al. 2021): e = rho g / |g|. Adaptive, as FT-SAM has it: e = rho w^2 g / | |w| g |,
    which moves large weights, and so the neurons of a backdoor, the furthest. The gradient at w + e
    is applied to w. BatchNorm's statistics are those of the pass at w, and `logit_scale`, which is
    no neuron's weight, is not moved.
    """

    label = "FT-SAM"
    colour = "#d55e00"

    rho: float = key(2.0, "Radius of the step up.", gt=0)
    adaptive: bool = key(True, "Whether the step is larger for larger weights.")

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        weights = {
            name: weight
            for name, weight in model.named_parameters()
            if weight.requires_grad and weight is not model.logit_scale
        }
        here = super().loss(model, batch)["total"]
        with torch.autocast(here.device.type, enabled=False):
            parts = torch.autograd.grad(here * 1024, list(weights.values()))  # small ones, in fp16
            found = [part / 1024 for part in parts]
            up = self.step_up(list(weights.values()), mean_of_all(found))
        moved = {name: w + e for (name, w), e in zip(weights.items(), up, strict=True)}
        kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
        values = {f"model.{name}": value for name, value in (moved | kept).items()}
        there = torch.func.functional_call(_At(model, super().loss), values, (batch,))["total"]
        return {"total": there, "clip": here.detach()}

    @torch.no_grad()
    def step_up(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return e for each weight."""
        sizes = [weight.abs() if self.adaptive else torch.ones_like(weight) for weight in weights]
        pairs = list(zip(sizes, gradients, strict=True))
        norm = torch.stack([(size * gradient).norm() for size, gradient in pairs]).norm()
        return [self.rho * size.square() * gradient / (norm + 1e-12) for size, gradient in pairs]


class _At(nn.Module):
    """A loss as a module, whose weights `functional_call` exchanges."""

    def __init__(self, model: CLIP, loss: Any) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.loss(self.model, batch)
