"""Optimise pixels against a frozen model, for fitted patches and for the scan of a model."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from taclean.attacks.material import FitSettings
from taclean.attacks.patch import Patch, side_of
from taclean.clip import CLIP
from taclean.clip.encode import autocast, device_of, encode_images, precision_on
from taclean.data.augment import mild
from taclean.data.split import Pairs
from taclean.util.errors import UserError
from taclean.util.rng import permutation

BATCH = 0x0B7  # random stream of the order of the rows
BATCH_EMBEDDED = 256  # images that the model embeds at a time


@torch.no_grad()
def embed_all(model: CLIP, pairs: Pairs, batch: int = BATCH_EMBEDDED) -> Tensor:
    """Embed all images of a set: (N, d)."""
    index = np.arange(len(pairs))
    parts = np.array_split(index, max(1, len(pairs) // batch))
    return torch.cat([encode_images(model, pairs.batch(part)[0]) for part in parts])


class Descent:
    """Minimise a loss over pixels in [0, 1] with Adam.

    Attributes:
        pixels: (..., 3, height, width) float32.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        lr: float,
        seed: int,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        """Draw one start (3, height, width): normal, mean 0.5, deviation 0.25, clipped (BadCLIP).

        Gradients of a mean over pictures that pass through `precision` fp16 are scaled.
        """
        generator = torch.Generator().manual_seed(seed)
        start = torch.empty(shape[-3:]).normal_(0.5, 0.25, generator=generator).clamp_(0, 1)
        self.pixels = start.expand(shape).clone().to(device).requires_grad_(True)
        self._optimizer = torch.optim.Adam([self.pixels], lr=lr)
        scaled = precision_on(device, precision) == "fp16"
        self._scaler = torch.amp.GradScaler(device.type, 2.0**10, enabled=scaled)

    def step(self, loss: Tensor) -> float:
        """Take one step down the loss and return its value.

        Raises:
            UserError: the loss is not finite.
        """
        if not torch.isfinite(loss):
            raise UserError(f"fit.lr or scan.lr: the loss became {loss.item()}; lower the rate")
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        with torch.no_grad():
            self.pixels.clamp_(0, 1)
        return loss.item()

    def rounded(self) -> Tensor:
        """Return the pixels on the CPU, rounded to steps of 1/255 as stored pictures are."""
        return (self.pixels.detach().cpu() * 255).round() / 255


def optimise_patch(
    model: CLIP,
    pairs: Pairs,
    loss: Callable[[Tensor, np.ndarray], Tensor],
    settings: FitSettings,
    where: Patch,
    *,
    seed: int,
    augment: bool = False,
    say: Callable[[str], None] = print,
) -> Tensor:
    """Minimise `loss` over the pixels of a patch (BadCLIP, arXiv 2311.12075, section 4).

    Args:
        model: the clean model; it is frozen.
        pairs: images that get the patch.
        loss: function of the triggered images' embeddings (B, d) and positions (B,) in `pairs`.
        where: attack that gives the size and place of the patch.
        augment: whether to augment the images of every other batch before the patch goes on.

    Returns:
        The patch (3, s, s) in [0, 1], rounded to steps of 1/255 as stored pictures are.

    Raises:
        UserError: there are no images, or the loss is not finite.
    """
    if len(pairs) == 0:
        raise UserError("patch split: every caption names the target; give the split more rows")
    model.eval().requires_grad_(False)
    side = side_of(where.size, pairs.size, pairs.size)
    device = device_of(model)
    patch = Descent((3, side, side), settings.lr, seed, device, settings.precision)
    for epoch in range(settings.epochs):
        order = permutation(len(pairs), seed, epoch, BATCH)
        total, steps = 0.0, 0
        for start in range(0, len(order), settings.batch):
            index = order[start : start + settings.batch]
            images = pairs.batch(index)[0].to(device)
            if augment and steps % 2:
                images = mild(images, index, seed, epoch)
            else:
                images = images.float() / 255
            ids = torch.from_numpy(pairs.ids[pairs.rows[index]].copy())
            with autocast(device, settings.precision):
                embedded = encode_images(model, where.paste(images, patch.pixels, ids, seed))
            total, steps = total + patch.step(loss(embedded, index)), steps + 1
        say(f"trigger: epoch {epoch + 1}/{settings.epochs}, loss {total / steps:.4f}")
    return patch.rounded()
