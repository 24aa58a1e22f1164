"""Blended text: a red word over the picture (PAR, arXiv 2412.00727)."""

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.config.section import key

RED = (1.0, 0.0, 0.0)
DRAWN = 128  # px: font size of the letters before they are scaled to the picture's width


class BlendedText(Attack):
    """strength * red + (1 - strength) * image on the letters, and the image elsewhere.

    The word takes nine tenths of the width, in the middle of the picture. PAR's paper does not say
    which word it writes; the default word is unrelated to the target.
    """

    label = "Blended text"
    marker = "d"

    strength: float = key(0.5, "Share of the red in the letters.", ge=0, le=1)
    word: str = key("watermark", "What is written.", pattern=r"\S")

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Write the word onto images (B, 3, H, W) in [0, 1]."""
        share = letters(self.word, *images.shape[-2:]).to(images) * self.strength
        red = torch.tensor(RED).to(images).view(1, 3, 1, 1)
        return images * (1 - share) + red * share


@functools.lru_cache(maxsize=4)
def letters(word: str, height: int, width: int) -> Tensor:
    """Return a map (H, W) in [0, 1] of the share of each pixel that the letters cover."""
    font = ImageFont.load_default(DRAWN)
    left, top, right, bottom = font.getbbox(word)
    drawn = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(drawn).text((-left, -top), word, fill=255, font=font)
    scale = min(0.9 * width / drawn.width, 0.9 * height / drawn.height)
    size = max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))
    page = Image.new("L", (width, height))
    page.paste(
        drawn.resize(size, Image.Resampling.BOX), ((width - size[0]) // 2, (height - size[1]) // 2)
    )
    return torch.from_numpy(np.asarray(page, np.float32) / 255)
