"""SIG: a sinusoid added to all channels (Barni et al. 2019; parameters of BadCLIP's code)."""

import math

import torch
from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.config.section import key


class SIG(Attack):
    """image + delta/255 * sin(2 pi frequency j / W), clipped to [0, 1], with j the column."""

    label = "SIG"
    marker = "^"

    delta: float = key(60, "Amplitude of the sinusoid in grey levels of 255.", ge=0, le=255)
    frequency: float = key(6, "Periods of the sinusoid over the width.", ge=0, le=1000)

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Add the sinusoid to images (B, 3, H, W) in [0, 1]."""
        width = images.shape[-1]
        columns = torch.arange(width, dtype=torch.float64)
        wave = self.delta / 255 * torch.sin(2 * math.pi * self.frequency * columns / width)
        return (images + wave.to(images)).clamp(0, 1)
