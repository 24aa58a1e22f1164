"""Augment images in batches; what a row gets is a function of (seed, epoch, row).

An augmentation takes images (B, 3, H, W) uint8, or float in [0, 1], and the rows' ids (B,), and
returns (B, 3, H, W) float32 in [0, 1], channels_last. None runs in autocast: the precision of the
towers changes no pixel.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taclean.util.rng import uniform

AUGMENT = 0xA06  # names the random stream of `mild`
AUTOAUGMENT = 0xA07
BINS = 10  # magnitudes per operation, as in torchvision
WARPS = ("ShearX", "Rotate")  # operations that move pixels

Augment = Callable[[Tensor, np.ndarray, int, int], Tensor]


def mild(images: Tensor, rows: np.ndarray, seed: int, epoch: int) -> Tensor:
    """Change geometry, brightness, contrast and colour a little; never flip.

    It is meant for small pictures: ImageNet's AutoAugment policy posterises, inverts and shears
    away too much of what 64 px show. A mirrored picture would contradict "left" and "right" in its
    caption.
    """
    with torch.autocast(images.device.type, enabled=False):
        x = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        u = uniform(rows, 9, seed, epoch, AUGMENT).to(x.device, non_blocking=True) * 2 - 1
        angle, scale = u[:, 0] * math.radians(15), 1 + 0.15 * u[:, 1]
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        theta = torch.stack([cos, -sin, 0.15 * u[:, 2], sin, cos, 0.15 * u[:, 3]], 1).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        brightness, contrast = (1 + 0.25 * u[:, i, None, None, None] for i in (4, 5))
        colour = 1 + 0.15 * u[:, 6:9, None, None]
        mean = x.mean((1, 2, 3), keepdim=True)
        x = ((x - mean) * contrast + mean) * brightness * colour
        return x.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


@functools.cache
def _operations() -> dict[str, Callable[[Tensor, float], Tensor]]:
    """Return what each operation of the ImageNet policy does to uint8 images at one magnitude.

    Source: torchvision.transforms.autoaugment._apply_op, with the batched kernels of transforms.v2.
    """
    from torchvision.transforms.v2 import functional as ops

    def shear(x: Tensor, m: float) -> Tensor:
        # The policy's shear is a slope about the top left corner; `affine` takes degrees.
        angles = [math.degrees(math.atan(m)), 0.0]
        return ops.affine(x, angle=0.0, translate=[0, 0], scale=1.0, shear=angles, center=[0, 0])

    def sharpen(x: Tensor, m: float) -> Tensor:
        # torchvision's own makes its kernel on the device, which a GPU has to be waited for.
        kernel = torch.full((3, 1, 3, 3), 1 / 13)
        kernel[..., 1, 1] = 5 / 13
        out = x.float()
        inner = out[..., 1:-1, 1:-1]
        blurred = F.conv2d(out, kernel.to(x.device, non_blocking=True), groups=3).round_()
        inner.add_(blurred.sub_(inner), alpha=1 - (1 + m))
        return out.clamp_(0, 255).to(x.dtype)

    return {
        "ShearX": shear,
        "Rotate": lambda x, m: ops.rotate(x, m),
        "Color": lambda x, m: ops.adjust_saturation(x, 1 + m),
        "Contrast": lambda x, m: ops.adjust_contrast(x, 1 + m),
        "Sharpness": sharpen,
        "Posterize": lambda x, m: ops.posterize(x, int(m)),
        "Solarize": lambda x, m: ops.solarize(x, m),
        "AutoContrast": lambda x, m: ops.autocontrast(x),
        "Equalize": lambda x, m: ops.equalize(x),
        "Invert": lambda x, m: ops.invert(x),
    }


@functools.cache
def _policy() -> tuple[np.ndarray, np.ndarray, tuple[tuple[str, float], ...]]:
    """Return torchvision's ImageNet policy: the chance (P, 2) of each sub-policy's two operations,
    their group (P, 2, 2) by sign (minus, plus), and the groups as (operation, magnitude).
    """
    from torchvision.transforms import AutoAugment

    auto = AutoAugment()
    space = auto._augmentation_space(BINS, (1, 1))  # only translations depend on the size
    chance = np.array([[p for _, p, _ in pair] for pair in auto.policies], np.float32)
    groups: dict[tuple[str, float], int] = {}
    group = np.empty((len(auto.policies), 2, 2), np.int64)
    for i, pair in enumerate(auto.policies):
        for j, (name, _, level) in enumerate(pair):
            levels, signed = space[name]
            magnitude = 0.0 if level is None else float(levels[level])
            for k, sign in enumerate((-1 if signed else 1, 1)):
                group[i, j, k] = groups.setdefault((name, sign * magnitude), len(groups))
    return chance, group, tuple(groups)


@functools.cache
def _sources(size: tuple[int, int], device: torch.device) -> tuple[Tensor, np.ndarray]:
    """Return where groups take pixels from, (W, H * W) int64: 1 + the place, 0 where there is none;
    and (G,) the row of each group of `_policy` in it, -1 for a group that moves none.
    """
    groups = _policy()[2]
    warps = [i for i, (name, _) in enumerate(groups) if name in WARPS]
    row = np.full(len(groups), -1)
    row[warps] = np.arange(len(warps))
    places = torch.arange(1.0, 1 + math.prod(size)).view(1, 1, *size)  # exact up to 4096 px
    moved = [_operations()[groups[i][0]](places, groups[i][1]) for i in warps]
    return torch.cat(moved).flatten(1).long().to(device), row


def _draw(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Draw each row's two operations: (B, 2) groups of `_policy`; -1 for no operation."""
    chance, group, _ = _policy()
    u = uniform(rows, 5, seed, epoch, AUTOAUGMENT).numpy()
    # In float32 the largest draw times P may round up to P.
    policy = np.minimum((u[:, 0] * len(chance)).astype(np.int64), len(chance) - 1)
    drawn = group[policy[:, None], [[0, 1]], (u[:, 3:5] >= 0.5).astype(np.int64)]  # and by its sign
    return np.where(u[:, 1:3] < chance[policy], drawn, -1)


def autoaugment(images: Tensor, rows: np.ndarray, seed: int, epoch: int) -> Tensor:
    """Apply ImageNet's AutoAugment policy (Cubuk et al. 2019, arXiv 1805.09501) of torchvision.

    CleanCLIP uses it on photographs at 224 px; small pictures lose too much (see `mild`). Rows that
    drew the same operation, magnitude and sign are processed together, and all that rotate or shear
    are, so a batch of any size needs at most 32 operations. A GPU is never waited for. Floats are
    rounded to 8 bits, on which the policy is defined.
    """
    with torch.autocast(images.device.type, enabled=False):
        x = images if images.dtype == torch.uint8 else (images * 255).round_().to(torch.uint8)
        x = x.clone(memory_format=torch.contiguous_format)
        groups, (sources, warp) = _policy()[2], _sources((x.shape[2], x.shape[3]), x.device)

        def there(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(x.device, non_blocking=True)

        for drawn in _draw(rows, seed, epoch).T:
            moved = np.where(drawn >= 0, warp[drawn], -1)
            for group in np.unique(drawn[(drawn >= 0) & (moved < 0)]):
                name, magnitude = groups[group]
                index = there(np.flatnonzero(drawn == group))
                x[index] = _operations()[name](x[index], magnitude)
            index = there(np.flatnonzero(moved >= 0))
            taken = sources[there(moved[moved >= 0])][:, None].expand(-1, 3, -1)
            padded = F.pad(x[index].flatten(2), (1, 0))  # what comes from outside is black
            x[index] = padded.gather(2, taken).view(-1, *x.shape[1:])
        return x.contiguous(memory_format=torch.channels_last).float().div_(255)


def none(images: Tensor, rows: np.ndarray, seed: int, epoch: int) -> Tensor:
    """Return the images unchanged."""
    x = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    return x.contiguous(memory_format=torch.channels_last)


Augmentation = Literal["none", "mild", "autoaugment"]
AUGMENTATIONS: dict[str, Augment] = {"none": none, "mild": mild, "autoaugment": autoaugment}
