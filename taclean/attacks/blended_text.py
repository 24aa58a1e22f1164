"""Blended text: a red word over the picture (PAR, arXiv 2412.00727)."""

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.config.section import key

DRAWN = 128  # px: font size of the letters before they are scaled to the picture's width


class BlendedText(Attack):
    """strength * letters + (1 - strength) * image in red, where there are letters.

    Red letters on black are 0 in green and blue, where PAR's code leaves the image as it is. The
    word takes nine tenths of the width and begins at half of the height. Which word PAR writes is
    in no text that it published; the default word is unrelated to the target.
    """

    label = "Blended text"
    marker = "d"

    strength: float = key(0.5, "Share of the red in the letters.", ge=0, le=1)
    word: str = key("watermark", "What is written.", pattern=r"\S")

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Write the word onto images (B, 3, H, W) in [0, 1]."""
        drawn, out = letters(self.word, *images.shape[-2:]).to(images), images.clone()
        red = torch.lerp(images[:, 0], drawn.expand_as(images[:, 0]), self.strength)
        out[:, 0] = torch.where(drawn > 0, red, images[:, 0])
        return out


@functools.lru_cache(maxsize=4)
def letters(word: str, height: int, width: int) -> Tensor:
    """Return a map (H, W) in [0, 1] of the share of each pixel that the letters cover."""
    font = ImageFont.load_default(DRAWN)
    left, top, right, bottom = font.getbbox(word)
    drawn = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(drawn).text((-left, -top), word, fill=255, font=font)
    scale = min(0.9 * width / drawn.width, 0.5 * height / drawn.height)
    size = max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))
    page = Image.new("L", (width, height))
    page.paste(drawn.resize(size, Image.Resampling.BOX), ((width - size[0]) // 2, height // 2))
    return torch.from_numpy(np.asarray(page, np.float32) / 255)
