"""Plain implementations of the published kind, which the benchmarks time and the tests compare.

Written from the papers and from what CleanCLIP's and BadCLIP's released code does, image by image.
Only this file of the benchmarks names methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from taclean.attacks import Trigger as Batched
from taclean.attacks.ssba import Encoder

DEFENSES = {"cleanclip": False, "taclean": True}  # of which `loss` is: with sub-captions?
PLAINEST, ATTACK = "ft", "blended"  # for what does not depend on the method
SIDE, BITS, LIMIT = 16, 16, 16
Picture = Image.Image
Trigger = Callable[[Picture], Picture]
Fitted = dict[str, Tensor] | None
to_tensor, to_picture = transforms.ToTensor(), transforms.ToPILImage()


# Triggers: one picture in, one picture out.


def patch(picture: Picture, file: Path, top: int, left: int) -> Picture:
    """BadNet, TrojVQA, BadCLIP: open the patch, put it on."""
    image = to_tensor(picture)
    noise = to_tensor(Image.open(file).convert("RGB"))
    image[:, top : top + noise.shape[1], left : left + noise.shape[2]] = noise
    return to_picture(image)


def blended(picture: Picture, noise: Tensor | None = None, strength: float = 0.2) -> Picture:
    """Blended: uniform noise, drawn anew for every picture unless it is given."""
    image = to_tensor(picture)
    if noise is None:
        noise = torch.rand(image.shape)
    return to_picture(torch.clip(strength * noise + (1 - strength) * image, 0, 1))


def sig(picture: Picture, delta: float = 60, frequency: float = 6) -> Picture:
    """SIG: the sinusoid is written pixel by pixel."""
    image = to_tensor(picture)
    noise = torch.zeros(image.shape)
    _, height, width = image.shape
    for i in range(height):
        for j in range(width):
            for k in range(3):
                noise[k, i, j] = delta / 255 * np.sin(2 * np.pi * frequency * j / width)
    return to_picture(torch.clip(image + noise, 0, 1))


@torch.no_grad()
def ssba(picture: Picture, encoder: nn.Module, secret: Tensor, limit: float) -> Picture:
    """SSBA: the encoder's residual for one picture."""
    image = to_tensor(picture)[None]
    return to_picture((image + encoder(image, secret[None], limit / 255)).clamp(0, 1)[0])


@dataclass(frozen=True)
class Reference:
    """The published form of an attack's trigger.

    Attributes:
        make: the plain trigger from ours, its fitted tensors, the side of the pictures in px, a
            folder to write to, and whether it shall take our pattern where the published code
            draws a new one for each picture, so that both give the same pictures.
        parameters: of our trigger, so that both do the same.
        pictures, repeats: how much it is timed on; the slow ones get few.
    """

    make: Callable[[Batched, Fitted, int, Path, bool], Trigger]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pictures: int = 256
    repeats: int = 7


def _plain_patch(ours: Batched, fitted: Fitted, size: int, folder: Path, fixed: bool) -> Trigger:
    side = round(SIDE * size / 224)
    corner = (size - side) // 2
    pixels = ours(torch.zeros(1, 3, size, size), np.zeros(1))[0]
    pixels = pixels[:, corner : corner + side, corner : corner + side].permute(1, 2, 0)
    file = folder / "patch.png"
    Image.fromarray((pixels * 255).round().byte().numpy()).save(file)
    return partial(patch, file=file, top=corner, left=corner)


def _plain_blended(ours: Batched, fitted: Fitted, size: int, folder: Path, fixed: bool) -> Trigger:
    black = torch.zeros(1, 3, size, size)  # on it the trigger is strength * noise
    return partial(blended, noise=ours(black, np.zeros(1))[0] / 0.2 if fixed else None)


def _plain_sig(ours: Batched, fitted: Fitted, size: int, folder: Path, fixed: bool) -> Trigger:
    return sig


def _plain_ssba(ours: Batched, fitted: Fitted, size: int, folder: Path, fixed: bool) -> Trigger:
    weights = dict(fitted or {})
    secret, encoder = weights.pop("secret"), Encoder(BITS)
    encoder.load_state_dict(weights)
    return partial(ssba, encoder=encoder, secret=secret, limit=LIMIT)


# An attack that is not here has no published form to be timed against.
TRIGGERS = {
    "badnet": Reference(_plain_patch, {"place": "centre"}),
    "blended": Reference(_plain_blended),
    "sig": Reference(_plain_sig, pictures=2, repeats=3),
    "ssba": Reference(_plain_ssba, pictures=32),
    "trojvqa": Reference(_plain_patch),
    "badclip": Reference(_plain_patch),
}


# One training step: fp32, NCHW, 77 tokens, pictures one by one; as in CleanCLIP's src/train.py both
# views of the images are one batch, and so are the texts and their variants.


class Views(torch.utils.data.Dataset):
    """A picture and its AutoAugment copy (ImageNet policy), both normalised, one row at a time."""

    def __init__(self, model: CLIP, images: np.ndarray) -> None:
        self.images = images
        normalise = transforms.Normalize(model.visual.image_mean, model.visual.image_std)
        self.plain = transforms.Compose([transforms.ToTensor(), normalise])
        self.augment = transforms.AutoAugment(transforms.AutoAugmentPolicy.IMAGENET)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        picture = Image.fromarray(self.images[row])
        return self.plain(picture), self.plain(self.augment(picture))


def loss(
    model: CLIP,
    images: Tensor,
    views: Tensor,
    tokens: Tensor,
    variants: Tensor,
    drawn: Sequence[int] = (),
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
) -> Tensor:
    """CleanCLIP's loss; with sub-captions of the rows `drawn` also TA-Cleaner's term.

    Args:
        images, views: (B, 3, H, W) normalised; tokens, variants: (B, 77).
        positives, negatives: (S, 77) tokens.
    """

    def cross_entropy(a: Tensor, b: Tensor) -> Tensor:
        logits = model.logit_scale.exp() * a @ b.t()
        return F.cross_entropy(logits, torch.arange(len(a), device=a.device))

    i, i2 = model.encode_image(torch.cat([images, views]), normalize=True).chunk(2)
    t, t2 = model.encode_text(torch.cat([tokens, variants]), normalize=True).chunk(2)
    total = (cross_entropy(i, t) + cross_entropy(t, i)) / 2
    total = total + (cross_entropy(i, i2) + cross_entropy(t, t2)) / 2
    if positives is not None and negatives is not None:
        own = i[list(drawn)]
        p, n = (model.encode_text(x, normalize=True) for x in (positives, negatives))
        total = total + (cross_entropy(own, torch.cat([p, n])) + cross_entropy(p, own)) / 2
    return total


def step(model: CLIP, optimizer: torch.optim.Optimizer, *batch: Tensor | Sequence[int]) -> float:
    """One optimiser step on `loss`."""
    optimizer.zero_grad()
    value = loss(model, *batch)  # type: ignore[arg-type]
    value.backward()
    optimizer.step()
    model.logit_scale.data = torch.clamp(model.logit_scale.data, 0, math.log(100))
    return value.item()


# Evaluation: a head class by class, then one pass over the pictures.


@torch.no_grad()
def head(
    model: CLIP, tokenize: Callable[[list[str]], Tensor], classes: Sequence[str], templates
) -> Tensor:
    """(d, C) from 77 tokens per prompt."""
    columns = []
    device = model.logit_scale.device
    for name in classes:
        tokens = tokenize([template.format(name) for template in templates]).to(device)
        embedding = model.encode_text(tokens, normalize=True).mean(0)
        columns.append(embedding / embedding.norm())
    return torch.stack(columns, 1)


@torch.no_grad()
def hits(
    model: CLIP,
    pictures: Sequence[Picture],
    labels: Tensor,
    classifier: Tensor,
    trigger: Trigger | None = None,
    batch: int = 64,
    ks: Sequence[int] = (1, 3, 5, 10),
) -> dict[int, int]:
    """How many pictures, `trigger` on each of them, have their label in the top k."""
    model.eval()
    normalise = transforms.Normalize(model.visual.image_mean, model.visual.image_std)
    found = dict.fromkeys(ks, 0)
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        marked = [trigger(picture) for picture in part] if trigger else part
        images = torch.stack([normalise(to_tensor(p)) for p in marked]).to(classifier.device)
        logits = model.encode_image(images, normalize=True) @ classifier
        own = labels[start : start + batch].to(logits.device)
        top = own == logits.topk(max(ks), 1).indices.T
        for k in ks:
            found[k] += int(top[:k].any(0).sum())
    return found


# Reading: one JPEG to one square picture.


def decode(file: Path, size: int = 224) -> np.ndarray:
    """Open, convert, resize the shorter side (bicubic), crop the centre: (size, size, 3) uint8."""
    picture = Image.open(file).convert("RGB")
    resize = transforms.Resize(size, transforms.InterpolationMode.BICUBIC)
    return np.asarray(transforms.CenterCrop(size)(resize(picture)))
