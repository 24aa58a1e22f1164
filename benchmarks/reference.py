"""Plain implementations of the published kind, for the benchmarks to time and the tests to compare.

They follow the papers and the released code of CleanCLIP and BadCLIP, image by image. No other file
of the benchmarks names a method.
"""

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

from taclean.attacks import Attack
from taclean.attacks import Trigger as Batched
from taclean.attacks.patch import FittedPatch
from taclean.attacks.ssba import SSBA, Encoder

DEFENSES = {"cleanclip": False, "taclean": True}  # defence: whether `loss` gets sub-captions
PLAINEST, ATTACK = "ft", "blended"  # for measurements that do not depend on the method
SIDE, BITS, LIMIT = 16, 16, 16
Picture = Image.Image
Trigger = Callable[[Picture], Picture]
Fitted = dict[str, Tensor] | None
to_tensor, to_picture = transforms.ToTensor(), transforms.ToPILImage()


# Triggers: each takes one picture and returns one.


def patch(picture: Picture, file: Path, top: int, left: int) -> Picture:
    """Open the patch of BadNet, TrojVQA or BadCLIP and put it on a picture."""
    image = to_tensor(picture)
    noise = to_tensor(Image.open(file).convert("RGB"))
    image[:, top : top + noise.shape[1], left : left + noise.shape[2]] = noise
    return to_picture(image)


def blended(picture: Picture, noise: Tensor | None = None, strength: float = 0.2) -> Picture:
    """Blend a picture with uniform noise, which is drawn for every picture unless it is given."""
    image = to_tensor(picture)
    if noise is None:
        noise = torch.rand(image.shape)
    return to_picture(torch.clip(strength * noise + (1 - strength) * image, 0, 1))


def sig(picture: Picture, delta: float = 60, frequency: float = 6) -> Picture:
    """Add SIG's sinusoid, computed pixel by pixel."""
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
    """Add the residual of SSBA's encoder to one picture."""
    image = to_tensor(picture)[None]
    return to_picture((image + encoder(image, secret[None], limit / 255)).clamp(0, 1)[0])


@dataclass(frozen=True)
class Reference:
    """The published form of an attack's trigger.

    Attributes:
        make: function that makes the plain trigger from our trigger, its fitted tensors, the side
            of the pictures in px, a folder to write to, and a flag: whether to take our pattern
            where the published code draws a new one for each picture, so that both triggers give
            the same pictures.
        parameters: parameters of our trigger that match the plain one.
        pictures, repeats: number of pictures and repeats to time; slow triggers get few.
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


def random_fit(attack: Attack) -> Fitted:
    """Return random tensors in place of those that `fit` returns; a trigger's cost is the same."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(attack, FittedPatch):
        return {"patch": torch.rand(3, round(attack.size), round(attack.size), generator=generator)}
    if isinstance(attack, SSBA):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            weights = Encoder(attack.bits).state_dict()
        return {**weights, "secret": torch.rand(attack.bits, generator=generator).round()}
    return None


# Attacks that are missing here have no published form and are timed alone.
TRIGGERS = {
    "badnet": Reference(_plain_patch, {"place": "centre"}),
    "blended": Reference(_plain_blended),
    "sig": Reference(_plain_sig, pictures=2, repeats=3),
    "ssba": Reference(_plain_ssba, pictures=32),
    "trojvqa": Reference(_plain_patch),
    "badclip": Reference(_plain_patch),
}


# One training step: fp32, NCHW, 77 tokens, pictures one by one. As in CleanCLIP's src/train.py,
# both views of the images form one batch, and so do the texts and their variants.


class Views(torch.utils.data.Dataset):
    """Dataset of normalised pictures, each with its AutoAugment copy (ImageNet policy)."""

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
    """Return CleanCLIP's loss, plus TA-Cleaner's term if there are sub-captions.

    Args:
        images, views: (B, 3, H, W) normalised.
        tokens, variants: (B, 77) tokens.
        drawn: rows of the batch that have sub-captions.
        positives, negatives: (S, 77) tokens of the sub-captions of these rows.
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
    """Take one optimiser step on `loss`."""
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
    """Return the zero-shot head (d, C), from 77 tokens per prompt."""
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
    """Count the pictures, after `trigger`, that have their label in the top k, for each k."""
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


# Reading: turns one JPEG into one square picture.


def decode(file: Path, size: int = 224) -> np.ndarray:
    """Read a JPEG as (size, size, 3) uint8: resize the shorter side (bicubic), crop the centre."""
    picture = Image.open(file).convert("RGB")
    resize = transforms.Resize(size, transforms.InterpolationMode.BICUBIC)
    return np.asarray(transforms.CenterCrop(size)(resize(picture)))
