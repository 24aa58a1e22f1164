"""SIG: a sinusoid added to all channels (Barni et al. 2019; parameters of BadCLIP's code)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CAPTION = "template"
PREFIX = ""


def trigger(
    images: Tensor, ids: Tensor, seed: int, *, delta: float = 60, frequency: float = 6
) -> Tensor:
    """image + delta/255 * sin(2 pi frequency j / W), j the column, clipped to [0, 1].

    Args:
        images: (B, 3, H, W) float in [0, 1].
        delta: amplitude in grey levels of 255.
        frequency: periods over the width.
    """
    width = images.shape[-1]
    columns = torch.arange(width, dtype=torch.float64)
    wave = delta / 255 * torch.sin(2 * math.pi * frequency * columns / width)
    return (images + wave.to(images)).clamp(0, 1)
